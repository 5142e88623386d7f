"""scikit-learn estimators: the in-context learners that come with their weights.

``fit`` keeps the table, ``predict_proba`` reads it beside the query in one pass of a trained network: nothing is tuned
and nothing is trained. Columns may hold numbers, categories (any object or string column) and missing cells.
"""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.preprocessing import QuantileTransformer
from sklearn.utils import Tags, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from innerloop.bundle import load
from innerloop.core.likelihood import Bars
from innerloop.core.targets import one_hot
from innerloop.core.task import Examples, InputError
from innerloop.learners.generative.pfn import InContext

Floats = npt.NDArray[np.floating[Any]]

_WEIGHTS = Path(__file__).parents[1] / "weights"
#: Most columns of a table, most rows that a member of the ensemble reads, and queries at a time.
MAX_FEATURES, MAX_ROWS, _QUERIES = 100, 2000, 2000
#: Averaging over members blunts probabilities; this sharpens them again.
_TEMPERATURE = 0.9


@cache
def _learner(path: Path) -> InContext:
    learner = load(path)
    if not isinstance(learner, InContext):
        raise InputError(f"{path} holds a {type(learner).__name__}: these estimators take the bundle of an InContext")
    return learner.requires_grad_(False)


class _Member(NamedTuple):
    """How one member of the ensemble sees the table."""

    rows: npt.NDArray[np.intp]
    order: npt.NDArray[np.intp]
    """Which class stands in each column of its targets."""
    warp: QuantileTransformer | None


class _InContextEstimator(BaseEstimator):  # type: ignore[misc]
    """What the classifier and the regressor share: columns to numbers, and an ensemble of views of the table."""

    _file: str

    def __init__(self, n_estimators: int = 4, random_state: int | None = 0, weights: str | Path | None = None) -> None:
        self.n_estimators = n_estimators
        self.random_state = random_state
        self.weights = weights

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.string = tags.input_tags.categorical = True
        return tags

    def _model(self) -> InContext:
        return _learner(Path(self.weights) if self.weights is not None else _WEIGHTS / self._file)

    def _keep(self, X: npt.NDArray[Any], y: Tensor, strata: npt.NDArray[np.intp]) -> None:
        """Keep the table ``X [N, F]``, ``y [N, D]``, and choose the members' views of it."""
        if self.n_estimators < 1:
            raise InputError(f"n_estimators is {self.n_estimators}; the ensemble needs at least 1 member")
        if X.shape[1] > MAX_FEATURES:
            raise InputError(
                f"the table has {X.shape[1]} features, this estimator reads at most {MAX_FEATURES}: select some first, "
                f"for instance with sklearn.feature_selection.SelectKBest"
            )
        self._categories = [_categories(column) for column in X.T]
        self._x, self._y = self._numbers(X), y
        random = check_random_state(self.random_state)
        self._members = []
        for i in range(self.n_estimators):
            rows = _sample(random, strata) if len(X) > MAX_ROWS else np.arange(len(X))
            warp = None
            if i % 2:
                warp = QuantileTransformer(
                    n_quantiles=min(len(rows), 200), output_distribution="normal", subsample=None
                )
                with np.errstate(all="ignore"):
                    warp.fit(self._x[rows])
            order = random.permutation(y.shape[1])
            self._members.append(_Member(rows, order, warp))

    def _numbers(self, X: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        return np.stack([_codes(x, known) for x, known in zip(X.T, self._categories, strict=True)], 1)

    def _raw(self, X: Any) -> list[Tensor]:
        """Each member's raw outputs ``[N, P]``, columns in the order of the classes."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=None, ensure_all_finite="allow-nan", reset=False)
        x = self._numbers(X)
        model = self._model()
        return [_predicted(model, member, self._x, self._y, x) for member in self._members]


class InContextClassifier(ClassifierMixin, _InContextEstimator):  # type: ignore[misc]
    """Classifies small tables with a transformer that was trained on synthetic ones. Nothing is tuned.

    Made for 10 to 1,000 rows, 2 to 30 features and 2 to 10 classes. Above 2,000 rows each member of the ensemble reads
    2,000 of them. Numbers, categories (columns of objects or strings) and missing cells (NaN, None) are taken as they
    are; a category that ``fit`` has not seen counts as missing.

    Args:
        n_estimators: members of the ensemble; each sees the classes in an order of its own, and every other one the
            features by their quantiles.
        random_state: of the members.
        weights: the bundle of an :class:`~innerloop.learners.InContext`; default the one of the package.

    Attributes:
        classes_: the labels, sorted.
        n_features_in_: number of features.

    Raises:
        InputError: (a ValueError) from ``fit``, for more than 10 classes or 100 features.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True)
        >>> model = InContextClassifier().fit(X[::2], y[::2])
        >>> bool(model.score(X[1::2], y[1::2]) > 0.9)
        True

    References:
        Hollmann et al., *TabPFN*, ICLR 2023, https://arxiv.org/abs/2207.01848. The weights are our own.
    """

    _file = "incontext_classifier"

    def fit(self, X: Any, y: Any) -> InContextClassifier:
        """Keep the table.

        Args:
            X: ``[N, F]``: an array or a data frame.
            y: labels ``[N]``, numbers or strings.
        """
        X, y = validate_data(self, X, y, dtype=None, ensure_all_finite="allow-nan")
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        most = self._model().targets
        if len(self.classes_) > most:
            raise InputError(
                f"y has {len(self.classes_)} classes, these weights read at most {most}: merge rare classes, or use "
                f"sklearn.multiclass.OneVsRestClassifier"
            )
        self._keep(X, one_hot(torch.from_numpy(labels), len(self.classes_)), labels)
        return self

    def predict_proba(self, X: Any) -> Floats:
        """Class probabilities, float32 ``[N, D]``, columns as in ``classes_``."""
        logits = torch.stack([raw.log_softmax(1) for raw in self._raw(X)]).mean(0)
        return (logits / _TEMPERATURE).softmax(1).numpy()

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """The most probable class of each row, ``[N]``."""
        best = self.predict_proba(X).argmax(1)
        return self.classes_[best]


class InContextRegressor(RegressorMixin, _InContextEstimator):  # type: ignore[misc]
    """Predicts a number, with its distribution, from a small table. Nothing is tuned.

    As :class:`InContextClassifier`, with a real target.

    Args:
        n_estimators: members of the ensemble; every other one sees the features by their quantiles.
        random_state: of the members' rows, above 2,000.
        weights: the bundle of an :class:`~innerloop.learners.InContext`; default the one of the package.

    Attributes:
        n_features_in_: number of features.

    Raises:
        InputError: (a ValueError) from ``fit``, for more than 100 features.

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

    _file = "incontext_regressor"

    def fit(self, X: Any, y: Any) -> InContextRegressor:
        """Keep the table.

        Args:
            X: ``[N, F]``: an array or a data frame.
            y: targets ``[N]``.
        """
        X, y = validate_data(self, X, y, dtype=None, ensure_all_finite="allow-nan", y_numeric=True)
        y = np.asarray(y, dtype=np.float64)
        self._level, spread = float(y.mean()), float(y.std())
        self._spread = spread if spread > 1e-12 * abs(self._level) else 1.0
        standard = (y - self._level) / self._spread
        self._keep(X, torch.from_numpy(standard).float().unsqueeze(1), np.zeros(len(y), dtype=np.intp))
        return self

    def predict(self, X: Any) -> Floats:
        """The mean of each row's distribution, float32 ``[N]``, in the units of y."""
        mean = self._model().likelihood.mean(torch.stack(self._raw(X)))[:, 0]
        return (self._level + self._spread * mean).numpy()

    def quantiles(self, X: Any, q: tuple[float, ...] = (0.1, 0.5, 0.9)) -> Floats:
        """Quantiles of each row's distribution, ``[N, len(q)]``, in the units of y.

        Args:
            X: ``[N, F]``.
            q: shares, each strictly between 0 and 1.
        """
        if not all(0 < share < 1 for share in q):
            raise InputError(f"quantiles are asked at {q}; each must lie strictly between 0 and 1")
        bars, raw = self._model().likelihood, torch.stack(self._raw(X))
        assert isinstance(bars, Bars)
        return (self._level + self._spread * torch.cat([bars.quantile(raw, share) for share in q], 1)).numpy()


