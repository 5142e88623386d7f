"""What is kept and read back: a learner, a task that it adapted to, or an estimator that stands on one."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol, Self, cast

import numpy
import torch
from torch import Tensor, nn

from innerloop.bundle import folder
from innerloop.bundle.build import ARGUMENT, build, describe
from innerloop.bundle.names import name_of
from innerloop.bundle.nest import Packer, unpack
from innerloop.bundle.verify import difference
from innerloop.bundle.weights import fill, tensors_of
from innerloop.core.facts import Facts
from innerloop.core.learner import Learner, State
from innerloop.core.task import InputError, did_you_mean

#: What a card may say, in plain text.
CARD = ("what", "data", "license", "figures", "limits")


@dataclass(frozen=True)
class Contents:
    """What goes into a bundle.

    Args:
        learner: with its weights; an estimator may do without.
        state: of an adapted task, or whatever an estimator keeps: a nest of named tuples, dicts, lists, tensors,
            arrays, numbers and words; ``None`` for none.
        facts: that the learner was built from.
        classes: the names of the state's target columns.
        preprocessing: steps from what a person has to what the learner sees, each ``{"step": name, ...}``.
        origin: where it comes from: data set, digest of its content, command, seed, digest of a parent bundle.
        card: what people should know, by the names in ``CARD``.
    """

    learner: Learner | None = None
    state: Any = None
    facts: Facts | None = None
    classes: Sequence[str] | None = None
    preprocessing: Sequence[Mapping[str, Any]] = ()
    origin: Mapping[str, Any] = field(default_factory=dict)
    card: Mapping[str, str] = field(default_factory=dict)


class Bundled(Protocol):
    """What else than a learner can be kept: an object that says what it is made of, and a class that takes it back."""

    def to_bundle(self) -> Contents:
        """What it is made of."""

    @classmethod
    def from_bundle(cls, bundle: Bundle) -> Self:
        """The object again."""


@dataclass(frozen=True)
class Bundle:
    """A bundle that was read and verified. Its learner and its state are made when they are asked for.

    Args:
        path: where it was read.
        record: what ``bundle.json`` says.
        weights: the learner's tensors by name.
        tensors: the state's.
        allow: modules whose classes it may name.
        device: where the learner and the state go.
    """

    path: Path
    record: Mapping[str, Any]
    weights: Mapping[str, Tensor]
    tensors: Mapping[str, Tensor]
    allow: tuple[str, ...] = ()
    device: torch.device | str = "cpu"

    @property
    def kind(self) -> str:
        """``"learner"``, ``"adapted"``, or the ``module:Class`` of what keeps itself in bundles."""
        return str(self.record["kind"])

    @property
    def name(self) -> str | None:
        """The learner's name: its class in lower case, or ``module:Class``."""
        return self.record.get("learner")

    @property
    def facts(self) -> Facts | None:
        """What the learner was built from, where it was said."""
        return Facts.read(self.record["facts"]) if self.record.get("facts") is not None else None

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The names of the target columns, where they are fixed."""
        classes = self.record.get("classes")
        return tuple(classes) if classes is not None else None

    @property
    def norm(self) -> str | None:
        """The normalization policy of the learner's networks."""
        return self.record.get("norm")

    @property
    def preprocessing(self) -> tuple[dict[str, Any], ...]:
        """Steps from what a person has to what the learner sees, each ``{"step": name, ...}``."""
        return tuple(self.record.get("preprocessing", ()))

    @property
    def versions(self) -> dict[str, str]:
        """Of innerloop, torch, NumPy and Python, when it was written."""
        return dict(self.record.get("versions", {}))

    @property
    def origin(self) -> dict[str, Any]:
        """Where it comes from."""
        return dict(self.record.get("origin", {}))

    @property
    def card(self) -> dict[str, str]:
        """What people should know."""
        return dict(self.record.get("card", {}))

    @cached_property
    def learner(self) -> Learner:
        """The learner, in evaluation mode.

        Raises:
            InputError: if the bundle does not say how it is built, names what is not trusted, or is of another version.
        """
        node = self.record.get("build")
        if node is None:
            why = self.record.get("unbuilt", "it keeps none")
            raise InputError(
                f"the bundle {self.path} does not say how its learner is built ({why}): build it yourself and give "
                f"il.load(path, learner=your_learner)"
            )
        made = build(node, self.weights, self.allow)
        if not isinstance(made, Learner):
            raise InputError(f"the bundle {self.path} builds a {type(made).__qualname__}, which is no learner")
        return self.into(made)

    def into(self, learner: Learner) -> Learner:
        """Give a learner the weights of the bundle, and put it into evaluation mode.

        Raises:
            InputError: naming the first weight that does not fit.
        """
        own = {name: tensor for name, tensor in self.weights.items() if not name.startswith(ARGUMENT)}
        problem = fill(learner, own)
        if problem is not None:
            raise InputError(f"the bundle {self.path} {problem}: it belongs to another learner")
        frozen = set(self.record.get("frozen", ()))
        for name, parameter in learner.named_parameters():
            parameter.requires_grad_(name not in frozen)
        return learner.to(self.device).eval()

    @cached_property
    def state(self) -> Any:
        """What the learner keeps of a task, or an estimator of its data; ``None`` where there is none."""
        state = unpack(self.record.get("state"), self.tensors, self.allow)
        return torch.utils._pytree.tree_map_only(Tensor, lambda leaf: leaf.to(self.device), state)


