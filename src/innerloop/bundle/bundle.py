"""What a bundle holds, as it is given and as it is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from innerloop.bundle import folder
from innerloop.bundle.build import ARGUMENT, build
from innerloop.bundle.nest import unpack
from innerloop.bundle.weights import fill
from innerloop.core.facts import Facts
from innerloop.core.learner import Learner
from innerloop.core.task import InputError

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
        weights: the learner's parameters and buffers by name, those that are in no state dict too.
        arguments: tensors that it is built from.
        tensors: the state's.
        allow: modules whose classes it may name.
        device: where the learner and the state go.
    """

    path: Path
    record: Mapping[str, Any]
    weights: Mapping[str, Tensor]
    arguments: Mapping[str, Tensor]
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
        made = build(node, {**self.weights, **self.arguments}, self.allow)
        if not isinstance(made, Learner):
            raise InputError(f"the bundle {self.path} builds a {type(made).__qualname__}, which is no learner")
        return self.into(made)

    def into(self, learner: Learner) -> Learner:
        """Give a learner the weights of the bundle, and put it into evaluation mode.

        Raises:
            InputError: naming the first weight that does not fit.
        """
        problem = fill(learner, self.weights)
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
    tensors = parts.get("weights", {})
    arguments = {name: tensor for name, tensor in tensors.items() if name.startswith(ARGUMENT)}
    weights = {name: tensor for name, tensor in tensors.items() if name not in arguments}
    return Bundle(path, record, weights, arguments, parts.get("state", {}), tuple(allow), device)
