"""Batch norm by the statistics at hand, with a second derivative of few passes, for one task or for many at once.

With ``m`` the mean over rows, ``h = (y - m(y)) s`` and ``u = w s``, the derivative of ``h w + b`` is

    g_y = u (g - m(g) - h m(g h)),    g_w = R m(g h),    g_b = R m(g),

and that of these three, for slopes ``v, v_w, v_b`` of a loss by them, needs no statistics but ``m(v)``, ``m(v h)`` and
``m(v g)`` beside those that are known. PyTorch's own takes many more passes, and is wrong under ``vmap``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def standardized(y: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Rows ``[*T, R, C]`` by their mean and variance, scaled by ``weight`` and shifted by ``bias``, ``[*T, 1, C]``.

    It can be differentiated twice.

    Example:
        >>> y, one = torch.tensor([[1.0], [3.0]]), torch.ones(1, 1)
        >>> standardized(y, one, 0 * one, 0.0).flatten().tolist()
        [-1.0, 1.0]
    """
    out: Tensor = _Standardized.apply(y, weight, bias, eps)[0]
    return out


def _batched(info: Any, dims: tuple[Any, ...], tensors: tuple[Any, ...]) -> list[Any]:
    """The tensors of all tasks, tasks first; what they share is theirs alike."""
    return [
        t if not isinstance(t, Tensor) else t.expand(info.batch_size, *t.shape) if dim is None else t.movedim(dim, 0)
        for t, dim in zip(tensors, dims, strict=True)
    ]


class _Standardized(torch.autograd.Function):
    """The layer itself: what it gives, and ``h`` and ``s``, which its derivatives are made of."""

    @staticmethod
    def forward(y: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        h = y - y.mean(-2, keepdim=True)
        s = (_mean(h, h) + eps).rsqrt()
        h = h.mul_(s)
        return torch.addcmul(bias, h, weight), h, s

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        y, weight, _, _ = inputs
        _, h, s = output
        ctx.mark_non_differentiable(h, s)
        ctx.save_for_backward(y, weight, h, s)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        return *_Slopes.apply(slopes[0], *ctx.saved_tensors)[:3], None

    @staticmethod
    def vmap(info: Any, dims: tuple[Any, ...], *inputs: Any) -> tuple[Any, tuple[int, int, int]]:
        return _Standardized.apply(*_batched(info, dims, inputs)), (0, 0, 0)


class _Slopes(torch.autograd.Function):
    """The slopes by rows, weight and bias: ``g_y``, ``g_w``, ``g_b``."""

    @staticmethod
    def forward(
        g: Tensor, y: Tensor, weight: Tensor, h: Tensor, s: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        a, q, u = g.mean(-2, keepdim=True), _mean(g, h), weight * s
        rows = g.shape[-2]
        return torch.addcmul(-a, h, -q).add_(g).mul_(u), rows * q, rows * a, a, q

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        g, _, weight, h, s = inputs
        ctx.mark_non_differentiable(*output[3:])
        ctx.save_for_backward(g, weight, h, s, *output[3:])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        v, v_w, v_b = slopes[:3]
        g, weight, h, s, a, q = ctx.saved_tensors
        rows, u = g.shape[-2], weight * s
        mv, mvh = v.mean(-2, keepdim=True), _mean(v, h)
        common = rows * (_mean(v, g) - a * mv - q * mvh)
        alpha, beta = v_w - u * mvh, -u * q
        by_g = torch.addcmul(v_b - u * mv, h, alpha).addcmul_(v, u)
        along = alpha * q + beta * mvh + common * weight * s / rows
        by_y = torch.addcmul(-s * (alpha * a + beta * mv), h, -s * along)
        by_y = by_y.addcmul_(g, s * alpha).addcmul_(v, s * beta)
        return by_g, by_y, s * common, None, None

    @staticmethod
    def vmap(info: Any, dims: tuple[Any, ...], *inputs: Any) -> tuple[Any, tuple[int, ...]]:
        return _Slopes.apply(*_batched(info, dims, inputs)), (0,) * 5


def _mean(a: Tensor, b: Tensor) -> Tensor:
    """The mean of products over rows."""
    return (a * b).mean(-2, keepdim=True)
