"""Which examples of a classifier may have a wrong label, and which one they should have."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from innerloop.core.task import Examples
from innerloop.estimators.choice import closed
from innerloop.evidence import leave_one_out
from innerloop.evidence.conformal import misfits
from innerloop.evidence.suspicion import likeliest_other, relabeled
from innerloop.learners.head import Head

#: Numbers that all refits of a head without a closed form may hold.
_TRIED = 2**24


class Suspect(NamedTuple):
    """An example whose label may be wrong."""

    place: int
    """Its place in ``X_``."""
    name: str
    label: Any
    likelier: Any
    """The label that it would rather have."""
    suspicion: float
    """The log odds that it has that one: above 0 all examples fit each other better under it."""


def suspects_of(
    head: Head, support: Examples, temperature: float, classes: npt.NDArray[Any], names: npt.NDArray[Any]
) -> list[Suspect]:
    """The examples, the most suspect first.

    A label is suspect by how much likelier all labels become, each told by all other examples, if it is another one.
    Where so many refits take too long it is by how the other examples tell it alone.

    Args:
        head: fitted or not, in evaluation mode.
        support: features ``[N, H]``, one-hot rows ``[N, D]``.
        temperature: that logits are divided by.
        classes: the labels of the columns, ``[D]``.
        names: of the examples, ``[N]``.
    """
    raw = leave_one_out(head, support) / temperature
    codes = likeliest_other(raw, support.y)
    score = relabeled(head, support, codes, temperature) if quick(head, support) else misfits(raw, support.y)
    # A single example of a class is told by no other: nothing is known of its label.
    alone = support.y @ support.y.sum(0) < 1.5
    score = score.masked_fill(alone, -torch.inf)
    own = support.y.argmax(1)
    return [
        Suspect(place, str(names[place]), labels[own[place]], labels[codes[place]], float(score[place]))
        for labels in (classes.tolist(),)
        for place in _order(score)
    ]


def quick(head: Head, support: Examples) -> bool:
    """Whether leave-one-out under another label of each example takes a moment."""
    examples, classes = support.y.shape
    numbers = head.numbers(examples, classes, support.x[0].numel())
    return closed(head) or examples * examples * numbers <= _TRIED


def _order(score: Tensor) -> list[int]:
    order: list[int] = np.argsort(-score.numpy(), kind="stable").tolist()
    return order
