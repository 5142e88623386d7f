"""Points in two dimensions: along the directions in which they spread most."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def plane(points: Floats) -> tuple[Floats, float]:
    """Points ``[N, H]`` along their first two principal components, ``[N, 2]``, and the share of the spread in these.

    A component has no sign of its own: the largest part of its direction is positive, on every machine. What has one
    dimension only, or none, has zeros for the others; the share of points that are all alike is NaN.

    Example:
        >>> at, share = plane(np.array([[0.0, 0.0, 1.0], [2.0, 0.0, 1.0], [4.0, 1.0, 1.0]]))
        >>> at.shape, round(share, 3)
        ((3, 2), 1.0)
    """
    left, sizes, right = np.linalg.svd(points - points.mean(0), full_matrices=False)
    count = min(2, len(sizes))
    signs = np.sign(right[range(count), np.abs(right[:count]).argmax(1)])
    at = np.zeros((len(points), 2))
    at[:, :count] = left[:, :count] * sizes[:count] * np.where(signs == 0, 1, signs)
    total = float(np.square(sizes).sum())
    return at, float(np.square(sizes[:2]).sum()) / total if total > 0 else float("nan")
