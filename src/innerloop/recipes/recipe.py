"""A recipe, from its file to a learner, pools and samplers, and back from a run folder."""

from __future__ import annotations

import difflib
import json
import platform
import sys
import tomllib
from dataclasses import asdict, dataclass, field, fields
from importlib import resources
from pathlib import Path
from typing import Any, cast

import numpy
import torch

import innerloop
from innerloop import learners, nets
from innerloop.data import Augment, Batches, FewShot, Pools, Sampler, Sinusoid, sets
from innerloop.learner import Learner
from innerloop.likelihood import Categorical, Gaussian
from innerloop.norm import check_inner_loop
from innerloop.task import InputError
from innerloop.training import checkpoint

RECIPE_FILE = "recipe.json"


@dataclass
class Recipe:
    """Everything that makes a run."""

    learner: str
    """Name of the learner: its class in lower case."""
    data: str = "glyphs"
    """Name of the data set."""
    root: str | None = None
    """Folder of the data set, where it is not embedded."""
    norm: str = "running"
    """Normalisation policy of the network."""
    seed: int = 0
    """Of the initial weights, the tasks and all else that is random."""
    net: dict[str, Any] = field(default_factory=dict)
    """``name`` of a network in :mod:`innerloop.nets` and its options."""
    options: dict[str, Any] = field(default_factory=dict)
    """Options of the learner's class."""
    likelihood: dict[str, Any] = field(default_factory=dict)
    """``smoothing`` of the classes, ``scale`` of the regression error, or ``name = "gaussian"`` for squared error."""
    pool: dict[str, Any] = field(default_factory=dict)
    """Options of the data set's reader."""
    episodes: dict[str, Any] = field(default_factory=dict)
    """``ways``, ``shots`` and ``queries`` of a meta-training task (or ``batch`` for a plain classifier)."""
    augment: dict[str, Any] = field(default_factory=dict)
    """Amounts for :class:`innerloop.data.Augment`."""
    validation: dict[str, Any] = field(default_factory=dict)
    """``ways``, ``shots``, ``queries`` and ``tasks`` of a validation."""
    training: dict[str, Any] = field(default_factory=dict)
    """Arguments of :func:`innerloop.fit`."""

    def pools(self) -> Pools | None:
        """The data set's pools; ``None`` for a family of functions."""
        return None if self.data == "sinusoid" else sets.read(self.data, self.root, **self.pool)

    def build(self, pools: Pools | None) -> Learner:
        """The learner with freshly initialised weights, the same for the same seed.

        Raises:
            InputError: for an unknown learner, network or option.
        """
        kind = learner_class(self.learner)
        torch.manual_seed(self.seed)
        net_options = {k: v for k, v in self.net.items() if k != "name"}
        options = dict(self.options)
        if pools is None:
            if "regression" not in kind.objectives:
                raise InputError(
                    f"{self.learner} is for classification, {self.data} is regression: use "
                    f"{', '.join(n for n in learner_names() if 'regression' in learner_class(n).objectives)}"
                )
            width = net_options.get("width", 40)
            hidden = (width, width) if isinstance(width, int) else tuple(width)
            net: torch.nn.Module = nets.mlp(1, *hidden, 1)
        else:
            net = self._image_net(kind, pools, net_options)
        if kind.network == "classifier" and self.norm == "running":
            check_inner_loop(net)
        if kind is learners.FineTune and pools is not None:
            options["classes"] = pools.train.classes
        try:
            make: Any = kind
            return cast(Learner, make(net, likelihood=self._likelihood(regression=pools is None), **options))
        except TypeError as error:
            raise InputError(
                f"options {options} do not fit {self.learner} ({error}): see `innerloop learners`"
            ) from None

    def _image_net(self, kind: type[Learner], pools: Pools, options: dict[str, Any]) -> torch.nn.Module:
        name = self.net.get("name", "conv4")
        makers: dict[str, Any] = {"conv4": nets.conv4, "resnet12": nets.resnet12}
        if name not in makers:
            raise InputError(f"network {name!r} is unknown; choose one of {', '.join(makers)}")
        if kind.network == "classifier":
            options = {**options, "out": 1 if self.options.get("shared_head") else self.episodes["ways"]}
        if kind.network == "maps":
            options = {"pools": 2, **options, "maps": True}
        try:
            return cast(torch.nn.Module, makers[name](pools.train.shape, norm=self.norm, **options))
        except TypeError as error:
            raise InputError(f"options {options} do not fit the network {name} ({error})") from None

    def _likelihood(self, regression: bool) -> Categorical | Gaussian:
        if regression or self.likelihood.get("name") == "gaussian":
            return Gaussian(scale=self.likelihood.get("scale", 1.0))
        return Categorical(smoothing=self.likelihood.get("smoothing", 0.0))

    def sampler(self, pools: Pools | None) -> Sampler:
        """The meta-training sampler."""
        shots, queries = self.episodes.get("shots", 1), self.episodes.get("queries", 15)
        if pools is None:
            return Sinusoid(shots=shots, queries=queries)
        augment = Augment(**self.augment) if self.augment else None
        if "batch" in self.episodes:
            return Batches(pools.train, size=self.episodes["batch"], augment=augment)
        return FewShot(pools.train, ways=self.episodes["ways"], shots=shots, queries=queries, augment=augment)

    def episodes_of(
        self, pools: Pools | None, split: str, *, ways: int | None, shots: int | None, queries: int | None
    ) -> Sampler:
        """Episodes of a split, unaugmented; what is not given is as in meta-training.

        Raises:
            InputError: for an unknown split or sizes that the split cannot give.
        """
        shots = shots if shots is not None else self.episodes.get("shots", 1)
        queries = queries if queries is not None else max(self.episodes.get("queries", 15), 1)
        if pools is None:
            return Sinusoid(shots=shots, queries=queries)
        if split not in ("train", "val", "test"):
            raise InputError(f"split {split!r} is unknown; choose train, val or test")
        ways = ways if ways is not None else self.episodes.get("ways", 5)
        return FewShot(getattr(pools, split), ways=ways, shots=shots, queries=queries)

    def validation_sampler(self, pools: Pools | None) -> Sampler:
        """The validation sampler."""
        sizes = {name: self.validation.get(name) for name in ("ways", "shots", "queries")}
        return self.episodes_of(pools, "val", **sizes)

    def save(self, folder: Path, command: list[str] | None = None) -> None:
        """Write the recipe, the versions used and the command into a run folder."""
        facts = {
            "format": checkpoint.FORMAT,
            "recipe": asdict(self),
            "versions": versions(),
            "command": command if command is not None else sys.argv,
        }
        text = json.dumps(facts, indent=2) + "\n"
        checkpoint.write_text_atomically(folder / RECIPE_FILE, text)


