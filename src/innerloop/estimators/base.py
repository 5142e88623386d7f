"""What the in-context classifier and regressor share as scikit-learn estimators."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator
from sklearn.utils import Tags, check_consistent_length
from sklearn.utils.validation import check_is_fitted, validate_data

from innerloop.estimators.columns import Column, cells
from innerloop.estimators.pretrained import shipped


class InContextEstimator(BaseEstimator):  # type: ignore[misc]
    """Parameters, and a table as numbers.

    Args:
        n_estimators: members of the ensemble.
        random_state: of the members.
        weights: the bundle of an :class:`~innerloop.InContext`; default the one of the package.
    """

    _regression: bool

    def __init__(self, n_estimators: int = 4, random_state: int | None = 0, weights: str | Path | None = None) -> None:
        self.n_estimators = n_estimators
        self.random_state = random_state
        self.weights = weights

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.string = tags.input_tags.categorical = True
        return tags

    def _file(self) -> Path:
        return Path(self.weights) if self.weights is not None else shipped(regression=self._regression)

    def _fitted(self, X: Any, y: Any) -> tuple[npt.NDArray[np.float64], npt.NDArray[Any]]:
        """The numbers of a table ``[N, F]``, whose columns' kinds are kept from here on, and its targets ``[N]``."""
        # The targets first: checking them forgets the names of the features. Sums of the largest numbers overflow.
        with np.errstate(all="ignore"):
            y = validate_data(self, y=y, y_numeric=self._regression)
        table = cells(X, self, reset=True)
        check_consistent_length(table[0].cells, y)
        self._columns = [Column.of(column) for column in table]
        return np.stack([known.numbers(column) for known, column in zip(self._columns, table, strict=True)], 1), y

    def _numbers(self, X: Any) -> npt.NDArray[np.float64]:
        """The numbers of queries ``[M, F]``, each column as the kind that it had at ``fit``."""
        check_is_fitted(self)
        table = cells(X, self, reset=False)
        return np.stack([known.numbers(column) for known, column in zip(self._columns, table, strict=True)], 1)
