"""How good a classifier of few examples is: what leave-one-out says of it, read by what it came to elsewhere.

Leave-one-out on ten examples is a coarse and crooked measure. It counts in steps of a tenth; the head was chosen by it;
a class lacks an example just where it is asked, which with two a class is half of what is known. So the share of right
answers is not taken as it stands. The accuracy is a beta distribution whose mean and width follow from a few numbers
of leave-one-out, by coefficients that were fitted on 1,500 small tasks of known accuracy (``benchmarks/knowing.py
fit``: half of the classes of photographs and of two sets of sentences, digits, normal classes). Where there are many
examples leave-one-out speaks for itself.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from innerloop.estimators.temperature import LONG

Floats = npt.NDArray[np.float64]

#: Examples up to which tasks were fitted.
FEW = 60
#: Of the logit of the mean, in the order of :func:`facts`.
MEAN = (0.6855, -0.2912, 0.5430, 1.2885, 3.3674, -1.4208, -0.3230, 0.1803, -0.1762, -3.1685, -0.0551, -0.6838, 0.1830)
#: Of the logarithm of the number of examples that the width is worth, for ``facts`` at ``_WIDE``; beside 2.
WIDTH = (-1.6059, 0.2377, 0.1634, 0.7653)
_WIDE = (0, 3, 6, 10)
#: What this number is multiplied by, so that about 95 % of intervals on the tasks of the fit hold the accuracy.
SHARE = 0.9
#: Shares of the way from guessing to no mistake: up to the first a mean is not trusted, and wholly that far above it.
_GUESSING, _TRUSTED = 0.5, 0.2


class Estimate(NamedTuple):
    """An accuracy that is not known exactly."""

    mean: float
    interval: tuple[float, float]
    """95 %, the shortest."""


def facts(right: npt.NDArray[np.bool_], margins: Floats, counts: npt.NDArray[np.int64], features: int) -> Floats:
    """What the accuracy is read from, ``[13]``.

    Args:
        right: whether each head tells each left-out example, ``[heads, M]``; the chosen one comes first. Examples that
            are alone in their class are left out of it.
        margins: of the chosen head, how far an example's own logit lies above the largest of the others, ``[M]``.
        counts: examples of each class, ``[D]``.
        features: H. Long vectors mostly come from an encoder, and can be told apart.
    """
    few = right.shape[1]
    size = float(np.abs(margins).mean()) + 1e-12
    soft = float((1 / (1 + np.exp(-4 * np.clip(margins / size, -100, 100)))).mean())
    own = float((counts**2).sum() / counts.sum())
    alone = float((counts == 1).sum() / counts.sum())
    single, short = float(len(right) == 1), float(features < LONG)
    told, all_told, soft = (_logit(share, few) for share in (float(right[0].mean()), float(right.mean()), soft))
    return np.array(
        [
            1.0,
            told,
            all_told,
            soft,
            1 / own,
            soft / own,
            np.log(len(counts)),
            single,
            single * told,
            alone,
            np.log(few),
            short,
            short * soft,
        ]
    )


def read(found: Floats) -> tuple[float, float]:
    """Mean of the beta distribution, and the number of examples that it is worth."""
    mean = 1 / (1 + np.exp(-float(found @ np.array(MEAN))))
    worth = SHARE * np.exp(np.clip(2 + float(found[list(_WIDE)] @ np.array(WIDTH)), -1, 7))
    return float(np.clip(mean, 1e-4, 1 - 1e-4)), float(worth)


def estimate(
    right: npt.NDArray[np.bool_], margins: Floats, counts: npt.NDArray[np.int64], features: int, careful: float
) -> Estimate:
    """The accuracy by :func:`facts`, with its interval.

    Args:
        right: as for :func:`facts`.
        margins: as for :func:`facts`.
        counts: as for :func:`facts`.
        features: as for :func:`facts`.
        careful: an estimate without a prior, which is never too good on average: it is taken, if it is lower, where
            hardly more than guessing is in sight, since most tasks of the fit could be learned.
    """
    mean, worth = read(facts(right, margins, counts, features))
    above = (mean * len(counts) - 1) / (len(counts) - 1)
    trust = float(np.clip((above - _GUESSING) / _TRUSTED, 0, 1))
    mean = trust * mean + (1 - trust) * min(mean, careful)
    worth = trust * worth + (1 - trust) * min(worth, right.shape[1] / 3)
    mean = float(np.clip(mean, 1e-4, 1 - 1e-4))
    return Estimate(mean, shortest(mean * worth, (1 - mean) * worth))


def shortest(a: float, b: float, share: float = 0.95) -> tuple[float, float]:
    """The shortest interval that holds a share of a beta distribution."""
    from scipy.stats import beta

    below = np.linspace(0, 1 - share, 41)
    low, high = beta.ppf(below, a, b), beta.ppf(below + share, a, b)
    best = int((high - low).argmin())
    return float(low[best]), float(high[best])


def _logit(share: float, count: int) -> float:
    """Of a share of so many, half an example more on each side."""
    share = (share * count + 0.5) / (count + 1)
    return float(np.log(share / (1 - share)))