def save(
    path: str | Path,
    thing: Learner | Bundled,
    state: State | None = None,
    *,
    facts: Facts | None = None,
    classes: Sequence[str] | None = None,
    preprocessing: Sequence[Mapping[str, Any]] = (),
    origin: Mapping[str, Any] | None = None,
    card: Mapping[str, str] | None = None,
    weights: Mapping[str, Tensor] | None = None,
    replace: bool = False,
    anonymous: bool = False,
) -> Path:
    """Keep a learner, a task that it adapted to, or an estimator, as a folder that :func:`load` reads anywhere.

    Args:
        path: the folder, which is made.
        thing: a learner; or an estimator or adapted task, which says itself what belongs to it.
        state: of the task that the learner adapted to.
        facts: what the learner was built from.
        classes: the names of the state's target columns.
        preprocessing: steps from what a person has to what the learner sees, each ``{"step": name, ...}``.
        origin: where it comes from: data set, digest of its content, command, seed, digest of a parent bundle.
        card: what people should know: any of ``what``, ``data``, ``license``, ``figures`` and ``limits``.
        weights: in place of the learner's own ones, by their names in it (an average, the best of a run).
        replace: whether a bundle that is there gives way, whole, at one moment.
        anonymous: keep the weights of a learner that cannot be built again from the bundle alone too.

    Returns:
        the folder.

    Raises:
        InputError: for a learner whose construction is not known (the part is named), a state that holds something else
            than tensors and plain values, or a folder that is taken or cannot be written.

    Example:
        >>> import tempfile, torch, innerloop as il
        >>> learner = il.ProtoNet(il.nets.mlp(8, 16, 4)).eval()
        >>> state = learner.adapt(il.Examples(torch.rand(2, 8), torch.eye(2)))
        >>> with tempfile.TemporaryDirectory() as place:
        ...     path = il.save(f"{place}/fruit", learner, state, classes=["apple", "pear"])
        ...     task = il.load(path)
        >>> task.predict(torch.rand(3, 8))[0] in ("apple", "pear")
        True
    """
    path = Path(path)
    if isinstance(thing, Learner):
        kind = "learner" if state is None else "adapted"
        contents = Contents(thing, state, facts, classes, preprocessing, origin or {}, card or {})
    elif callable(getattr(thing, "to_bundle", None)):
        given = {"state": state, "facts": facts, "classes": classes, "preprocessing": preprocessing or None}
        if any(value is not None for value in given.values()):
            what = next(name for name, value in given.items() if value is not None)
            raise InputError(f"a {type(thing).__qualname__} says its {what} itself: leave {what}= out")
        contents, kind = thing.to_bundle(), name_of(type(thing)) or ""
        if not kind:
            raise InputError(f"{type(thing).__qualname__} cannot be found again by its name: define it in a module")
        contents = Contents(
            **{
                **vars(contents),
                "origin": {**contents.origin, **(origin or {})},
                "card": {**contents.card, **(card or {})},
            }
        )
    else:
        raise InputError(f"a {type(thing).__qualname__} cannot be kept: give a learner, or an object with to_bundle()")
    record, parts = _written(contents, kind, weights, anonymous)
    folder.write(path, record, parts, replace=replace)
    return path


