"""Heads that predict a number, mixed by how likely their leave-one-out errors are; one of them alone, too."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from innerloop.encoders.base import Encoder
from innerloop.estimators import smoothers
from innerloop.estimators.regressor import InContextRegressor
from innerloop.estimators.smoothers import SMOOTHERS, Setting

Floats = npt.NDArray[np.float64]

IN_CONTEXT = "in-context"
#: The heads, in the order that decides between equally good ones.
HEADS = (*SMOOTHERS, IN_CONTEXT)
#: Shares of a mixture below which a head is left out.
_LEAST = 1e-3
#: Examples that the in-context network is refitted without, for its errors; members of its ensemble.
_REFITS, _MEMBERS = 40, 2


class Mixture(NamedTuple):
    """What was found of some examples."""

    head: str
    """The one that counts most."""
    weights: dict[str, float]
    """By name, what each head counts, in sum 1."""
    settings: dict[str, Setting]
    error: float
    """The root of the mean square of the errors by leave-one-out, everything found anew without each example."""
    interval: tuple[float, float]
    """Of 95 %."""


def mixed(x: Floats, y: Floats, encoder: Encoder | None, heads: tuple[str, ...]) -> Mixture:
    """Heads by what their errors say.

    Args:
        x: features ``[N, H]`` of two examples at least.
        y: targets ``[N]``.
        encoder: that made the features.
        heads: of :data:`HEADS`, those that are tried.
    """
    count = len(y)
    found = smoothers.choose(numbers(encoder, x)[0], y, tuple(name for name in heads if name != IN_CONTEXT))
    residuals, nested = dict(found.residuals), dict(found.nested)
    rows = np.arange(count)
    if IN_CONTEXT in heads:
        rows = np.unique(np.linspace(0, count - 1, min(count, _REFITS)).round().astype(int))
        table = cells(x, encoder)
        left = np.full(count, np.nan)
        for row in rows:
            others = np.arange(count) != row
            left[row] = y[row] - network(table[others], y[others]).predict(table[row : row + 1])[0]
        residuals[IN_CONTEXT] = nested[IN_CONTEXT] = left
    squares = np.stack([residuals[name][rows] ** 2 for name in heads])
    weights = _weights(squares.sum(1), len(rows))
    # What they would be without what is left out.
    apart = _weights(squares.sum(1, keepdims=True) - squares, len(rows) - 1)
    error, interval = root_mean_square((apart * np.stack([nested[name][rows] for name in heads])).sum(0))
    kept = {name: float(weight) for name, weight in zip(heads, weights, strict=True) if weight > _LEAST}
    shares = {name: weight / sum(kept.values()) for name, weight in kept.items()}
    settings = {name: found.settings.get(name, Setting(name)) for name in shares}
    return Mixture(heads[int(weights.argmax())], shares, settings, error, interval)


def numbers(encoder: Encoder | None, x: Floats, *more: Floats) -> list[Floats]:
    """Features as the smoothers read them: columns of a table standardized by the first, gaps filled."""
    if encoder is None or encoder.kind != "table":
        return [x, *more]
    wide = [part[:, encoder.blocks["columns"]] for part in (x, *more)]
    known = np.isfinite(wide[0])
    count = known.sum(0).clip(min=1)
    mean = np.where(known, wide[0], 0).sum(0) / count
    spread = np.sqrt((np.where(known, wide[0] - mean, 0) ** 2).sum(0) / count)
    # Of equal numbers the spread is rounding.
    spread = np.where(spread > 1e-9 * (np.abs(mean) + spread), spread, 1.0)
    return [np.where(np.isfinite(part), (part - mean) / spread, 0.0) for part in wide]


def cells(x: Floats, encoder: Encoder | None) -> Floats:
    """Features as the in-context network reads them."""
    return x[:, encoder.blocks["cells"]] if encoder is not None and encoder.kind == "table" else x


def network(table: Floats, y: Floats) -> InContextRegressor:
    """The in-context network that has read a table."""
    return InContextRegressor(n_estimators=_MEMBERS).fit(table, y)


def _weights(squares: Floats, count: int) -> Floats:
    """Of heads by their sums of squared errors, ``[M, ...]``: normal errors of a variance at its best."""
    floor = 1e-24 * squares.max(0) + np.finfo(np.float64).tiny
    log = -0.5 * count * np.log(squares + floor)
    found = np.exp(log - log.max(0))
    return np.asarray(found / found.sum(0))


def root_mean_square(errors: Floats) -> tuple[float, tuple[float, float]]:
    """The root of the mean square, and its 95 % interval by a chi square of as many degrees as the errors' tails allow.

    For normal errors it is the exact one.

    Example:
        >>> round(root_mean_square(np.array([3.0, -4.0]))[0], 3)
        3.536
    """
    from scipy.stats import chi2

    unit = float(np.abs(errors).max())
    if not unit:
        return 0.0, (0.0, 0.0)
    squares = (errors / unit) ** 2
    mean = float(squares.mean())
    tails = max(3.0, float((squares**2).mean()) / mean**2)
    degrees = 2 * len(errors) / (tails - 1)
    low, high = (degrees / chi2.ppf((0.975, 0.025), degrees)) ** 0.5 * mean**0.5 * unit
    return mean**0.5 * unit, (float(low), float(high))
