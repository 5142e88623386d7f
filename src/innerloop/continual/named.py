"""Streams and learners by name: what the command line runs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from innerloop.continual.streams import Images, Rotated, Sines, Split, Stream, StreamFamily, digits, mnist
from innerloop.core.learner import Learner
from innerloop.core.likelihood import Categorical, Gaussian
from innerloop.core.task import InputError, did_you_mean
from innerloop.data import registry as sets
from innerloop.data.pool import Pool, Pools


class NamedStream(NamedTuple):
    """A stream that the command line knows: a function of the data's folder and of options."""

    make: Callable[..., StreamFamily]
    what: str


def _images(root: str | None) -> Images:
    return digits() if root is None else mnist(root)


def _rotated(root: str | None, **options: Any) -> StreamFamily:
    return Rotated(_images(root), **options)


def _split_digits(root: str | None, **options: Any) -> StreamFamily:
    x, y, more_x, more_y = _images(root)
    pool = Pool.of(torch.cat((x, more_x)).flatten(1), torch.cat((y, more_y)))
    return Split(pool, **{"per_task": 2, "shots": 120, "held_out": 50, "batch": 10, **options})


def _split(name: str, reader: dict[str, Any], defaults: dict[str, Any]) -> Callable[..., StreamFamily]:
    """The meta-test classes of a data set, so that meta-trained learners have not seen them."""

    def make(root: str | None, **options: Any) -> StreamFamily:
        pools = sets.read(name, root, **reader)
        assert isinstance(pools, Pools)
        return Split(pools.test, **{**defaults, **options})

    return make


STREAMS = {
    "rotated_digits": NamedStream(_rotated, "8x8 digits at rising angles (MNIST with --root FILE)"),
    "split_digits": NamedStream(_split_digits, "8x8 digits, two classes after two (MNIST with --root FILE)"),
    "split_glyphs": NamedStream(_split("glyphs", {}, {"classes": 50}), "letters, one after the other: embedded"),
    "split_omniglot": NamedStream(
        _split("omniglot", {"rotations": False}, {"classes": 200}), "characters, one after the other (--root)"
    ),
    "split_cifar_fs": NamedStream(
        _split("cifar_fs", {}, {"per_task": 5, "shots": 100, "held_out": 100, "batch": 10}),
        "photographs, five classes after five (--root)",
    ),
    "sines": NamedStream(lambda root, **options: Sines(**options), "sine waves on pieces of the line: regression"),
}


def stream(name: str, root: str | None = None, **options: Any) -> StreamFamily:
    """The family of streams of a name.

    Raises:
        InputError: for an unknown name or an option that it does not have.

    Example:
        >>> stream("split_digits").draw(0).length
        5
    """
    if name not in STREAMS:
        hint = did_you_mean(name, STREAMS)
        raise InputError(f"stream {name!r} is unknown{hint}; choose one of {', '.join(STREAMS)}")
    try:
        return STREAMS[name].make(root, **options)
    except TypeError as error:
        raise InputError(f"options {options} do not fit the stream {name} ({error})") from None


def _learners() -> dict[str, Callable[..., Learner]]:
    from innerloop import learners as known

    kinds = ("Naive", "ExperienceReplay", "AGEM", "EWC", "LaMAML", "CMAML", "MER", "Joint")
    return {name.lower(): getattr(known, name) for name in kinds}


def network(example: Stream, encoder: nn.Module | None = None) -> nn.Module:
    """A network for a stream, one output a class: a convolutional one for images, otherwise a 100-100 perceptron.

    Args:
        example: a stream of the family.
        encoder: stands in its place, with its weights and a new last layer.
    """
    from innerloop import nets

    shape = tuple(example.batches[0].x.shape[1:])
    if encoder is not None:
        size = nets.feature_size(encoder, shape)
        return nn.Sequential(copy.deepcopy(encoder), nn.Flatten(), nn.Linear(torch.Size(size).numel(), example.targets))
    if len(shape) == 3:
        return nets.conv4(shape, norm="group", out=example.targets)
    return nets.mlp(*shape, 100, 100, example.targets)


def maker(
    name: str, family: StreamFamily, *, init: str | Path | None = None, options: dict[str, Any] | None = None
) -> Callable[[int], Learner]:
    """A function from a seed to a learner for a family of streams.

    Args:
        name: of an online learner (``naive``, ``experiencereplay``, ...), or a run folder: its learner is then folded
            over the stream as it was meta-trained.
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
    from innerloop.recipes import load
    from innerloop.recipes.recipe import RECIPE_FILE

    kinds, options = _learners(), dict(options or {})
    if name not in kinds:
        if not (Path(name) / RECIPE_FILE).is_file():
            raise InputError(
                f"{name!r} is neither an online learner ({', '.join(kinds)}) nor a run folder: meta-train one by "
                f"`innerloop train oml --out RUN`, say"
            )
        if options or init is not None:
            raise InputError(f"{name} is a run and starts as it was meta-trained: leave --set and --init out")
        learner = load(name)[0]
        return lambda seed: learner
    example = family.draw(0)
    if name == "ewc":
        options.setdefault("every", len(example.batches) // example.length)
    likelihood = Categorical() if example.classifies else Gaussian(scale=1.0)
    encoder = load(init)[0].split()[0] if init is not None else None
    if init is not None and encoder is None:
        raise InputError(f"the learner of {init} has no encoder: give a run of protonet, finetune or oml, say")

    def make(seed: int) -> Learner:
        torch.manual_seed(seed)
        try:
            return kinds[name](network(example, encoder), seed=seed, likelihood=likelihood, **options)
        except TypeError as error:
            raise InputError(f"options {options} do not fit {name} ({error})") from None

    return make