def read(path: str | Path, *, allow: Iterable[str] = (), device: torch.device | str = "cpu") -> Bundle:
    """The record of a bundle, every checksum verified; no learner is built before it is asked for.

    Args:
        path: the folder; that of a run stands for its best weights.
        allow: modules and packages outside innerloop whose classes the bundle may name.
        device: where its tensors go.

    Raises:
        InputError: if there is no bundle, one of another version, or a file that is not what was written.
    """
    path = Path(path)
    if not (path / folder.RECORD).exists() and (path / "best" / folder.RECORD).exists():
        path = path / "best"
    record, parts = folder.read(path)
    if not isinstance(record.get("kind"), str):
        raise InputError(f"{path / folder.RECORD} says no kind: it is damaged; copy the bundle again")
    return Bundle(path, record, parts.get("weights", {}), parts.get("state", {}), tuple(allow), device)


def _written(
    contents: Contents, kind: str, weights: Mapping[str, Tensor] | None, anonymous: bool
) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
    facts, classes = contents.facts, contents.classes
    if classes is None and facts is not None:
        classes = facts.classes
    record: dict[str, Any] = {"kind": kind}
    parts: dict[str, dict[str, Tensor]] = {}
    if contents.learner is not None:
        described, parts["weights"] = _described(contents.learner, weights, anonymous)
        record |= described
    if contents.state is not None:
        packer = Packer("the state")
        record["state"] = packer.pack(contents.state)
        parts["state"] = packer.tensors
    return record | {
        "facts": facts.json() if facts is not None else None,
        "classes": [str(name) for name in classes] if classes is not None else None,
        "preprocessing": _steps(contents.preprocessing),
        "versions": _versions(),
        "origin": _plain(contents.origin, "origin"),
        "card": _card(contents.card),
    }, parts


def _described(
    learner: Learner, weights: Mapping[str, Tensor] | None, anonymous: bool
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """How a learner is built and what is filled in, tried out before it is believed."""
    tensors = tensors_of(learner)
    for name in weights or {}:
        if name not in tensors:
            raise InputError(f"the learner has no weight {name!r}: give those of its state dict")
    tensors |= weights or {}
    record: dict[str, Any] = {"learner": _learner_name(learner), "build": None}
    try:
        node, arguments, named = describe(learner)
        node = json.loads(json.dumps(node))
        built = build(node, tensors | arguments, named)
        problem = fill(built, tensors)
        other = (problem and f"it {problem} that its arguments build") or difference(learner, built)
        if other is not None:
            raise InputError(
                f"the learner was changed after it was built, and a bundle builds it from its arguments: {other}; "
                f"build it as it is, or keep it with anonymous=True for il.load(path, learner=your_learner)"
            )
        record["build"] = node
        tensors |= arguments
    except InputError as error:
        if not anonymous:
            raise
        record["unbuilt"] = str(error)
    record |= {
        "norm": learner.norm,
        "transductive": learner.transductive,
        "likelihood": repr(learner.likelihood),
        "frozen": [name for name, parameter in learner.named_parameters() if not parameter.requires_grad],
    }
    return record, tensors


def _learner_name(learner: nn.Module) -> str:
    name = name_of(type(learner)) or f"{type(learner).__module__}:{type(learner).__qualname__}"
    module, _, short = name.partition(":")
    return short.lower() if module == "innerloop.learners" else name


def _steps(steps: Sequence[Mapping[str, Any]]) -> list[Any]:
    for step in steps:
        if not isinstance(step, Mapping) or not isinstance(step.get("step"), str):
            raise InputError(f'{step!r} is no step of preprocessing: give {{"step": name, ...}} with plain values')
    return cast("list[Any]", _plain(list(steps), "preprocessing"))


def _card(card: Mapping[str, str]) -> dict[str, str]:
    for name, text in card.items():
        if name not in CARD:
            raise InputError(f"a card has no {name!r}{did_you_mean(name, CARD)}: choose of {', '.join(CARD)}")
        if not isinstance(text, str):
            raise InputError(f"the card's {name} is {text!r}; it must be text")
    return dict(card)


def _plain(value: Any, what: str) -> Any:
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InputError(f"{what} must be plain values that JSON takes ({error})") from None


def _versions() -> dict[str, str]:
    try:
        own = metadata.version("innerloop")
    except metadata.PackageNotFoundError:
        own = "unknown"
    python = platform.python_version()
    return {"innerloop": own, "torch": torch.__version__, "numpy": numpy.__version__, "python": python}
