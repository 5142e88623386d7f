"""A linear trend of few rows, with what each row would get from the others: where a small table needs no network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from innerloop.learners.generative.pfn import standardized

Floats = npt.NDArray[np.float64]

#: Penalties beside the variances of the columns, for as many rows as there are.
_PENALTIES = np.logspace(-2, 3, 21)
#: How far a cell counts, in deviations, and how sure a slope must be: the square of its deviations from 0.
_FAR, _SURE = 10.0, 1.0


@dataclass(frozen=True)
class Trend:
    """A ridge regression whose penalty has the least squared error of leave-one-out, shrunk by how sure it is.

    Missing cells count as the mean of their column, and far ones softly as ten deviations from it.

    Args:
        table: the rows it was learned from, ``[N, F]``.
        slopes: of the standardized columns, ``[F]``.
        level: mean of the targets.
        left_out: what each row gets from the others, ``[N]``.
        share: what the trend is shrunk by, from 0 (nothing is sure) to 1.

    Example:
        >>> x = np.arange(12.0)[:, None]
        >>> trend = Trend.of(x, 3 * x[:, 0])
        >>> bool(abs(trend.at(np.array([[5.5]]))[0] - 16.5) < 0.1)
        True

    References:
        Hoerl and Kennard, Technometrics 12, 1970 (ridge); Breiman, Technometrics 37, 1995 (the garrote).
    """

    table: Floats
    slopes: Floats
    level: float
    left_out: Floats
    share: float

    @classmethod
    def of(cls, x: Floats, y: Floats) -> Trend:
        """From rows ``[N, F]``, NaN where a cell is missing, and targets ``[N]`` of order one."""
        level = float(y.mean())
        rows = _scores(x, x)
        center = rows.mean(0)
        u, sizes, v = np.linalg.svd(rows - center, full_matrices=False)
        kept = sizes**2 / (sizes**2 + _PENALTIES[:, None])
        leverage = kept @ (u**2).T + 1 / len(y)
        residuals = (y - level - (kept * (u.T @ (y - level))) @ u.T) / (1 - leverage).clip(min=1e-9)
        best = int(np.square(residuals).mean(1).argmin())
        told = y - level - residuals[best]
        share = _share(told, y - level)
        along = share * (sizes / (sizes**2 + _PENALTIES[best])) * (u.T @ (y - level))
        slopes = along @ v
        return cls(x, slopes, level - float(center @ slopes), level + share * told, share)

    def at(self, x: Floats) -> Floats:
        """The trend at queries ``[M, F]``: ``[M]``."""
        return np.asarray(self.level + _scores(x, self.table) @ self.slopes)


def _share(told: Floats, y: Floats) -> float:
    """The slope of targets on what the others tell of them, less what chance gives it: a non-negative garrote."""
    square = float(told @ told)
    if not square:
        return 0.0
    slope = float(told @ y) / square
    error = float(np.square(y - slope * told).sum()) / len(y) / square
    return min(1.0, max(0.0, slope - _SURE * error / slope)) if slope > 0 else 0.0


def _scores(x: Floats, table: Floats) -> Floats:
    scores = standardized(torch.from_numpy(x), torch.from_numpy(table)).nan_to_num(0.0)
    return np.asarray((_FAR * torch.tanh(scores / _FAR)).numpy())
