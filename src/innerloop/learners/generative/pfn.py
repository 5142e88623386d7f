"""Prior-fitted networks (Müller et al., *Transformers Can Do Bayesian Inference*, ICLR 2022,
https://arxiv.org/abs/2112.10510; for tables Hollmann et al., *TabPFN*, ICLR 2023, https://arxiv.org/abs/2207.01848, and
Nature 637, 2025).

A transformer reads the whole training set beside the query and gives the posterior predictive distribution in one pass:
adapting is keeping the data. It is meta-trained on tables drawn from a prior, so it costs hours once and nothing at
each new table. Choose it for small tables of numbers (tens to a thousand rows), without tuning.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self

import torch
from torch import Tensor

from innerloop.core.facts import Facts, Networks
from innerloop.core.learner import Learner
from innerloop.core.likelihood import Bars, Categorical, Likelihood
from innerloop.core.task import Examples, InputError, Task, join
from innerloop.nets.tabular import TableTransformer


class InContext(Learner):
    """In-context learner for tables: a prior-fitted network.

    Cells may be missing (NaN). Features are standardized by the support set as it stands when a prediction is made, so
    folding is exact. Neither the order of the rows nor that of the columns matters; the order of the classes does, a
    little (``innerloop.estimators.incontext.InContextClassifier`` averages over orders).

    Args:
        classes: the most classes a task can have; ignored for regression.
        regression: one real target, about standardized by the support set, with a binned density
            (:class:`~innerloop.Bars`).
        width: of a cell's vector.
        depth: blocks of the transformer.
        heads: attention heads.
        bars: of the density, for regression.
        hide: share of training tables in which cells are hidden at random, so that it learns what a missing cell is.
        autocast: train in bfloat16 where that is faster; weights stay as they are.
        likelihood: default :class:`~innerloop.Categorical`, or :class:`~innerloop.Bars` for regression.

    Example:
        >>> import torch, innerloop as il
        >>> learner = il.InContext(width=16, depth=2, heads=2)
        >>> support = il.Examples(torch.randn(6, 4), torch.eye(3).repeat(2, 1))
        >>> learner.predict(learner.adapt(support), torch.randn(5, 4)).shape
        torch.Size([1, 5, 3])

    References:
        Müller et al., ICLR 2022, https://arxiv.org/abs/2112.10510. Hollmann et al., ICLR 2023,
        https://arxiv.org/abs/2207.01848; Nature 637, 2025, https://doi.org/10.1038/s41586-024-08328-6.
    """

    network = "table"
    objectives = ("classification", "regression")
    missing = True

    def __init__(
        self,
        *,
        classes: int = 10,
        regression: bool = False,
        width: int = 96,
        depth: int = 4,
        heads: int = 4,
        bars: int = 100,
        hide: float = 0.0,
        autocast: bool = False,
        likelihood: Likelihood | None = None,
    ) -> None:
        super().__init__(likelihood or (Bars(standard_borders(bars)) if regression else Categorical()))
        if not 0 <= hide <= 1:
            raise InputError(f"hide is {hide}; it is a share of tables, between 0 and 1")
        self.regression, self.hide, self.autocast = regression, hide, autocast
        self.targets = 1 if regression else classes
        outputs = self.likelihood.size(1) if regression else None
        self.net = TableTransformer(self.targets, outputs, width=width, depth=depth, heads=heads)

    @classmethod
    def from_facts(cls, facts: Facts, nets: Networks, **options: Any) -> Self:
        """For classes or a real target, as its tasks have it."""
        return cls(**{"regression": facts.objective == "regression", **options})

    def adapt(self, support: Examples, state: Examples | None = None) -> Examples:  # noqa: D102
        if support.y.shape[1] > self.targets:
            raise InputError(
                f"the task has {support.y.shape[1]} target columns, this network reads {self.targets}: "
                f"merge classes, or train one with classes={support.y.shape[1]}"
            )
        return join(state, support)

    def predict(self, state: Examples, x: Tensor) -> Tensor:  # noqa: D102
        return self.net(describe(state.x, state.x), state.y, describe(x, state.x)).unsqueeze(0)

    def loss(self, task: Task) -> Tensor:  # noqa: D102
        if self.training and self.hide:
            task = self._hidden(task)
        with self._precision(task.query.x):
            raw = self.predict(self.adapt(task.support), task.query.x)
        return self.likelihood.nll(raw.to(task.query.y.dtype), task.query.y).mean()

    def _precision(self, x: Tensor) -> AbstractContextManager[object]:
        return torch.autocast(x.device.type, torch.bfloat16) if self.autocast and self.training else nullcontext()

    def _hidden(self, task: Task) -> Task:
        (xs, ys), (xq, yq) = task
        u = torch.rand(2 + len(xs) * xs.shape[1] + len(xq) * xq.shape[1], dtype=xs.dtype, device=xs.device)
        share = torch.where(u[0] < self.hide, 0.4 * u[1], 0.0)
        us, uq = u[2:].split((xs.numel(), xq.numel()))
        xs = torch.where(us.view(xs.shape) < share, torch.nan, xs)
        return Task(Examples(xs, ys), Examples(torch.where(uq.view(xq.shape) < share, torch.nan, xq), yq))


def describe(x: Tensor, support: Tensor) -> Tensor:
    """Each cell as its standard score, its rank among the support rows, and whether it is missing.

    ``x [M, F], support [N, F] -> [M, F, 3]``. Scores are clipped softly at 10; a missing cell has score and rank 0.
    """
    there = support.isfinite()
    count = there.sum(0).clamp(min=1)
    mean = torch.where(there, support, 0).sum(0) / count
    spread = (torch.where(there, support - mean, 0).square().sum(0) / count).sqrt()
    # A constant column says nothing: its spread is rounding, or zero.
    flat = spread <= 1e-6 * mean.abs()
    known = x.isfinite()
    score = torch.where(known & ~flat, (x - mean) / torch.where(flat, 1, spread), 0)
    rows = x.unsqueeze(1)
    rank = ((support < rows).sum(1) - (support > rows).sum(1)) / count
    missing = (~known).to(x.dtype)
    return torch.stack((10 * torch.tanh(score / 10), torch.where(known, rank, 0), missing), -1)


def standard_borders(bars: int) -> Tensor:
    """Borders of bars that are equally probable under a wide Student distribution, in standard deviations."""
    if bars < 3:
        raise InputError(f"a density of {bars} bars is too coarse; it needs at least 3")
    u = torch.linspace(0, 1, bars + 1, dtype=torch.float64)[1:-1]
    normal = torch.special.ndtri(u)
    inner = normal + normal**3 / 20
    ends = inner[:1] - 1, inner[-1:] + 1
    return torch.cat((ends[0], inner, ends[1])).float()
