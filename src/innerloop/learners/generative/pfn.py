"""Prior-fitted networks (Müller et al., *Transformers Can Do Bayesian Inference*, ICLR 2022,
https://arxiv.org/abs/2112.10510; for tables Hollmann et al., *TabPFN*, ICLR 2023, https://arxiv.org/abs/2207.01848, and
Nature 637, 2025).

A transformer reads the whole training set beside the query and gives the posterior predictive distribution in one pass:
adapting is keeping the data. It is meta-trained on tables drawn from a prior, so it costs hours once and nothing at
each new table. Choose it for small tables of numbers (tens to a thousand rows), without tuning.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from innerloop.core.facts import Facts, Networks
from innerloop.core.learner import Learner
from innerloop.core.likelihood import Bars, Categorical, Likelihood
from innerloop.core.numbers import check_count, check_number
from innerloop.core.task import Examples, InputError, Task, join
from innerloop.nets.attention import Memory
from innerloop.nets.tabular import TableTransformer

#: Comparisons of cells that are worked out at a time.
_COMPARISONS = 2**24


class Encoded(NamedTuple):
    """A table that was read once: what predictions look at.

    Args:
        x: its rows, by which those of the queries are described, ``[..., N, F]``.
        y: its targets, ``[..., N, D]``.
        memory: keys and values for each block of the network.
    """

    x: Tensor
    y: Tensor
    memory: tuple[Memory, ...]


def joined(tables: list[Encoded]) -> Encoded:
    """Tables of the same rows and other targets as one batch, ``x [1, N, F]``, ``y [O, N, D]``."""
    if len(tables) == 1:
        return tables[0]
    memories = zip(*(table.memory for table in tables), strict=True)
    memory = (Memory(*(torch.cat(parts) for parts in zip(*same, strict=True))) for same in memories)
    return Encoded(tables[0].x, torch.cat([table.y for table in tables]), tuple(memory))


class InContext(Learner):
    """In-context learner for tables: a prior-fitted network.

    Cells may be missing (NaN), and features of any level and scale: they are described in float64. The state is the
    data, and features are standardized by the support set as it stands when a prediction is made, so folding is
    exact; where many predictions follow, :meth:`encode` reads the table once. Neither the order of the rows nor that
    of the columns matters; the order of the classes does, a little (``innerloop.estimators.InContextClassifier``
    averages over orders).

    Args:
        classes: the most classes a task can have; ignored for regression.
        regression: one real target, about standardized by the support set, with a binned density
            (:class:`~innerloop.core.likelihood.Bars`).
        width: of a cell's vector.
        depth: blocks of the transformer.
        heads: attention heads.
        bars: of the density, for regression.
        hide: share of training tables in which cells are hidden at random, so that it learns what a missing cell is.
        autocast: train in bfloat16 where that is faster; weights stay as they are.
        likelihood: default :class:`~innerloop.Categorical`, or :class:`~innerloop.core.likelihood.Bars` for regression.

    Example:
        >>> import torch, innerloop as il
        >>> learner = il.learners.InContext(width=16, depth=2, heads=2)
        >>> support = il.Examples(torch.randn(6, 4), torch.eye(3).repeat(2, 1))
        >>> learner.predict(learner.adapt(support), torch.randn(5, 4)).shape
        torch.Size([1, 5, 3])

    References:
        Müller et al., ICLR 2022, https://arxiv.org/abs/2112.10510. Hollmann et al., ICLR 2023,
        https://arxiv.org/abs/2207.01848; Nature 637, 2025, https://doi.org/10.1038/s41586-024-08328-6.
    """

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
        check_number("hide, a share of tables,", hide, "[0, 1]")
        check_count("classes", classes, 1)
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
        return self.read(self.encode(state), x)

    def encode(self, state: Examples) -> Encoded:
        """Read a table once, for any number of predictions.

        Args:
            state: what :meth:`adapt` kept, or a batch of tables: ``x [..., N, F]``, ``y [..., N, D]``. Where their rows
                are the same and only the targets differ, ``x [1, N, F]`` is described once.
        """
        x, y = state
        return Encoded(x, y, self.net.encode(self._weighable(describe(x, x)), self._weighable(y)))

    def read(self, table: Encoded, x: Tensor) -> Tensor:
        """What :meth:`predict` gives, from an encoded table: ``[..., M, F] -> [1, ..., M, P]``."""
        cells = self._weighable(describe(x, table.x))
        return self.net.read(table.memory, cells, table.y.shape[-1]).unsqueeze(0)

    def attention(self, table: Encoded, x: Tensor) -> Tensor:
        """How much queries attend to each row of an encoded table: ``[..., M, F] -> [blocks, ..., heads, M, N]``."""
        return self.net.attention(table.memory, self._weighable(describe(x, table.x)))

    def _weighable(self, cells: Tensor) -> Tensor:
        return cells.to(self.net.unknown.dtype)

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

    Scores are clipped softly at 10; a missing cell has score and rank 0, and so has every cell of a column that is
    constant in the support set, except for a rank beyond it.

    Args:
        x: ``[..., M, F]``; NaN where a cell is missing.
        support: ``[..., N, F]``.

    Returns:
        ``[..., M, F, 3]`` of x's type, worked out in float64.
    """
    dtype, x, support = x.dtype, _precise(x), _precise(support)
    known = x.isfinite()
    score = torch.where(known, standardized(x, support), 0)
    rank = torch.where(known, _ranks(x, support), 0)
    return torch.stack((10 * torch.tanh(score / 10), rank, (~known).to(x.dtype)), -1).to(dtype)


