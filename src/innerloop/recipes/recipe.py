"""A recipe, from its file to a learner, pools and samplers, and back from a run folder."""

from __future__ import annotations

import json
import platform
import sys
import tomllib
from dataclasses import asdict, dataclass, field, fields
from importlib import resources
from pathlib import Path
from typing import Any, TypeGuard, cast

import numpy
import torch

import innerloop
from innerloop import learners, nets
from innerloop.core import checkpoint
from innerloop.core.files import write_text_atomically
from innerloop.core.freeze import freeze
from innerloop.core.learner import Learner
from innerloop.core.likelihood import Categorical, Gaussian
from innerloop.core.norm import check_inner_loop
from innerloop.core.task import InputError, did_you_mean
from innerloop.data import (
    Augment,
    Batches,
    ClassStream,
    Completion,
    FewShot,
    KnownTasks,
    Molecules,
    Pools,
    Sampler,
    TableTasks,
    Turned,
    Views,
)
from innerloop.data import registry as sets

RECIPE_FILE = "recipe.json"
#: Where learners keep the network that is theirs to share.
_NETWORKS = ("encoder.", "net.")

#: Learners that are pre-trained on plain batches of images, and on which.
_BATCHES: dict[type[Learner], type[Batches]] = {
    learners.FineTune: Batches,
    learners.Rotation: Turned,
    learners.Contrastive: Views,
}

