"""In-context regression on small tables, as a scikit-learn estimator that comes with its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from innerloop.core.likelihood import Bars
from innerloop.core.task import InputError
from innerloop.encoders.pretrained import pretrained, shipped
from innerloop.estimators.base import InContextEstimator, learned, queried
from innerloop.estimators.ensemble import Ensemble
from innerloop.estimators.targets import TargetScale

Floats = npt.NDArray[np.float64]

#: Quantiles whose average is the mean, where no formula gives it.
_MIDDLES = (np.arange(200) + 0.5) / 200


class InContextRegressor(RegressorMixin, InContextEstimator):  # type: ignore[misc]
    """Predicts a number, with its distribution, from a small table. Nothing is tuned.

    As :class:`InContextClassifier`, with a real target of any level and scale. A constant target is predicted as it
    is. Where targets have heavy tails they are learned as logarithms of their distance from the median, and the few
    that are outliers even then count as lying on the fences; the mean then leaves out what lies beyond.

    Args:
        n_estimators: members of the ensemble; every other one sees the features by their quantiles.
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
        self._scale = TargetScale.of(y)
        standard = np.zeros_like(y) if self._scale.constant else self._scale.standard(y)
        weights = Path(self.weights) if self.weights is not None else shipped(regression=True)
        random = check_random_state(self.random_state)
        targets = torch.from_numpy(standard).unsqueeze(1)
        self._ensemble = Ensemble(weights, x, targets, regression=True, members=self.n_estimators, random=random)
        return self

    def predict(self, X: Any) -> Floats:
        """The mean of each row's distribution, float64 ``[N]``, in the units of y."""
        check_is_fitted(self)
        x = queried(self, self._columns, X)
        if self._scale.constant:
            return np.full(len(x), self._scale.level)
        bars, raw = self._distribution(x)
        if self._scale.width is None:
            return self._scale.restored(bars.mean(raw)[:, 0].numpy())
        z = torch.cat([bars.quantile(raw, share) for share in _MIDDLES], 1).numpy()
        return self._scale.restored(z.clip(*self._scale.fences)).mean(1)

    def quantiles(self, X: Any, q: tuple[float, ...] = (0.1, 0.5, 0.9)) -> Floats:
        """Quantiles of each row's distribution, float64 ``[N, len(q)]``, in the units of y.

        Args:
            X: ``[N, F]``.
            q: shares, each strictly between 0 and 1.
        """
        if not all(0 < share < 1 for share in q):
            raise InputError(f"quantiles are asked at {q}; each must lie strictly between 0 and 1")
        check_is_fitted(self)
        x = queried(self, self._columns, X)
        if self._scale.constant:
            return np.full((len(x), len(q)), self._scale.level)
        bars, raw = self._distribution(x)
        return self._scale.restored(torch.cat([bars.quantile(raw, share) for share in q], 1).numpy())

    def _distribution(self, x: Floats) -> tuple[Bars, Tensor]:
        """The density's bars and each member's raw outputs, in float64."""
        bars = pretrained(self._ensemble.weights, regression=True).likelihood
        if not isinstance(bars, Bars):
            raise InputError(
                f"the weights {self._ensemble.weights} have no bars: train them with the default likelihood"
            )
        return bars, self._ensemble.raw(x)
