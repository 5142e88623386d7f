"""Residual blocks of separable convolutions: a filter for each channel, then a mixture of channels at each place."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from innerloop.core.construction import Recorded
from innerloop.core.numbers import check_count
from innerloop.core.task import InputError


class SeparableBlock1d(Recorded):
    """A residual block on a line of places: ``[G, width] -> [G, width]``, of the same length and without strides.

    The filter is a sum of shifted copies, which on a CPU beats a grouped convolution, above all a dilated one.

    Args:
        width: channels.
        kernel: places that the filter reads, odd.
        dilation: distance between them.

    Raises:
        InputError: for an even kernel.

    Example:
        >>> SeparableBlock1d(8, dilation=4)(torch.zeros(50, 8)).shape
        torch.Size([50, 8])

    References:
        Chollet, *Xception*, CVPR 2017, https://arxiv.org/abs/1610.02357.
    """

    def __init__(self, width: int, kernel: int = 5, dilation: int = 1) -> None:
        super().__init__()
        check_count("width", width, 1)
        _check_odd(kernel)
        check_count("dilation", dilation, 1)
        self.dilation = dilation
        self.filter = nn.Parameter(torch.empty(kernel, width).uniform_(-1, 1) / math.sqrt(kernel))
        self.mix, self.out = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, rows: Tensor) -> Tensor:
        """One more look at the neighborhood."""
        places, reach = rows.shape[-2], self.dilation * (len(self.filter) // 2)
        padded = F.pad(rows, (0, 0, reach, reach))
        shifted = [padded[..., i * self.dilation : i * self.dilation + places, :] for i in range(len(self.filter))]
        z = shifted[0] * self.filter[0]
        for part, weight in zip(shifted[1:], self.filter[1:], strict=True):
            z = torch.addcmul(z, part, weight)
        return rows + self.out(F.relu(self.mix(z)))


class SeparableBlock2d(Recorded):
    """A residual block on maps: ``[1, width, H, W] -> [1, width, H, W]``.

    Args:
        width: channels.
        kernel: side of the filter, odd.

    Raises:
        InputError: for an even kernel.

    Example:
        >>> SeparableBlock2d(8)(torch.zeros(1, 8, 6, 6)).shape
        torch.Size([1, 8, 6, 6])

    References:
        Chollet, *Xception*, CVPR 2017, https://arxiv.org/abs/1610.02357.
    """

    def __init__(self, width: int, kernel: int = 5) -> None:
        super().__init__()
        check_count("width", width, 1)
        _check_odd(kernel)
        self.filter = nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=width, bias=False)
        self.mix, self.out = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """One more look at the neighborhood."""
        return maps + self.out(F.relu(self.mix(self.filter(maps))))


def _check_odd(kernel: int) -> None:
    check_count("kernel", kernel, 1)
    if kernel % 2 == 0:
        raise InputError(f"a kernel of {kernel} places has no middle: take an odd number")
