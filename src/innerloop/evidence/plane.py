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
    ways, share = directions(points)
    return (points - points.mean(0)) @ ways.T, share


def directions(points: Floats) -> tuple[Floats, float]:
    """The first two principal directions of points ``[N, H]``, ``[2, H]``, and the share of the spread along them.

    Signs, missing dimensions and points that are all alike: as in :func:`plane`.

    Example:
        >>> directions(np.array([[0.0, 3.0], [2.0, 3.0]]))
        (array([[1., 0.],
               [0., 0.]]), 1.0)
    """
    _, sizes, right = np.linalg.svd(points - points.mean(0), full_matrices=False)
    # A direction of no length is rounding: nothing lies along it.
    right = right[: np.linalg.matrix_rank(np.diag(sizes))][:2]
    found = np.zeros((2, points.shape[1]))
    found[: len(right)] = right * np.sign(right[range(len(right)), np.abs(right).argmax(1)])[:, None]
    total = float(np.square(sizes).sum())
    return found, float(np.square(sizes[:2]).sum()) / total if total > 0 else float("nan")