def versions() -> dict[str, str]:
    """The versions that a run depends on."""
    return {
        "innerloop": innerloop.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "platform": platform.platform(),
        "threads": str(torch.get_num_threads()),
    }


def learner_names() -> list[str]:
    """The learners that a recipe can name."""
    return sorted(name.lower() for name in learners.__all__ if getattr(learners, name).network is not None)


def learner_class(name: str) -> type[Learner]:
    """The class of a learner's name.

    Raises:
        InputError: for an unknown name, with the nearest known one.
    """
    classes = {n.lower(): getattr(learners, n) for n in learners.__all__ if getattr(learners, n).network is not None}
    if name not in classes:
        close = difflib.get_close_matches(name, classes, 1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise InputError(f"learner {name!r} is unknown{hint}; choose one of {', '.join(sorted(classes))}")
    return classes[name]  # type: ignore[no-any-return]


def defaults(learner: str, data: str) -> Recipe:
    """The committed recipe of a learner on a data set.

    ``recipes/LEARNER.toml`` holds it; a table named after the data set overrides what stands above it.

    Example:
        >>> defaults("protonet", "omniglot").episodes["ways"]
        60
    """
    learner_class(learner)
    if data != "sinusoid":
        sets.check_name(data)
    file = resources.files(__package__) / f"{learner}.toml"
    values = tomllib.loads(file.read_text()) if file.is_file() else {}
    known = {f.name for f in fields(Recipe)}
    own = {name: value for name, value in values.items() if name in known}
    for name, value in values.get("on", {}).get(data, {}).items():
        own[name] = {**own.get(name, {}), **value} if isinstance(value, dict) else value
    return Recipe(**{**own, "learner": learner, "data": data})


def load_run(folder: Path) -> tuple[Recipe, dict[str, Any]]:
    """The recipe of a run folder, and all that stands beside it.

    Raises:
        InputError: if the folder holds no run, a damaged one, or one of another version.
    """
    path = folder / RECIPE_FILE
    if not path.is_file():
        raise InputError(
            f"{folder} holds no run ({RECIPE_FILE} is missing): give a folder that `innerloop train --out` wrote"
        )
    try:
        facts = json.loads(path.read_text())
        written = facts["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} cannot be read ({error}): it is damaged; train again") from None
    if written != checkpoint.FORMAT:
        raise InputError(
            f"{path} has format {written}, this version of innerloop reads {checkpoint.FORMAT}: use innerloop "
            f"{facts.get('versions', {}).get('innerloop', 'of that time')}, or train again"
        )
    try:
        return Recipe(**facts["recipe"]), facts
    except (KeyError, TypeError) as error:
        raise InputError(f"{path} is not a recipe ({error}): it is damaged; train again") from None
