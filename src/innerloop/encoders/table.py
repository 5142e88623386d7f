"""Tables: columns of any kind as numbers, for the in-context network and for heads on standardized columns."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from innerloop.encoders.base import Encoder
from innerloop.encoders.columns import Column, cells
from innerloop.encoders.incontext import InContextHead
from innerloop.encoders.own import weights_digest
from innerloop.encoders.pretrained import pretrained, shipped
from innerloop.learners.head import Head
from innerloop.learners.heads.logistic import LogisticRegression
from innerloop.learners.heads.nearest import NearestNeighbor
from innerloop.learners.heads.prototypes import Prototypes
from innerloop.learners.heads.ridge import Ridge
from innerloop.learners.heads.scaled import Scaled

Floats = npt.NDArray[np.float64]


class Table(Encoder):
    """The columns of a table as numbers. What kind each column is, is decided at ``fit``.

    A feature vector holds the columns twice: as the in-context network reads them, a category as its place among the
    sorted ones; and then as other heads do, a category as one column for each of its values. A missing cell is NaN.

    Attributes:
        columns_: what is known of each column.

    Raises:
        InputError: (a ValueError) for other columns than at ``fit``, or words in a column of numbers.

    Example:
        >>> Table().fit_transform([[1.5, "red"], [2.0, "blue"], [None, "red"]])
        array([[1.5, 1. , 1.5, 0. , 1. ],
               [2. , 0. , 2. , 1. , 0. ],
               [nan, 1. , nan, 0. , 1. ]])
    """

    name = "table"
    kind = "table"
    single = "in-context"

    @property
    def features(self) -> int:  # noqa: D102
        return self.blocks["columns"].stop

    @property
    def blocks(self) -> Mapping[str, slice]:
        """The columns as they are, and with one for each value of a category."""
        check_is_fitted(self, "columns_")
        count = len(self.columns_)
        wide = sum(len(column.codes) if column.codes is not None else 1 for column in self.columns_)
        return {"cells": slice(0, count), "columns": slice(count, count + wide)}

    @property
    def column_of(self) -> list[int]:
        """The place of the column that each number of a feature vector comes from, ``[H]``."""
        sizes = [1 if column.codes is None else len(column.codes) for column in self.columns_]
        return [*range(len(sizes)), *(place for place, size in enumerate(sizes) for _ in range(size))]

    def heads(self) -> Mapping[str, Callable[[], Head]]:
        """The in-context network, and the usual heads on standardized columns."""
        count = self.blocks["cells"].stop
        usual: dict[str, Callable[[], Head]] = {
            "ridge": partial(Ridge, normalize=False),
            "logistic": partial(LogisticRegression, normalize=False),
            "prototypes": Prototypes,
            "nearest": partial(NearestNeighbor, distance="euclidean"),
        }
        scaled = {name: partial(_scaled, make, count) for name, make in usual.items()}
        return {"in-context": partial(InContextHead, stop=count), **scaled}

    def fit(self, X: Any = None, y: Any = None) -> Self:
        """Decide what kind each column is.

        Args:
            X: a data frame, an array, or rows in lists.
            y: not used.
        """
        self.columns_ = tuple(Column.of(column) for column in cells(X, self, reset=True))
        return self

    def transform(self, X: Any) -> Floats:
        """The columns as numbers, float64 ``[N, H]``."""
        check_is_fitted(self, "columns_")
        table = cells(X, self, reset=False)
        plain = [known.numbers(column) for known, column in zip(self.columns_, table, strict=True)]
        wide: list[Floats] = []
        for known, numbers in zip(self.columns_, plain, strict=True):
            if known.codes is None:
                wide.append(numbers)
            else:
                # A category that is missing or new is none of the known ones.
                wide.extend((numbers == code).astype(np.float64) for code in range(len(known.codes)))
        return np.stack([*plain, *wide], 1)

    def state(self) -> dict[str, Any]:
        """What ``fit`` found, as plain values."""
        names = getattr(self, "feature_names_in_", None)
        return {
            "columns": [asdict(column) for column in self.columns_],
            "n_features": self.n_features_in_,
            "names": None if names is None else list(map(str, names)),
        }

    def restore(self, state: Mapping[str, Any]) -> Self:
        """Fitted again, from :meth:`state`."""
        self.columns_ = tuple(Column(**column) for column in state["columns"])
        self.n_features_in_ = state["n_features"]
        if state["names"] is not None:
            self.feature_names_in_ = np.array(state["names"], dtype=object)
        return self

    def _fingerprint(self) -> str:
        network = pretrained(shipped(regression=False), regression=False)
        return f"{weights_digest(network)} {json.dumps([asdict(column) for column in self.columns_])}"

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "columns_")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.requires_fit = tags.input_tags.two_d_array = True
        tags.input_tags.allow_nan = tags.input_tags.string = tags.input_tags.categorical = True
        return tags


def _scaled(make: Callable[[], Head], start: int) -> Head:
    return Scaled(make(), start=start)
