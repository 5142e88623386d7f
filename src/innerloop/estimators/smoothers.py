"""Regression on few examples whose predictions are linear in the targets: ridge, Gaussian processes, neighbors.

What each example would get from all the others is then a closed form, for every penalty, length scale and number of
neighbors at once. Ridge regression and Gaussian processes with an unknown level are the same thing under two kernels:
with ``V`` an orthonormal basis of what has the mean 0, and ``P = V (V' K V + penalty)^-1 V'``, an example left out is
missed by ``(P y)_i / P_ii`` (Dubrule 1983), and ``P`` without it follows from ``P``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.linalg import helmert

from innerloop.evidence.intervals import Lines

Floats = npt.NDArray[np.float64]

#: Penalties of the ridge beside the mean variance of a feature vector, the most cautious first.
PENALTIES = 10.0 ** np.arange(3.0, -4.5, -0.5)
#: Variances of the noise beside the function's, and length scales beside the median distance.
NOISES = 10.0 ** np.arange(1.0, -3.5, -0.75)
LENGTHS = 2.0 ** np.arange(3.0, -2.5, -1.0)
#: Numbers of neighbors.
NEIGHBORS = (5, 3, 2, 1)
#: Examples up to which a setting is chosen anew without each of them, for an estimate that knows of the choice.
NESTED = 100
#: The heads, in the order that decides between equally good ones.
SMOOTHERS = ("ridge", "gp", "nearest")


class Setting(NamedTuple):
    """A head with its hyperparameters, in the units of the features."""

    head: str
    penalty: float = 0.0
    """Beside the kernel: of the ridge, or the noise's variance beside the function's."""
    length: float = 0.0
    """Of the Gaussian process's kernel, ``exp(-d^2 / 2 length^2)``."""
    neighbors: int = 0


class Fit(NamedTuple):
    """Of all settings of some heads, the best of each head; what leave-one-out says of it."""

    settings: dict[str, Setting]
    residuals: dict[str, Floats]
    """How far each example lies from what its head's best setting learns from the others, ``[N]``."""
    nested: dict[str, Floats]
    """The same, where the setting was chosen without the example too, ``[N]``."""


class _Kernel(NamedTuple):
    """A kernel's eigenvectors within the sums that are 0, ``[..., N, N - 1]``, and its penalties."""

    head: str
    length: float
    values: Floats
    """``[N - 1]``."""
    vectors: Floats
    """``[N, N - 1]``."""
    penalties: Floats
    """``[L]``."""


def choose(x: Floats, y: Floats, heads: tuple[str, ...] = SMOOTHERS) -> Fit:
    """The best setting of each head by exact leave-one-out (of the Gaussian process by its marginal likelihood).

    Args:
        x: features ``[N, H]``, finite.
        y: targets ``[N]``.
        heads: which.

    Example:
        >>> x = np.arange(8.0)[:, None]
        >>> found = choose(x, 3 * x[:, 0])
        >>> bool(np.abs(found.residuals["ridge"]).max() < 0.1), found.settings["nearest"].neighbors
        (True, 1)
    """
    settings: dict[str, Setting] = {}
    residuals: dict[str, Floats] = {}
    nested: dict[str, Floats] = {}
    kernels = list(_kernels(x, heads))
    for head in heads:
        rows = [
            row
            for kernel in kernels
            if kernel.head == head
            for row in (_of_gp(kernel, y) if head == "gp" else _of_ridge(kernel, y))
        ]
        if head == "nearest":
            rows = list(_of_neighbors(distances(x, x), y))
        best = int(np.argmin([row.criterion for row in rows]))
        settings[head], residuals[head] = rows[best].setting, rows[best].residuals
        chosen = np.argmin([row.without for row in rows], 0)
        nested[head] = np.stack([row.residuals for row in rows])[chosen, np.arange(len(y))]
    return Fit(settings, residuals, nested)


