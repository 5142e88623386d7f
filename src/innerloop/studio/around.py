"""Where examples and a query lie for the head, and which examples are nearest: what the page's map shows.

Distances are those of the space in which the head learns: features of unit length where it scales them so, standardized
columns of a table. The plane is that of the examples' first two principal components, so it is the best flat picture of
these distances; a query is laid into it and does not move it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.spatial.distance import cdist

from innerloop.estimators.fewshot import FewShotClassifier
from innerloop.evidence.plane import directions
from innerloop.learners.heads.prototypes import Prototypes
from innerloop.serve.learning import support_of
from innerloop.studio.learners import scaled

Floats = npt.NDArray[np.float64]
#: Heads that take features by their lengths too.
_LENGTHS = ("prototypes-euclidean", "nearest-euclidean", "gaussian")
_NEAR = 5


def spaced(model: FewShotClassifier, x: Floats) -> Floats:
    """Features ``[N, H]`` as the head sees them, ``[N, H]``.

    Args:
        model: fitted.
        x: features, of examples or of queries.
    """
    if model.encoder_ == "table":
        head = scaled(model, Prototypes())
        return np.asarray(head.standard(head.adapt(support_of(model)), torch.from_numpy(x)).numpy())
    if model.head_ in _LENGTHS:
        return x
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(lengths > 0, lengths, 1)


def around(model: FewShotClassifier, ids: Sequence[str], queries: Floats | None = None) -> dict[str, Any]:
    """The map of a task's examples with their neighbors, and a query on it, as plain values.

    Args:
        model: fitted.
        ids: of its examples, in their order, ``[N]``.
        queries: features of one query at most, ``[Q, H]``.
    """
    z = spaced(model, np.asarray(model.X_, dtype=np.float64))
    asked = z[:0] if queries is None else spaced(model, np.asarray(queries, dtype=np.float64))
    # The directions are those of the examples: the query changes nothing.
    middle, (ways, share) = z.mean(0), directions(z)
    at, laid = ((some - middle) @ ways.T for some in (z, asked))
    found: dict[str, Any] = {
        "share": None if np.isnan(share) else share,
        "points": [
            {"example": one, "label": label, "x": x, "y": y, "near": near}
            for one, label, (x, y), near in zip(
                ids, model.y_.tolist(), at.tolist(), _nearest(z, z, ids, own=True), strict=True
            )
        ],
        "query": None,
    }
    if len(asked):
        (x, y), (near,) = laid[0].tolist(), _nearest(asked[:1], z, ids, own=False)
        found["query"] = {"x": x, "y": y, "near": near}
    return found


def _nearest(asked: Floats, known: Floats, ids: Sequence[str], *, own: bool) -> list[list[dict[str, Any]]]:
    """Of each row the nearest examples, those first."""
    distances = cdist(asked, known)
    if own:
        np.fill_diagonal(distances, np.inf)
    order = np.argsort(distances, axis=1, kind="stable")[:, : min(_NEAR, len(ids) - own)]
    return [
        [{"example": ids[place], "distance": float(distances[row, place])} for place in places]
        for row, places in enumerate(order.tolist())
    ]
