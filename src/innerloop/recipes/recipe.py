"""A recipe: everything that makes a run, as plain values, from a file to a learner and samplers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from importlib import resources
from typing import Any, get_type_hints

import torch

from innerloop import learners
from innerloop.core import norm
from innerloop.core.facts import Facts
from innerloop.core.freeze import freeze
from innerloop.core.learner import Learner
from innerloop.core.likelihood import Categorical, Gaussian, Likelihood
from innerloop.core.options import check_options, check_type, keywords
from innerloop.core.parts import is_own, unknown
from innerloop.core.task import InputError, did_you_mean
from innerloop.data import registry
from innerloop.data.augment import Augment
from innerloop.data.episodes import Sampler
from innerloop.data.shares import Shares
from innerloop.data.source import Source, maker, sampler
from innerloop.learners.named import learner_class, learner_options
from innerloop.nets.spec import NetSpec
from innerloop.training.fit import fit
from innerloop.training.settings import Settings

#: What a few-shot task has where a recipe leaves it open.
_SIZES = {"ways": 5, "shots": 1, "queries": 15}
#: What only meta-training tasks have.
_TRAINING_ONLY = ("remember", "groups", "together", "augment", "support_augment", "query_augment")
_LIKELIHOODS: dict[str, type[Likelihood]] = {"categorical": Categorical, "gaussian": Gaussian}
#: Arguments of `fit` that a recipe says elsewhere, or that belong to one call of it.
_NOT_TRAINING = ("learner", "sampler", "validate", "validate_tasks", "seed", "out", "resume", "progress", "callbacks")


@dataclass
class Recipe:
    """Everything that makes a run.

    Raises:
        InputError: for a value of another type or out of range, or a name in one of the tables that nothing has.
    """

    learner: str
    """Name of the learner: its class in lower case, or ``package.module:Name``."""
    data: str = "glyphs"
    """Name of the data set, or ``package.module:Name``."""
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
    """``name`` of a network (see :class:`innerloop.nets.NetSpec`) and its options."""
    options: dict[str, Any] = field(default_factory=dict)
    """Options of the learner's class."""
    likelihood: dict[str, Any] = field(default_factory=dict)
    """``name``, ``"categorical"`` or ``"gaussian"``, and its options."""
    pool: dict[str, Any] = field(default_factory=dict)
    """Options of the data set's reader."""
    share: dict[str, Any] = field(default_factory=dict)
    """Shares of the meta-training ``classes`` and of the ``examples`` of each, and the ``seed`` of that choice (default
    the recipe's), see :class:`innerloop.data.Shares`."""
    episodes: dict[str, Any] = field(default_factory=dict)
    """``kind`` of the meta-training tasks (default ``"episodes"``) and that sampler's options."""
    augment: dict[str, Any] = field(default_factory=dict)
    """Amounts for :class:`innerloop.data.Augment`."""
    validation: dict[str, Any] = field(default_factory=dict)
    """``ways``, ``shots``, ``queries`` and ``tasks`` of a validation."""
    training: dict[str, Any] = field(default_factory=dict)
    """Arguments of :func:`innerloop.fit`."""

    def check(self) -> Recipe:
        """The recipe itself, after all that can be checked without data was.

        Raises:
            InputError: naming the value, what is allowed, and the nearest known name.
        """
        hints = get_type_hints(Recipe)
        for part in fields(Recipe):
            check_type(f"the recipe's {part.name}", getattr(self, part.name), hints[part.name])
        for table, key in (("net", "name"), ("episodes", "kind"), ("likelihood", "name")):
            check_type(f"{table}.{key}", getattr(self, table).get(key), str | None)
        if self.norm not in norm.POLICIES:
            hint = did_you_mean(self.norm, norm.POLICIES)
            raise InputError(f"norm policy {self.norm!r} is unknown{hint}; choose one of {', '.join(norm.POLICIES)}")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"the seed is {self.seed}; it must lie in 0 to {2**63 - 1}")
        for part in fields(Recipe):
            value = getattr(self, part.name)
            for name, one in value.items() if isinstance(value, dict) else ():
                if isinstance(one, float) and not math.isfinite(one):
                    raise InputError(f"{part.name}.{name} is {one}; it must be finite")
        learner_options(learner_class(self.learner), self._given("options"), self.learner)
        check_options(Augment, self._given("augment"), "augment")
        training = self.fit_options()
        check_options(fit, training, "training", given=_NOT_TRAINING, complete=False)
        Settings(**{"steps": 1, **{name: value for name, value in training.items() if name != "device"}})
        check_options(_validation, self._given("validation"), "validation")
        self._likelihood()
        self._shares()
        registry.find(self.data)
        return self

    def _given(self, table: str) -> dict[str, Any]:
        """A table, without what an empty word takes back of a recipe that it is like: TOML has no null."""
        return {name: value for name, value in getattr(self, table).items() if value != ""}

    def fit_options(self) -> dict[str, Any]:
        """The training table as arguments of :func:`innerloop.fit`."""
        return self._given("training")

    def parts(self) -> list[str]:
        """The names of what it is made of: learner, data set, network, kind of tasks."""
        named = [self.net.get("name"), self.episodes.get("kind")]
        return [self.learner, self.data, *(str(name) for name in named if name)]

    def source(self) -> Source:
        """What tasks are drawn from."""
        return self._shares().of(registry.read(self.data, self.root, **self._given("pool")))

    def _shares(self) -> Shares:
        """How much of the meta-training data is used."""
        options = self._given("share")
        check_options(Shares, options, "share")
        return Shares(**{"seed": self.seed, **options})

    def spec(self) -> NetSpec:
        """The network."""
        options = self._given("net")
        return NetSpec(options.pop("name", None), self.norm, options)

    def build(self, facts: Facts) -> Learner:
        """The learner with freshly initialized weights, the same for the same seed.

        Args:
            facts: of its meta-training tasks (``recipe.sampler(source).facts``).

        Raises:
            InputError: for an unknown learner, network or option, or one that does not fit the data.
        """
        kind = learner_class(self.learner)
        if facts.objective not in kind.objectives:
            fitting = ", ".join(n for n in learner_names() if facts.objective in learner_class(n).objectives)
            own = " and ".join(kind.objectives)
            raise InputError(f"{self.learner} is for {own}, {self.data} is {facts.objective}: use {fitting}")
        options = learner_options(kind, self._given("options"), self.learner)
        likelihood = self._likelihood()
        if likelihood is not None:
            options["likelihood"] = likelihood
        torch.manual_seed(self.seed)
        learner = kind.from_facts(facts, self.spec(), **options)
        if self.freeze:
            freeze(learner, *self.freeze)
        return learner

    def _likelihood(self) -> Likelihood | None:
        """What the recipe says of the likelihood; ``None`` where that is left to the learner."""
        options = self._given("likelihood")
        if not options:
            return None
        name = options.pop("name", "gaussian" if "scale" in options or "floor" in options else "categorical")
        if name not in _LIKELIHOODS:
            raise unknown("likelihood", name, _LIKELIHOODS)
        kind = _LIKELIHOODS[name]
        check_options(kind, options, f"the likelihood {name}")
        if kind is Gaussian:
            options.setdefault("scale", 1.0)
        return kind(**options)

    def sampler(self, source: Source) -> Sampler:
        """The meta-training sampler."""
        sizes = self._given("episodes")
        kind = sizes.pop("kind", "episodes")
        known = keywords(maker(source, "train", kind))
        if self._given("augment"):
            if "augment" not in known:
                raise InputError(f"tasks of the kind {kind!r} of {self.data} cannot be augmented: leave augment out")
            sizes["augment"] = Augment(**self._given("augment"))
        if "seed" in known:
            sizes.setdefault("seed", self.seed)
        try:
            return sampler(source, "train", kind, **_filled(known, sizes))
        except InputError as error:
            if not self._given("share"):
                raise
            words = ", ".join(f"{name} {value}" for name, value in self._given("share").items())
            raise InputError(f"{error}; the share of the meta-training data is {words}") from None

    def episodes_of(self, source: Source, split: str, **sizes: int | None) -> Sampler:
        """Tasks of a split to judge by, unaugmented; what is not given is as in meta-training.

        Args:
            source: the recipe's own or another.
            split: ``"train"``, ``"val"`` or ``"test"``.
            sizes: ``ways``, ``shots`` and ``queries``; ``None`` for those of meta-training.

        Raises:
            InputError: for an unknown split or sizes that the split cannot give.
        """
        given = {name: value for name, value in sizes.items() if value is not None}
        own = self._given("episodes")
        kind = self.judged(source)
        known = keywords(maker(source, split, kind))
        carried = {name: value for name, value in own.items() if name in known and name not in _TRAINING_ONLY}
        # What trains on the support set alone is judged on queries all the same.
        if carried.get("queries") == 0:
            del carried["queries"]
        if given.get("queries") == 0 or given.get("ways") == 1:
            raise InputError(f"{given}: there is nothing to tell apart or to score below 2 ways and 1 query")
        return sampler(source, split, kind, **_filled(known, {**carried, **given}))

    def judged(self, source: Source) -> str:
        """The kind of tasks that it is judged by: streams and images to complete by the same, others by episodes."""
        kind = self.episodes.get("kind") or "episodes"
        if is_own(kind):
            return str(kind)
        return kind if kind in ("stream", "completion") else "episodes"

    def validation_sampler(self, source: Source) -> Sampler:
        """The validation sampler."""
        sizes = self._given("validation")
        sizes.pop("tasks", None)
        return self.episodes_of(source, "val", **sizes)

    def json(self) -> dict[str, Any]:
        """The recipe as plain values."""
        return asdict(self)

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Recipe:
        """A recipe from plain values, checked.

        Raises:
            InputError: for a name that no recipe has, or a value that cannot be.
        """
        known = [part.name for part in fields(cls)]
        for name in values:
            if name not in known:
                raise InputError(f"a recipe has no {name!r}{did_you_mean(name, known)}; it has {', '.join(known)}")
        if "learner" not in values:
            raise InputError("a recipe names its learner, and this one does not")
        return cls(**values).check()


def learner_names() -> list[str]:
    """The learners that have a committed recipe.

    Example:
        >>> "protonet" in learner_names()
        True
    """
    files = {file.name for file in resources.files("innerloop.recipes").iterdir()}
    return sorted(name.lower() for name in learners.__all__ if f"{name.lower()}.toml" in files)


def _validation(
    *, ways: int | None = None, shots: int | None = None, queries: int | None = None, tasks: int = 200
) -> None:
    """What a recipe can say of its validation."""


def _filled(known: Mapping[str, Any], sizes: dict[str, Any]) -> dict[str, Any]:
    """Sizes, with the customary ones of a few-shot task where it needs some that are not given."""
    if sizes.get("ways") == 1:
        raise InputError("tasks of 1 way have nothing to tell apart: ways must be at least 2")
    missing = [name for name, p in known.items() if p.default is p.empty and name not in sizes]
    return {**{name: _SIZES[name] for name in missing if name in _SIZES and "ways" in known}, **sizes}
