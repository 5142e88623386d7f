"""Transformer Neural Processes, diagonal (TNP-D; Nguyen, Grover, ICML 2022, https://arxiv.org/abs/2207.04179).

A transformer over context and target points in which everything attends to the context points and to nothing else. The
most accurate of the family where tasks are like those of meta-training; costs grow with the square of the context, and
more points are folded in by encoding all of them again.

As no point attends to a target, the context runs through the layers alone: the state is what each layer keeps of it,
its keys and values, and targets read them whenever they come. That equals the masked transformer of the paper.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from innerloop.core.likelihood import Likelihood
from innerloop.core.numbers import check_count
from innerloop.core.task import Examples, Task, join
from innerloop.learners.generative.process import NeuralProcess
from innerloop.nets.attention import Memory, TransformerBlock
from innerloop.nets.mlp import mlp


class TNPState(NamedTuple):
    """The context ``[N, .]`` and, for each layer, its keys and values."""

    context: Examples
    memories: tuple[Memory, ...]


class TNP(NeuralProcess):
    """Transformer neural process with independent predictions (TNP-D).

    Args:
        inputs: columns of x.
        targets: columns D of y.
        width: of a token.
        layers: transformer blocks.
        heads: attention heads, a divisor of ``width``.
        hidden: width within the feed-forward layers and the output network; default twice ``width``.
        embedding: linear layers that embed a point.
        likelihood: default :class:`~innerloop.Gaussian` with a learned deviation.

    Raises:
        InputError: for sizes below 1, or heads that do not divide the width.

    Example:
        >>> import torch, innerloop as il
        >>> learner = il.TNP(1, 1, width=16, layers=2)
        >>> learner.predict(learner.adapt(il.Examples(torch.rand(5, 1), torch.rand(5, 1))), torch.rand(7, 1)).shape
        torch.Size([1, 7, 2])

    References:
        Nguyen, Grover, *Transformer Neural Processes: Uncertainty-Aware Meta Learning Via Sequence Modeling*,
        ICML 2022, https://arxiv.org/abs/2207.04179.
    """

    def __init__(
        self,
        inputs: int,
        targets: int,
        *,
        width: int = 64,
        layers: int = 6,
        heads: int = 4,
        hidden: int | None = None,
        embedding: int = 4,
        likelihood: Likelihood | None = None,
    ) -> None:
        super().__init__(inputs, targets, likelihood)
        check_count("layers", layers, 1)
        check_count("embedding", embedding, 1)
        hidden = 2 * width if hidden is None else hidden
        self.embed = mlp(inputs + targets + 1, *(width,) * embedding)
        blocks: Any = nn.ModuleList(TransformerBlock(width, heads, hidden) for _ in range(layers))
        self.blocks: list[TransformerBlock] = blocks
        self.head = mlp(width, hidden, self.raws)

    def adapt(self, support: Examples, state: TNPState | None = None) -> TNPState:  # noqa: D102
        context = join(state.context if state else None, support)
        rows, memories = self.embed(self._known(context)), []
        for block in self.blocks:
            memories.append(block.memory(rows))
            if len(memories) < len(self.blocks):
                rows = block(rows, memories[-1])
        return TNPState(context, tuple(memories))

    def predict(self, state: TNPState, x: Tensor) -> Tensor:  # noqa: D102
        rows = self.embed(self._asked(x))
        for block, memory in zip(self.blocks, state.memories, strict=True):
            rows = block(rows, memory)
        return self._raw(rows)

    def loss(self, task: Task) -> Tensor:
        """The mean negative log likelihood of the queries; both sets go through the layers in one pass."""
        (context, query), N = task, len(task.support.x)
        rows = self.embed(torch.cat((self._known(context), self._asked(query.x))))
        for block in self.blocks[:-1]:
            rows = block(rows, seen=N)
        rows = self.blocks[-1](rows[N:], self.blocks[-1].memory(rows[:N]))
        return self.likelihood.nll(self._raw(rows), query.y).mean()

    def _known(self, examples: Examples) -> Tensor:
        """Context points: x, y and a 1, which says that y is known."""
        return F.pad(self.pairs(examples), (0, 1), value=1.0)

    def _asked(self, x: Tensor) -> Tensor:
        """Target points: x, and zeros for y and for its being known."""
        return F.pad(x, (0, self.targets + 1))

    def _raw(self, rows: Tensor) -> Tensor:
        return self.head(F.layer_norm(rows, rows.shape[-1:])).unsqueeze(0)
