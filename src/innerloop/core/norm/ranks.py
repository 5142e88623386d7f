"""Batch norm over several ranks: the statistics, and their gradient, of one process that has all ranks' examples."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from innerloop.core.norm.layers import Layer, affine, moved, track
from innerloop.core.norm.policies import learning


@contextmanager
def over_ranks(module: nn.Module) -> Iterator[None]:
    """Within, the batch statistics of ``module`` are those of all ranks' batches together, and so is their gradient."""
    layers = learning(module)
    for part in layers:
        part.forward = MethodType(_forward, part)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for part in layers:
            del part.forward


class _Sum(torch.autograd.Function):
    """The ranks' sum, on every rank; what reaches a rank's summand is the sum of all ranks' gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return _Sum.forward(ctx, gradient.contiguous())


def _forward(layer: Layer, x: Tensor) -> Tensor:
    """What the layer's own forward gives for the ranks' batches joined, of which ``x [N, C, *F]`` is this rank's."""
    var, mean = torch.var_mean(x, [0, *range(2, x.ndim)], correction=0)
    # One row a rank, the others' zero: their sum is all rows, and its gradient reaches the rank that wrote the row.
    rows = x.new_zeros(dist.get_world_size(), 3, len(mean))
    rows[dist.get_rank()] = torch.stack((torch.full_like(mean, x.numel() / len(mean)), mean, var))
    counts, means, variances = _Sum.apply(rows).unbind(1)
    share = counts / counts.sum(0)
    mean = (share * means).sum(0)
    var = (share * (variances + (means - mean) ** 2)).sum(0)
    track(layer, mean, var, counts[:, 0].sum())
    return moved(x, *affine(layer, mean, var))
