"""A learner that knows one task: what is served, shared and folded on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from innerloop.bundle.bundle import Bundle, Contents, read
from innerloop.bundle.names import class_with
from innerloop.core.facts import Facts
from innerloop.core.learner import Learner, State
from innerloop.core.task import Examples, InputError


@dataclass(frozen=True)
class AdaptedTask:
    """A learner with what it has learned of one task.

    Args:
        learner: in evaluation mode.
        state: of the task.
        classes: the names of its target columns, where there are any.
        facts: that the learner was built from.
        preprocessing: steps from what a person has to what the learner sees.
        card: what people should know.

    Example:
        >>> learner = il.ProtoNet(il.nets.mlp(8, 16, 4)).eval()
        >>> support = il.Examples(torch.rand(2, 8), torch.eye(2))
        >>> task = AdaptedTask(learner, learner.adapt(support), classes=("apple", "pear"))
        >>> task.fold(support).proba(torch.rand(3, 8)).shape
        torch.Size([3, 2])
    """

    learner: Learner
    state: State
    classes: tuple[str, ...] | None = None
    facts: Facts | None = None
    preprocessing: Sequence[Mapping[str, Any]] = ()
    card: Mapping[str, str] = field(default_factory=dict)

    def proba(self, x: Tensor) -> Tensor:
        """Class probabilities of queries, or their predictive means: ``[N, *F] -> [N, D]``."""
        return self.learner.proba(self.state, x)

    def predict(self, x: Tensor) -> list[str] | Tensor:
        """The names of the likeliest classes, their columns ``[N]`` where no names are known, or the means ``[N, D]``.

        Raises:
            InputError: if the task has another number of columns than names.
        """
        mean = self.proba(x)
        if not self.learner.likelihood.classifies:
            return mean
        columns = mean.argmax(1)
        if self.classes is None:
            return columns
        if len(self.classes) != mean.shape[1]:
            raise InputError(f"the task has {mean.shape[1]} classes and {len(self.classes)} names: give one name each")
        return [self.classes[column] for column in columns.tolist()]

    def fold(self, support: Examples) -> Self:
        """The task after more examples, where the learner folds."""
        with torch.no_grad():
            return replace(self, state=self.learner.adapt(support, self.state))

    def to_bundle(self) -> Contents:
        """What is kept of it."""
        return Contents(self.learner, self.state, self.facts, self.classes, self.preprocessing, card=self.card)

    @classmethod
    def from_bundle(cls, bundle: Bundle) -> Self:
        """The task again."""
        return cls._with(bundle.learner, bundle)

    @classmethod
    def _with(cls, learner: Learner, bundle: Bundle) -> Self:
        return cls(learner, bundle.state, bundle.classes, bundle.facts, bundle.preprocessing, bundle.card)


def load(
    path: str | Path,
    *,
    learner: Learner | None = None,
    allow: Iterable[str] = (),
    device: torch.device | str = "cpu",
) -> Any:
    """What :func:`save` kept: a :class:`~innerloop.Learner`, an :class:`AdaptedTask`, or an estimator; no data is read.

    Nothing of the bundle is executed. Names in it are looked up in innerloop and ``torch.nn``, elsewhere only where you
    allow it; of modules that are imported already it may name networks and learners.

    Args:
        path: the folder; that of a run stands for its best weights.
        learner: one of your own that gets the weights, where the bundle cannot build it.
        allow: modules and packages outside innerloop whose classes and functions the bundle may call.
        device: where the weights and the state go.

    Returns:
        what was kept; learners are in evaluation mode.

    Raises:
        InputError: if there is no bundle, one of another version, a file that is not what was written, or a name that
            is not trusted.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as place:
        ...     path = il.save(f"{place}/net", il.ProtoNet(il.nets.mlp(8, 16, 4)))
        ...     il.load(path).head
        Prototypes(
          distance='euclidean', scale=1.0
          (likelihood): Categorical(smoothing=0.0)
        )
    """
    bundle = read(path, allow=allow, device=device)
    if bundle.kind not in ("learner", "adapted"):
        kind = class_with("from_bundle", bundle.kind, bundle.allow)
        if learner is not None:
            raise InputError(f"{bundle.path} keeps a {kind.__qualname__}, which brings its learner: leave learner= out")
        return kind.from_bundle(bundle)
    found = bundle.learner if learner is None else bundle.into(learner)
    return found if bundle.kind == "learner" else AdaptedTask._with(found, bundle)
