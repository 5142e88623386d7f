"""Reasons from whatever can be refitted: a learner, a table that is read, an estimator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy.typing as npt
import torch
from torch import Tensor

from innerloop.core.task import InputError
from innerloop.evidence.agreement import agreement
from innerloop.evidence.explanation import Explanation
from innerloop.evidence.reasons import Floats, Reason, Turn
from innerloop.evidence.refits import others
from innerloop.evidence.shapley import Shapley, shares
from innerloop.evidence.turns import added_odds, turning

#: What is learned from each of some subsets of one size says to some queries: int64 ``[B, M]``, a slice of the queries
#: to logits or numbers ``[B, Q, D]``.
Refits = Callable[[Tensor, slice], Tensor]


class Shown(NamedTuple):
    """How a reason names things, and what it is told beside the refits."""

    names: npt.NDArray[Any]
    """Of the examples, ``[N]``."""
    similarity: Floats
    """Of queries and examples, ``[Q, N]``."""
    cheap: Mapping[str, Floats] = {}
    """Evidence without refits by name, ``[Q, N]`` each."""
    shown: int = 5
    """Examples in each list of the text."""


def reasons_of_classes(
    refits: Refits,
    y: Tensor,
    queries: int,
    classes: npt.NDArray[Any],
    told: Shown,
    temperature: float = 1.0,
    turn: bool = True,
    shapley: bool = False,
    groups: Sequence[Sequence[int]] | None = None,
) -> Explanation:
    """Why queries get their classes from whatever can be refitted.

    Args:
        refits: to subsets of the examples.
        y: one-hot rows of the examples, ``[N, D]``.
        queries: Q.
        classes: the labels of the columns, ``[D]``.
        told: how things are named, and what is told beside.
        temperature: that logits are divided by.
        turn: whether to search what would have to go for another answer.
        shapley: whether to share the probabilities out too.
        groups: places of examples that share together.
    """
    every = slice(0, queries)
    raw = refits(torch.arange(len(y), device=y.device)[None], every)[0] / temperature
    without = _without(refits, y, every) / temperature
    answers = raw.argmax(1)
    evidence = added_odds(raw, without, answers)
    proba = raw.softmax(1).gather(1, answers.unsqueeze(1))[:, 0]
    index = answers.view(1, -1, 1).expand(len(without), -1, 1)
    shift = proba - without.softmax(2).gather(2, index)[:, :, 0]
    shared, groups = _shares(refits, y, every, answers, temperature, True, shapley, groups)
    labels, plain = classes[numpy_of(y).argmax(1)], classes.tolist()
    reasons = []
    for row, answer in enumerate(answers.tolist()):
        turned = None
        if turn:
            here = slice(row, row + 1)
            refit = partial(_of_one, refits, here)
            turned = turning(refit, y, answer, without[:, row])
        found = numpy_of(evidence[:, row]), numpy_of(shift[:, row])
        other = turned and Turn(turned[0], plain[turned[1]])
        reasons.append(_reason(plain[answer], float(proba[row]), *found, labels, told, row, other, shared, groups))
    return Explanation(tuple(reasons))


def _of_one(refits: Refits, query: slice, subsets: Tensor) -> Tensor:
    return refits(subsets, query)[:, 0]


def reasons_of_numbers(
    refits: Refits,
    y: Tensor,
    queries: int,
    told: Shown,
    shapley: bool = False,
    groups: Sequence[Sequence[int]] | None = None,
    column: int = 0,
) -> Explanation:
    """Why queries get their numbers from whatever can be refitted.

    Args:
        refits: to subsets of the examples.
        y: targets, ``[N, D]``.
        queries: Q.
        told: how things are named, and what is told beside.
        shapley: whether to share the numbers out too.
        groups: places of examples that share together.
        column: of the targets that is explained.
    """
    every = slice(0, queries)
    predicted = refits(torch.arange(len(y), device=y.device)[None], every)[0, :, column]
    without = _without(refits, y, every)[:, :, column]
    columns = torch.full((queries,), column, device=y.device)
    shared, groups = _shares(refits, y, every, columns, 1.0, False, shapley, groups)
    evidence, targets = numpy_of(predicted - without).T, numpy_of(y[:, column])
    return Explanation(
        tuple(
            _reason(float(one), None, evidence[row], evidence[row], targets, told, row, None, shared, groups)
            for row, one in enumerate(predicted)
        )
    )


def _reason(
    answer: Any,
    probability: float | None,
    evidence: Floats,
    shift: Floats,
    labels: npt.NDArray[Any],
    told: Shown,
    row: int,
    turn: Turn | None,
    shared: Shapley | None,
    groups: Sequence[Sequence[int]] | None,
) -> Reason:
    cheap = {name: values[row] for name, values in told.cheap.items()}
    return Reason(
        answer,
        probability,
        evidence,
        shift,
        told.similarity[row],
        labels,
        told.names,
        turn,
        numpy_of(shared.values[row]) if shared else None,
        numpy_of(shared.error[row]) if shared else None,
        tuple(map(tuple, groups)) if groups is not None else None,
        cheap,
        {name: agreement(values, evidence) for name, values in cheap.items()},
        told.shown,
    )


def _without(refits: Refits, y: Tensor, every: slice) -> Tensor:
    """What is said without each example, ``[N, Q, D]``."""
    if len(y) < 2:
        raise InputError(f"{len(y)} example: without it there is nothing that was learned; give two at least")
    return refits(others(len(y), y.device), every)


def _shares(
    refits: Refits,
    y: Tensor,
    every: slice,
    columns: Tensor,
    temperature: float,
    classes: bool,
    shapley: bool,
    groups: Sequence[Sequence[int]] | None,
) -> tuple[Shapley | None, Sequence[Sequence[int]] | None]:
    if not shapley and groups is None:
        return None, None
    found = shares(
        lambda subsets: refits(subsets, every), y, columns, classes=classes, temperature=temperature, groups=groups
    )
    return found, groups


def numpy_of(found: Tensor) -> Floats:
    """In double precision, on the CPU."""
    values: Floats = found.detach().double().cpu().numpy()
    return values
