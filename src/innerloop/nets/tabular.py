"""The network of in-context learning on tables: attention between columns, and between rows."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from innerloop.core.construction import Recorded
from innerloop.core.task import InputError
from innerloop.nets.attention import Memory, attend, check_heads, heads_of

#: Attention scores that are worked out at a time.
_SCORES = 2**21


class TableTransformer(Recorded):
    """A transformer whose tokens are the cells of a table; the last column is the target.

    Each block mixes a row's columns, then a column's rows (all rows read the training rows and no others, so a query is
    judged alone), then each cell. Columns and training rows are sets: neither order matters. The last block is worked
    out for the target column only, which alone is read.

    Args:
        targets: columns of the target rows that it can read (classes at most, or 1 for regression).
        outputs: raw numbers a query; ``None``: one for each target column, read off with the vectors that write the
            targets, so that all classes share what is learned about reading.
        width: of a cell's vector.
        depth: blocks.
        heads: attention heads, a divisor of ``width``.
        hidden: of each block's perceptron; default ``2 * width``.
        inputs: numbers that describe a cell.

    Shape:
        support ``[..., N, F, inputs]``, their targets ``[..., N, D]`` with ``D <= targets``, queries
        ``[..., M, F, inputs]`` to raw ``[..., M, outputs]`` (``[..., M, D]`` for ``outputs=None``).

    Example:
        >>> net = TableTransformer(targets=3, outputs=None, width=16, depth=2, heads=2)
        >>> net(torch.randn(8, 5, 3), torch.eye(2).repeat(4, 1), torch.randn(6, 5, 3)).shape
        torch.Size([6, 2])

    References:
        Hollmann et al., *Accurate predictions on small data with a tabular foundation model*, Nature 637, 2025,
        https://doi.org/10.1038/s41586-024-08328-6.
    """

    def __init__(
        self,
        targets: int,
        outputs: int | None,
        *,
        width: int = 96,
        depth: int = 4,
        heads: int = 4,
        hidden: int | None = None,
        inputs: int = 3,
    ) -> None:
        super().__init__()
        sizes = {"targets": targets, "outputs": outputs or 1, "width": width, "depth": depth, "heads": heads}
        for name, value in sizes.items():
            if value < 1:
                raise InputError(f"{name} is {value}; it must be at least 1")
        check_heads(width, heads)
        hidden = hidden or 2 * width
        self.targets = targets
        self.cell = nn.Sequential(nn.Linear(inputs, width), nn.GELU(), nn.Linear(width, width))
        self.target = nn.Linear(targets, width)
        self.unknown = nn.Parameter(torch.randn(width) / math.sqrt(width))
        self.blocks = nn.ModuleList(_Block(width, heads, hidden) for _ in range(depth))
        self.out = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, outputs or width)
        )
        self.tied = outputs is None
        if self.tied:
            nn.init.normal_(self.target.weight)

    def forward(self, support: Tensor, y: Tensor, query: Tensor) -> Tensor:  # noqa: D102
        n = support.shape[-3]
        cells = self.cell(torch.cat((support, query), -3))
        known = self.target(F.pad(y, (0, self.targets - y.shape[-1])))
        unknown = self.unknown.expand(*query.shape[:-2], -1)
        h = torch.cat((cells, torch.cat((known, unknown), -2).unsqueeze(-2)), -2)
        for block in self.blocks[:-1]:
            h = block(h, n)
        raw = self.out(self.blocks[-1](h, n, last=True)[..., n:, 0, :])
        if not self.tied:
            return raw
        return raw @ self.target.weight[:, : y.shape[-1]].to(raw.dtype) / math.sqrt(raw.shape[-1])


class _Block(nn.Module):
    """Attention between columns, attention between rows, a perceptron; layer norms before each."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.columns, self.rows = _Attention(width, heads), _Attention(width, heads)
        self.cell = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, h: Tensor, n: int, last: bool = False) -> Tensor:
        """``h [..., R, C, E]``, its first ``n`` rows for training; the ``last`` block keeps the last column only."""
        context = self.norms[0](h)
        if last:
            h = h[..., -1:, :]
        h = h + self.columns(context[..., -1:, :] if last else context, context)
        rows = self.norms[1](h).transpose(-2, -3)
        h = h + self.rows(rows, rows[..., :n, :]).transpose(-2, -3)
        return h + self.cell(self.norms[2](h))


class _Attention(nn.Module):
    """Multi-head attention ``[..., Q, E], [..., K, E] -> [..., Q, E]``."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.pair, self.out = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        keys, values = (heads_of(part, self.heads) for part in self.pair(context).chunk(2, -1))
        # A few queries at a time: tables of scores that fit the cache, and that the allocator keeps.
        rows = max(1, _SCORES // (keys.shape[:-1].numel()))
        read = [attend(part, Memory(keys, values)) for part in heads_of(self.query(x), self.heads).split(rows, -2)]
        return self.out(torch.cat(read, -2))
