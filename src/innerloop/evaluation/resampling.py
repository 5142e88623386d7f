"""Intervals of figures that are no mean over tasks: an area, a correlation, a rate over all queries at once.

The queries of a task are not independent, its support set is in all of them; so tasks are what is left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from innerloop.core.task import InputError
from innerloop.evaluation.stats import ends, moments, quantile, share_interval

#: Parts of the tasks that are left out in turn.
GROUPS = 100


class Estimate(NamedTuple):
    """A figure and its 95 % interval."""

    value: float
    interval: tuple[float, float]


def jackknife(
    statistic: Callable[[np.ndarray], float],
    tasks: int,
    *,
    bounds: tuple[float, float] | None = None,
    level: float = 0.95,
    groups: int = GROUPS,
) -> Estimate:
    """A statistic of many tasks, with an interval over tasks by leaving out one part of them after the other.

    Where it has bounds the interval is made on the logistic scale and stays within them; where it is at a bound
    whatever is left out, it is the exact binomial one of as many tries as there are tasks.

    Args:
        statistic: from the numbers of some tasks, int ``[n]``, to a number that changes smoothly with them.
        tasks: how many there are, in an order that says nothing.
        bounds: between which the statistic lies.
        level: coverage.
        groups: parts that are left out in turn; of fewer tasks each is one.

    Raises:
        InputError: for fewer than two tasks or parts.

    Example:
        >>> values = np.array([0.1, 0.4, 0.5, 0.6, 0.9])
        >>> found = jackknife(lambda kept: values[kept].mean(), 5)
        >>> round(found.value, 3), tuple(round(end, 3) for end in found.interval)
        (0.5, (0.138, 0.862))

    References:
        Tukey, *Bias and confidence in not quite large samples*, Annals of Mathematical Statistics 1958; by groups:
        Shao, Tu, *The Jackknife and Bootstrap*, Springer 1995.
    """
    from scipy.special import expit, logit

    if tasks < 2 or groups < 2:
        raise InputError(f"{tasks} tasks in {groups} parts: an interval needs two at least")
    every = np.arange(tasks)
    value = float(statistic(every))
    # Every so-manieth task makes a part, so that parts differ by one task at most.
    parts = min(groups, tasks)
    left = np.array([statistic(every[every % parts != part]) for part in range(parts)], dtype=np.float64)
    if not math.isfinite(value) or not np.isfinite(left).all():
        return Estimate(value, (math.nan, math.nan))
    if bounds is None:
        return Estimate(value, _around(value, left, level))
    low, width = float(bounds[0]), float(bounds[1] - bounds[0])
    share, shares = (value - low) / width, (left - low) / width
    if not (0 < share < 1) or not ((shares > 0) & (shares < 1)).all():
        least, most = share_interval(min(max(share, 0.0), 1.0), tasks, level)
        return Estimate(value, (low + width * least, low + width * most))
    least, most = expit(_around(float(logit(share)), logit(shares), level)).tolist()
    return Estimate(value, (low + width * least, low + width * most))


def _around(value: float, left: np.ndarray, level: float) -> tuple[float, float]:
    """The interval of a mean of what each part adds, without its skewness."""
    adds = (len(left) - 1) * (left.mean() - left)
    if not adds.any():
        return value, value
    return ends(value, *moments(adds), quantile(len(left) - 1, level))
