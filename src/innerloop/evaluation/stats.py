"""Intervals and paired comparisons over tasks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from innerloop.core.task import InputError

#: With fewer tasks an interval rests on a spread that is hardly known.
FEW = 6


def interval(values: np.ndarray, level: float = 0.95, bounds: tuple[float, float] | None = None) -> tuple[float, float]:
    """An interval of the mean of independent values.

    It is Student's t interval. Where values have bounds, as shares have, and that interval leaves them, or all values
    are alike, so that it has no width, it is the exact binomial interval of as many tries as are worth the values
    (their mean's variance says how many; where all are alike each is worth one), which stays within the bounds. It
    always holds the mean.

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
        (0.738, 1.0)
        >>> tuple(round(end, 3) for end in interval(np.ones(20), bounds=(0, 1)))
        (0.832, 1.0)

    References:
        Clopper, Pearson, *The Use of Confidence or Fiducial Limits Illustrated in the Case of the Binomial*,
        Biometrika 1934; with the effective number of tries of Korn, Graubard, *Confidence Intervals for Proportions
        with Small Expected Number of Positive Counts Estimated from Survey Data*, Survey Methodology 1998.
    """
    from scipy import stats

    values = np.asarray(values, dtype=np.float64)
    if len(values) < 2:
        return float("nan"), float("nan")
    mean, t = float(np.mean(values)), float(stats.t.ppf(0.5 + level / 2, len(values) - 1))
    # Of values that are all alike the sum is rounded, and so is their spread.
    alike = float(np.ptp(values)) <= 1e-12 * max(1.0, abs(mean))
    half = 0.0 if alike else t * float(stats.sem(values))
    low, high = (min(mean, values[0]), max(mean, values[0])) if alike else (mean - half, mean + half)
    low, high = float(low), float(high)
    if bounds is None or (bounds[0] <= low and high <= bounds[1] and not alike):
        return low, high
    width = bounds[1] - bounds[0]
    share = min(max((mean - bounds[0]) / width, 0.0), 1.0)
    worth = float(len(values))
    if not alike:
        # The t factor takes the place of the normal one: the variance is an estimate.
        worth = share * (1 - share) * (float(stats.norm.ppf(0.5 + level / 2)) * width / half) ** 2
    least, most = share_interval(share, worth, level)
    return bounds[0] + width * min(least, share), bounds[0] + width * max(most, share)


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
    """Two-sided, paired t test."""
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
    same, error = not gap.any(), float(stats.sem(gap))
    # By hand, since scipy's own test warns where the differences are all alike; they are then certain.
    p_value = 2 * float(stats.t.sf(abs(gap.mean()) / error, len(gap) - 1)) if error > 0 else 0.0
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