def standardized(x: Tensor, support: Tensor) -> Tensor:
    """The cells of ``x [..., M, F]`` less the mean of their column in ``support [..., N, F]``, over its deviation.

    Cells of any size that their type can hold; 0 in a column that is constant in the support set, NaN where a cell is
    missing. In float64.
    """
    x, support = _precise(x), _precise(support)
    there = support.isfinite()
    # A row that is nobody's, so that a table without rows has a least and a largest cell.
    low = F.pad(torch.where(there, support, torch.inf), (0, 0, 0, 1), value=torch.inf).amin(-2, keepdim=True)
    high = F.pad(torch.where(there, support, -torch.inf), (0, 0, 0, 1), value=-torch.inf).amax(-2, keepdim=True)
    # The spread of equal numbers may be rounding: whether they are equal is asked of themselves.
    flat = low >= high
    # Of order one before anything is summed or squared.
    unit = torch.where(flat, 1, torch.maximum(low.abs(), high.abs()))
    x, support = x / unit, support / unit
    count = there.sum(-2, keepdim=True).clamp(min=1)
    mean = torch.where(there, support, 0).sum(-2, keepdim=True) / count
    spread = (torch.where(there, support - mean, 0).square().sum(-2, keepdim=True) / count).sqrt()
    return torch.where(flat & x.isfinite(), 0, (x - mean) / torch.where(flat, 1, spread))


def _ranks(x: Tensor, support: Tensor) -> Tensor:
    """How many more support rows lie below a cell than above it, as a share: ``[..., M, F]`` from -1 to 1."""
    others = support.unsqueeze(-3)
    rows = max(1, _COMPARISONS // max(1, others.numel()))
    parts = [(others < part).sum(-2) - (others > part).sum(-2) for part in x.unsqueeze(-2).split(rows, dim=-3)]
    # Of whole numbers the share would be of PyTorch's default type.
    return torch.cat(parts, -2).to(x.dtype) / support.isfinite().sum(-2, keepdim=True).clamp(min=1)


def _precise(x: Tensor) -> Tensor:
    # Apple's GPUs have no float64.
    return x if x.device.type == "mps" else x.double()


def standard_borders(bars: int) -> Tensor:
    """Borders of bars that are equally probable under a wide Student distribution, in standard deviations."""
    check_count("bars", bars, 3)
    u = torch.linspace(0, 1, bars + 1, dtype=torch.float64)[1:-1]
    normal = torch.special.ndtri(u)
    inner = normal + normal**3 / 20
    ends = inner[:1] - 1, inner[-1:] + 1
    return torch.cat((ends[0], inner, ends[1])).float()
