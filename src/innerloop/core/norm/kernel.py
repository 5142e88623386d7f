"""A norm inside the kernel: batch norm whose statistics are known before the convolution runs."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from innerloop.core.norm.layers import SupportNorm, affine, track
from innerloop.core.norm.replay import record, replayed


def convolved(convolution: nn.Module, layer: nn.Module, x: Tensor) -> tuple[Tensor, Tensor | None]:
    """``layer(convolution(x))`` in two parts: what is still to be added to the first, ``[1, C, 1, 1]``, or None.

    A batch norm whose statistics are known before the convolution is a scale of its kernel and a shift: the passes over
    the images that normalizing takes are saved, and pooling may come before the shift. They are known where they are
    kept, and for few input channels: those of the patches that the kernel sees give those of the result.
    """
    plain = isinstance(convolution, nn.Conv2d) and convolution.bias is None and _bare(convolution, layer)
    if not (plain and isinstance(layer, nn.BatchNorm2d | SupportNorm)):
        return layer(convolution(x)), None
    assert isinstance(convolution, nn.Conv2d)
    moments = _known(layer) or _foreseen(convolution, layer, x)
    if moments is None:
        return layer(convolution(x)), None
    scale, shift = affine(layer, *moments)
    kernel = (convolution.weight * scale.view(-1, 1, 1, 1)).to(convolution.weight.dtype)
    y = convolution._conv_forward(x, kernel, None)
    return y, shift.to(y.dtype).view(1, -1, 1, 1)


def _bare(*modules: nn.Module) -> bool:
    """Whether nobody looks at what goes in and out of the modules, or has put another function in their place."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return not any("forward" in vars(part) or any(getattr(part, name) for name in hooks) for part in modules)


def _known(layer: nn.BatchNorm2d | SupportNorm) -> tuple[Tensor, Tensor] | None:
    """Mean and variance that a layer uses whatever it sees."""
    if isinstance(layer, SupportNorm):
        return replayed()
    if layer.training or layer.running_mean is None or layer.running_var is None:
        return None
    return layer.running_mean, layer.running_var


def _foreseen(convolution: nn.Conv2d, layer: nn.BatchNorm2d | SupportNorm, x: Tensor) -> tuple[Tensor, Tensor] | None:
    """Mean and variance of the convolution's result, by those of the patches of ``x``; None where that does not pay."""
    kernel, stride, padding = convolution.weight, convolution.stride, convolution.padding
    plain = convolution.dilation == (1, 1) and convolution.groups == 1 and convolution.padding_mode == "zeros"
    if not plain or kernel[0].numel() >= len(kernel) or isinstance(padding, str):
        return None
    recorded = record(len(x)) if isinstance(layer, SupportNorm) else None
    dtype = torch.promote_types(x.dtype, torch.float32)
    padded = F.pad(x, (padding[1], padding[1], padding[0], padding[0])).to(dtype)
    rows, columns = (
        [slice(start, size - kernel.shape[axis] + 1 + start, stride[axis - 2]) for start in range(kernel.shape[axis])]
        for axis, size in ((2, padded.shape[-2]), (3, padded.shape[-1]))
    )
    patches = torch.stack([padded[:, :, row, column] for row in rows for column in columns])
    patches = patches.permute(2, 0, 1, 3, 4).flatten(0, 1).flatten(1)
    if patches.shape[1] < 2:
        # Nothing to take a variance of: the layer says so itself.
        return None
    center = patches.mean(1)
    rest = patches - center.unsqueeze(1)
    flat = kernel.flatten(1).to(dtype)
    with torch.autocast(x.device.type, enabled=False):
        mean = flat @ center
        var = ((flat @ (rest @ rest.T / rest.shape[1])) * flat).sum(1)
    if recorded is not None:
        recorded.append((mean, var))
    if not isinstance(layer, SupportNorm):
        track(layer, mean, var, rest.shape[1])
    return mean, var
