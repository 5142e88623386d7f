"""In-context classification of small tables, as a scikit-learn estimator that comes with its weights.

``fit`` reads the table, ``predict_proba`` reads the queries beside it in one pass of a trained network: nothing is
tuned and nothing is trained but the random trees that answer beside it.
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

from innerloop.core.numbers import check_count
from innerloop.core.targets import one_hot
from innerloop.core.task import InputError
from innerloop.encoders.pretrained import shipped
from innerloop.estimators.base import InContextEstimator, learned, queried
from innerloop.estimators.classes import ClassTree, by_content
from innerloop.estimators.ensemble import MAX_ROWS, Floats, raw_of_many, sample, told_of
from innerloop.estimators.sharpened import Sharpened
from innerloop.evidence import Explanation
from innerloop.evidence.reasoned import reasons_of_classes


class InContextClassifier(ClassifierMixin, InContextEstimator):  # type: ignore[misc]
    """Classifies small tables with a transformer trained on synthetic ones, and random trees. Nothing is tuned.

    The network has learned what tables look like and knows little of rows that stand out; extra trees know only the
    table, are at home where it breaks off at thresholds, and too bold. The mean of both probabilities counts, and how
    far it differs from the rates of the classes to a power that the table tells: some more trees answer for rows that
    they have not seen.

    Made for 10 to 1,000 rows, 2 to 30 features and 2 to 10 classes. Above 2,000 rows each member of the ensemble
    reads 2,000 of them; above 10 classes they are split into groups, and the groups' probabilities multiplied by
    those within. Neither a new name for a class nor a constant column changes a probability.

    Columns are numbers, dates or categories, as they are at ``fit`` (:mod:`innerloop.encoders.columns` says how
    each is told and read). A missing cell (None, NaN, NaT, ``pandas.NA``, an empty string) may be anywhere; a
    category that ``fit`` has not seen counts as missing; a word in a column that held numbers or dates is refused.
    Of 3 to 20 categories each gets a column of its own beside their places.

    Args:
        n_estimators: members of the ensemble; each sees the classes in an order of its own, and every other one the
            features by their quantiles. More of them gain little and take as much longer.
        random_state: of the members and the trees.
        weights: the bundle of an :class:`~innerloop.learners.InContext`; default the one of the package.
        trees: extra trees beside the network; 0 for the network alone.

    Attributes:
        classes_: the labels, sorted.
        n_features_in_: number of features.

    Raises:
        InputError: (a ValueError) from ``fit``, for more than 100 features that vary, for weights of a regressor, and
            for trees that are no number from 0 on.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True)
        >>> model = InContextClassifier().fit(X[::2], y[::2])
        >>> bool(model.score(X[1::2], y[1::2]) > 0.9)
        True

    References:
        Hollmann et al., *TabPFN*, ICLR 2023, https://arxiv.org/abs/2207.01848. The weights are our own.
        Geurts, Ernst, Wehenkel, *Extremely randomized trees*, Machine Learning 2006,
        https://doi.org/10.1007/s10994-006-6226-1.
    """

    def __init__(
        self,
        n_estimators: int = 2,
        random_state: int | None = 0,
        weights: str | Path | None = None,
        trees: int = 100,
    ) -> None:
        super().__init__(n_estimators, random_state, weights)
        self.trees = trees

    def fit(self, X: Any, y: Any) -> InContextClassifier:
        """Read the table.

        Args:
            X: ``[N, F]``: a data frame, an array, or rows in lists.
            y: labels ``[N]``, numbers or strings.
        """
        check_count("trees", self.trees, 0)
        self._columns, x, y = learned(self, X, y, numeric=False)
        self.classes_, labels = _classes(y)
        self._table = x, labels
        # From here on a class is where its rows put it, and no longer its place among the names.
        self._order = by_content(x, labels)
        place = np.argsort(self._order)[labels]
        random = check_random_state(self.random_state)
        self._drawn = random.get_state()
        self._tree = ClassTree(self._weights(), x, place, members=self.n_estimators, random=random)
        self._sharpened = self._grown(np.arange(len(x))[None], place[None], place[None])
        return self

    def _grown(
        self, subsets: npt.NDArray[np.intp], labels: npt.NDArray[np.intp], places: npt.NDArray[np.intp]
    ) -> Sharpened | None:
        """The trees of subsets of the rows and their labels, ``[B, M]``, classes by content at ``places``."""
        if not self.trees:
            return None
        random = np.random.RandomState()
        if subsets.shape[1] > MAX_ROWS:
            read = []
            for place in places:
                random.set_state(self._drawn)
                read.append(sample(random, place))
            subsets, labels, places = (
                np.take_along_axis(part, np.stack(read), 1) for part in (subsets, labels, places)
            )
        random.set_state(self._drawn)
        seed = random.randint(2**31)
        x, classes = self._table[0][subsets], len(self.classes_)
        return Sharpened(x, labels, places, classes, trees=int(self.trees), seed=seed)

    def _weights(self) -> Path:
        return Path(self.weights) if self.weights is not None else shipped(regression=False)

    def predict_proba(self, X: Any) -> npt.NDArray[np.float32]:
        """Class probabilities, float32 ``[N, D]``, columns as in ``classes_``."""
        check_is_fitted(self)
        x = queried(self, self._columns, X)
        proba = self._tree.probabilities(x)
        if self._sharpened is not None:
            proba = self._sharpened.beside(proba[None], x)[0]
        return proba[:, np.argsort(self._order)].numpy()

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
        tables, places, columns, random = [], [], [], np.random.RandomState()
        # What is checked of each table was checked at fit.
        with config_context(assume_finite=True, skip_parameter_validation=True):
            for subset in subsets:
                present, own = np.unique(labels[subset], return_inverse=True)
                order = by_content(x[subset], own)
                random.set_state(self._drawn)
                place = np.argsort(order)[own]
                tables.append(
                    ClassTree(self._weights(), x[subset], place, members=self.n_estimators, random=random, keep=False)
                )
                places.append(place)
                columns.append(present[order])
        found = torch.zeros(len(subsets), len(asked), len(self.classes_))
        for one, own, raw, table in zip(
            found, columns, raw_of_many([table.top for table in tables], asked), tables, strict=True
        ):
            one[:, torch.from_numpy(own)] = table.probabilities(asked, raw)
        sharpened = self._grown(subsets, labels[subsets], np.stack(places))
        return (found if sharpened is None else sharpened.beside(found, asked)).double().log()


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
