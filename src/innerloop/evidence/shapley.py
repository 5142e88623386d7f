"""Shapley values: what each example, or group of examples, adds to an answer, averaged over all orders of coming.

They are the one way to share an answer's value out that adds up to it, gives equal examples equal shares, and nothing
to what changes nothing (Shapley, *A Value for n-Person Games*, 1953). Up to 12 players all subsets are evaluated, and
the values are exact; beyond that random orders are, and the standard error is said.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from innerloop.core.learner import Learner
from innerloop.core.numbers import check_count
from innerloop.core.random import seeded
from innerloop.core.task import Examples, InputError
from innerloop.evidence.judging import check_explained, embedded, judging, tells_classes
from innerloop.evidence.refits import answered

#: Players up to which all subsets are evaluated.
EXACT = 12


class Shapley(NamedTuple):
    """Values and how sure they are."""

    values: Tensor
    """``[Q, n]``; those of a query add up to its value with all less that with none."""
    error: Tensor
    """Standard error, ``[Q, n]``; 0 where the values are exact."""
    exact: bool


def shapley(value: Callable[[Tensor], Tensor], players: int, *, orders: int = 200, seed: int = 0) -> Shapley:
    """Share a value out among players.

    Args:
        value: of coalitions, bool ``[B, n]``, for each of Q things: ``[B, Q]``.
        players: n.
        orders: random ones that are evaluated, for more than 12 players.
        seed: of the orders.

    Raises:
        InputError: for no player, or fewer than two orders.

    Example:
        >>> def both(coalitions):
        ...     return coalitions.all(1, keepdim=True).double()
        >>> shapley(both, 2).values
        tensor([[0.5000, 0.5000]], dtype=torch.float64)
    """
    check_count("players", players, 1)
    check_count("orders", orders, 2)
    return _exact(value, players) if players <= EXACT else _sampled(value, players, orders, seed)


def shares(
    refit: Callable[[Tensor], Tensor],
    y: Tensor,
    columns: Tensor,
    *,
    classes: bool,
    temperature: float = 1.0,
    groups: Sequence[Sequence[int]] | None = None,
    orders: int = 200,
    seed: int = 0,
) -> Shapley:
    """Share the answers of whatever can be refitted out among its examples.

    Args:
        refit: what is learned from each of some subsets of one size says: int64 ``[B, M]`` to ``[B, Q, D]``.
        y: rows of the examples, ``[N, D]``.
        columns: what is explained of each query, int64 ``[Q]``.
        classes: whether answers are logits of classes, or numbers.
        temperature: that logits are divided by.
        groups: places of examples that come and go together; default each by itself.
        orders: random ones that are evaluated, for more than 12 players.
        seed: of the orders.

    Raises:
        InputError: for a group without examples, or of examples that there are not.
    """
    players = [[place] for place in range(len(y))] if groups is None else [list(group) for group in groups]
    for group in players:
        if not group or not all(0 <= place < len(y) for place in group):
            raise InputError(f"the group {group} is to hold places of examples, 0 to {len(y) - 1}, one at least")
    member = torch.zeros(len(players), len(y), dtype=torch.bool)
    for number, group in enumerate(players):
        member[number, group] = True

    def value(coalitions: Tensor) -> Tensor:
        taken = (coalitions.double() @ member.double()) > 0
        return worths(refit, y, taken.to(y.device), columns, classes=classes, temperature=temperature).cpu()

    return shapley(value, len(players), orders=orders, seed=seed)


def example_values(
    learner: Learner,
    support: Examples,
    x: Tensor,
    answers: Tensor,
    *,
    temperature: float = 1.0,
    groups: Sequence[Sequence[int]] | None = None,
    orders: int = 200,
    seed: int = 0,
) -> Shapley:
    """What each support example adds to the probability of an answer (or to a number), by exact refits on subsets.

    With no example at all every class is as probable, and a number is the mean of the support set.

    Args:
        learner: any that is not transductive; it answers in evaluation mode, and its modes are left as they are.
        support: examples ``[N, *F]``, rows ``[N, D]``.
        x: queries ``[Q, *F]``.
        answers: the class of each query that is explained, or its column of numbers, int64 ``[Q]``.
        temperature: that logits are divided by.
        groups: places of examples that come and go together; default each by itself.
        orders: random ones that are evaluated, for more than 12 players.
        seed: of the orders.

    Example:
        >>> import innerloop as il
        >>> support = Examples(torch.tensor([[1.0], [3.0], [8.0]]), torch.eye(2)[[0, 0, 1]])
        >>> found = example_values(il.learners.Prototypes(), support, torch.tensor([[2.0]]), torch.tensor([0]))
        >>> found.exact, round(float(found.values.sum()), 4)
        (True, 0.5)
    """
    check_explained(learner, support, x)
    classes = tells_classes(learner.likelihood, support.y)
    with judging(learner):
        learner, support, x = embedded(learner, support, x)
        return shares(
            lambda subsets: answered(learner, support, subsets, x), support.y, answers, classes=classes,
            temperature=temperature, groups=groups, orders=orders, seed=seed,
        )  # fmt: skip


def worths(
    refit: Callable[[Tensor], Tensor],
    y: Tensor,
    taken: Tensor,
    columns: Tensor,
    *,
    classes: bool,
    temperature: float = 1.0,
) -> Tensor:
    """What is learned from each of some subsets says of one column for each query, ``[B, Q]``.

    It is the probability of a class, or the predicted number. Where a subset is empty all classes are alike, and a
    number is the mean of the examples.

    Args:
        refit: to subsets of one size, int64 ``[B, M]`` to ``[B, Q, D]``.
        y: rows of the examples, ``[N, D]``.
        taken: the subsets, bool ``[B, N]``, of any sizes.
        columns: int64 ``[Q]``.
        classes: whether answers are logits of classes, or numbers.
        temperature: that logits are divided by.
    """
    nothing = torch.full_like(y[0], 1 / y.shape[1]) if classes else y.mean(0)
    found = nothing[columns].repeat(len(taken), 1)
    sizes = taken.sum(1)
    for size in sizes.unique().tolist():
        if not size:
            continue
        rows = (sizes == size).nonzero().squeeze(1)
        said = refit(taken[rows].nonzero()[:, 1].view(len(rows), size))
        said = (said / temperature).softmax(2) if classes else said
        found[rows] = said.gather(2, columns.view(1, -1, 1).expand(len(rows), -1, 1))[:, :, 0].to(found)
    return found


def _exact(value: Callable[[Tensor], Tensor], players: int) -> Shapley:
    numbers = torch.arange(2**players)
    coalitions = (numbers.unsqueeze(1) >> torch.arange(players)) & 1 > 0
    worth = value(coalitions).double()
    sizes = coalitions.sum(1)
    weight = torch.tensor(
        [math.factorial(size) * math.factorial(players - size - 1) for size in range(players)], dtype=torch.float64
    ) / math.factorial(players)
    values = []
    for player in range(players):
        without = numbers[~coalitions[:, player]]
        gain = worth[without + 2**player] - worth[without]
        values.append((weight[sizes[without]].unsqueeze(1) * gain).sum(0))
    found = torch.stack(values, 1)
    return Shapley(found, torch.zeros_like(found), True)


def _sampled(value: Callable[[Tensor], Tensor], players: int, orders: int, seed: int) -> Shapley:
    generator = seeded(seed)
    drawn = torch.stack([torch.randperm(players, generator=generator) for _ in range(orders)])
    # Who is there after the first k of an order have come: [orders, k, n].
    place = drawn.argsort(1)
    there = place.unsqueeze(1) < torch.arange(players + 1).view(1, -1, 1)
    masks, which = there.flatten(0, 1).unique(dim=0, return_inverse=True)
    worth = value(masks).double()[which].view(orders, players + 1, -1)
    gains = (worth[:, 1:] - worth[:, :-1]).gather(1, place.unsqueeze(2).expand(-1, -1, worth.shape[2]))
    mean, error = gains.mean(0), gains.std(0) / math.sqrt(orders)
    return Shapley(mean.mT, error.mT, False)