def _predicted(model: InContext, member: _Member, x: Floats, y: Tensor, query: Floats) -> Tensor:
    support = x[member.rows]
    if member.warp is not None:
        with np.errstate(all="ignore"):
            support, query = member.warp.transform(support), member.warp.transform(query)
    state = model.adapt(Examples(torch.from_numpy(support).float(), y[member.rows][:, member.order]))
    parts = torch.from_numpy(query).float().split(_QUERIES)
    raw = torch.cat([model.predict(state, part)[0] for part in parts])
    return raw if model.regression else raw[:, np.argsort(member.order)]


def _categories(column: npt.NDArray[Any]) -> dict[str, int] | None:
    """The codes of a column's categories, or None for a column of numbers."""
    if column.dtype.kind in "biuf":
        return None
    values = [value for value in column if not _missing(value)]
    try:
        [float(value) for value in values]
    except (TypeError, ValueError):
        return {name: i for i, name in enumerate(sorted({str(value) for value in values}))}
    return None


def _codes(column: npt.NDArray[Any], known: dict[str, int] | None) -> npt.NDArray[np.float64]:
    """A column as numbers: categories by their code; NaN where a cell is missing or a category unknown."""
    if column.dtype.kind in "biuf":
        return column.astype(np.float64)
    if known is None:
        return np.array([math.nan if _missing(value) else float(value) for value in column])
    return np.array([math.nan if _missing(value) else known.get(str(value), math.nan) for value in column])


def _missing(value: Any) -> bool:
    """None, NaN, and the missing values of pandas."""
    return (
        value is None or type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value)
    )


def _sample(random: np.random.RandomState, strata: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """``MAX_ROWS`` rows, of every stratum its share and at least one."""
    shuffled = random.permutation(len(strata))
    # Rank of each row within its stratum, as a share: the rows with the smallest shares, one of each stratum first.
    order = shuffled[np.argsort(strata[shuffled], kind="stable")]
    sizes = np.bincount(strata)
    rank = np.concatenate([np.arange(size) / size for size in sizes if size])
    return np.sort(order[np.argsort(rank, kind="stable")[:MAX_ROWS]])
