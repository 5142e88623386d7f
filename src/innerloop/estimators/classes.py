"""Classes of a table: an order that does not depend on their names, and more of them than a network reads."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from innerloop.core.targets import one_hot
from innerloop.encoders.pretrained import pretrained
from innerloop.estimators.ensemble import Ensemble, Floats, varying
from innerloop.learners.generative.pfn import standardized

#: Averaging over members blunts probabilities; this sharpens them again.
_TEMPERATURE = 0.9


def by_content(x: Floats, labels: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """The classes ``0 .. K - 1`` in an order that follows from their rows alone: by number of rows, then by features.

    Neither names nor the order of columns changes it, nor the order of rows, unless two classes are alike in all this.

    Args:
        x: numbers ``[N, F]``.
        labels: class of each row, ``[N]``; each occurs.
    """
    first = np.unique(labels, return_index=True)[1]
    keys = (first, *np.sort(_centers(x, labels), 1).T[::-1], np.bincount(labels))
    return np.lexsort(keys)


class ClassTree:
    """Class probabilities of a table with any number of classes, as products of those that the network can read.

    Up to ``most`` classes it is one :class:`~innerloop.estimators.ensemble.Ensemble`. Beyond, classes that lie near
    each other along the widest direction of their centers form groups; one ensemble tells the groups apart, and one
    for each group the classes within.

    Args:
        weights: the bundle of the network.
        x: numbers ``[N, F]``.
        labels: class of each row, ``0 .. K - 1``, ``[N]``; each occurs.
        members: of each ensemble.
        random: of the members.
        keep: whether tables are encoded at once, to be read often.
    """

    def __init__(
        self,
        weights: Path,
        x: Floats,
        labels: npt.NDArray[np.intp],
        *,
        members: int,
        random: np.random.RandomState,
        keep: bool = True,
    ) -> None:
        most = pretrained(weights, regression=False).targets
        count = int(labels.max()) + 1
        self.groups = _groups(x, labels, most) if count > most else [np.array([i]) for i in range(count)]
        group = np.empty(count, dtype=np.intp)
        for i, classes in enumerate(self.groups):
            group[classes] = i
        y = one_hot(torch.from_numpy(group[labels]), len(self.groups))
        self.top = Ensemble(weights, x, y, regression=False, members=members, random=random, keep=keep)
        self.within: list[ClassTree | None] = []
        for classes in self.groups:
            rows = np.isin(labels, classes)
            place = np.searchsorted(classes, labels[rows])
            tree = None
            if len(classes) > 1:
                tree = ClassTree(weights, x[rows], place, members=members, random=random, keep=keep)
            self.within.append(tree)

    def probabilities(self, x: Floats, raw: Tensor | None = None) -> Tensor:
        """Of queries ``[M, F]``: ``[M, K]``.

        Args:
            x: the queries.
            raw: what the ensemble that tells the groups apart gives for them, where it is known.
        """
        logits = (self.top.raw(x) if raw is None else raw).log_softmax(2).mean(0)
        top = (logits / _TEMPERATURE).softmax(1)
        out = top.new_empty(len(x), sum(len(classes) for classes in self.groups))
        for i, (classes, tree) in enumerate(zip(self.groups, self.within, strict=True)):
            out[:, classes] = top[:, i : i + 1] * tree.probabilities(x) if tree else top[:, i : i + 1]
        return out


def _groups(x: Floats, labels: npt.NDArray[np.intp], most: int) -> list[npt.NDArray[np.intp]]:
    """The classes in at most ``most`` groups, as even as can be, of classes that are near each other."""
    centers = _centers(x, labels)
    count = min(most, math.ceil(len(centers) / most))
    _, _, directions = np.linalg.svd(centers - centers.mean(0), full_matrices=False)
    along = np.argsort(centers @ directions[0], kind="stable") if directions.size else np.arange(len(centers))
    return [np.sort(part) for part in np.array_split(along, count)]


def _centers(x: Floats, labels: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
    """Mean features of each class, in the deviations of the table, ``[K, F]``; outliers are pulled in."""
    table = torch.from_numpy(x[:, varying(x)])
    scores = torch.tanh(standardized(table, table).nan_to_num(0.0)).numpy()
    counts = np.bincount(labels)
    sums = np.zeros((len(counts), scores.shape[1]))
    np.add.at(sums, labels, scores)
    return sums / counts[:, None]
