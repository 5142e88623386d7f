"""Intervals and paired comparisons over tasks."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from innerloop.core.task import InputError

#: With fewer tasks an interval rests on a spread that is hardly known.
FEW = 6


def interval(values: np.ndarray, level: float = 0.95, bounds: tuple[float, float] | None = None) -> tuple[float, float]:
    """An interval of the mean of independent values.

    It is Student's t interval of the mean after Hall's transformation, which takes the skewness of the values out:
    where they have none it is Student's, where a few tasks are much worse than all others it reaches further to their
    side, and covers what it says where Student's does not (``benchmarks/coverage.py``). With bounds it stays within
    them. Where bounded values are all alike it is the exact binomial interval of as many tries, each worth one.

    Args:
        values: one a task, ``[T]``.
        level: coverage.
        bounds: between which every value lies.

    Returns:
        the two ends, NaN for fewer than two tasks.

    Example:
        >>> tuple(round(end, 3) for end in interval(np.array([0.0, 1.0, 1.0, 0.0])))
        (-0.419, 1.419)
        >>> tuple(round(end, 3) for end in interval(np.array([1.0, 1.0, 1.0, 0.9]), bounds=(0, 1)))
        (0.655, 1.0)
        >>> tuple(round(end, 3) for end in interval(np.ones(20), bounds=(0, 1)))
        (0.832, 1.0)

    References:
        Hall, *On the Removal of Skewness by Transformation*, Journal of the Royal Statistical Society B 54, 1992. Of
        values that are alike: Clopper, Pearson, *The Use of Confidence or Fiducial Limits Illustrated in the Case of
        the Binomial*, Biometrika 1934.
    """
    values = np.asarray(values, dtype=np.float64)
    if len(values) < 2:
        return float("nan"), float("nan")
    mean = float(np.mean(values))
    if _alike(values):
        # Of values that are all alike the sum is rounded, and so is their spread.
        low, high = float(min(mean, values[0])), float(max(mean, values[0]))
        if bounds is None:
            return low, high
        width = bounds[1] - bounds[0]
        share = min(max((mean - bounds[0]) / width, 0.0), 1.0)
        least, most = share_interval(share, len(values), level)
        return bounds[0] + width * min(least, share), bounds[0] + width * max(most, share)
    error, skew = moments(values)
    return ends(mean, error, skew, quantile(len(values) - 1, level), bounds)


def moments(values: np.ndarray) -> tuple[float, float]:
    """The standard error of the mean of independent values, and the skewness of that mean."""
    centered, count = values - values.mean(), len(values)
    deviation = math.sqrt(float(np.square(centered).sum()) / (count - 1))
    return deviation / math.sqrt(count), float(np.mean(centered**3)) / deviation**3 / math.sqrt(count)


def ends(
    mean: float,
    error: float,
    skew: float,
    most: float,
    bounds: tuple[float, float] | None = None,
) -> tuple[float, float]:
    """The ends of an interval of a mean by Hall's transformation of Student's t.

    Args:
        mean: the estimate.
        error: its standard error.
        skew: its skewness.
        most: how many standard errors an interval without skewness reaches to each side.
        bounds: that the ends stay within.

    Example:
        >>> [tuple(round(end, 2) for end in ends(0.0, 1.0, skew, 1.96)) for skew in (0.0, 0.3)]
        [(-1.96, 1.96), (-1.63, 2.65)]
    """
    low, high = mean - error * _straightened(most, skew), mean - error * _straightened(-most, skew)
    if bounds is not None:
        low, high = max(low, float(bounds[0])), min(high, float(bounds[1]))
    return min(low, mean), max(high, mean)


def by_odds(mean: float, error: float, most: float, bounds: tuple[float, float]) -> tuple[float, float]:
    """The ends of an interval of a mean between bounds, on the logistic scale.

    Args:
        mean: the estimate, between the bounds and at neither.
        error: its standard error.
        most: how many standard errors it reaches to each side.
        bounds: that the ends stay within.

    Example:
        >>> [tuple(round(end, 3) for end in by_odds(mean, 0.01, 1.96, (0, 1))) for mean in (0.5, 0.98)]
        [(0.48, 0.52), (0.947, 0.993)]
    """
    from scipy.special import expit, logit

    low, width = float(bounds[0]), float(bounds[1] - bounds[0])
    share = (mean - low) / width
    half = most * error / width / (share * (1 - share))
    least, greatest = expit(logit(share) + np.array([-half, half]))
    return low + width * float(least), low + width * float(greatest)


def quantile(degrees: float, level: float = 0.95) -> float:
    """How many standard errors an interval reaches to each side, by Student's t of so many degrees of freedom.

    Example:
        >>> round(quantile(10), 3)
        2.228
    """
    from scipy.stats import t

    return float(t.ppf(0.5 + level / 2, degrees))


def tail(mean: float, error: float, skew: float, degrees: float) -> float:
    """How likely a mean so far from 0 is where the true one is 0: two-sided, as :func:`ends` has it."""
    from scipy.stats import t

    away = mean / error
    bent = away + skew * away**2 / 3 + skew**2 * away**3 / 27 + skew / 6
    return 2 * float(t.sf(abs(bent), degrees))


def _straightened(value: float, skew: float) -> float:
    """The studentized mean whose transform is a value."""
    if abs(skew) < 1e-9:
        return value
    return 3 / skew * (float(np.cbrt(1 + skew * (value - skew / 6))) - 1)


def _alike(values: np.ndarray) -> bool:
    return float(np.ptp(values)) <= 1e-12 * max(1.0, abs(float(np.mean(values))))


def share_interval(share: float, tries: float, level: float = 0.95) -> tuple[float, float]:
    """The exact binomial interval (Clopper and Pearson 1934) of a share of independent tries.

    Args:
        share: that was found, 0 to 1.
        tries: how many; an effective number need not be whole.
        level: coverage.

    Example:
        >>> tuple(round(end, 3) for end in share_interval(1.0, 20))
        (0.832, 1.0)
    """
    from scipy.stats import beta

    hits, tail = share * tries, (1 - level) / 2
    low = float(beta.ppf(tail, hits, tries - hits + 1)) if share > 0 else 0.0
    return low, float(beta.ppf(1 - tail, hits + 1, tries - hits)) if share < 1 else 1.0


class Difference(NamedTuple):
    """A paired difference, first minus second."""

    mean: float
    interval: tuple[float, float]
    p_value: float
    """Two-sided, of the paired t test with the skewness taken out: below .05 where the interval leaves 0 out."""
    p_rank: float
    """Two-sided, Wilcoxon's signed-rank test."""
    wins: int
    losses: int
    tasks: int


