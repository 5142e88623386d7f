"""In-context classification of small tables, as a scikit-learn estimator that comes with its weights.

``fit`` reads the table, ``predict_proba`` reads the queries beside it in one pass of a trained network: nothing is
tuned and nothing is trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn import config_context
from sklearn.base import ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from innerloop.core.targets import one_hot
from innerloop.core.task import InputError
from innerloop.encoders.pretrained import shipped
from innerloop.estimators.base import InContextEstimator, learned, queried
from innerloop.estimators.classes import ClassTree, by_content
from innerloop.estimators.ensemble import Floats, raw_of_many, told_of
from innerloop.evidence import Explanation
from innerloop.evidence.reasoned import reasons_of_classes


class InContextClassifier(ClassifierMixin, InContextEstimator):  # type: ignore[misc]
    """Classifies small tables with a transformer that was trained on synthetic ones. Nothing is tuned.

    Made for 10 to 1,000 rows, 2 to 30 features and 2 to 10 classes. Above 2,000 rows each member of the ensemble
    reads 2,000 of them; above 10 classes they are split into groups, and the groups' probabilities multiplied by
    those within. Neither a new name for a class nor a constant column changes a probability.

    Columns are numbers, dates or categories, as they are at ``fit`` (:mod:`innerloop.encoders.columns` says how
    each is told and read). A missing cell (None, NaN, NaT, ``pandas.NA``, an empty string) may be anywhere; a
    category that ``fit`` has not seen counts as missing; a word in a column that held numbers or dates is refused.
    Of 3 to 20 categories each gets a column of its own beside their places.

    Args:
        n_estimators: members of the ensemble; each sees the classes in an order of its own, and every other one the
            features by their quantiles. More of them gain about a thousandth of AUC, and take as much longer.
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
        self._table = x, labels
        # From here on a class is where its rows put it, and no longer its place among the names.
        self._order = by_content(x, labels)
        place = np.argsort(self._order)[labels]
        random = check_random_state(self.random_state)
        self._drawn = random.get_state()
        self._tree = ClassTree(self._weights(), x, place, members=self.n_estimators, random=random)
        return self

    def _weights(self) -> Path:
        return Path(self.weights) if self.weights is not None else shipped(regression=False)

    def predict_proba(self, X: Any) -> npt.NDArray[np.float32]:
        """Class probabilities, float32 ``[N, D]``, columns as in ``classes_``."""
        check_is_fitted(self)
        x = queried(self, self._columns, X)
        return self._tree.probabilities(x)[:, np.argsort(self._order)].numpy()

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """The most probable class of each row, ``[N]``."""
        best = self.predict_proba(X).argmax(1)
        return self.classes_[best]

    def explain(
        self,
        X: Any,
        k: int = 5,
        *,
        turn: bool = True,
        shapley: bool = False,
        groups: Sequence[Sequence[int]] | None = None,
    ) -> Explanation:
        """Why queries get their classes: what each row did to the answer, exactly, by reading the table without it.

        What a column is (numbers, dates, categories) stays as it was at ``fit``; all else is found anew without a row.
        That is one reading of the table for each row, many at a time: made for tables of tens of rows.

        Args:
            X: as at ``fit``, Q rows.
            k: rows in each list of the text.
            turn: whether to search the smallest set of rows without which the answer is another one (greedily).
            shapley: whether to share each probability out among the rows, over all orders of coming: exactly up to 12
                rows or groups, by random orders beyond.
            groups: places of rows that come and go together, for the shares.

        Returns:
            a sequence of reasons, which print as text and in a notebook as tables.

        Example:
            >>> X, y = [[1.0], [1.2], [0.9], [5.0], [5.3], [4.8]], ["low"] * 3 + ["high"] * 3
            >>> reason = InContextClassifier().fit(X, y).explain([[1.1]])[0]
            >>> reason.answer, reason.nearest in (0, 1)
            ('low', True)
        """
        check_is_fitted(self)
        asked, (x, labels) = queried(self, self._columns, X), self._table
        rows = one_hot(torch.from_numpy(labels), len(self.classes_)).double()

        def refits(subsets: Tensor, queries: slice) -> Tensor:
            return self._refits(subsets.numpy(), asked[queries])

        answers = refits(torch.arange(len(x))[None], slice(None))[0].argmax(1)
        told = told_of(self._tree.top, x, asked, (2 * rows[:, answers].mT - 1).numpy(), k)
        return reasons_of_classes(
            refits, rows, len(asked), self.classes_, told, turn=turn, shapley=shapley, groups=groups
        )

    def _refits(self, subsets: npt.NDArray[np.intp], asked: Floats) -> Tensor:
        """Log probabilities by what each of some subsets of the rows tells, ``[B, Q, D]``; of a class without a row
        minus infinity.
        """
        x, labels = self._table
        trees, places, random = [], [], np.random.RandomState()
        # What is checked of each table was checked at fit.
        with config_context(assume_finite=True, skip_parameter_validation=True):
            for subset in subsets:
                present, own = np.unique(labels[subset], return_inverse=True)
                order = by_content(x[subset], own)
                random.set_state(self._drawn)
                place = np.argsort(order)[own]
                trees.append(
                    ClassTree(self._weights(), x[subset], place, members=self.n_estimators, random=random, keep=False)
                )
                places.append(present[order])
        found = torch.full((len(subsets), len(asked), len(self.classes_)), -torch.inf, dtype=torch.float64)
        for row, (tree, columns, raw) in enumerate(
            zip(trees, places, raw_of_many([tree.top for tree in trees], asked), strict=True)
        ):
            found[row, :, torch.from_numpy(columns)] = tree.probabilities(asked, raw).double().log()
        return found


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