def predict(setting: Setting, x: Floats, y: Floats, queries: Floats) -> Floats:
    """What a head learns from examples ``[N, H]`` and says of queries ``[Q, H]``: ``[Q]``."""
    if setting.head == "nearest":
        return _weights(distances(queries, x), setting.neighbors) @ y
    center = x.mean(0)
    known, asked = x - center, queries - center
    within, across = (_covariance(setting, part, known) for part in (known, asked))
    basis = helmert(len(x)).T
    system = basis.T @ within @ basis + setting.penalty * np.eye(len(x) - 1)
    dual = basis @ np.linalg.solve(system, basis.T @ y)
    level = (y - within @ dual).mean()
    return np.asarray(level + across @ dual)


def lines(x: Floats, y: Floats, heads: tuple[str, ...]) -> Lines:
    """All settings on N examples and a query, whose target is not known.

    Args:
        x: features of the examples and, as the last, the query: ``[N + 1, H]``.
        y: targets ``[N]``.
        heads: which.
    """
    start, rise = np.append(y, 0.0), np.append(np.zeros(len(y)), 1.0)
    at_zero, slope, groups, within, between = [], [], [], [], []
    for kernel in _kernels(x, heads):
        inverse = 1 / (kernel.values + kernel.penalties[:, None])
        diagonal = inverse @ (kernel.vectors**2).T
        one, other = kernel.vectors.T @ start, kernel.vectors.T @ rise
        a, b = ((inverse * part) @ kernel.vectors.T for part in (one, other))
        squares = _square(a / diagonal, b / diagonal)
        if kernel.head == "gp":
            fit = np.stack([inverse @ one**2, 2 * inverse @ (one * other), inverse @ other**2], 1)
            volume = np.log(kernel.values + kernel.penalties[:, None]).mean(1)
            within.append(fit * np.exp(volume)[:, None])
        else:
            within.append(squares)
        between.append(squares)
        # In deviations of what is predicted: far from all others it is less sure.
        at_zero.append(a / np.sqrt(diagonal))
        slope.append(b / np.sqrt(diagonal))
        groups.append(np.full(len(inverse), heads.index(kernel.head)))
    if "nearest" in heads:
        apart = distances(x, x)
        np.fill_diagonal(apart, np.inf)
        for count in _counts(len(x)):
            weights = np.eye(len(x)) - _weights(apart, count)
            at_zero.append((weights @ start)[None])
            slope.append((weights @ rise)[None])
            between.append(_square(at_zero[-1], slope[-1]))
            within.append(between[-1])
            groups.append(np.array([heads.index("nearest")]))
    return Lines(*(np.concatenate(part) for part in (at_zero, slope, groups, within, between)))


def distances(one: Floats, other: Floats) -> Floats:
    """Euclidean, ``[N, H], [M, H] -> [N, M]``; what differs by rounding is equal."""
    from scipy.spatial.distance import cdist

    found = cdist(one, other)
    unit = 1e-10 * max(float(found.max(initial=0.0)), 1e-290)
    return np.asarray(np.rint(found / unit) * unit)


class _Row(NamedTuple):
    """A setting: how well it does, and how well without each example."""

    setting: Setting
    criterion: float
    residuals: Floats
    without: Floats
    """The criterion without each example, ``[N]``."""


def _kernels(x: Floats, heads: tuple[str, ...]) -> Iterator[_Kernel]:
    basis = helmert(len(x)).T
    x = x - x.mean(0)
    if "ridge" in heads:
        yield _kernel("ridge", 0.0, x @ x.T, basis, PENALTIES)
    if "gp" in heads:
        apart = distances(x, x)
        some = apart[apart > 0]
        middle = float(np.median(some)) if len(some) else 1.0
        for length in (LENGTHS * middle).tolist():
            yield _kernel("gp", length, np.exp(-0.5 * (apart / length) ** 2), basis, NOISES)


def _kernel(head: str, length: float, covariance: Floats, basis: Floats, penalties: Floats) -> _Kernel:
    inner = basis.T @ covariance @ basis
    values, vectors = np.linalg.eigh(inner)
    values = values.clip(min=0)
    unit = float(values.mean()) or 1.0
    return _Kernel(head, length, values, basis @ vectors, penalties * unit)


