"""The open interval: the classes of a test set, and their examples, are a draw from more such classes.

Two episodes that share no class are independent; two that share some are not. Of half the squared difference of two
episodes the mean over pairs without a common class is so the variance of one episode, s0. Over all pairs it is less, by
what the common classes hold together, and the difference is the variance of the mean of all episodes, exactly, whatever
classes have in common and however often each was drawn:

    var(mean) = s0 - (mean squared distance of the episodes from their mean)

All episodes count, not only as many as the classes give when none is used twice.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from innerloop.evaluation.stats import by_odds, ends, interval, quantile

#: Episodes whose pairs are looked at.
_PAIRED = 2000


def open_interval(
    values: np.ndarray,
    classes: npt.NDArray[np.intp],
    bounds: tuple[float, float] | None = None,
    level: float = 0.95,
) -> tuple[float, float] | None:
    """An interval of the mean over episodes for other classes of the kind, from episodes that share classes.

    Args:
        values: one an episode, ``[T]``; those that are not finite are left out.
        classes: of each episode, ``[T, ways]``.
        bounds: between which every value lies; the interval is then made on the logistic scale, since the skewness that
            a few hard classes make is badly known where few classes were drawn and lacks when none of these was hard.
        level: coverage.

    Returns:
        the two ends; ``None`` where there are fewer pairs without a common class than episodes.

    Example:
        >>> generator = np.random.default_rng(0)
        >>> good, classes = generator.normal(size=20), np.stack([generator.permutation(20)[:5] for _ in range(300)])
        >>> values = good[classes].mean(1)
        >>> closed, wide = interval(values), open_interval(values, classes)
        >>> [bool(wide[0] < 0 < wide[1]), round((wide[1] - wide[0]) / (closed[1] - closed[0]), 1)]
        [True, 10.9]

    References:
        Lafargue et al., *Oops, I Sampled it Again: Reinterpreting Confidence Intervals in Few-Shot Learning*, 2024,
        https://arxiv.org/abs/2409.02850, which takes episodes without a common class alone. Variances of means over
        sets: Hoeffding, *A Class of Statistics with Asymptotically Normal Distribution*, Annals of Mathematical
        Statistics 1948.
    """
    there = np.isfinite(values)
    values, classes = np.asarray(values, np.float64)[there], classes[there]
    found = class_spread(values, classes)
    if found is None:
        return None
    if found.variance <= 0:
        # All alike: as many tries as episodes without a common class.
        return interval(values[: len(np.unique(classes)) // classes.shape[1]], level, bounds)
    mean, error, most = float(values.mean()), found.variance**0.5, quantile(found.degrees, level)
    if bounds is None or not np.isfinite(bounds).all():
        return ends(mean, error, found.skew, most, bounds)
    return by_odds(mean, error, most, bounds)


class Spread(NamedTuple):
    """How a mean over episodes would differ for other classes."""

    variance: float
    skew: float
    degrees: float
    """Of freedom, of the variance."""


def class_spread(values: npt.NDArray[np.float64], classes: npt.NDArray[np.intp]) -> Spread | None:
    """The spread of the mean of finite values ``[T]`` over episodes of classes ``[T, ways]``, as classes are drawn."""
    tasks, ways = classes.shape
    known, place = np.unique(classes, return_inverse=True)
    place = place.reshape(classes.shape)
    if tasks < 2 or len(known) < 2 * ways:
        return None
    centered = values - values.mean()
    few = centered[:_PAIRED]
    apart = _apart(few, place[:_PAIRED], len(known))
    if apart is None:
        return None
    own = float(np.square(centered).sum()) / (tasks - 1) / tasks
    # The noise of drawing episodes falls with all of them, that of classes does not.
    by_class = max(apart - float(few.var()) - float(few.var(ddof=1)) / len(few), 0.0)
    variance = own + by_class
    if variance <= 0:
        return Spread(0.0, 0.0, tasks - 1)
    # Pairs of classes make the variance of few classes less certain than as many numbers would.
    degrees = variance**2 / (by_class**2 / max((len(known) - ways) / 2, 1) + own**2 / (tasks - 1))
    of_class = np.bincount(place.ravel(), np.repeat(centered, ways)) / np.bincount(place.ravel())
    third = ways**3 / len(known) ** 2 * float(np.mean(of_class**3))
    third -= (ways - 1) * float(np.mean(centered**3)) / tasks**2
    return Spread(variance, third / variance**1.5, degrees)


def _apart(values: npt.NDArray[np.float64], place: npt.NDArray[np.intp], classes: int) -> float | None:
    """The mean of half the squared difference of the pairs that have no class in common."""
    member = np.zeros((len(values), classes), np.float32)
    member[np.arange(len(values))[:, None], place] = 1
    total, pairs = 0.0, 0
    for start in range(0, len(values), 500):
        part = slice(start, start + 500)
        none = member[part] @ member.T < 0.5
        number = none.sum(1)
        pairs += int(number.sum())
        total += float((np.square(values[part]) * number).sum() + (none @ np.square(values)).sum()) / 2
        total -= float(values[part] @ (none @ values))
    # Of fewer pairs than episodes nothing is known well.
    return total / pairs if pairs >= len(values) else None
