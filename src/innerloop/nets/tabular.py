"""The network of in-context learning on tables: attention between columns, and between rows."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from innerloop.core.construction import Recorded
from innerloop.core.numbers import check_count
from innerloop.nets.attention import Memory, attend, attention_of, check_heads, heads_of

#: Attention scores that are worked out at a time.
_SCORES = 2**21


class TableTransformer(Recorded):
    """A transformer whose tokens are the cells of a table; the last column is the target.

    Each block mixes a row's columns, then a column's rows (all rows read the training rows and no others, so a query
    is judged alone), then each cell. So what the training rows become does not depend on the queries: a table is
    encoded once (:meth:`encode`) and read as often as one likes (:meth:`read`). Columns and training rows are sets:
    neither order matters. The last block is worked out for the target column only, which alone is read.

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
            check_count(name, value, 1)
        check_heads(width, heads)
        check_count("hidden", hidden, 1, optional=True)
        check_count("inputs", inputs, 1)
        hidden = 2 * width if hidden is None else hidden
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
        return self.read(self.encode(support, y), query, y.shape[-1])

    def encode(self, support: Tensor, y: Tensor) -> tuple[Memory, ...]:
        """What each block's queries look at: keys and values of the training rows, column by column.

        Training rows read training rows alone, so this is worked out once for a table, whatever is asked later.

        Args:
            support: ``[..., N, F, inputs]``.
            y: ``[..., N, D]``.

        Returns:
            for each block ``[..., F + 1, heads, N, width / heads]``; for the last one of the target column only.
        """
        known = self.target(F.pad(y, (0, self.targets - y.shape[-1])))
        cells = self.cell(support)
        h = torch.cat((cells.expand(*known.shape[:-2], *cells.shape[-3:]), known.unsqueeze(-2)), -2)
        memories = []
        *blocks, last = self._steps()
        for block in blocks:
            h, rows = block.across(h)
            memories.append(block.rows.memory(rows))
            h = block.down(h, rows, memories[-1])
        return *memories, last.rows.memory(last.across(h, last=True)[1])

    def held(self, rows: int, features: int) -> int:
        """How many numbers :meth:`encode` gives for a table of so many training rows and features."""
        return 2 * rows * len(self.unknown) * ((len(self.blocks) - 1) * (features + 1) + 1)

    def read(self, memory: tuple[Memory, ...], query: Tensor, targets: int) -> Tensor:
        """The raw outputs of queries ``[..., M, F, inputs]``, from what :meth:`encode` gave; batches may broadcast.

        Args:
            memory: of the table.
            query: cells of the queries.
            targets: columns D of the table's targets.
        """
        unknown = self.unknown.expand(*query.shape[:-2], 1, -1)
        h = torch.cat((self.cell(query), unknown), -2)
        for number, (block, seen) in enumerate(zip(self._steps(), memory, strict=True), 1):
            h, rows = block.across(h, last=number == len(memory))
            h = block.down(h, rows, seen)
        raw = self.out(h[..., 0, :])
        if not self.tied:
            return raw
        return raw @ self.target.weight[:, :targets].to(raw.dtype) / math.sqrt(raw.shape[-1])

    def attention(self, memory: tuple[Memory, ...], query: Tensor) -> Tensor:
        """How much the target of each query attends to each training row, in sum 1: ``[blocks, ..., heads, M, N]``.

        Args:
            memory: of the table, what :meth:`encode` gave.
            query: cells of the queries, ``[..., M, F, inputs]``.
        """
        h = torch.cat((self.cell(query), self.unknown.expand(*query.shape[:-2], 1, -1)), -2)
        found = []
        for number, (block, seen) in enumerate(zip(self._steps(), memory, strict=True), 1):
            h, rows = block.across(h, last=number == len(memory))
            queries = heads_of(block.rows.query(rows[..., -1, :, :]), block.rows.heads)
            found.append(attention_of(queries, seen.keys[..., -1, :, :, :]))
            h = block.down(h, rows, seen)
        return torch.stack(found)

    def fuse(self, fused: bool = True) -> None:
        """Attend by PyTorch's own kernel from here on: faster; no second derivatives, no rule for ``vmap``."""
        for block in self._steps():
            block.columns.fused = block.rows.fused = fused

    def _steps(self) -> list[_Block]:
        return [block for block in self.blocks if isinstance(block, _Block)]


class _Block(nn.Module):
    """Attention between columns, attention between rows, a perceptron; layer norms before each."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.columns, self.rows = _Attention(width, heads), _Attention(width, heads)
        self.cell = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def across(self, h: Tensor, last: bool = False) -> tuple[Tensor, Tensor]:
        """Mix the columns of each row, ``h [..., R, C, E]``; the ``last`` block keeps the target column only.

        Returns:
            the cells, and what the attention between rows reads of them, ``[..., C, R, E]``.
        """
        context = self.norms[0](h)
        kept = slice(-1, None) if last else slice(None)
        h = h[..., kept, :] + self.columns(context[..., kept, :], self.columns.memory(context))
        return h, self.norms[1](h).transpose(-2, -3)

    def down(self, h: Tensor, rows: Tensor, memory: Memory) -> Tensor:
        """Read the training rows, column by column, and work on each cell."""
        h = h + self.rows(rows, memory).transpose(-2, -3)
        return h + self.cell(self.norms[2](h))


class _Attention(nn.Module):
    """Multi-head attention ``[..., Q, E] -> [..., Q, E]`` to a memory of ``[..., K, E]``."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.fused = heads, False
        self.query, self.pair, self.out = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)

    def memory(self, context: Tensor) -> Memory:
        """Keys and values of ``context [..., K, E]``."""
        return Memory(*(heads_of(part, self.heads) for part in self.pair(context).chunk(2, -1)))

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        if self.fused:
            return self.out(self._fused(heads_of(self.query(x), self.heads), memory))
        # A few queries at a time: tables of scores that fit the cache, and that the allocator keeps.
        rows = max(1, _SCORES // max(1, memory.keys.shape[:-1].numel()))
        read = [attend(part, memory) for part in heads_of(self.query(x), self.heads).split(rows, -2)]
        return self.out(torch.cat(read, -2))

    def _fused(self, queries: Tensor, memory: Memory) -> Tensor:
        """The same in one kernel, with one axis of batches."""
        lead = torch.broadcast_shapes(queries.shape[:-3], memory.keys.shape[:-3])
        q, k, v = (part.expand(*lead, *part.shape[-3:]).flatten(0, -4) for part in (queries, *memory))
        return F.scaled_dot_product_attention(q, k, v).transpose(-3, -2).flatten(-2).unflatten(0, lead)
