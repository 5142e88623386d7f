"""Attention: products, a softmax and a sum, which every transform of ``torch.func`` can lift and differentiate."""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from innerloop.core.construction import Recorded
from innerloop.core.numbers import check_count
from innerloop.core.task import InputError


class Memory(NamedTuple):
    """What there is to attend to: keys and values, each ``[heads, M, width / heads]``."""

    keys: Tensor
    values: Tensor


def heads_of(z: Tensor, heads: int) -> Tensor:
    """``[M, width] -> [heads, M, width / heads]``."""
    return z.unflatten(-1, (heads, -1)).transpose(-3, -2)


def attend(queries: Tensor, memory: Memory) -> Tensor:
    """Multi-head scaled dot-product attention. With an empty memory (M = 0) it reads zeros.

    Args:
        queries: ``[heads, N, width / heads]``.
        memory: keys and values.

    Returns:
        the heads side by side, ``[N, width]``.

    Example:
        >>> memory = Memory(torch.zeros(1, 2, 1), torch.tensor([[[1.0], [3.0]]]))
        >>> attend(torch.zeros(1, 1, 1), memory)
        tensor([[2.]])

    References:
        Vaswani et al., *Attention Is All You Need*, NeurIPS 2017, https://arxiv.org/abs/1706.03762.
    """
    # The scale goes to the queries, which are smaller than the table of scores.
    scores = (queries / math.sqrt(queries.shape[-1])) @ memory.keys.transpose(-2, -1)
    return (scores.softmax(-1) @ memory.values).transpose(-3, -2).flatten(-2)


def attention_of(queries: Tensor, keys: Tensor) -> Tensor:
    """How much each query attends to each key, in sum 1: ``[heads, N, size], [heads, M, size] -> [heads, N, M]``.

    Example:
        >>> import torch
        >>> attention_of(torch.zeros(1, 1, 1), torch.zeros(1, 2, 1))
        tensor([[[0.5000, 0.5000]]])
    """
    return ((queries / math.sqrt(queries.shape[-1])) @ keys.transpose(-2, -1)).softmax(-1)


class TransformerBlock(Recorded):
    """A pre-norm transformer block whose rows read a memory: their own (self-attention) or another set's.

    The normalizations have no scale and shift of their own: those of the linear layer that follows do the same.

    Args:
        width: of a row.
        heads: must divide ``width``.
        hidden: width within the feed-forward layer; default twice ``width``.

    Raises:
        InputError: if ``heads`` does not divide ``width``.

    Example:
        >>> block = TransformerBlock(16, heads=4)
        >>> context, targets = torch.zeros(5, 16), torch.zeros(3, 16)
        >>> block(targets, block.memory(context)).shape
        torch.Size([3, 16])

    References:
        Xiong et al., *On Layer Normalization in the Transformer Architecture*, ICML 2020,
        https://arxiv.org/abs/2002.04745.
    """

    def __init__(self, width: int, heads: int, hidden: int | None = None) -> None:
        super().__init__()
        check_heads(width, heads)
        check_count("hidden", hidden, 1, optional=True)
        hidden = 2 * width if hidden is None else hidden
        self.width, self.heads = width, heads
        # A bias of the keys would change no softmax; one of the queries or values adds little and costs an operation.
        self.query, self.key_value = nn.Linear(width, width, bias=False), nn.Linear(width, 2 * width, bias=False)
        self.out, self.widen, self.narrow = nn.Linear(width, width), nn.Linear(width, hidden), nn.Linear(hidden, width)

    def memory(self, rows: Tensor) -> Memory:
        """Keys and values of ``rows [M, width]``."""
        return self._memory(self._normed(rows))

    def forward(self, rows: Tensor, memory: Memory | None = None, seen: int | None = None) -> Tensor:
        """The rows after reading a memory: ``[N, width] -> [N, width]``.

        Args:
            rows: ``[N, width]``.
            memory: what to read; ``None``: the rows themselves.
            seen: where the rows read themselves, that many of the first ones are read; ``None``: all.
        """
        z = self._normed(rows)
        memory = self._memory(z[:seen]) if memory is None else memory
        rows = rows + self.out(attend(heads_of(self.query(z), self.heads), memory))
        return rows + self.narrow(F.relu(self.widen(self._normed(rows))))

    def _memory(self, z: Tensor) -> Memory:
        keys, values = self.key_value(z).chunk(2, -1)
        return Memory(heads_of(keys, self.heads), heads_of(values, self.heads))

    def _normed(self, rows: Tensor) -> Tensor:
        return F.layer_norm(rows, (self.width,))

    def extra_repr(self) -> str:  # noqa: D102
        return f"heads={self.heads}"


def check_heads(width: int, heads: int) -> None:
    """Refuse a number of heads that does not divide the width."""
    check_count("width", width, 1)
    check_count("heads", heads, 1)
    if width % heads:
        raise InputError(f"{heads} attention heads do not divide a width of {width}: choose a divisor of it")
