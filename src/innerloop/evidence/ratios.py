"""How many times one mean is another, with an interval."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def ratio(first: Floats, second: Floats, level: float = 0.95) -> tuple[float, tuple[float, float]]:
    """The ratio of two means over the same tasks, with Fieller's interval.

    Where the second mean may be 0 the interval has no end above.

    Args:
        first: a value a task, 0 or more, ``[T]``.
        second: likewise.
        level: coverage.

    Example:
        >>> found, (low, high) = ratio(np.array([4.0, 6.0, 5.0, 5.0]), np.array([1.0, 1.0, 1.0, 1.0]))
        >>> found, round(low, 2), round(high, 2)
        (5.0, 3.7, 6.3)

    References:
        Fieller, *Some Problems in Interval Estimation*, JRSS B 1954.
    """
    from scipy import stats

    count, a, b = len(first), float(np.mean(first)), float(np.mean(second))
    found = a / b if b else (float("inf") if a else float("nan"))
    if count < 2:
        return found, (float("nan"), float("nan"))
    square = float(stats.t.ppf(0.5 + level / 2, count - 1)) ** 2 / count
    (v, c), (_, w) = np.cov(first, second).tolist()
    # All r for which a - r b is no further from 0 than chance: at most a square's roots.
    p, q, s = b * b - square * w, a * b - square * c, a * a - square * v
    inside = q * q - p * s
    if p <= 0:
        # The second mean may be 0, and the ratio as large as one likes; the first one alone bounds it below.
        return found, ((q - inside**0.5) / p if p < 0 < s else 0.0, float("inf"))
    half = max(0.0, inside) ** 0.5
    return found, (max(0.0, (q - half) / p), (q + half) / p)
