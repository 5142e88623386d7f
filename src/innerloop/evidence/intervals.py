"""Intervals for real targets with a guarantee, from a few examples and without held-out data.

*Full conformal prediction* (Vovk, Gammerman, Shafer 2005) tries the query with every target: the query joins the
examples, each of them is scored by how ill it fits what is learned from all the others, and a target under which the
query ranks among the worst is left out. Where a method's predictions are linear in the targets, as those of ridge
regression (Nouretdinov, Melluish, Vovk 2001), Gaussian processes and nearest neighbors are, the scores are lines in the
tried target, so that all real numbers are tried at once and exactly. Where a method is chosen among several by a
criterion that is a square in the targets, the choice is made anew for each tried target: the real line falls into
finitely many pieces with one method each.

*Jackknife+* (Barber, Candès, Ramdas, Tibshirani 2021) takes any method: it needs what each refit without one example
predicts. It promises ``1 - 2 (1 - coverage)``, and mostly gives ``coverage``.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from innerloop.core.numbers import check_number
from innerloop.core.task import InputError

Floats = npt.NDArray[np.float64]


class Intervals(NamedTuple):
    """Where each query's target lies, and how sure that is."""

    low: Floats
    """``[Q]``."""
    high: Floats
    """``[Q]``."""
    promised: float
    """The probability that a target lies within, at least: guaranteed for queries that come as the examples came."""
    method: str
    """``"full"`` or ``"jackknife+"``."""


class Lines(NamedTuple):
    """M methods on n examples and, as the last, a query whose target is t: all is linear or a square in t."""

    at_zero: Floats
    """How ill each fits what is learned from the others, at t = 0: ``[M, n + 1]``."""
    slope: Floats
    """The same, its change with t: ``[M, n + 1]``."""
    groups: npt.NDArray[np.intp]
    """Which group each method belongs to, 0 to G - 1: ``[M]``."""
    within: Floats
    """Squares in t, ``[M, 3]``, constant first: of a group the method with the least is taken."""
    between: Floats
    """Squares in t, ``[M, 3]``: of the groups' methods that with the least is taken."""


def checked(coverage: float, count: int) -> None:
    """Whether so many examples can promise a coverage.

    Raises:
        InputError: for a coverage that they cannot: ``n`` promise ``n / (n + 1)`` at most.

    Example:
        >>> checked(0.9, 9)
    """
    check_number("the coverage", coverage, "(0, 1)")
    if coverage > count / (count + 1) + 1e-9:
        raise InputError(
            f"the coverage is {coverage}, and {count} examples can promise {count / (count + 1):.4g} at most "
            f"(n / (n + 1)): ask for that or less, or give {math.ceil(coverage / (1 - coverage) - 1e-9)} examples"
        )


def conformal_interval(lines: Lines, coverage: float) -> tuple[float, float]:
    """The least and the largest target of a query that full conformal prediction does not leave out.

    Args:
        lines: of the methods to choose among.
        coverage: the probability that the true target is within, at least.

    Returns:
        both ends, infinite where any target fits; NaN where none does.

    Raises:
        InputError: for a coverage that so few examples cannot promise.

    Example:
        >>> # The mean of the others, of examples 0, 1 and 2: a target fits like the worst of them from -1 to 3.
        >>> others = (1 - np.eye(4)) / 3
        >>> at_zero = np.array([[0.0, 1.0, 2.0, 0.0]]) - others @ [0.0, 1.0, 2.0, 0.0]
        >>> slope = np.eye(4)[3] - others[:, 3]
        >>> one = np.zeros((1, 3))
        >>> low, high = conformal_interval(Lines(at_zero, slope[None], np.zeros(1, dtype=int), one, one), 0.75)
        >>> round(low, 9), round(high, 9)
        (-1.0, 3.0)
    """
    count = lines.at_zero.shape[1]
    checked(coverage, count - 1)
    left_out = math.floor((1 - coverage) * count + 1e-9)
    found = [
        ends
        for low, high, method in _pieces(lines)
        if (ends := _within(lines.at_zero[method], lines.slope[method], low, high, left_out)) is not None
    ]
    if not found:
        return math.nan, math.nan
    return min(low for low, _ in found), max(high for _, high in found)


