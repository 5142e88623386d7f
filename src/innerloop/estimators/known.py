"""What a classifier of few examples has been shown: features, labels of any kind, and examples without one."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from torch import Tensor

from innerloop.core.labels import coded, label_array
from innerloop.core.task import InputError
from innerloop.encoders.base import Encoder
from innerloop.estimators.unlabeled import labelled, those
from innerloop.learners.head import Head

Floats = npt.NDArray[np.float64]


class Known(NamedTuple):
    """What is learned from."""

    x: Floats
    labels: npt.NDArray[Any]
    names: npt.NDArray[Any]
    free: Floats
    """Features of those without a label, ``[M, H]``."""
    encoder_name: str
    encoder: Encoder | None

    def joined(self, more: Known) -> Known:
        """These and more of them."""
        x, labels, names, free = (np.concatenate(pair) for pair in zip(self[:4], more[:4], strict=True))
        return Known(x, labels, names, free, self.encoder_name, self.encoder)


def class_labels(
    y: Any, head: str | Head, before: npt.NDArray[Any] | None = None
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """The labels of those that have one, and which these are, bool ``[N]``.

    Args:
        y: labels as a person gives them.
        head: that learns from them.
        before: the labels that are known already.

    Raises:
        InputError: for labels that are missing, or of several kinds.

    Example:
        >>> class_labels(["owl", "cat"], "ridge")[0].tolist()
        ['owl', 'cat']
    """
    if y is None:
        raise InputError("y is missing: give a label for each example")
    known = labelled(y)
    y = those(y, known, head)
    if len(known) and not known.any():
        if before is None:
            raise InputError("no example has a label: give a labelled one of two classes at least")
        return before[:0], known
    if getattr(y, "ndim", 1) == 2 or type(getattr(y, "dtype", None)).__name__ == "CategoricalDtype":
        # Categories as they are: those that are numbers stay numbers.
        y = column_or_1d(y, warn=True)
    values = label_array(y).values
    with warnings.catch_warnings():
        # One example of each class is a task of few examples, and no regression.
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
        check_classification_targets(values)
    coded(label_array(values))
    return values, np.ones(len(values), dtype=bool) if known.all() else known


def kind_of(labels: npt.NDArray[Any]) -> str:
    """What labels are, in a word."""
    return {"U": "word", "b": "boolean"}.get(labels.dtype.kind, "number")


def rows_of(codes: npt.NDArray[np.intp], classes: int) -> Tensor:
    """One-hot rows ``[N, D]``, float64."""
    return torch.eye(classes, dtype=torch.float64)[torch.from_numpy(codes)]