#: What tasks are drawn from: pools of classes, a table with a task column, the assays of molecules, or nothing for a
#: family of functions.
Source = Pools | TableTasks | Molecules | None


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
    """Normalization policy of the network."""
    init: str | None = None
    """Run folder whose network the training starts from."""
    freeze: list[str] = field(default_factory=list)
    """Patterns of the names of parameters that training leaves alone (see :func:`innerloop.freeze`)."""
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
    """``ways``, ``shots`` and ``queries`` of a meta-training task (or ``batch`` for a plain classifier). With
    ``remember`` the task is a stream of classes."""
    augment: dict[str, Any] = field(default_factory=dict)
    """Amounts for :class:`innerloop.data.Augment`."""
    validation: dict[str, Any] = field(default_factory=dict)
    """``ways``, ``shots``, ``queries`` and ``tasks`` of a validation."""
    training: dict[str, Any] = field(default_factory=dict)
    """Arguments of :func:`innerloop.fit`."""

    def source(self) -> Source:
        """What tasks are drawn from: pools, a table with a task column, assays, or ``None`` for functions."""
        return None if self.data in sets.FAMILIES else sets.read(self.data, self.root, **self.pool)

    def build(self, source: Source) -> Learner:
        """The learner with freshly initialized weights, the same for the same seed.

        Raises:
            InputError: for an unknown learner, network or option.
        """
        kind, objective = learner_class(self.learner), self._objective(source)
        if objective not in kind.objectives:
            fitting = ", ".join(n for n in learner_names() if objective in learner_class(n).objectives)
            raise InputError(
                f"{self.learner} is for {' and '.join(kind.objectives)}, {self.data} is {objective}: use {fitting}"
            )
        torch.manual_seed(self.seed)
        # TOML has no null: an empty word takes an option of another recipe back.
        options = {name: value for name, value in self.options.items() if value != ""}
        if objective == "classification" or self.likelihood or kind.network not in ("sizes", "table"):
            options["likelihood"] = self._likelihood(objective == "regression")
        if (kind is learners.FineTune or self.episodes.get("remember")) and isinstance(source, Pools):
            options["classes"] = source.train.classes
        built_on = self._built_on(kind, source)
        if kind is learners.MultiTask:
            known = self._known(source)
            options |= {"tasks": known.tasks, "targets": known.targets}
            options["features"] = nets.feature_size(built_on[0], known.x.shape[1:])[0]
        try:
            make: Any = kind
            learner = cast(Learner, make(*built_on, **options))
        except TypeError as error:
            raise InputError(
                f"options {options} do not fit {self.learner} ({error}): see `innerloop learners`"
            ) from None
        if self.freeze:
            freeze(learner, *self.freeze)
        return learner

    def _objective(self, source: Source) -> str:
        """Classes of images, or the images themselves for a learner that knows no classes (see ``Completion``)."""
        return "classification" if self.sampler(source).classifies else "regression"

    def _built_on(self, kind: type[Learner], source: Source) -> tuple[Any, ...]:
        """What the learner's class takes first: a network, or the numbers of input and target columns."""
        options = {k: v for k, v in self.net.items() if k != "name"}
        if kind.network == "table":
            return ()
        if isinstance(source, Pools) and kind.network not in ("sizes", "context"):
            net = self._image_net(kind, source, options)
            if kind.network == "classifier" and self.norm == "running":
                check_inner_loop(net)
            return (net,)
        if kind.network == "maps" or kind in _BATCHES:
            raise InputError(f"{self.learner} is for pools of images, {self.data} has vectors: use protonet, say")
        one = self.sampler(source).draw(torch.Generator().manual_seed(0), 1)
        inputs, targets = one.support.x.shape[-1], one.support.y.shape[-1]
        if kind.network == "sizes":
            return inputs, targets
        width = options.get("width", 40)
        hidden = (width, width) if isinstance(width, int) else tuple(width)
        inputs += self.options.get("context", 5) if kind.network == "context" else 0
        outputs = [] if kind.network == "encoder" else [targets]
        return (nets.mlp(inputs, *hidden, *outputs, dropout=options.get("dropout", 0.0)),)

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

    def sampler(self, source: Source) -> Sampler:
        """The meta-training sampler."""
        if learner_class(self.learner) is learners.MultiTask:
            return self._known(source)
        if not self._has_classes(source):
            return self._other(source, "train", self.episodes)
        augment = Augment(**self.augment) if self.augment else None
        if "batch" in self.episodes:
            kind = _BATCHES.get(learner_class(self.learner), Batches)
            return kind(source.train, size=self.episodes["batch"], augment=augment)
        shots, queries = self.episodes.get("shots", 1), self.episodes.get("queries", 15)
        if "remember" in self.episodes:
            return ClassStream(source.train, **self.episodes, augment=augment)
        return FewShot(source.train, ways=self.episodes["ways"], shots=shots, queries=queries, augment=augment)

    def _known(self, source: Source) -> KnownTasks:
        """The tasks that multi-task learning trains on: all of a table, or as many as ``known`` says, drawn once."""
        batch = self.episodes.get("batch", 10)
        if isinstance(source, TableTasks):
            return KnownTasks.table(source, queries=batch, named=True)
        drawn = self.episodes_of(source, "train", ways=None, shots=None, queries=None)
        return KnownTasks.of(drawn, self.episodes.get("known", 100), seed=self.seed, queries=batch, named=True)

    def episodes_of(
        self, source: Source, split: str, *, ways: int | None, shots: int | None, queries: int | None
    ) -> Sampler:
        """Episodes of a split, unaugmented; what is not given is as in meta-training.

        Raises:
            InputError: for an unknown split or sizes that the split cannot give.
        """
        if split not in ("train", "val", "test"):
            raise InputError(f"split {split!r} is unknown; choose train, val or test")
        given = {"shots": shots, "queries": queries}
        sizes = {**self.episodes, **{name: value for name, value in given.items() if value is not None}}
        if not self._has_classes(source):
            return self._other(source, split, sizes)
        ways = ways if ways is not None else self.episodes.get("ways", 5)
        queries = max(sizes.get("queries", 15), 1)
        # A learner that was trained on streams is judged on streams.
        kind = ClassStream if "remember" in self.episodes else FewShot
        return kind(getattr(source, split), ways=ways, shots=sizes.get("shots", 1), queries=queries)

    def _has_classes(self, source: Source) -> TypeGuard[Pools]:
        return isinstance(source, Pools) and "classification" in learner_class(self.learner).objectives

    def _other(self, source: Source, split: str, sizes: dict[str, Any]) -> Sampler:
        """Images to complete, a split of a table's tasks, or a family of functions (the same in every split)."""
        given = {name: value for name, value in sizes.items() if name not in ("ways", "known", "batch")}
        ranges: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
        try:
            if isinstance(source, Pools):
                return Completion(getattr(source, split), **ranges)
            if source is not None:
                return source.sampler(split, **ranges)
            return sets.FAMILIES[self.data].make(**ranges)
        except TypeError as error:
            raise InputError(f"episodes {sizes} do not fit {self.data} ({error})") from None

    def validation_sampler(self, source: Source) -> Sampler:
        """The validation sampler."""
        sizes = {name: self.validation.get(name) for name in ("ways", "shots", "queries")}
        return self.episodes_of(source, "val", **sizes)

    def save(self, folder: Path, command: list[str] | None = None) -> None:
        """Write the recipe, the versions used and the command into a run folder."""
        facts = {
            "format": checkpoint.FORMAT,
            "recipe": asdict(self),
            "versions": versions(),
            "command": command if command is not None else sys.argv,
        }
        text = json.dumps(facts, indent=2) + "\n"
        write_text_atomically(folder / RECIPE_FILE, text)


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
        hint = did_you_mean(name, classes)
        raise InputError(f"learner {name!r} is unknown{hint}; choose one of {', '.join(sorted(classes))}")
    return classes[name]  # type: ignore[no-any-return]


