"""The deletion test: take away the examples that an evidence names, and see whether the answer goes with them.

An evidence that names the right examples changes answers sooner than examples that are drawn. What is drawn here comes
from the whole support set, or from the examples of the answer's own class: that is the harder of the two, since without
the last of them no answer stays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from innerloop.core.task import InputError
from innerloop.evidence.turns import log_odds

#: From subsets of the support set, int64 ``[B, M]``, to the logits of the queries by what is learned from each,
#: ``[B, Q, D]``: :func:`innerloop.evidence.refits.answered` of a learner and a task.
Answers = Callable[[Tensor], Tensor]


class Removal(NamedTuple):
    """What becomes of answers as examples go: column k is after k of them, the first one with all."""

    probability: Tensor
    """Of the answer that was given with all examples, ``[Q, K + 1]``."""
    turned: Tensor
    """The share of answers that are another one: 0 or 1, or a mean over random orders, ``[Q, K + 1]``."""


def removed(answers: Answers, orders: Tensor, most: int) -> Removal:
    """Take examples away in an order of each query's own.

    Args:
        answers: the logits of Q queries by what is learned from subsets.
        orders: the places of the N examples for each query, the first to go first, int64 ``[Q, N]``, or several orders
            for each, ``[R, Q, N]``, whose mean is given.
        most: K, how many go in the end; one at least is left.

    Raises:
        InputError: if there are not so many.

    Example:
        >>> def nearest(subsets):
        ...     distance = (torch.tensor([0.0, 1.0, 5.0])[subsets] - 2).abs()
        ...     is_one = subsets.gather(1, distance.argmin(1, keepdim=True)) == 2
        ...     return torch.stack((~is_one, is_one), 2).double()
        >>> removed(nearest, torch.tensor([[1, 0, 2]]), 2).turned
        tensor([[0., 0., 1.]], dtype=torch.float64)
    """
    orders = orders if orders.ndim == 3 else orders.unsqueeze(0)
    repeats, queries, count = orders.shape
    if not 1 <= most < count:
        raise InputError(f"{most} of {count} examples are to go: at least 1, and at least 1 must be left")
    whole = answers(torch.arange(count, device=orders.device).unsqueeze(0))[0]
    chosen = whole.argmax(1)
    probability, turned = [_of(whole, chosen)], [torch.zeros(queries, dtype=torch.float64, device=whole.device)]
    for gone in range(1, most + 1):
        # Many queries lose the same examples: each set that is left is learned from once.
        kept, which = orders[:, :, gone:].sort(2).values.flatten(0, 1).unique(dim=0, return_inverse=True)
        place = torch.arange(queries, device=which.device).expand(repeats, -1).flatten()
        raw = answers(kept)[which, place]
        asked = chosen.repeat(repeats)
        probability.append(_of(raw, asked).view(repeats, queries).mean(0))
        turned.append((raw.argmax(1) != asked).double().view(repeats, queries).mean(0))
    return Removal(torch.stack(probability, 1), torch.stack(turned, 1))


def greedy(answers: Answers, count: int, most: int) -> Tensor:
    """The order in which the example that lowers the answer's log odds most goes first, found anew after each.

    Args:
        answers: the logits of Q queries by what is learned from subsets.
        count: N, examples.
        most: K, how many are ordered so; the others follow by their places.

    Returns:
        int64 ``[Q, N]``.

    Example:
        >>> def nearest(subsets):
        ...     distance = (torch.tensor([0.0, 1.0, 5.0])[subsets] - 2).abs()
        ...     return torch.stack((-distance.amin(1), torch.full((len(subsets),), -2.5)), 1).unsqueeze(1)
        >>> greedy(nearest, 3, 2).tolist()
        [[1, 0, 2]]
    """
    whole = answers(torch.arange(count).unsqueeze(0))[0]
    chosen, queries = whole.argmax(1), len(whole)
    there = torch.ones(queries, count, dtype=torch.bool)
    gone: list[Tensor] = []
    for _ in range(most):
        # Each example of those that are left is tried, for each query.
        row, place = there.nonzero(as_tuple=True)
        kept = there[row]
        kept[torch.arange(len(row)), place] = False
        sets, which = kept.nonzero()[:, 1].view(len(row), -1).unique(dim=0, return_inverse=True)
        raw = answers(sets.to(whole.device))
        odds = log_odds(raw, chosen).cpu()[which, row].view(queries, -1)
        gone.append(place.view(queries, -1).gather(1, odds.argmin(1, keepdim=True)))
        there.scatter_(1, gone[-1], False)
    return torch.cat([*gone, there.nonzero()[:, 1].view(queries, -1)], 1).to(whole.device)


def drawn_orders(count: int, queries: int, repeats: int, generator: Generator) -> Tensor:
    """Random orders of N examples, the same for all queries: int64 ``[R, Q, N]``."""
    orders = torch.stack([torch.randperm(count, generator=generator) for _ in range(repeats)])
    return orders.unsqueeze(1).expand(-1, queries, -1)


def own_first(orders: Tensor, y: Tensor, answers: Tensor) -> Tensor:
    """The same orders ``[R, Q, N]``, the examples of each query's answer before all others.

    Args:
        orders: of the N examples.
        y: one-hot rows ``[N, D]``.
        answers: the class of each query, int64 ``[Q]``.

    Example:
        >>> own_first(torch.tensor([[[2, 0, 1]]]), torch.eye(2)[[0, 1, 1]], torch.tensor([1])).tolist()
        [[[2, 1, 0]]]
    """
    other = (y.argmax(1)[orders] != answers.view(1, -1, 1)).long()
    return orders.gather(2, other.argsort(dim=2, stable=True))


def area(evidence: Removal, random: Removal) -> Tensor:
    """How far the probability falls below that of random removal, the mean over 1 to K examples: ``[Q]``."""
    return (random.probability - evidence.probability)[:, 1:].mean(1)


def _of(raw: Tensor, chosen: Tensor) -> Tensor:
    """The probability of a class, ``[Q, D], [Q] -> [Q]``."""
    return raw.double().softmax(1).gather(1, chosen.unsqueeze(1))[:, 0]
