"""How two ways rank the same examples: Spearman's and Kendall's correlations of ranks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class Agreement(NamedTuple):
    """Rank correlations, from -1 (the other way round) to 1 (the same order); NaN where one of both tells nothing."""

    spearman: float
    kendall: float
    """Tau-b, which counts ties."""

    @classmethod
    def mean(cls, found: Sequence[Agreement]) -> Self:
        """The mean of those that are told."""
        means = []
        for values in zip(*found, strict=True):
            told = [value for value in values if not math.isnan(value)]
            means.append(sum(told) / len(told) if told else math.nan)
        return cls(*means) if means else cls(math.nan, math.nan)


def agreement(one: Floats, other: Floats) -> Agreement:
    """How two ways rank N things.

    Args:
        one: ``[N]``; infinite is more, or less, than any number.
        other: ``[N]``.

    Example:
        >>> agreement(np.array([1.0, 2.0, np.inf]), np.array([0.1, 0.2, 0.3]))
        Agreement(spearman=1.0, kendall=1.0)

    References:
        Kendall, *A New Measure of Rank Correlation*, Biometrika 1938. Spearman, *The Proof and Measurement of
        Association between Two Things*, 1904.
    """
    from scipy.stats import kendalltau, rankdata

    a, b = rankdata(one), rankdata(other)
    if len(a) < 2 or not np.ptp(a) or not np.ptp(b):
        return Agreement(math.nan, math.nan)
    return Agreement(float(np.clip(np.corrcoef(a, b)[0, 1], -1, 1)), float(kendalltau(a, b).statistic))