def _covariance(setting: Setting, one: Floats, other: Floats) -> Floats:
    if setting.head == "ridge":
        return one @ other.T
    return np.asarray(np.exp(-0.5 * (distances(one, other) / setting.length) ** 2))


def _solved(kernel: _Kernel, y: Floats) -> Iterator[tuple[float, Floats, Floats]]:
    """For each penalty P y ``[N]`` and the diagonal of P ``[N]``."""
    inner = kernel.vectors.T @ y
    for penalty in kernel.penalties:
        inverse = 1 / (kernel.values + penalty)
        yield float(penalty), kernel.vectors @ (inverse * inner), (kernel.vectors**2) @ inverse


def _of_ridge(kernel: _Kernel, y: Floats) -> Iterator[_Row]:
    for penalty, fitted, own in _solved(kernel, y):
        residuals = fitted / own
        total = float((residuals**2).sum())
        without = total - residuals**2 if len(y) > NESTED else _errors_without(kernel, penalty, fitted, own)
        yield _Row(Setting("ridge", penalty), total, residuals, without)


def _errors_without(kernel: _Kernel, penalty: float, fitted: Floats, own: Floats) -> Floats:
    """The sum of squared residuals of all others, each left out, where example j is not there: ``[N]``."""
    if len(fitted) < 3:
        return np.zeros(len(fitted))
    precision = (kernel.vectors / (kernel.values + penalty)) @ kernel.vectors.T
    shared = precision / own
    left = own[:, None] - precision * shared
    np.fill_diagonal(left, 1.0)
    # Where two examples alone carry a direction, rounding is all that is left.
    residuals = (fitted[:, None] - shared * fitted) / np.maximum(left, 1e-12 * own[:, None])
    np.fill_diagonal(residuals, 0.0)
    return np.asarray((residuals**2).sum(0))


def _of_gp(kernel: _Kernel, y: Floats) -> Iterator[_Row]:
    """By the restricted marginal likelihood, the level and the variance integrated out or at their best."""
    count = len(y) - 1
    tiny = np.finfo(np.float64).tiny
    for penalty, fitted, own in _solved(kernel, y):
        residuals = fitted / own
        fit, volume = float(y @ fitted), float(np.log(kernel.values + penalty).sum())
        criterion = np.log(max(fit, tiny)) + volume / count
        rest = np.maximum(fit - fitted * residuals, tiny)
        without = np.log(rest) + (volume + np.log(own)) / max(1, count - 1)
        yield _Row(Setting("gp", penalty, kernel.length), float(criterion), residuals, without)


def _of_neighbors(apart: Floats, y: Floats) -> Iterator[_Row]:
    apart = apart.copy()
    np.fill_diagonal(apart, np.inf)
    for count in _counts(len(y)):
        residuals = y - _weights(apart, count) @ y
        without = (residuals**2).sum() - residuals**2
        for gone in range(len(y) if 2 < len(y) <= NESTED else 0):
            kept = np.arange(len(y)) != gone
            others = apart[np.ix_(kept, kept)]
            without[gone] = ((y[kept] - _weights(others, min(count, len(y) - 2)) @ y[kept]) ** 2).sum()
        yield _Row(Setting("nearest", neighbors=count), float((residuals**2).sum()), residuals, without)


def _counts(examples: int) -> tuple[int, ...]:
    return tuple(count for count in NEIGHBORS if count < max(2, examples - 1))


def _weights(apart: Floats, count: int) -> Floats:
    """Of the nearest of ``[M, N]``, rows that sum to 1: those that are equally far share a place."""
    last = np.partition(apart, count - 1, 1)[:, count - 1 : count]
    nearer, at = apart < last, apart == last
    share = (count - nearer.sum(1, keepdims=True)) / at.sum(1, keepdims=True)
    return np.asarray((nearer + at * share) / count)


def _square(a: Floats, b: Floats) -> Floats:
    """The sum of squares of lines, ``[M, N], [M, N] -> [M, 3]``."""
    return np.stack([(a * a).sum(1), 2 * (a * b).sum(1), (b * b).sum(1)], 1)
