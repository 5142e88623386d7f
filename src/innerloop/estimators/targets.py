"""Real targets of any level, scale and tail, as numbers of order one for a network, and back; all in float64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

#: Tails are heavy where the deviation is so many times that of a normal distribution with the same middle 90 %.
_HEAVY = 3.0
#: How many deviations (by the quartiles) of the logarithms are no outlier, and the largest share that can be one.
_FENCE, _OUTLIERS = 4.0, 0.03


@dataclass(frozen=True)
class TargetScale:
    """A monotone map from targets to numbers of mean 0 and deviation 1.

    Without heavy tails it is linear. With them it is ``asinh`` of the distance from the median in quartile ranges,
    which is a logarithm far out, and what lies beyond the fences even then (at most three in a hundred targets)
    counts as on them.

    Args:
        unit: the largest size of a target; 0 or 1 where there is none.
        center: median over ``unit``, for heavy tails.
        width: deviation by the quartiles over ``unit``, for heavy tails; ``None``: linear.
        level: mean of the (warped) targets.
        spread: their deviation; 0 for a constant.
        fences: least and largest warped target, standardized.
    """

    unit: float
    center: float
    width: float | None
    level: float
    spread: float
    fences: tuple[float, float]

    @classmethod
    def of(cls, y: Floats) -> TargetScale:
        """The scale of targets ``[N]``, finite."""
        unit = float(np.abs(y).max())
        if y.min() == y.max():
            return cls(unit, 0.0, None, float(y[0]), 0.0, (0.0, 0.0))
        # Of order one before anything is squared or summed.
        u = y / unit
        lowest, low, center, high, highest = (float(q) for q in np.quantile(u, (0.05, 0.25, 0.5, 0.75, 0.95)))
        most = (highest - lowest) / 3.29
        if not most or u.std() <= _HEAVY * most:
            level, spread = float(u.mean()), float(u.std())
            return cls(unit, 0.0, None, level, spread, (-np.inf, np.inf))
        width = (high - low) / 1.349 or most
        w = np.arcsinh((u - center) / width)
        around = (np.quantile(w, 0.75) - np.quantile(w, 0.25)) / 1.349
        least = min(-_FENCE * around, float(np.quantile(w, _OUTLIERS, method="lower")))
        largest = max(_FENCE * around, float(np.quantile(w, 1 - _OUTLIERS, method="higher")))
        within = w[(w >= least) & (w <= largest)]
        w = w.clip(within.min(), within.max())
        level, spread = float(w.mean()), float(w.std())
        fences = (float(w.min()) - level) / spread, (float(w.max()) - level) / spread
        return cls(unit, center, width, level, spread, fences)

    @property
    def constant(self) -> bool:
        """Whether all targets are one number, ``level``."""
        return self.spread == 0

    def standard(self, y: Floats) -> Floats:
        """Targets as the network sees them."""
        u = y / self.unit
        w = u if self.width is None else np.arcsinh((u - self.center) / self.width)
        return ((w - self.level) / self.spread).clip(*self.fences)

    def restored(self, z: Floats) -> Floats:
        """Numbers of the network's scale in the units of the targets: finite, whatever they are."""
        w = self.level + self.spread * z
        with np.errstate(over="ignore"):
            u = w if self.width is None else self.center + self.width * np.sinh(w)
            return (self.unit * u).clip(np.finfo(np.float64).min, np.finfo(np.float64).max)
