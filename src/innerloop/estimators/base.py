"""What the in-context classifier and regressor share as scikit-learn estimators: parameters, and a table as numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator
from sklearn.utils import Tags, check_consistent_length
from sklearn.utils.validation import validate_data

from innerloop.encoders.columns import Cells, Column, cells
from innerloop.estimators.ensemble import MAX_FEATURES

Floats = npt.NDArray[np.float64]

#: Fewest and most categories of a column each of which gets one of its own.
_FEWEST, _MOST = 3, 20


class InContextEstimator(BaseEstimator):  # type: ignore[misc]
    """The parameters.

    Args:
        n_estimators: members of the ensemble.
        random_state: of the members.
        weights: the bundle of an :class:`~innerloop.learners.InContext`; default the one of the package.
    """

    def __init__(self, n_estimators: int = 2, random_state: int | None = 0, weights: str | Path | None = None) -> None:
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
    return columns, _numbers(columns, table), y


def queried(estimator: InContextEstimator, columns: tuple[Column, ...], X: Any) -> Floats:
    """The numbers of queries ``[M, F]``, each column as the kind that it had at ``fit``."""
    return _numbers(columns, cells(X, estimator, reset=False))


def _numbers(columns: tuple[Column, ...], table: list[Cells]) -> Floats:
    """The cells as numbers: a column each, and one for each category of a column of 3 to 20, as far as 100 reach.

    The place of a category among the others says little where they have no order.
    """
    found = [known.numbers(column)[:, None] for known, column in zip(columns, table, strict=True)]
    room = MAX_FEATURES - len(columns)
    for known, codes in zip(columns, tuple(found), strict=True):
        levels = len(known.codes or ())
        if _FEWEST <= levels <= min(_MOST, room):
            found.append(np.where(np.isnan(codes), np.nan, codes == np.arange(levels)))
            room -= levels
    return np.concatenate(found, 1)
