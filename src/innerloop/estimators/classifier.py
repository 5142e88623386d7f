"""In-context classification of small tables, as a scikit-learn estimator that comes with its weights.

``fit`` reads the table, ``predict_proba`` reads the queries beside it in one pass of a trained network: nothing is
tuned and nothing is trained.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from innerloop.core.task import InputError
from innerloop.encoders.pretrained import shipped
from innerloop.estimators.base import InContextEstimator, learned, queried
from innerloop.estimators.classes import ClassTree, by_content


class InContextClassifier(ClassifierMixin, InContextEstimator):  # type: ignore[misc]
    """Classifies small tables with a transformer that was trained on synthetic ones. Nothing is tuned.

    Made for 10 to 1,000 rows, 2 to 30 features and 2 to 10 classes. Above 2,000 rows each member of the ensemble
    reads 2,000 of them; above 10 classes they are split into groups, and the groups' probabilities multiplied by
    those within. Neither a new name for a class nor a constant column changes a probability.

    Columns are numbers, dates or categories, as they are at ``fit`` (:mod:`innerloop.encoders.columns` says how
    each is told and read). A missing cell (None, NaN, NaT, ``pandas.NA``, an empty string) may be anywhere; a
    category that ``fit`` has not seen counts as missing; a word in a column that held numbers or dates is refused.

    Args:
        n_estimators: members of the ensemble; each sees the classes in an order of its own, and every other one the
            features by their quantiles.
        random_state: of the members.
        weights: the bundle of an :class:`~innerloop.learners.InContext`; default the one of the package.

    Attributes:
        classes_: the labels, sorted.
        n_features_in_: number of features.

    Raises:
        InputError: (a ValueError) from ``fit``, for more than 100 features that vary, and for weights of a regressor.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True)
        >>> model = InContextClassifier().fit(X[::2], y[::2])
        >>> bool(model.score(X[1::2], y[1::2]) > 0.9)
        True

    References:
        Hollmann et al., *TabPFN*, ICLR 2023, https://arxiv.org/abs/2207.01848. The weights are our own.
    """

    def fit(self, X: Any, y: Any) -> InContextClassifier:
        """Read the table.

        Args:
            X: ``[N, F]``: a data frame, an array, or rows in lists.
            y: labels ``[N]``, numbers or strings.
        """
        self._columns, x, y = learned(self, X, y, numeric=False)
        self.classes_, labels = _classes(y)
        # From here on a class is where its rows put it, and no longer its place among the names.
        self._order = by_content(x, labels)
        place = np.argsort(self._order)[labels]
        weights = Path(self.weights) if self.weights is not None else shipped(regression=False)
        random = check_random_state(self.random_state)
        self._tree = ClassTree(weights, x, place, members=self.n_estimators, random=random)
        return self

    def predict_proba(self, X: Any) -> npt.NDArray[np.float32]:
        """Class probabilities, float32 ``[N, D]``, columns as in ``classes_``."""
        check_is_fitted(self)
        x = queried(self, self._columns, X)
        return self._tree.probabilities(x)[:, np.argsort(self._order)].numpy()

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """The most probable class of each row, ``[N]``."""
        best = self.predict_proba(X).argmax(1)
        return self.classes_[best]


def _classes(y: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[np.intp]]:
    """The sorted classes, and the place of each row's among them."""
    gone = [i for i, label in enumerate(y) if y.dtype.kind == "O" and (label is None or label != label)]
    if gone:
        raise InputError(f"y has no label in {len(gone)} of {len(y)} rows, first in row {gone[0]}: leave such rows out")
    try:
        check_classification_targets(y)
        classes, labels = np.unique(y, return_inverse=True)
    except TypeError:
        kinds = sorted({type(label).__name__ for label in y})
        raise InputError(
            f"the labels in y are of kinds that have no common order ({', '.join(kinds)}): use one"
        ) from None
    return classes, labels
