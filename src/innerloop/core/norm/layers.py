"""The layers of the policies ``batch`` and ``support``, and what any layer of batch norm does with its statistics."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from innerloop.core.construction import Recorded
from innerloop.core.norm.replay import may_fuse, record, replayed
from innerloop.core.norm.standard import standardized
from innerloop.core.numbers import check_count, check_number
from innerloop.core.patches import by_patches
from innerloop.core.task import InputError

#: Batch norm of whatever kind.
Layer = nn.modules.batchnorm._BatchNorm


def affine(layer: nn.Module, mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
    """Scale and shift ``[C]`` of a normalization layer for what has such a mean and variance."""
    scale: Tensor = (var + layer.eps).rsqrt()  # type: ignore[operator]
    if layer.weight is not None:
        scale = layer.weight * scale  # type: ignore[operator]
    shift = mean * scale
    return scale, -shift if layer.bias is None else layer.bias - shift  # type: ignore[operator]


@torch.no_grad()
def track(layer: Layer, mean: Tensor, var: Tensor, count: Tensor | int) -> None:
    """Move the layer's running statistics, where it has any, towards those of ``count`` numbers a channel."""
    if layer.num_batches_tracked is None or layer.running_mean is None or layer.running_var is None:
        return
    layer.num_batches_tracked.add_(1)
    weight = layer.momentum if layer.momentum is not None else 1 / float(layer.num_batches_tracked)
    layer.running_mean.lerp_(mean, weight)
    layer.running_var.lerp_(var * count / (count - 1), weight)


def moved(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """``x [N, C, *F]``, each channel scaled and shifted."""
    shape = [1, -1] + [1] * (x.ndim - 2)
    return x * scale.view(shape) + shift.view(shape)


def _normalized(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """``x [N, C, *F]`` by its own statistics, scaled and shifted where the layer does that."""
    if by_patches() and x.ndim == 4 and weight is not None and bias is not None:
        rows = x.permute(0, 2, 3, 1)
        y = standardized(rows.flatten(0, 2), weight.unsqueeze(0), bias.unsqueeze(0), eps)
        return y.unflatten(0, rows.shape[:3]).permute(0, 3, 1, 2)
    if may_fuse():
        return F.batch_norm(x, None, None, weight, bias, training=True, eps=eps)
    x = F.batch_norm(x, None, None, training=True, eps=eps)
    if weight is None:
        return x
    return moved(x, weight, torch.zeros_like(weight) if bias is None else bias)


class BatchNorm(Recorded, nn.BatchNorm2d):
    """Batch normalization by the statistics of the batch at hand, in every mode; under ``vmap`` too.

    Args:
        channels: size of axis 1.
        eps: added to the variance.
        affine: whether to scale and shift.
        origin: kind of torch's layer that it takes the place of, which it is converted back to.
        momentum: of that layer.
    """

    def __init__(
        self,
        channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        origin: type[nn.Module] = nn.BatchNorm2d,
        momentum: float | None = 0.1,
    ) -> None:
        _check(channels, eps, momentum)
        super().__init__(channels, eps=eps, momentum=momentum, affine=affine, track_running_stats=False)
        self.origin = origin

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, *F] -> [N, C, *F]``."""
        return _normalized(x, self.weight, self.bias, self.eps)


class SupportNorm(Recorded):
    """Normalizes with the statistics of the support set.

    Within :func:`innerloop.norm.recording` it writes down the statistics of what it sees; within
    :func:`innerloop.norm.replaying` it uses the ones written down. Outside both it uses those of the batch at hand
    (inside the inner loop that *is* the support set).

    Args:
        channels: size of axis 1.
        eps: added to the variance.
        affine: whether to scale and shift.
        origin: kind of torch's layer that it takes the place of, which it is converted back to.
        momentum: of that layer.

    References:
        "Conventional batch normalization" with support statistics in Bronskill et al., *TaskNorm*, ICML 2020,
        https://arxiv.org/abs/2003.03284.
    """

    def __init__(
        self,
        channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        origin: type[nn.Module] = nn.BatchNorm2d,
        momentum: float | None = 0.1,
    ) -> None:
        super().__init__()
        _check(channels, eps, momentum)
        self.num_features, self.eps, self.origin, self.momentum = channels, eps, origin, momentum
        self.weight = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, *F] -> [N, C, *F]``."""
        recorded, known = record(len(x)), replayed()
        if known is not None:
            return moved(x, *affine(self, *known))
        if recorded is None:
            return _normalized(x, self.weight, self.bias, self.eps)
        axes = [0, *range(2, x.ndim)]
        mean, var = x.mean(axes), x.var(axes, unbiased=False)
        recorded.append((mean, var))
        return moved(x, *affine(self, mean, var))


def _check(channels: int, eps: float, momentum: float | None) -> None:
    check_count("channels", channels, 1)
    check_number("eps", eps, "[0, inf)")
    check_number("momentum", momentum, "[0, 1]", optional=True)


def layer(policy: str, channels: int) -> nn.Module:
    """A normalization layer over ``channels`` for a policy.

    Raises:
        InputError: for an unknown policy.

    Example:
        >>> layer("group", 64).num_groups
        8
    """
    if policy == "group":
        return nn.GroupNorm(groups(channels), channels)
    if policy == "support":
        return SupportNorm(channels)
    if policy == "running":
        return nn.BatchNorm2d(channels)
    if policy == "batch":
        return BatchNorm(channels)
    if policy == "none":
        return nn.Identity()
    raise InputError(f"norm policy {policy!r} is unknown; choose one of group, support, running, batch, none")


def groups(channels: int) -> int:
    """The number of groups of the policy ``group``: at most 8, and a divisor of the channels."""
    return next(g for g in (8, 4, 2, 1) if channels % g == 0)
