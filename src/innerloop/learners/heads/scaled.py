"""Another head on columns of several units: each is standardized by the support set first, and gaps are filled.

What a column's mean and deviation are is learned from the examples like all else, so a head that learns from a subset
has those of the subset: leaving an example out leaves out what it said of the units too.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from innerloop.core.learner import State
from innerloop.core.numbers import check_count
from innerloop.core.task import Examples, join
from innerloop.learners.head import Head


class ScaledFit(NamedTuple):
    """The examples as they came, since a further one changes the scales, and what the head learned of them."""

    examples: Examples
    mean: Tensor
    """Of each column, ``[F]``."""
    deviation: Tensor
    """Of each column, ``[F]``; 1 where all examples agree."""
    inner: State


class Scaled(Head):
    """A head on standardized columns. A missing cell (NaN) is the column's mean.

    Args:
        head: on the standardized columns.
        start: the first column that is read.
        stop: the one after the last; default all.

    Raises:
        InputError: for a range without columns.

    Example:
        >>> import innerloop as il
        >>> head = Scaled(il.learners.Prototypes())
        >>> support = Examples(torch.tensor([[0.0, 1e6], [2.0, torch.nan]]), torch.eye(2))
        >>> head.predict(head.adapt(support), torch.tensor([[1.5, 1e6]]))
        tensor([[[-2.2500, -0.2500]]])
    """

    def __init__(self, head: Head, *, start: int = 0, stop: int | None = None) -> None:
        super().__init__(head.likelihood)
        check_count("start", start, 0)
        check_count("stop, the column after the last,", stop, start + 1, optional=True)
        self.head, self.start, self.stop = head, start, stop

    def adapt(self, support: Examples, state: ScaledFit | None = None) -> ScaledFit:  # noqa: D102
        support = join(state.examples if state else None, support)
        x = self._columns(support.x)
        there = x.isfinite()
        count = there.sum(0).clamp(min=1)
        mean = torch.where(there, x, 0).sum(0) / count
        spread = (torch.where(there, x - mean, 0).square().sum(0) / count).sqrt()
        # Of equal numbers the spread is rounding.
        deviation = torch.where(spread > 1e-9 * (mean.abs() + spread), spread, 1)
        return ScaledFit(support, mean, deviation, self.head.adapt(Examples(_standard(x, mean, deviation), support.y)))

    def predict(self, state: ScaledFit, x: Tensor) -> Tensor:  # noqa: D102
        return self.head.predict(state.inner, self.standard(state, x))

    def standard(self, state: ScaledFit, x: Tensor) -> Tensor:
        """What the head sees of features ``[Q, H]``: its columns, in standard units of the examples, ``[Q, F]``."""
        return _standard(self._columns(x), state.mean, state.deviation)

    def numbers(self, examples: int, classes: int, features: int) -> int:
        """Those of the head on its columns."""
        stop = features if self.stop is None else min(self.stop, features)
        return self.head.numbers(examples, classes, stop - self.start)

    def _columns(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, self.start : self.stop]

    def extra_repr(self) -> str:  # noqa: D102
        return f"start={self.start}, stop={self.stop}"


def _standard(x: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    return torch.where(x.isfinite(), (x - mean) / deviation, 0)
