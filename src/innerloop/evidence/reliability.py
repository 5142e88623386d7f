"""Whether probabilities mean what they say: the reliability diagram, and the calibration error with its interval."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from innerloop.core.numbers import check_count
from innerloop.core.task import InputError
from innerloop.evaluation.reports import plain

Floats = npt.NDArray[np.float64]
#: Draws of the noise, and errors that are tried, for the interval.
_DRAWS, _TRIED = 2000, 240


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram and what it comes to."""

    error: float
    """The expected calibration error as it is usually given: the mean distance between confidence and accuracy over
    the bins. Noise makes it too large."""
    debiased: float
    """The error under which the one that was found would be the median: without what noise adds."""
    interval: tuple[float, float]
    """Of 95 %, of the error without noise; tasks are random draws."""
    confidence: Floats
    """The mean confidence of each bin, ``[B]``."""
    accuracy: Floats
    """The share of right answers of each bin, ``[B]``."""
    share: Floats
    """Of the queries, ``[B]``."""

    def json(self) -> dict[str, Any]:
        """Plain values that JSON takes."""
        lists = {name: getattr(self, name).tolist() for name in ("confidence", "accuracy", "share")}
        found: dict[str, Any] = plain(
            {"error": self.error, "debiased": self.debiased, "interval": list(self.interval), **lists}
        )
        return found


def reliability(
    confidence: Floats, right: npt.NDArray[np.bool_], *, bins: int = 15, equal: Literal["width", "mass"] = "width"
) -> Reliability:
    """How far the confidence in the most probable class is from the share of right answers, bin by bin.

    The calibration error of finitely many queries is above 0 for a perfectly calibrated learner, too. Here the noise is
    that of drawing other tasks, found by resampling them (the queries of a task are not independent). The interval
    holds the errors under which the one that was found is not among the unlikely 5 %: errors are tried in the bins
    that differ beyond their noise, which show soonest, and spread over all bins, which show last. Near 0 all 5 % are
    unlikely large, so that 0 is in the interval of 95 % of perfectly calibrated learners, and no interval is empty.

    Args:
        confidence: the probability of the most probable class, ``[T, Q]``.
        right: whether that is the true one, ``[T, Q]``.
        bins: how many.
        equal: whether bins have equal ``"width"`` (usual) or equal ``"mass"`` (as many queries each, as far as equal
            confidences let them).

    Raises:
        InputError: for fewer than 2 tasks, no queries, or fewer than 1 bin.

    Example:
        >>> generator = np.random.default_rng(0)
        >>> confidence = generator.uniform(0.5, 1, (200, 20))
        >>> found = reliability(confidence, generator.uniform(size=(200, 20)) < confidence)
        >>> round(found.error, 3), round(found.debiased, 3), found.interval[0]
        (0.012, 0.0, 0.0)

    References:
        Guo et al., *On Calibration of Modern Neural Networks*, ICML 2017, https://arxiv.org/abs/1706.04599. On the bias
        and equal mass: Roelofs et al., *Mitigating Bias in Calibration Error Estimation*, AISTATS 2022,
        https://arxiv.org/abs/2012.08668; Kumar, Liang, Ma, *Verified Uncertainty Calibration*, NeurIPS 2019,
        https://arxiv.org/abs/1909.10155. The way of the interval: Neyman, *Outline of a Theory of Statistical
        Estimation*, 1937.
    """
    if confidence.ndim != 2 or confidence.shape != right.shape or len(confidence) < 2 or not confidence.size:
        raise InputError(
            f"confidence {confidence.shape} and right {right.shape}: both must be [T, Q] of two or more tasks"
        )
    check_count("bins", bins, 1)
    confidence, right = confidence.astype(np.float64), right.astype(np.float64)
    place = _places(confidence, bins, equal)
    tasks, queries = confidence.shape
    at = (np.arange(tasks)[:, None], place)
    sums = np.zeros((3, tasks, place.max() + 1))
    for row, values in zip(sums, (confidence, right, np.ones_like(confidence)), strict=True):
        np.add.at(row, at, values / queries)
    said, was, share = sums.mean(1)
    filled = share > 0
    gaps = (sums[1] - sums[0])[:, filled]
    error, debiased, interval = _without_noise(gaps)
    return Reliability(
        error, debiased, interval, said[filled] / share[filled], was[filled] / share[filled], share[filled]
    )


def _places(confidence: Floats, bins: int, equal: str) -> npt.NDArray[np.intp]:
    if equal == "width":
        return np.clip((confidence * bins).astype(np.intp), 0, bins - 1)
    if equal != "mass":
        raise InputError(f"bins of equal {equal!r} are unknown; choose 'width' or 'mass'")
    inner = np.unique(np.quantile(confidence, np.arange(1, bins) / bins))
    return np.searchsorted(inner, confidence, side="right")


def _without_noise(gaps: Floats) -> tuple[float, float, tuple[float, float]]:
    """The error, the one without noise, and its interval, from each task's part of the gaps ``[T, B]``."""
    tasks, gap = len(gaps), gaps.mean(0)
    error = float(np.abs(gap).sum())
    spread = gaps.std(0, ddof=1) / math.sqrt(tasks)
    if not spread.any():
        return error, error, (error, error)
    # Other tasks, as their gaps would be: Gaussian, by the covariance, its estimate's own noise in the t factor.
    generator = np.random.default_rng(0)
    weights = generator.standard_normal((_DRAWS, tasks)) / math.sqrt(tasks * (tasks - 1))
    noise = weights @ (gaps - gap)
    noise *= np.sqrt((tasks - 1) / generator.chisquare(tasks - 1, (_DRAWS, 1)))
    # What is beyond the noise, in few bins, shows soonest; spread over all bins as the noise is, it shows last.
    beyond = np.maximum(gap**2 - spread**2, 0) / np.maximum(np.abs(gap), 1e-300) * np.sign(gap)
    soon = _errors(beyond if beyond.any() else gap if error else spread, noise, error)
    tried, found = soon
    least = tried[error <= found[np.arange(_TRIED), _places_of(found, 0.95)]]
    most = 0.0
    for signs in (np.sign(gap), np.sign(gap.sum())):
        tried_late, late = _errors(spread * np.where(signs == 0, 1, signs), noise, error)
        most = max(most, float(tried_late[late[np.arange(_TRIED), _places_of(late, 0.0)] <= error][-1]))
    middle = np.median(found, 1)
    debiased = 0.0 if error <= middle[0] else min(float(np.interp(error, middle, tried)), error)
    low = float(least[0]) if len(least) else debiased
    return error, debiased, (min(low, debiased), max(most, debiased))


def _errors(shape: Floats, noise: Floats, error: float) -> tuple[Floats, Floats]:
    """Errors of a shape that are tried, ``[N]``, and what would be found of each, ``[N, draws]``, in order."""
    shape = shape / np.abs(shape).sum()
    most = error + 8 * float(np.abs(noise).sum(1).std()) + 1e-12
    # Square-root steps: near 0 the quantiles bend.
    tried = most * np.linspace(0, 1, _TRIED) ** 2
    return tried, np.sort(np.stack([np.abs(one * shape + noise).sum(1) for one in tried]), 1)


def _places_of(found: Floats, above: float) -> npt.NDArray[np.intp]:
    """Where the unlikely ones begin: their share below grows with the error, from none at 0, in units of the noise."""
    away = (found.mean(1) - found[0].mean()) / max(2 * float(found[0].std()), 1e-300)
    return np.rint((above + 0.025 * np.minimum(away, 1)) * (found.shape[1] - 1)).astype(np.intp)
