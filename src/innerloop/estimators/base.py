"""What the in-context classifier and regressor share as scikit-learn estimators: parameters, and a table as numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator
from sklearn.utils import Tags, check_consistent_length
from sklearn.utils.validation import validate_data

from innerloop.encoders.columns import Column, cells

Floats = npt.NDArray[np.float64]


class InContextEstimator(BaseEstimator):  # type: ignore[misc]
    """The parameters.

    Args:
        n_estimators: members of the ensemble.
        random_state: of the members.
        weights: the bundle of an :class:`~innerloop.learners.InContext`; default the one of the package.
    """

    def __init__(self, n_estimators: int = 4, random_state: int | None = 0, weights: str | Path | None = None) -> None:
        self.n_estimators = n_estimators
        self.random_state = random_state
        self.weights = weights

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.string = tags.input_tags.categorical = True
        return tags


def learned(
    estimator: InContextEstimator, X: Any, y: Any, *, numeric: bool
) -> tuple[tuple[Column, ...], Floats, npt.NDArray[Any]]:
    """What ``fit`` takes from a table: the kinds of its columns, its numbers ``[N, F]`` and its targets ``[N]``.

    Args:
        estimator: that is fitted.
        X: the table.
        y: the targets.
        numeric: whether they must be numbers.
    """
    # The targets first: checking them forgets the names of the features. Sums of the largest numbers overflow.
    with np.errstate(all="ignore"):
        y = validate_data(estimator, y=y, y_numeric=numeric)
    table = cells(X, estimator, reset=True)
    check_consistent_length(table[0].cells, y)
    columns = tuple(Column.of(column) for column in table)
    return columns, np.stack([known.numbers(column) for known, column in zip(columns, table, strict=True)], 1), y


def queried(estimator: InContextEstimator, columns: tuple[Column, ...], X: Any) -> Floats:
    """The numbers of queries ``[M, F]``, each column as the kind that it had at ``fit``."""
    table = cells(X, estimator, reset=False)
    return np.stack([known.numbers(column) for known, column in zip(columns, table, strict=True)], 1)
