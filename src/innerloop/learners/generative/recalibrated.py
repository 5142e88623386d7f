"""Predictive deviations widened until they fit the support set: the standardized residuals of cross-validation
(Stone, JRSS B 36, 1974, https://doi.org/10.1111/j.2517-6161.1974.tb00994.x) around any regression learner.

A neural process is sure of itself on functions unlike those of its meta-training, and wrong. The support set shows it:
each fold of it is predicted from the rest, and where the errors are larger than the deviations said, all deviations of
this task are multiplied by what is missing. Choose it where tasks may differ from those of meta-training; on tasks like
them it changes little. It costs one more adaptation per fold and never looks at a query.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from innerloop.core.learner import Learner, State
from innerloop.core.likelihood import Gaussian
from innerloop.core.numbers import check_count, check_number
from innerloop.core.task import Examples, InputError, Task, join


class RecalibratedState(NamedTuple):
    """The process's state, the support set ``[N, .]``, and the factor of the deviations, ``[D]``."""

    process: State
    context: Examples
    factor: Tensor


class Recalibrated(Learner):
    """A learner whose predictive deviations are multiplied by what its support set asks for.

    With z the errors of the held-out support points over their deviations, the factor is
    ``sqrt((shrink + sum z^2) / (shrink + N))``, and never below 1. Folds are interleaved along the first input column.
    Training is that of the learner within.

    Args:
        process: a learner with a Gaussian likelihood whose deviation is learned.
        folds: parts of the support set, each predicted from the others.
        shrink: how many well-predicted points the prior belief in a factor of 1 is worth.

    Raises:
        InputError: for another likelihood, fewer than 2 folds, or a negative ``shrink``.

    Example:
        >>> import torch, innerloop as il
        >>> learner = il.learners.Recalibrated(il.CNP(1, 1, width=16))
        >>> state = learner.adapt(il.Examples(torch.rand(8, 1), 100 * torch.randn(8, 1)))
        >>> bool(state.factor > 10)
        True
    """

    objectives = ("regression",)

    def __init__(self, process: Learner, *, folds: int = 4, shrink: float = 4.0) -> None:
        super().__init__(process.likelihood)
        if not (isinstance(process.likelihood, Gaussian) and process.likelihood.scale is None):
            raise InputError(f"{process.likelihood} has no deviation to widen: use Gaussian(scale=None)")
        check_count("folds", folds, 2)
        check_number("shrink", shrink, "[0, inf)")
        self.process, self.folds, self.shrink = process, folds, shrink

    def adapt(self, support: Examples, state: RecalibratedState | None = None) -> RecalibratedState:  # noqa: D102
        context = join(state.context if state else None, support)
        order, number = context.x.flatten(1)[:, 0].argsort(), len(context.x)
        folds = [order[k :: self.folds] for k in range(min(self.folds, number))]
        total = context.y.new_zeros(context.y.shape[1])
        for k, held in enumerate(folds if len(folds) > 1 else ()):
            rest = torch.cat([fold for j, fold in enumerate(folds) if j != k])
            inner = self.process.adapt(Examples(context.x[rest], context.y[rest]))
            mean, deviation = self._moments(self.process.predict(inner, context.x[held]))
            total = total + (((context.y[held] - mean) / deviation) ** 2).sum(0)
        factor = ((self.shrink + total) / (self.shrink + max(number, 1))).clamp(min=1).sqrt()
        return RecalibratedState(self.process.adapt(context), context, factor)

    def predict(self, state: RecalibratedState, x: Tensor) -> Tensor:  # noqa: D102
        raw = self.process.predict(state.process, x)
        mean, scale = self._gaussian.parameters_of(raw)
        # The draws' means move away from their center, so that the mixture as a whole is wider by the factor.
        center = mean.mean(0)
        return self._gaussian.raw_of(center + state.factor * (mean - center), state.factor * scale)

    def loss(self, task: Task) -> Tensor:  # noqa: D102
        return self.process.loss(task)

    @property
    def _gaussian(self) -> Gaussian:
        assert isinstance(self.likelihood, Gaussian)
        return self.likelihood

    def _moments(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation of the mixture of the draws, each ``[N, D]``."""
        mean, scale = self._gaussian.parameters_of(raw)
        return mean.mean(0), (scale.square().mean(0) + mean.var(0, correction=0)).sqrt()

    def extra_repr(self) -> str:  # noqa: D102
        return f"folds={self.folds}, shrink={self.shrink}"
