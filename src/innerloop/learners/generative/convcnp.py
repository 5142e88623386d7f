"""Convolutional Conditional Neural Processes (Gordon et al., ICLR 2020, https://arxiv.org/abs/1910.13556).

The context becomes a function on a grid (a smoothed density of the points, and the smoothed values), a convolutional
network works on it, and its result is read at the target points. Shifting all points shifts the prediction: choose it
for stationary processes of one input (:class:`ConvCNP`: time series) and for images (:class:`GridConvCNP`), where it
learns from fewer tasks and carries over to places that training never saw. More points fold in exactly: sums add up.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from innerloop.core.likelihood import Likelihood
from innerloop.core.numbers import check_count, check_number
from innerloop.core.task import Examples, InputError, transformed
from innerloop.learners.generative.process import NeuralProcess
from innerloop.nets.mlp import mlp
from innerloop.nets.separable import SeparableBlock1d, SeparableBlock2d


class ConvState(NamedTuple):
    """Sums over the context, ``[G, 1 + D]`` or ``[1 + D, H, W]`` (density first), and the network's result on them."""

    sums: Tensor
    features: Tensor


class ConvCNP(NeuralProcess):
    """Convolutional conditional neural process of one input, off the grid.

    The network sees the line from ``lo - margin`` to ``hi + margin``. Context points beyond it would not be seen, and
    targets beyond it read its end: both are refused wherever values can be looked at.

    Args:
        inputs: columns of x: 1.
        targets: columns D of y.
        lo: where the points begin, in the units of x.
        hi: where they end.
        margin: of the grid on either side, in the units of x: about a lengthscale.
        points_per_unit: grid points per unit of x: several per lengthscale.
        width: channels.
        layers: residual blocks; the dilation doubles from one to the next.
        kernel: grid points that a filter reads, odd.
        likelihood: default :class:`~innerloop.Gaussian` with a learned deviation.

    Raises:
        InputError: for more than one input, an empty range, or a grid of fewer than 2 points.

    Example:
        >>> import torch, innerloop as il
        >>> learner = il.ConvCNP(1, 1, lo=0.0, hi=1.0, points_per_unit=16, width=8, layers=2)
        >>> learner.predict(learner.adapt(il.Examples(torch.rand(5, 1), torch.rand(5, 1))), torch.rand(7, 1)).shape
        torch.Size([1, 7, 2])

    References:
        Gordon et al., *Convolutional Conditional Neural Processes*, ICLR 2020, https://arxiv.org/abs/1910.13556.
    """

    def __init__(
        self,
        inputs: int,
        targets: int,
        *,
        lo: float = -2.0,
        hi: float = 2.0,
        margin: float = 0.5,
        points_per_unit: float = 32,
        width: int = 64,
        layers: int = 6,
        kernel: int = 5,
        likelihood: Likelihood | None = None,
    ) -> None:
        super().__init__(inputs, targets, likelihood)
        if inputs != 1:
            raise InputError(f"a ConvCNP has 1 input, not {inputs}: GridConvCNP takes pixels, TNP anything")
        _check(lo, hi, width, layers)
        check_number("margin", margin, "[0, inf)")
        check_number("points_per_unit", points_per_unit, "(0, inf)")
        length = hi - lo + 2 * margin
        if not (math.isfinite(length) and length * points_per_unit >= 1):
            raise InputError(
                f"a grid from {lo} to {hi} with margin {margin} and {points_per_unit} points per unit: lo < hi, "
                f"margin >= 0 and at least 2 points are needed"
            )
        self.start, self.places, self.density = lo - margin, round(length * points_per_unit) + 1, points_per_unit
        self.end = hi + margin
        # Of the kernel that spreads points onto the grid, and of the one that reads it: two grid steps to begin with.
        self.log_scales = nn.Parameter(torch.full((2,), math.log(2 / points_per_unit)))
        self.first = nn.Linear(1 + targets, width)
        self.blocks = nn.Sequential(*(SeparableBlock1d(width, kernel, 2**i) for i in range(layers)))
        self.head = mlp(width, width, self.raws)

    def check(self, support: Examples) -> None:  # noqa: D102
        super().check(support)
        _check_places(support.x, self.start, self.end, "lo=, hi= and margin=")

    def adapt(self, support: Examples, state: ConvState | None = None) -> ConvState:  # noqa: D102
        y = self.pairs(support)[:, 1:]
        sums = self._closeness(support.x, 0).exp().mT @ torch.cat((torch.ones_like(y[:, :1]), y), 1)
        sums = sums if state is None else state.sums + sums
        return ConvState(sums, self.blocks(self.first(normalized(sums, 1))))

    def predict(self, state: ConvState, x: Tensor) -> Tensor:  # noqa: D102
        _check_places(x, self.start, self.end, "lo=, hi= and margin=")
        return self.head(self._closeness(x, 1).softmax(1) @ state.features).unsqueeze(0)

    def _closeness(self, x: Tensor, which: int) -> Tensor:
        """Log of the Gaussian kernel between points and grid: ``[N, 1] -> [N, G]``."""
        grid = self.start + torch.arange(self.places, dtype=x.dtype, device=x.device) / self.density
        return -0.5 * ((x - grid) / self.log_scales[which].exp()) ** 2


