"""A learner that knows one task: what is served, shared and folded on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch
from torch import Tensor

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
        """Class probabilities of queries, or their predictive means: ``[N, *F] -> [N, D]``.

        Raises:
            InputError: for queries of another shape than the facts say. A table may have any number of columns.
        """
        facts = self.facts
        if facts is not None and facts.kind != "table" and tuple(x.shape[1:]) != facts.shape:
            raise InputError(
                f"the queries have the shape {tuple(x.shape)}, one example of the task has {facts.shape}: give "
                f"[N, *F] with that F"
            )
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
