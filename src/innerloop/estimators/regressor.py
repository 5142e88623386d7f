"""In-context regression on small tables, as a scikit-learn estimator that comes with its weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn import config_context
from sklearn.base import RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from innerloop.core.likelihood import Bars
from innerloop.core.numbers import check_number
from innerloop.core.task import InputError
from innerloop.encoders.pretrained import pretrained, shipped
from innerloop.estimators.base import InContextEstimator, learned, queried
from innerloop.estimators.coverage import SHARES, held, left_out_levels
from innerloop.estimators.ensemble import told_of
from innerloop.estimators.reading import Reading, raw_of_readings
from innerloop.evidence import Explanation
from innerloop.evidence.reasoned import reasons_of_numbers

Floats = npt.NDArray[np.float64]


class InContextRegressor(RegressorMixin, InContextEstimator):  # type: ignore[misc]
    """Predicts a number, with its distribution, from a small table. Nothing is tuned.

    As :class:`InContextClassifier`, with a real target of any level and scale. A constant target is predicted as it
    is. Where targets have heavy tails they are learned as logarithms of their distance from the median, and the few
    that are outliers even then count as lying on the fences; the mean then leaves out what lies beyond.

    Half of the members see the table as it is; the others see the features by their quantiles, and what a ridge
    regression leaves of the targets, each row's without that row. Means and quantiles of both are averaged.

    Args:
        n_estimators: members of the ensemble; the first, the third, ... see the table as it is.
        random_state: of the members' rows, above 2,000.
        weights: the bundle of an :class:`~innerloop.learners.InContext`; default the one of the package.

    Attributes:
        n_features_in_: number of features.

    Raises:
        InputError: (a ValueError) from ``fit``, for more than 100 features that vary, and for weights of a classifier.

    Example:
        >>> from sklearn.datasets import load_diabetes
        >>> X, y = load_diabetes(return_X_y=True)
        >>> model = InContextRegressor().fit(X[:100], y[:100])
        >>> model.quantiles(X[100:], (0.1, 0.5, 0.9)).shape
        (342, 3)

    References:
        Hollmann et al., *Accurate predictions on small data with a tabular foundation model*, Nature 637, 2025,
        https://doi.org/10.1038/s41586-024-08328-6. The weights are our own.
    """

    def fit(self, X: Any, y: Any) -> InContextRegressor:
        """Read the table.

        Args:
            X: ``[N, F]``: a data frame, an array, or rows in lists.
            y: targets ``[N]``.
        """
        self._columns, x, y = learned(self, X, y, numeric=True)
        if y.dtype.kind not in "biuf":
            raise InputError(f"y is of type {y.dtype}, a regressor's targets are numbers: convert it first")
        y = y.astype(np.float64)
        self._table, random = (x, y), check_random_state(self.random_state)
        self._drawn = random.get_state()
        self._reading = self._read(x, y, random)
        self._levels: Floats | None = None
        return self

    def _read(self, x: Floats, y: Floats, random: np.random.RandomState, keep: bool = True) -> Reading:
        weights = Path(self.weights) if self.weights is not None else shipped(regression=True)
        return Reading.of(weights, x, y, members=self.n_estimators, random=random, keep=keep)

    def predict(self, X: Any) -> Floats:
        """The mean of each row's distribution, float64 ``[N]``, in the units of y."""
        check_is_fitted(self)
        x = queried(self, self._columns, X)
        return self._reading.mean(self._bars(), x, self._reading.raw(x))

    def quantiles(self, X: Any, q: tuple[float, ...] = (0.1, 0.5, 0.9)) -> Floats:
        """Quantiles of each row's distribution, float64 ``[N, len(q)]``, in the units of y.

        Central intervals hold their share of new rows: the distribution's shares are stretched by what rows of the
        table say that were left out, a fifth at a time (cross-conformal prediction; Vovk, Annals of Mathematics and
        Artificial Intelligence 74, 2015). The first call reads the table up to five times more for that.

        Args:
            X: ``[N, F]``.
            q: shares, each strictly between 0 and 1.
        """
        for share in q:
            check_number("the share of a quantile", share, "(0, 1)")
        check_is_fitted(self)
        x = queried(self, self._columns, X)
        shares = np.array(q, dtype=np.float64)
        if not self._reading.scale.constant:
            if self._levels is None:
                self._levels = left_out_levels(self._table[1], self._left_out)
            shares = held(shares, self._levels)
        return self._reading.quantiles(self._bars(), x, self._reading.raw(x), shares)

    def _left_out(self, rows: npt.NDArray[np.intp], asked: npt.NDArray[np.intp]) -> Floats:
        """Quantiles of some rows of the table by what others tell."""
        x, y = self._table
        random = np.random.RandomState()
        random.set_state(self._drawn)
        with config_context(assume_finite=True, skip_parameter_validation=True):
            reading = self._read(x[rows], y[rows], random, keep=False)
        return reading.quantiles(self._bars(), x[asked], reading.raw(x[asked]), SHARES)

    def explain(
        self, X: Any, k: int = 5, *, shapley: bool = False, groups: Sequence[Sequence[int]] | None = None
    ) -> Explanation:
        """Why queries get their numbers: how far each row pulls them, exactly, by reading the table without it.

        What a column is (numbers, dates, categories) stays as it was at ``fit``; all else is found anew without a row.
        That is one reading of the table for each row, many at a time: made for tables of tens of rows.

        Args:
            X: as at ``fit``, Q rows.
            k: rows in each list of the text.
            shapley: whether to share each number (less the mean of the targets) out among the rows, over all orders of
                coming: exactly up to 12 rows or groups, by random orders beyond.
            groups: places of rows that come and go together, for the shares.

        Returns:
            a sequence of reasons, which print as text and in a notebook as tables.

        Example:
            >>> model = InContextRegressor().fit([[0.0], [1.0], [2.0], [3.0], [4.0]], [0.0, 1.1, 1.9, 3.2, 3.9])
            >>> model.explain([[3.9]])[0].nearest
            4
        """
        check_is_fitted(self)
        asked, (x, y) = queried(self, self._columns, X), self._table

        def refits(subsets: Tensor, queries: slice) -> Tensor:
            return self._refits(subsets.numpy(), asked[queries])

        predicted = refits(torch.arange(len(x))[None], slice(None))[0]
        told = told_of(self._reading.parts[0].ensemble, x, asked, y - predicted.numpy(), k)
        return reasons_of_numbers(refits, torch.from_numpy(y).unsqueeze(1), len(asked), told, shapley, groups)

    def _refits(self, subsets: npt.NDArray[np.intp], asked: Floats) -> Tensor:
        """What each of some subsets of the rows tells, ``[B, Q, 1]``."""
        x, y = self._table
        read, random = [], np.random.RandomState()
        with config_context(assume_finite=True, skip_parameter_validation=True):
            for subset in subsets:
                random.set_state(self._drawn)
                read.append(self._read(x[subset], y[subset], random, keep=False))
        bars = self._bars()
        found = [
            reading.mean(bars, asked, raw) for reading, raw in zip(read, raw_of_readings(read, asked), strict=True)
        ]
        return torch.from_numpy(np.stack(found)).unsqueeze(2)

    def _bars(self) -> Bars:
        weights = self._reading.parts[0].ensemble.weights
        bars = pretrained(weights, regression=True).likelihood
        if not isinstance(bars, Bars):
            raise InputError(f"the weights {weights} have no bars: train them with the default likelihood")
        return bars
