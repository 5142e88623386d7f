"""Intervals and paired comparisons over tasks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from innerloop.core.task import InputError


def interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Student's t interval of the mean of independent values.

    Args:
        values: one a task, ``[T]``.
        level: coverage.

    Returns:
        the two ends, NaN for fewer than two tasks.

    Example:
        >>> tuple(round(end, 3) for end in interval(np.array([0.0, 1.0, 1.0, 0.0])))
        (-0.419, 1.419)
    """
    from scipy import stats

    if len(values) < 2:
        return float("nan"), float("nan")
    half = stats.t.ppf(0.5 + level / 2, len(values) - 1) * stats.sem(values)
    return float(np.mean(values) - half), float(np.mean(values) + half)


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


def paired(first: np.ndarray, second: np.ndarray) -> Difference:
    """Compare two methods on the same tasks.

    Args:
        first: a metric of the first method, ``[T]``.
        second: the same metric of the second on the same tasks.

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
    return Difference(
        mean=float(gap.mean()),
        interval=interval(gap),
        p_value=1.0 if same else p_value,
        p_rank=1.0 if same else float(stats.wilcoxon(gap).pvalue),
        wins=int((gap > 0).sum()),
        losses=int((gap < 0).sum()),
        tasks=len(gap),
    )