class GridConvCNP(NeuralProcess):
    """Convolutional conditional neural process on a grid: x are the places of pixels, y their values.

    A place between pixels counts for its neighbors, in proportion (bilinear interpolation).

    Args:
        inputs: columns of x: 2, the row's and the column's coordinate.
        targets: columns D of y: the image's channels.
        size: rows H and columns W of the image.
        lo: coordinate of the first row and column.
        hi: coordinate of the last row and column.
        width: channels.
        layers: residual blocks.
        kernel: side of the filters, odd.
        likelihood: default :class:`~innerloop.Gaussian` with a learned deviation.

    Raises:
        InputError: for other than 2 inputs, a side below 2 pixels, or an empty range.

    Example:
        >>> import torch, innerloop as il
        >>> learner = il.learners.GridConvCNP(2, 3, size=(8, 8), width=8, layers=1)
        >>> learner.predict(learner.adapt(il.Examples(torch.rand(5, 2), torch.rand(5, 3))), torch.rand(7, 2)).shape
        torch.Size([1, 7, 6])

    References:
        Gordon et al., *Convolutional Conditional Neural Processes*, ICLR 2020, https://arxiv.org/abs/1910.13556.
    """

    def __init__(
        self,
        inputs: int,
        targets: int,
        *,
        size: tuple[int, int] = (28, 28),
        lo: float = -1.0,
        hi: float = 1.0,
        width: int = 64,
        layers: int = 6,
        kernel: int = 5,
        likelihood: Likelihood | None = None,
    ) -> None:
        super().__init__(inputs, targets, likelihood)
        if inputs != 2:
            raise InputError(f"a GridConvCNP has 2 inputs, row and column, not {inputs}: TNP takes any number")
        _check(lo, hi, width, layers)
        for side in size:
            check_count("a side of size, in pixels,", side, 2)
        self.size, self.lo, self.hi = tuple(size), lo, hi
        check_count("kernel", kernel, 1)
        side = 2 * max(kernel // 2, 1) + 1
        self.spread = nn.Parameter(torch.full((1, 1, side, side), 1 / side**2))
        self.first = nn.Conv2d(1 + targets, width, 1)
        self.blocks = nn.Sequential(*(SeparableBlock2d(width, kernel) for _ in range(layers)))
        self.head = mlp(width, width, self.raws)

    def check(self, support: Examples) -> None:  # noqa: D102
        super().check(support)
        _check_places(support.x, self.lo, self.hi, "lo= and hi=")

    def adapt(self, support: Examples, state: ConvState | None = None) -> ConvState:  # noqa: D102
        y = self.pairs(support)[:, 2:]
        rows, columns = self._shares(support.x)
        values = torch.cat((torch.ones_like(y[:, :1]), y), 1)
        sums = (rows.unsqueeze(0) * values.mT.unsqueeze(2)).mT @ columns
        sums = sums if state is None else state.sums + sums
        # Positive weights: a smoothed density is a density.
        smooth = F.conv2d(sums.unsqueeze(1), self.spread.abs(), padding=self.spread.shape[-1] // 2).squeeze(1)
        return ConvState(sums, self.blocks(self.first(normalized(smooth, 0).unsqueeze(0))).squeeze(0))

    def predict(self, state: ConvState, x: Tensor) -> Tensor:  # noqa: D102
        _check_places(x, self.lo, self.hi, "lo= and hi=")
        rows, columns = self._shares(x)
        across = torch.einsum("nh,chw->nwc", rows, state.features)
        return self.head((columns.unsqueeze(1) @ across).squeeze(1)).unsqueeze(0)

    def _shares(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """How much each row and each column is a point's own: ``[N, 2]`` to ``[N, H]`` and ``[N, W]``."""
        shares = []
        for axis, pixels in enumerate(self.size):
            place = (x[:, axis : axis + 1] - self.lo) * ((pixels - 1) / (self.hi - self.lo))
            shares.append(F.relu(1 - (place - torch.arange(pixels, dtype=x.dtype, device=x.device)).abs()))
        return shares[0], shares[1]


def _check(lo: float, hi: float, width: int, layers: int) -> None:
    """Refuse a grid without places, and sizes that no network has."""
    for name, value in (("lo", lo), ("hi", hi)):
        check_number(name, value, "(-inf, inf)")
    if not lo < hi:
        raise InputError(f"a grid from {lo} to {hi}: lo must be below hi")
    check_count("width", width, 1)
    check_count("layers", layers, 0)


def _check_places(x: Tensor, start: float, end: float, options: str) -> None:
    """Refuse points that the grid does not reach. Under a transform, where values cannot be looked at, nothing is."""
    if transformed() or not x.numel():
        return
    low, high = (float(value) for value in x.detach().aminmax())
    slack = 1e-3 * (end - start)
    if low < start - slack or high > end + slack:
        raise InputError(
            f"points from {low:g} to {high:g} lie outside the grid from {start:g} to {end:g}, which does not see them: "
            f"scale them, or build the process with {options} around them"
        )


def normalized(sums: Tensor, axis: int) -> Tensor:
    """Density and weighted means from sums of weights and of weighted values, stacked along ``axis``.

    Where there are no points the mean is 0. The density is squashed to 0 to 1: what matters is whether points are near.
    """
    density, signal = sums.split((1, sums.shape[axis] - 1), axis)
    return torch.cat((density / (1 + density), signal / (density + 1e-8)), axis)