def jackknife_plus(residuals: Floats, predictions: Floats, coverage: float) -> Intervals:
    """Intervals from refits without each example.

    Args:
        residuals: how far each example lies from what is learned from the others, ``[N]``.
        predictions: of the queries, by what is learned without each example, ``[N, Q]``.
        coverage: what they mostly give; they promise ``2 coverage - 1``.

    Raises:
        InputError: for a coverage above ``n / (n + 1)``, where the ends would be infinite.

    Example:
        >>> jackknife_plus(np.array([1.0, 2.0, 3.0, 4.0]), np.full((4, 1), 10.0), 0.8)
        Intervals(low=array([6.]), high=array([14.]), promised=0.6000000000000001, method='jackknife+')

    References:
        Barber, Candès, Ramdas, Tibshirani, *Predictive inference with the jackknife+*, Annals of Statistics 2021,
        https://doi.org/10.1214/20-AOS1965.
    """
    count = len(residuals)
    checked(coverage, count)
    width = np.abs(residuals)[:, None]
    place = math.ceil(coverage * (count + 1) - 1e-9)
    low = np.sort(predictions - width, 0)[count - place]
    high = np.sort(predictions + width, 0)[place - 1]
    return Intervals(low, high, max(0.0, 2 * coverage - 1), "jackknife+")


def _pieces(lines: Lines) -> list[tuple[float, float, int]]:
    """The real line by which method is chosen: from, to, the method's place."""
    parts = []
    for group in np.unique(lines.groups):
        members = np.flatnonzero(lines.groups == group)
        breaks, least = _least(lines.within[members])
        parts.append((breaks, members[least]))
    whole = np.unique(np.concatenate([breaks for breaks, _ in parts]))
    found: list[tuple[float, float, int]] = []
    for low, high in _gaps(whole):
        middle = _middle(low, high)
        members = np.array([taken[np.searchsorted(breaks, middle)] for breaks, taken in parts])
        breaks, least = _least(lines.between[members])
        inside = breaks[(breaks > low) & (breaks < high)]
        for start, end in _gaps(inside, low, high):
            method = int(members[least[np.searchsorted(breaks, _middle(start, end))]])
            if found and found[-1][2] == method:
                found[-1] = (found[-1][0], end, method)
            else:
                found.append((start, end, method))
    return found


def _least(squares: Floats) -> tuple[Floats, npt.NDArray[np.intp]]:
    """Where the least of several squares ``[M, 3]`` changes, ``[K]``, and which it is between, ``[K + 1]``."""
    one, other = np.triu_indices(len(squares), 1)
    c, b, a = (squares[one] - squares[other]).T
    breaks = np.unique(_roots(a, b, c))
    middles = np.array([_middle(low, high) for low, high in _gaps(breaks)])
    least = (squares[:, 0] + middles[:, None] * (squares[:, 1] + middles[:, None] * squares[:, 2])).argmin(1)
    changes = least[1:] != least[:-1]
    return breaks[changes], least[np.append(True, changes)]


def _roots(a: Floats, b: Floats, c: Floats) -> Floats:
    """All real roots of squares ``a t^2 + b t + c``."""
    with np.errstate(all="ignore"):
        under = b * b - 4 * a * c
        q = -0.5 * (b + np.where(b < 0, -1.0, 1.0) * np.sqrt(under))
        found = np.concatenate((q / a, c / q))
    return found[np.isfinite(found)]


def _within(at_zero: Floats, slope: Floats, low: float, high: float, left_out: int) -> tuple[float, float] | None:
    """The least and the largest t between two ends under which the last line's size is not among the largest."""
    line, rise = at_zero[-1], slope[-1]
    with np.errstate(all="ignore"):
        crossings = np.concatenate(((line - at_zero) / (slope - rise), -(line + at_zero) / (slope + rise)))
    crossings = np.unique(crossings[np.isfinite(crossings) & (crossings > low) & (crossings < high)])
    gaps = _gaps(crossings, low, high)
    tried = np.concatenate((crossings, [_middle(*gap) for gap in gaps]))
    sizes = np.abs(at_zero[:, None] + slope[:, None] * tried)
    # Lines that meet are equal but for rounding.
    rounding = 1e-10 * (np.abs(at_zero).max() + np.abs(slope).max() * np.abs(tried))
    fits = (sizes >= sizes[-1] - rounding).sum(0) > left_out
    points = crossings[fits[: len(crossings)]]
    spans = [gap for gap, fit in zip(gaps, fits[len(crossings) :], strict=True) if fit]
    if not spans and not len(points):
        return None
    ends = [end for gap in spans for end in gap] + points.tolist()
    return min(ends), max(ends)


def _gaps(breaks: Floats, low: float = -math.inf, high: float = math.inf) -> list[tuple[float, float]]:
    ends = [low, *breaks.tolist(), high]
    return list(pairwise(ends))


def _middle(low: float, high: float) -> float:
    if math.isinf(low) and math.isinf(high):
        return 0.0
    if math.isinf(low):
        return high - 1 - abs(high)
    return low + 1 + abs(low) if math.isinf(high) else (low + high) / 2