def paired(first: np.ndarray, second: np.ndarray, bounds: tuple[float, float] | None = None) -> Difference:
    """Compare two methods on the same tasks.

    Args:
        first: a metric of the first method, ``[T]``.
        second: the same metric of the second on the same tasks.
        bounds: between which every value lies, and so the interval of their difference.

    Raises:
        InputError: if the numbers of tasks differ, or there are fewer than two.

    Example:
        >>> paired(np.array([0.9, 0.8, 1.0]), np.array([0.8, 0.7, 0.8])).wins
        3
    """
    from scipy import stats

    if len(first) != len(second) or len(first) < 2:
        raise InputError(f"a paired comparison needs the same two or more tasks; got {len(first)} and {len(second)}")
    gap = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    same = not gap.any()
    # Differences that are all alike are certain.
    p_value = 0.0 if _alike(gap) else tail(float(gap.mean()), *moments(gap), len(gap) - 1)
    low, high = interval(gap)
    if bounds is not None:
        most = bounds[1] - bounds[0]
        low, high = max(low, -most), min(high, most)
    return Difference(
        mean=float(gap.mean()),
        interval=(low, high),
        p_value=1.0 if same else p_value,
        p_rank=1.0 if same else float(stats.wilcoxon(gap).pvalue),
        wins=int((gap > 0).sum()),
        losses=int((gap < 0).sum()),
        tasks=len(gap),
    )