def defaults(learner: str, data: str | None = None) -> Recipe:
    """The committed recipe of a learner on a data set (``None``: the recipe's own).

    ``recipes/LEARNER.toml`` holds it; a table named after the data set, ``regression`` for any with real targets, or
    ``molecules`` for any set of assays overrides what stands above it. With ``like = "OTHER"`` it says only what
    differs from another learner's recipe.

    Example:
        >>> defaults("protonet", "omniglot").episodes["ways"]
        60
    """
    learner_class(learner)
    values = _read(learner)
    known = {f.name for f in fields(Recipe)}
    own = {name: value for name, value in values.items() if name in known}
    data = data or own.get("data", "glyphs")
    sets.check_name(data)
    for kind in sets.kinds(data):
        for name, value in values.get("on", {}).get(kind, {}).items():
            own[name] = {**own.get(name, {}), **value} if isinstance(value, dict) else value
    return Recipe(**{**own, "learner": learner, "data": data})


def _read(learner: str) -> dict[str, Any]:
    """The values of a committed recipe, on top of those of the recipe that it is like; none where there is none."""
    file = resources.files(__package__) / f"{learner}.toml"
    values = tomllib.loads(file.read_text()) if file.is_file() else {}
    return _merged(_read(values.pop("like")), values) if "like" in values else values


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    both = {k: _merged(below[k], v) for k, v in above.items() if isinstance(v, dict) and k in below}
    return {**below, **above, **both}


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


def start_from(learner: Learner, folder: str | Path) -> list[str]:
    """Transfer: give the learner's network the trained weights of a run, of whichever learner, where they fit.

    Args:
        learner: its parameters are changed in place.
        folder: a run folder; the part of its learner that a network holds is what is taken.

    Returns:
        the names of the parameters that were taken over.

    Raises:
        InputError: if the networks have nothing in common, or a layer of other sizes.
    """
    path = Path(folder) / "best.safetensors"
    tensors, _ = checkpoint.load(path)
    given = {name.partition(".")[2]: value for name, value in tensors.items() if name.startswith(_NETWORKS)}
    own = {name: p for name, p in learner.state_dict().items() if name.startswith(_NETWORKS)}
    common = {name: given[key] for name in own if (key := name.partition(".")[2]) in given}
    # The last layer of a classifier belongs to the classes of its run.
    fitting = [name for name, value in common.items() if value.shape == own[name].shape]
    odd = [name for name in common if name not in fitting and not name.startswith("net.out.")]
    if odd or not fitting:
        what = (
            f"{odd[0]} has shape {tuple(own[odd[0]].shape)} here and {tuple(common[odd[0]].shape)} there"
            if odd else "they have no parameter in common"
        )  # fmt: skip
        raise InputError(
            f"the network of {path} does not fit {type(learner).__name__}: {what}; give both the same [net]"
        )
    learner.load_state_dict({name: given[name.partition(".")[2]] for name in fitting}, strict=False)
    return fitting


def load(
    folder: str | Path, *, norm: str | None = None, test_steps: int | None = None
) -> tuple[Learner, Recipe, Source]:
    """The trained learner of a run folder, in evaluation mode, its recipe, and what its tasks are drawn from.

    Args:
        folder: written by ``innerloop train --out``.
        norm: a normalization policy in place of the recipe's.
        test_steps: inner steps in place of the recipe's.

    Raises:
        InputError: if the folder holds no run, a damaged one, or one of another version.
    """
    recipe, _ = load_run(Path(folder))
    recipe.norm = norm or recipe.norm
    if test_steps is not None:
        recipe.options["test_steps"] = test_steps
    source = recipe.source()
    learner = recipe.build(source)
    weights = Path(folder) / "best.safetensors"
    tensors, _ = checkpoint.load(weights)
    checkpoint.load_weights(learner, tensors, weights)
    return learner.eval(), recipe, source
