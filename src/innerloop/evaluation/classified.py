"""How good class probabilities of labelled examples are: one task, all of it."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from innerloop.core.task import InputError
from innerloop.evaluation.metrics import calibration_error
from innerloop.evaluation.stats import share_interval

#: Least probability that a log loss counts.
_LEAST = 1e-12


class Classified:
    """Probabilities beside what was true.

    Args:
        probabilities: ``[N, D]``, rows that sum to 1.
        truth: the column of the true class of each, int ``[N]``.

    Raises:
        InputError: for no example, or another number of rows.

    Example:
        >>> found = Classified(np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]), np.array([0, 1, 1]))
        >>> round(found.accuracy, 3), found.confusion.tolist(), found.worst(1).tolist()
        (0.667, [[1, 0], [1, 1]], [2])
    """

    def __init__(self, probabilities: npt.NDArray[np.float64], truth: npt.NDArray[np.intp]) -> None:
        if not len(truth) or len(truth) != len(probabilities):
            raise InputError(f"{len(truth)} labels and {len(probabilities)} rows: give a label each, of one at least")
        self.probabilities, self.truth = probabilities, truth

    @property
    def accuracy(self) -> float:
        """The share whose most probable class is the true one."""
        return float((self.probabilities.argmax(1) == self.truth).mean())

    @property
    def interval(self) -> tuple[float, float]:
        """Of 95 %, exact for as many independent examples (Clopper and Pearson)."""
        return share_interval(self.accuracy, len(self.truth))

    @cached_property
    def own(self) -> npt.NDArray[np.float64]:
        """The probability of each example's true class."""
        found: npt.NDArray[np.float64] = self.probabilities[np.arange(len(self.truth)), self.truth]
        return found

    @property
    def log_loss(self) -> float:
        """The mean of minus the logarithm of the true class's probability."""
        return float(-np.log(self.own.clip(_LEAST)).mean())

    @property
    def calibration_error(self) -> float:
        """The expected calibration error, 15 bins."""
        rows = np.eye(self.probabilities.shape[1])[self.truth]
        return calibration_error(torch.from_numpy(np.array(self.probabilities)), torch.from_numpy(rows))

    @property
    def confusion(self) -> npt.NDArray[np.intp]:
        """How often each true class (row) is taken for each class (column), ``[D, D]``."""
        size = self.probabilities.shape[1]
        found = np.zeros((size, size), dtype=np.intp)
        np.add.at(found, (self.truth, self.probabilities.argmax(1)), 1)
        return found

    def worst(self, count: int) -> npt.NDArray[np.intp]:
        """The examples whose true class has the least probability, the worst first."""
        return np.argsort(self.own, kind="stable")[:count]

    def mixed_up(self, count: int) -> list[tuple[int, int]]:
        """The pairs of a true class and another one that it is taken for, the most frequent first."""
        wrong = self.confusion - np.diag(self.confusion.diagonal())
        rows, columns = np.nonzero(wrong)
        order = np.argsort(-wrong[rows, columns], kind="stable")[:count]
        return [(int(rows[i]), int(columns[i])) for i in order]
