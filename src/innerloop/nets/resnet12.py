"""ResNet-12, the deeper backbone of the few-shot literature."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from innerloop.core import norm as norms
from innerloop.core.construction import Recorded
from innerloop.core.task import InputError
from innerloop.nets.sizes import check_sizes


class _Block(nn.Module):
    def __init__(self, channels: int, width: int, norm: str, dropout: float) -> None:
        super().__init__()
        steps = ((channels, width), (width, width), (width, width))
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1, bias=False) for a, b in steps)
        self.norms = nn.ModuleList(norms.layer(norm, width) for _ in steps)
        self.shortcut = nn.Sequential(nn.Conv2d(channels, width, 1, bias=False), norms.layer(norm, width))
        self.dropout = nn.Dropout2d(dropout) if dropout else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        residual = self.shortcut(x)
        for i, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            x = norm(convolution(x))
            x = F.leaky_relu(x, 0.1) if i < 2 else x
        return self.dropout(F.leaky_relu(F.max_pool2d(x + residual, 2), 0.1))


class ResNet12(Recorded):
    """Four residual blocks of three convolutions. Made by :func:`resnet12`."""

    def __init__(
        self, shape: tuple[int, int, int], widths: Sequence[int], out: int | None, norm: str, dropout: float
    ) -> None:
        super().__init__()
        self.shape = shape
        channels = (shape[0], *widths)
        self.blocks = nn.Sequential(*(_Block(a, b, norm, dropout) for a, b in pairwise(channels)))
        self.features = (widths[-1],)
        self.out = nn.Linear(widths[-1], out) if out is not None else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, H, W] -> [N, features]`` or ``[N, out]``."""
        if tuple(x.shape[1:]) != self.shape:
            raise InputError(
                f"the network was built for examples of shape {self.shape}, it got {tuple(x.shape[1:])}: "
                f"resize the examples or build it with nets.resnet12(shape={tuple(x.shape[1:])})"
            )
        return self.out(self.blocks(x).mean((2, 3)))


def resnet12(
    shape: Sequence[int] = (3, 84, 84),
    *,
    width: Sequence[int] = (64, 160, 320, 640),
    out: int | None = None,
    norm: str = "running",
    dropout: float = 0.0,
) -> ResNet12:
    """ResNet-12 with global average pooling.

    Args:
        shape: of one image ``(C, H, W)``, at least 16 pixels a side.
        width: filters of the four blocks.
        out: outputs of a linear layer at the end; ``None`` for an encoder.
        norm: normalization policy, see :mod:`innerloop.norm`.
        dropout: probability of dropping a channel after each block.

    Example:
        >>> resnet12((3, 32, 32), width=(8, 16, 24, 32)).features
        (32,)

    References:
        Oreshkin, Rodríguez, Lacoste, *TADAM*, NeurIPS 2018, https://arxiv.org/abs/1805.10123.
    """
    if len(shape) != 3 or min(shape[1:]) < 16:
        raise InputError(f"resnet12 takes images (C, H, W) of at least 16 pixels a side, not {tuple(shape)}")
    check_sizes("resnet12", tuple(width), dropout, out)
    return ResNet12((shape[0], shape[1], shape[2]), tuple(width), out, norm, dropout)
