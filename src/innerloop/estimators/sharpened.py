"""The mean of a network's probabilities and of extra trees', sharpened as much as the table asks for.

A mean of two answers is blunter than either, and few examples make both of them too bold. How sharp it should be
differs much from table to table: where classes lie apart, sharper than the mean; where they overlap, blunter.
What is cheap to ask is how sharp the trees should be: some of them answer for rows that they have not seen. What that
says of the mean was found on other tables (``benchmarks/sharpened.py``).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from innerloop.estimators.trees import Floats, Forest, Ints

#: Parts of the rows, of which each is answered for by trees that have seen the others; and how many trees.
PARTS, TREES = 4, 25
#: Powers that are tried.
_POWERS = np.exp(np.linspace(np.log(0.4), np.log(4.0), 47))
#: What half the squared logarithm of the trees' power counts beside their summed log loss.
_STRENGTH = 2.0
#: The logarithm of the mean's power is a constant, and so much for the logarithms of 1/50 of the rows, of 1/3 of the
#: classes, and of the trees' power.
WEIGHTS = (0.111, 0.161, 0.269, 0.623)


class Sharpened:
    """Extra trees on some tables of one size, and how sharp the mean of their answers and of another's should be.

    Neither names of classes, nor the order of rows, nor constant columns change it.

    Args:
        x: numbers ``[B, N, F]``, NaN where a cell is missing.
        labels: class of each row, ``0 .. D - 1``, ``[B, N]``.
        places: the same classes by places that follow from their rows alone, ``[B, N]``.
        classes: D.
        trees: of each table.
        seed: of all that is drawn.

    Example:
        >>> x, labels = np.array([[[0.0], [1.0], [8.0], [9.0]]]), np.array([[0, 0, 1, 1]])
        >>> both = Sharpened(x, labels, labels, 2, trees=10, seed=0)
        >>> both.beside(torch.tensor([[[0.5, 0.5], [0.2, 0.8]]]), np.array([[-5.0], [8.5]])).argmax(2)
        tensor([[0, 1]])
    """

    def __init__(self, x: Floats, labels: Ints, places: Ints, classes: int, *, trees: int, seed: int) -> None:
        # Parts are dealt out class by class, in the order of the cells.
        order = np.stack([np.lexsort((*cells.T[::-1], place)) for cells, place in zip(x, places, strict=True)])
        x, labels = np.take_along_axis(x, order[:, :, None], 1), np.take_along_axis(labels, order, 1)
        self.forest = Forest(x, labels, classes, trees=trees, seed=seed)
        self.rates = (labels[:, :, None] == np.arange(classes)).mean(1)
        self.told = told(left_out(x, labels, classes, seed), labels)

    @property
    def powers(self) -> Floats:
        """To which power the mean's distance from the rates of the classes is taken, ``[B]``."""
        return np.asarray(np.exp(self.told @ np.array(WEIGHTS)))

    def beside(self, network: Tensor, x: Floats) -> Tensor:
        """The mean with another's probabilities of the same queries, ``[B, M, D]``, sharpened.

        What is sharpened is how far it differs from the rates of the classes, so that a rare one keeps its own.
        """
        mean = (network + torch.from_numpy(self.forest.probabilities(x)).to(network)) / 2
        rates, power = (torch.from_numpy(part).to(network) for part in (self.rates, self.powers))
        return raised(mean, rates.unsqueeze(1), power.view(-1, 1, 1))


def raised(mean: Tensor, rates: Tensor, power: Tensor | float) -> Tensor:
    """Probabilities whose distance from the rates of the classes is taken to a power."""
    found = rates * (mean / rates.clamp(min=1e-30)) ** power
    return found / found.sum(-1, keepdim=True)


def left_out(x: Floats, labels: Ints, classes: int, seed: int) -> Floats:
    """Probabilities of each row by trees that have not seen it, ``[B, N, D]``: rows in the order of their classes."""
    rows = np.arange(labels.shape[1])
    found = np.empty((*labels.shape, classes))
    parts = min(PARTS, len(rows))
    for part in range(parts):
        asked = rows % parts == part
        if asked.all():
            # One row, and nothing to tell.
            return np.ones_like(found)
        forest = Forest(x[:, ~asked], labels[:, ~asked], classes, trees=TREES, seed=seed)
        found[:, asked] = forest.probabilities(x[:, asked])
    return found


def told(found: Floats, labels: Ints) -> Floats:
    """What :data:`WEIGHTS` weigh to the logarithm of the mean's power, ``[B, 4]``.

    Args:
        found: probabilities of each row by trees that have not seen it, ``[B, N, D]``.
        labels: class of each row, ``[B, N]``.

    Example:
        >>> labels = np.array([[0, 0, 1, 1]])
        >>> right, wrong = np.eye(2)[labels], np.eye(2)[1 - labels]
        >>> [round(float(told(found, labels)[0, -1]), 2) for found in (right, wrong)]
        [0.3, -0.62]
    """
    rows, shape = labels.shape[1], found.shape
    truth = labels[:, :, None] == np.arange(shape[2])
    rates = truth.mean(1, keepdims=True)
    # With the rates as one row more: nothing is ever impossible. A class without a row counts nothing.
    smooth = ((1 - 1 / rows) * found + rates / rows) / np.where(rates > 0, rates, 1.0)
    share = np.log(smooth, out=np.zeros(shape), where=rates > 0)
    losses = (
        np.stack([_loss(share, power, rates, truth) for power in _POWERS], 1) + _STRENGTH / 2 * np.log(_POWERS) ** 2
    )
    likely = np.exp(losses.min(1, keepdims=True) - losses)
    own = (likely @ np.log(_POWERS)) / likely.sum(1)
    classes = (rates[:, 0] > 0).sum(1)
    return np.stack([np.ones_like(own), np.full_like(own, np.log(rows / 50)), np.log(classes / 3), own], 1)


def _loss(share: Floats, power: float, rates: Floats, truth: npt.NDArray[np.bool_]) -> Floats:
    """The summed log loss ``[B]`` of probabilities in proportion to ``rates * exp(power * share)``."""
    every = np.log((rates * np.exp(power * share)).sum(2))
    return (every - power * share.sum(2, where=truth)).sum(1)
