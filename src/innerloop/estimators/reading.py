"""A table with real targets as the in-context network has read it: as it is, and what a linear trend leaves of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from innerloop.core.likelihood import Bars
from innerloop.estimators.ensemble import Ensemble, raw_of_many
from innerloop.estimators.targets import TargetScale
from innerloop.estimators.trend import Trend

Floats = npt.NDArray[np.float64]

#: Quantiles whose average is the mean, where no formula gives it.
_MIDDLES = (np.arange(200) + 0.5) / 200


@dataclass(frozen=True)
class Part:
    """Members of the ensemble whose targets are alike.

    Args:
        ensemble: of the members.
        trend: that was taken from the targets; ``None``: nothing was.
        level: mean of what was left.
        spread: its deviation.
    """

    ensemble: Ensemble
    trend: Trend | None
    level: float
    spread: float

    def placed(self, z: Floats, x: Floats) -> Floats:
        """The network's numbers ``[M, K]`` for queries ``[M, F]`` on the scale of all parts."""
        base = self.level if self.trend is None else self.level + self.trend.at(x[:, self.ensemble.varying])[:, None]
        return np.asarray(base + self.spread * z)


@dataclass(frozen=True)
class Reading:
    """What was read of a table: half of the members see it as it is, the others the quantiles of its columns, and as
    targets what a linear trend leaves. Their quantiles and means are averaged.

    Args:
        scale: of the targets.
        parts: of the ensemble; none for constant targets.
    """

    scale: TargetScale
    parts: tuple[Part, ...]

    @classmethod
    def of(
        cls, weights: Path, x: Floats, y: Floats, *, members: int, random: np.random.RandomState, keep: bool = True
    ) -> Reading:
        """From numbers ``[N, F]`` and targets ``[N]``.

        Args:
            weights: the bundle of the network.
            x: NaN where a cell is missing.
            y: finite.
            members: of the ensemble.
            random: of the members' rows.
            keep: whether the table is encoded at once, to be read often.
        """
        scale = TargetScale.of(y)
        z = np.zeros_like(y) if scale.constant else scale.standard(y)
        halves = (members + 1) // 2, members // 2

        def part(targets: Floats, trend: Trend | None, warped: bool) -> Part:
            level, spread = (0.0, 1.0) if trend is None else (float(targets.mean()), float(targets.std()))
            inner = torch.from_numpy((targets - level) / (spread or 1.0)).unsqueeze(1)
            ensemble = Ensemble(
                weights, x, inner, regression=True, members=halves[warped], random=random, warped=warped, keep=keep
            )
            return Part(ensemble, trend, level, spread)

        parts = [part(z, None, False)]
        if halves[1] and not scale.constant:
            trend = Trend.of(x[:, parts[0].ensemble.varying], z)
            parts.append(part(z - trend.left_out, trend, True))
        return cls(scale, tuple(parts))

    def raw(self, x: Floats) -> list[Tensor]:
        """What each part's network gives for queries ``[M, F]``, in float64; of constant targets nothing is asked."""
        return [] if self.scale.constant else [part.ensemble.raw(x) for part in self.parts]

    def mean(self, bars: Bars, x: Floats, raw: Sequence[Tensor]) -> Floats:
        """The mean of each query's distribution, ``[M]``, in the units of the targets; of a tail within its fences."""
        if self.scale.constant:
            return np.full(len(x), self.scale.level)
        if self.scale.width is None:
            return self.scale.restored(self._averaged([bars.mean(part) for part in raw], x)[:, 0])
        z = self.standard_quantiles(bars, x, raw, _MIDDLES)
        return np.asarray(self.scale.restored(z.clip(*self.scale.fences)).mean(1))

    def quantiles(self, bars: Bars, x: Floats, raw: Sequence[Tensor], shares: Floats) -> Floats:
        """Quantiles of each query's distribution, ``[M, K]``, in the units of the targets."""
        if self.scale.constant:
            return np.full((len(x), len(shares)), self.scale.level)
        return self.scale.restored(self.standard_quantiles(bars, x, raw, shares))

    def standard_quantiles(self, bars: Bars, x: Floats, raw: Sequence[Tensor], shares: Floats) -> Floats:
        """The same as :attr:`scale` has them."""
        found = [torch.cat([bars.quantile(part, share) for share in shares.tolist()], 1) for part in raw]
        return self._averaged(found, x)

    def _averaged(self, found: Sequence[Tensor], x: Floats) -> Floats:
        placed = [part.placed(z.numpy(), x) for part, z in zip(self.parts, found, strict=True)]
        return np.asarray(sum(placed) / len(placed))


def raw_of_readings(readings: Sequence[Reading], x: Floats) -> list[list[Tensor]]:
    """:meth:`Reading.raw` of many tables for the same queries, those of one shape in one pass."""
    found: list[list[Tensor]] = [[] for _ in readings]
    for number in range(max((len(reading.parts) for reading in readings), default=0)):
        there = [place for place, reading in enumerate(readings) if number < len(reading.parts)]
        ensembles = [readings[place].parts[number].ensemble for place in there]
        for place, raw in zip(there, raw_of_many(ensembles, x), strict=True):
            found[place].append(raw)
    return found
