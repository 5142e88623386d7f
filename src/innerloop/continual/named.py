"""Streams and learners by name: what the command line runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from innerloop import bundle, learners, nets
from innerloop.core.duplicate import duplicate
from innerloop.core.learner import Learner
from innerloop.core.options import keywords
from innerloop.core.parts import is_own
from innerloop.core.task import InputError, did_you_mean
from innerloop.data import registry
from innerloop.data.streams import StreamFamily
from innerloop.learners.continual.online import OnlineLearner
from innerloop.learners.named import learner_class, learner_options
from innerloop.recipes.runs import RECIPE_FILE, load


def stream(name: str, root: str | None = None, **options: Any) -> StreamFamily:
    """The family of streams of a name.

    Raises:
        InputError: for an unknown name, a data set that is none of streams, or an option that it does not have.

    Example:
        >>> stream("split_digits").draw(0).length
        5
    """
    known = [key for key, one in registry.SETS.items() if "streams" in one.kinds]
    if not is_own(name) and name not in known:
        raise InputError(f"stream {name!r} is unknown{did_you_mean(name, known)}; choose one of {', '.join(known)}")
    family = registry.read(name, root, **options)
    if not isinstance(family, StreamFamily):
        raise InputError(f"{name} is {type(family).__name__}, not streams: it must give a StreamFamily")
    return family


def online_names() -> list[str]:
    """The learners with plain weights that go through a stream by themselves.

    Example:
        >>> online_names()[:2]
        ['naive', 'experiencereplay']
    """
    first = ("naive", "experiencereplay")
    found = [name.lower() for name in learners.__all__ if issubclass(getattr(learners, name), OnlineLearner)]
    return [*first, *(name for name in found if name not in first)]


class Body:
    """Networks for a stream: an encoder with its weights and a new last layer, or one of the customary ones."""

    def __init__(self, encoder: nn.Module | None = None) -> None:
        self.trained = encoder

    def encoder(self, shape: tuple[int, ...]) -> nn.Module:
        """From examples of a shape to feature vectors."""
        return nets.NetSpec(norm="group" if len(shape) == 3 else "none").encoder(shape)

    def maps(self, shape: tuple[int, ...]) -> nn.Module:
        """From images to feature maps."""
        return nets.NetSpec(norm="group").maps(shape)

    def classifier(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        """From examples to raw outputs: convolutions for images, otherwise a 100-100 perceptron."""
        if self.trained is not None:
            size = torch.Size(nets.feature_size(self.trained, shape)).numel()
            return nn.Sequential(duplicate(self.trained), nn.Flatten(), nn.Linear(size, outputs))
        if len(shape) == 3:
            return nets.NetSpec(norm="group").classifier(shape, outputs)
        return nets.NetSpec(norm="none", options={"width": [100, 100]}).classifier(shape, outputs)


def maker(
    name: str, family: StreamFamily, *, init: str | Path | None = None, options: dict[str, Any] | None = None
) -> Callable[[int], Learner]:
    """A function from a seed to a learner for a family of streams.

    Args:
        name: of an online learner (``naive``, ``experiencereplay``, ..., or one's own), or a run folder: its learner is
            then folded over the stream as it was meta-trained.
        family: of the streams.
        init: a run folder whose encoder an online learner starts from.
        options: of the online learner's class.

    Raises:
        InputError: for a name that is neither, or an option that the learner does not have.

    Example:
        >>> family = stream("split_digits")
        >>> maker("naive", family, options={"lr": 0.1})(0).lr
        0.1
    """
    options, facts = dict(options or {}), family.facts
    if not is_own(name) and name not in online_names():
        if not (Path(name) / RECIPE_FILE).is_file():
            raise InputError(
                f"{name!r} is neither an online learner ({', '.join(online_names())}) nor a run folder: meta-train one "
                f"by `innerloop train oml --out RUN`, say"
            )
        if options or init is not None:
            raise InputError(f"{name} is a run and starts as it was meta-trained: leave --set and --init out")
        learner, trained = load(name), bundle.read(name).facts
        if trained is not None and (trained.shape, trained.objective) != (facts.shape, facts.objective):
            raise InputError(
                f"{name} was trained on examples of shape {trained.shape} ({trained.objective}), this stream's have "
                f"{facts.shape} ({facts.objective}): give a stream of such examples"
            )
        return lambda seed: learner
    kind = learner_class(name)
    example = family.draw(0)
    start = load(init) if init is not None else None
    if start is not None and start.split()[0] is None:
        raise InputError(f"the learner of {init} has no encoder: give a run of protonet, finetune or oml, say")
    encoder = start.backbone() if start is not None else None
    chosen = learner_options(kind, options, name)
    if name == "ewc":
        chosen.setdefault("every", len(example.batches) // example.length)

    seeded = "seed" in keywords(kind)

    def make(seed: int) -> Learner:
        torch.manual_seed(seed)
        return kind.from_facts(facts, Body(encoder), **{**({"seed": seed} if seeded else {}), **chosen})

    return make
