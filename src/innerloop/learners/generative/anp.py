"""Attentive Neural Processes (Kim et al., ICLR 2019, https://arxiv.org/abs/1901.05761).

A target point attends to the context points near it, instead of reading one average of them all; so a prediction passes
through what was observed. CANP is the conditional one; ANP adds a latent vector, and with it draws of whole functions.
Sharper than CNP and NP at little cost. Both are overconfident on functions unlike those of meta-training: see
:class:`Recalibrated`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor, nn

from innerloop.core.likelihood import Likelihood
from innerloop.core.numbers import check_count
from innerloop.core.task import Examples, join
from innerloop.learners.generative.draws import Normal
from innerloop.learners.generative.latent_np import Bound, LatentProcess
from innerloop.learners.generative.process import NeuralProcess, PointDecoder
from innerloop.nets.attention import Memory, TransformerBlock, attend, check_heads, heads_of
from innerloop.nets.mlp import mlp


class AttentiveState(NamedTuple):
    """The context ``[N, .]``, keys and values to attend to, and the code of the whole set."""

    context: Examples
    memory: Memory
    code: Tensor


class AttentiveEncoder(nn.Module):
    """Context points that have attended to each other: to be attended to, and averaged.

    Args:
        inputs: columns of x.
        targets: columns D of y.
        code: length of the code of the whole set.
        width: of all layers.
        layers: transformer blocks among the context points.
        heads: attention heads, a divisor of ``width``.
        depth: linear layers on a point, on the mean, and on the x of a query or key.
    """

    def __init__(
        self, inputs: int, targets: int, code: int, *, width: int, layers: int, heads: int, depth: tuple[int, int, int]
    ) -> None:
        super().__init__()
        check_heads(width, heads)
        check_count("layers", layers, 0)
        self.heads = heads
        self.embed = mlp(inputs + targets, *(width,) * depth[0], activation=nn.SiLU)
        self.blocks = nn.ModuleList(TransformerBlock(width, heads) for _ in range(layers))
        self.value = nn.Linear(width, width)
        self.after = mlp(*(width,) * depth[1], code, activation=nn.SiLU)
        self.key = mlp(inputs, *(width,) * depth[2], activation=nn.SiLU)

    def forward(self, pairs: Tensor, x: Tensor) -> tuple[Memory, Tensor]:
        """Of a context ``[N, inputs + D]`` with inputs ``x``: what to attend to, and the code of the set."""
        rows = self.embed(pairs)
        for block in self.blocks:
            rows = block(rows)
        memory = Memory(heads_of(self.key(x), self.heads), heads_of(self.value(rows), self.heads))
        return memory, self.after(rows.sum(0) / max(len(rows), 1))

    def read(self, memory: Memory, x: Tensor) -> Tensor:
        """What each point ``x`` reads from the context: ``[N, inputs] -> [N, width]``."""
        return attend(heads_of(self.key(x), self.heads), memory)


class CANP(NeuralProcess):
    """Attentive conditional neural process.

    Args:
        inputs: columns of x.
        targets: columns D of y.
        width: of all layers.
        layers: transformer blocks among the context points (0: none).
        heads: attention heads, a divisor of ``width``.
        depth: linear layers on a context point, on the mean over the context, on the x of queries and keys, and in the
            decoder.
        likelihood: default :class:`~innerloop.Gaussian` with a learned deviation.

    Raises:
        InputError: for sizes below 1, or heads that do not divide the width.

    Example:
        >>> import torch, innerloop as il
        >>> learner = il.learners.CANP(1, 1, width=32)
        >>> learner.predict(learner.adapt(il.Examples(torch.rand(5, 1), torch.rand(5, 1))), torch.rand(7, 1)).shape
        torch.Size([1, 7, 2])

    References:
        Kim et al., *Attentive Neural Processes*, ICLR 2019, https://arxiv.org/abs/1901.05761.
    """

    def __init__(
        self,
        inputs: int,
        targets: int,
        *,
        width: int = 128,
        layers: int = 1,
        heads: int = 8,
        depth: tuple[int, int, int, int] = (2, 2, 2, 3),
        likelihood: Likelihood | None = None,
    ) -> None:
        super().__init__(inputs, targets, likelihood)
        sizes: Any = {"width": width, "layers": layers, "heads": heads, "depth": tuple(depth[:3])}
        self.encoder = AttentiveEncoder(inputs, targets, width, **sizes)
        self.decoder = PointDecoder(inputs, (width, width), self.raws, width=width, depth=depth[3])

    def adapt(self, support: Examples, state: AttentiveState | None = None) -> AttentiveState:  # noqa: D102
        context = join(state.context if state else None, support)
        return AttentiveState(context, *self.encoder(self.pairs(context), context.x))

    def predict(self, state: AttentiveState, x: Tensor) -> Tensor:  # noqa: D102
        return self.decoder(x, state.code, self.encoder.read(state.memory, x)).unsqueeze(0)


class ANP(LatentProcess):
    """Attentive neural process: attention to the context, and a latent vector for each function.

    Args:
        inputs: columns of x.
        targets: columns D of y.
        width: of all layers.
        latent: length of the latent vector; default ``width``.
        layers: transformer blocks among the context points (0: none).
        heads: attention heads, a divisor of ``width``.
        depth: linear layers on a context point, on the mean over the context, on the x of queries and keys, and in the
            decoder.
        draws: of the latent vector in training and otherwise.
        bound: the objective: ``"elbo"``, ``"importance"`` or ``"likelihood"``.
        likelihood: default :class:`~innerloop.Gaussian` with a learned deviation.

    Raises:
        InputError: for sizes or draws below 1, heads that do not divide the width, or an unknown bound.

    Example:
        >>> import torch, innerloop as il
        >>> learner = il.learners.ANP(1, 1, width=32).eval()
        >>> learner.predict(learner.adapt(il.Examples(torch.rand(5, 1), torch.rand(5, 1))), torch.rand(7, 1)).shape
        torch.Size([50, 7, 2])

    References:
        Kim et al., *Attentive Neural Processes*, ICLR 2019, https://arxiv.org/abs/1901.05761.
    """

    def __init__(
        self,
        inputs: int,
        targets: int,
        *,
        width: int = 128,
        latent: int | None = None,
        layers: int = 1,
        heads: int = 8,
        depth: tuple[int, int, int, int] = (2, 2, 2, 3),
        draws: tuple[int, int] = (4, 50),
        bound: Bound = "elbo",
        likelihood: Likelihood | None = None,
    ) -> None:
        check_count("width", width, 1)
        latent = width if latent is None else latent
        super().__init__(inputs, targets, latent, draws, bound, likelihood)
        sizes: Any = {"width": width, "layers": layers, "heads": heads, "depth": tuple(depth[:3])}
        self.encoder = AttentiveEncoder(inputs, targets, 2 * latent, **sizes)
        self.decoder = PointDecoder(inputs, (latent, width), self.raws, width=width, depth=depth[3])

    def adapt(self, support: Examples, state: AttentiveState | None = None) -> AttentiveState:  # noqa: D102
        context = join(state.context if state else None, support)
        return AttentiveState(context, *self.encoder(self.pairs(context), context.x))

    def belief(self, state: AttentiveState) -> Normal:  # noqa: D102
        return Normal.of(state.code)

    def decode(self, state: AttentiveState, z: Tensor, x: Tensor) -> Tensor:  # noqa: D102
        return self.decoder(x, z.unsqueeze(1), self.encoder.read(state.memory, x))
