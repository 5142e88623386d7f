"""Multi-task learning (Caruana, Machine Learning 28, 1997, https://doi.org/10.1023/A:1007379606734).

Nothing adapts in training: known tasks share a body, and each has a head of its own, trained jointly by plain gradient
descent. It is ANIL with no inner step, whose heads are kept. A new task gets a new head on the frozen features. Choose
it where the training tasks are many and well sampled, and as the cheap rival that a meta-learner has to beat.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Unpack

import torch
from torch import Tensor
from torch.nn import functional as F

from innerloop.core.facts import Facts
from innerloop.core.likelihood import Gaussian
from innerloop.core.numbers import check_count, check_number
from innerloop.core.task import Examples, InputError, Task
from innerloop.learners.embedded import Embedded, composed
from innerloop.learners.heads.linear import Fitting, Linear, LinearHead


class Moments(NamedTuple):
    """Sums ``z z^T [H + 1, H + 1]`` and ``z r^T [H + 1, D]`` over examples: a state that folds exactly."""

    gram: Tensor
    cross: Tensor


class TaskHeads(LinearHead):
    """A linear head for each known task on features; for a new task a new one.

    The new head is softmax regression on features of unit length (as in :class:`~innerloop.FineTune`), or, for real
    targets, ridge regression that shrinks towards the mean of the known heads.

    Args:
        targets: columns D of a task's targets: classes, or real targets.
        tasks: known training tasks.
        features: H, numbers in a feature vector; default the encoder's.
        ridge: how strongly the head of a new task with real targets shrinks towards the mean of the known heads:
            squared length of its distance from that, in squared errors of one example.
        likelihood: default :class:`~innerloop.Categorical`; ``Gaussian(scale=1.0)`` for real targets.

    Raises:
        InputError: for no task, a ridge that is not positive, or a likelihood with a learned spread.
    """

    objectives = ("classification", "regression")

    def __init__(
        self, *, targets: int, tasks: int, features: int | None = None, ridge: float = 0.1, **fitting: Unpack[Fitting]
    ) -> None:
        check_count("tasks", tasks, 1)
        check_count("targets", targets, 1)
        check_number("ridge", ridge, "(0, inf)")
        super().__init__(classes=tasks * targets, features=features, **fitting)
        if self.likelihood.spreads:
            raise InputError(
                "the head of a new task predicts means: use Gaussian(scale=1.0), without a learned deviation"
            )
        self.targets, self.tasks, self.ridge = targets, tasks, ridge

    @classmethod
    def given(cls, facts: Facts) -> dict[str, Any]:  # noqa: D102
        if facts.tasks is None:
            raise InputError(f"{cls.__name__} has a head for each known task, and these tasks are not known by name")
        fitting = {"likelihood": Gaussian(scale=1.0)} if facts.objective == "regression" else {}
        return {"targets": facts.targets, "tasks": facts.tasks, **fitting}

    def loss(self, task: Task) -> Tensor:
        """The task's own head on its queries; the last columns of y are the task's name."""
        x, y = task.query
        if y.shape[1] != self.targets + self.tasks:
            raise InputError(
                f"targets have {y.shape[1]} columns, {self.targets} of a task and {self.tasks} of its name are "
                f"expected: train on data.KnownTasks(..., named=True) of {self.tasks} tasks"
            )
        y, name = y.split((self.targets, self.tasks), 1)
        each = self.classifier(x.flatten(1)).unflatten(1, (self.tasks, self.targets))
        return self.likelihood.nll(torch.einsum("nt,ntp->np", name, each).unsqueeze(0), y).mean()

    def adapt(self, support: Examples, state: Linear | Moments | None = None) -> Linear | Moments:  # type: ignore[override]
        """A new head."""
        if self.likelihood.classifies:
            return super().adapt(support, state)  # type: ignore[arg-type]
        z = _with_one(support.x)
        gram, cross = z.mT @ z, z.mT @ (support.y - z @ self._mean())
        return Moments(gram, cross) if state is None else Moments(state[0] + gram, state[1] + cross)

    def predict(self, state: Linear | Moments, x: Tensor) -> Tensor:  # type: ignore[override]  # noqa: D102
        if self.likelihood.classifies:
            return super().predict(state, x)  # type: ignore[arg-type]
        gram, cross = state
        penalty = self.ridge * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
        return (_with_one(x) @ (self._mean() + torch.linalg.solve(gram + penalty, cross))).unsqueeze(0)

    def _mean(self) -> Tensor:
        """The mean of the known heads, ``[H + 1, D]``: weights above, bias below."""
        heads = torch.cat((self.classifier.weight, self.classifier.bias.unsqueeze(1)), 1)
        return heads.unflatten(0, (self.tasks, self.targets)).mean(0).mT


class MultiTask(Embedded[TaskHeads]):
    """Per-task heads on a shared body.

    Train it on :class:`innerloop.data.KnownTasks` with ``named=True``; it is evaluated on new tasks like every learner.
    One head shared by all tasks is ``MAML(net, adapts="none")``.

    Args:
        encoder: the body, any module ``[N, *F] -> [N, H]``.

    Example:
        >>> import torch, innerloop as il
        >>> learner = il.MultiTask(il.nets.conv4(), targets=5, tasks=100)
        >>> support = il.Examples(torch.rand(5, 1, 28, 28), torch.eye(5))
        >>> learner.predict(learner.adapt(support), torch.rand(7, 1, 28, 28)).shape
        torch.Size([1, 7, 5])

    References:
        Caruana, *Multitask Learning*, Machine Learning 28, 1997, https://doi.org/10.1023/A:1007379606734.
        Wang, Zhao, Li, *Bridging Multi-Task Learning and Meta-Learning*, ICML 2021, https://arxiv.org/abs/2106.09017.
    """

    @composed(TaskHeads)
    def __init__(self) -> None: ...


def _with_one(x: Tensor) -> Tensor:
    return F.pad(x.flatten(1), (0, 1), value=1.0)
