"""Central intervals that hold what they say: the shares of a predicted distribution, by rows it was not told of."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

#: Parts of the rows that are left out in turn, and how many rows are enough to know by.
_FOLDS, _ENOUGH = 5, 100
#: Shares at which a distribution is looked at.
SHARES = np.concatenate(([1e-4, 1e-3], np.linspace(0.005, 0.995, 199), [1 - 1e-3, 1 - 1e-4]))
#: Nearest to 0 and 1 that a share comes.
_END = 1e-6


def left_out_levels(y: Floats, quantiles: Callable[[npt.NDArray[np.intp], npt.NDArray[np.intp]], Floats]) -> Floats:
    """For rows left out, the smallest central interval that holds each: its share, sorted, ``[L]``.

    Every part has small and large targets alike. Where there are many rows some parts suffice.

    Args:
        y: targets ``[N]``, two at least.
        quantiles: from the rows that are read and those that are asked, the asked ones' quantiles at :data:`SHARES`.
    """
    folds = min(_FOLDS, len(y))
    fold = np.empty(len(y), dtype=np.intp)
    fold[np.argsort(y, kind="stable")] = np.arange(len(y)) % folds
    levels = []
    for number in range(min(folds, math.ceil(_ENOUGH * folds / len(y)))):
        asked = np.flatnonzero(fold == number)
        ends = quantiles(np.flatnonzero(fold != number), asked)
        place = [np.interp(value, row, SHARES, 0.0, 1.0) for value, row in zip(y[asked], ends, strict=True)]
        levels.append(np.abs(2 * np.array(place) - 1))
    return np.sort(np.concatenate(levels))


def held(shares: Floats, levels: Floats) -> Floats:
    """The shares to ask the distribution for, so that central intervals hold theirs.

    Of n levels the k-th smallest holds a new row with a probability of ``k / (n + 1)``; between them it is linear.

    Args:
        shares: that are wanted, within 0 and 1, ``[K]``.
        levels: what :func:`left_out_levels` gave.

    Example:
        >>> held(np.array([0.1, 0.5, 0.9]), np.array([0.2, 0.4, 0.6, 0.9])).round(6).tolist()
        [0.05, 0.5, 0.95]
    """
    ranks = np.arange(len(levels) + 2) / (len(levels) + 1)
    inner = np.interp(np.abs(2 * shares - 1), ranks, [0.0, *levels, 1.0])
    return np.asarray((0.5 + np.sign(shares - 0.5) * inner / 2).clip(_END, 1 - _END))
