"""Full conformal prediction (Vovk, Gammerman, Shafer 2005): sets of classes with a guarantee, without held-out data.

A query is tried with each class: it joins the support set under that class's name, and every example of the larger
set is scored by how ill it fits what has been learned from all the others. If the query belongs to the class, all N +
1 examples are alike, and its place among their scores is any with the same probability. So a class whose query ranks
among the worst ``1 - coverage`` is left out, and the true class is left out no more often than that. That holds for
any scores that do not depend on the order of the examples, and needs no assumption but that the query comes as the
examples came.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from innerloop.core.numbers import check_number
from innerloop.core.task import Examples, InputError
from innerloop.evidence.refits import at_once
from innerloop.learners.head import Joined

#: Misfits that differ by less than this share count as equal: to rounding they are, and a guarantee counts both.
_EQUAL = 1e-9


class Ranks(NamedTuple):
    """How the queries rank in each class: their p-values are ``worse / among``."""

    worse: Tensor
    """How many examples fit no better than the query, itself included: int64 ``[Q, D]``."""
    among: Tensor
    """Of how many, itself included: int64 ``[D]``."""

    def sets(self, coverage: float) -> Tensor:
        """Which classes a query may belong to: bool ``[Q, D]``.

        Args:
            coverage: the probability that the true class is among them, at least, above 0 and below 1.

        Raises:
            InputError: for a coverage that so few examples cannot promise: ``n`` of them promise ``n / (n + 1)``.

        Example:
            >>> Ranks(torch.tensor([[1, 4]]), torch.tensor([10, 10])).sets(0.9)
            tensor([[False,  True]])
        """
        least = int(self.among.min())
        most = (least - 1) / least
        check_number("the coverage", coverage, "(0, 1)")
        if coverage > most + 1e-9:
            raise InputError(
                f"the coverage is {coverage}, and {least - 1} examples can promise {most:.4g} at most (n / (n + 1)): "
                f"ask for that or less, or give {math.ceil(coverage / (1 - coverage) - 1e-9)} examples"
            )
        # Whole numbers are compared, so that 0.1 of 10 is 1.
        return self.worse > ((1 - coverage) * self.among + 1e-9).floor()


def conformal_ranks(
    held_out: Callable[[Examples], Tensor],
    support: Examples,
    x: Tensor,
    *,
    by_class: bool = False,
    numbers: int | None = None,
) -> Ranks:
    """Rank queries among the support set, in each class.

    An example fits by how far its own class's logit lies above the largest of the others.

    Args:
        held_out: the logits of each example by what is learned from all the others, ``[N, D]``, such as
            :func:`~innerloop.evidence.leave_one_out` of a head; the same whatever the order of the examples.
        support: features ``[N, H]``, one-hot rows ``[N, D]``.
        x: queries ``[Q, H]``.
        by_class: rank a query among the examples of the class alone, so that the guarantee holds in each class, not
            only on average over them.
        numbers: that ``held_out`` holds at a time, roughly; it is run for as many pairs of query and class at a time as
            fit.

    Example:
        >>> import innerloop as il
        >>> from innerloop.evidence import leave_one_out
        >>> from functools import partial
        >>> support = Examples(torch.tensor([[0.0], [1.0], [9.0], [10.0]]), torch.eye(2)[[0, 0, 1, 1]])
        >>> conformal_ranks(partial(leave_one_out, il.learners.Prototypes()), support, torch.tensor([[0.5]])).worse
        tensor([[3, 1]])
    """
    rows, classes = len(x), support.y.shape[1]
    eye = torch.eye(classes, dtype=support.y.dtype, device=support.y.device)

    def rank(query: Tensor, row: Tensor) -> Tensor:
        y = torch.cat((support.y, row.unsqueeze(0)))
        misfit = misfits(held_out(Examples(torch.cat((support.x, query.unsqueeze(0))), y)), y)
        alike = (y * row).sum(1) > 0 if by_class else torch.ones_like(misfit, dtype=torch.bool)
        return (worse(misfit, misfit[-1]) & alike).sum()

    queries, candidates = x.repeat_interleave(classes, 0), eye.repeat(rows, 1)
    size = at_once(numbers or support.x.numel() * classes)
    parts = zip(queries.split(size), candidates.split(size), strict=True)
    with torch.no_grad():
        found = torch.cat([torch.func.vmap(rank)(*part) for part in parts]).view(rows, classes)
    return Ranks(found, among(support.y, by_class))


def refit_misfits(held_out: Callable[[Examples], Tensor], support: Examples, x: Tensor, weight: float = 1.0) -> Tensor:
    """The :func:`misfits` of N examples and each query under each class that it may join, by refits: ``[Q, N + 1, D]``.

    Args:
        held_out: as in :func:`conformal_ranks`.
        support: features ``[N, H]``, one-hot rows ``[N, D]``.
        x: queries ``[Q, H]``.
        weight: what the largest logit of another class counts beside its own.
    """
    eye = torch.eye(support.y.shape[1], dtype=support.y.dtype, device=support.y.device)

    def found(query: Tensor, row: Tensor) -> Tensor:
        y = torch.cat((support.y, row.unsqueeze(0)))
        return misfits(held_out(Examples(torch.cat((support.x, query.unsqueeze(0))), y)), y, weight)

    rows = torch.func.vmap(found, in_dims=(None, 0), out_dims=1)
    return torch.stack([rows(query, eye) for query in x])


def ranks(misfit: Tensor, y: Tensor, *, by_class: bool = False) -> Ranks:
    """Rank queries by misfits that are known for every class they may join under.

    Args:
        misfit: of the N examples and, last, the query, ``[Q, N + 1, D]``.
        y: one-hot rows ``[N, D]`` of the examples.
        by_class: rank a query among the examples of the class alone.

    Example:
        >>> ranks(torch.tensor([[[0.0, 3.0], [2.0, 0.0], [1.0, 5.0]]]), torch.eye(2)).worse
        tensor([[2, 1]])
    """
    alike = worse(misfit[:, :-1], misfit[:, -1:])
    if by_class:
        alike = alike & (y > 0)
    return Ranks(alike.sum(1) + 1, among(y, by_class))


def among(y: Tensor, by_class: bool) -> Tensor:
    """How many a query is ranked among in each class, itself included: int64 ``[D]``."""
    return (y.sum(0) if by_class else y.new_full((y.shape[1],), len(y))).long() + 1


def worse(misfit: Tensor, query: Tensor) -> Tensor:
    """Whether an example fits no better than the query; what rounding tells apart is equal."""
    return misfit >= query - _EQUAL * (1 + query.abs().nan_to_num(posinf=0.0, neginf=0.0))


def misfits(raw: Tensor, y: Tensor, weight: float = 1.0) -> Tensor:
    """How far the largest logit of another class lies above that of its own, ``[N, D], [N, D] -> [N]``.

    Example:
        >>> misfits(torch.tensor([[1.0, 3.0], [0.0, 4.0]]), torch.eye(2)[[0, 1]])
        tensor([ 2., -4.])
    """
    own = raw.masked_fill(y == 0, -math.inf).amax(1)
    other = raw.masked_fill(y > 0, -math.inf).amax(1)
    # A class of which no other example is left fits worst; where there is neither, all fit alike.
    return torch.where(own.isinf(), torch.full_like(own, math.inf), _less(other, own, weight))


def _less(rival: Tensor, own: Tensor, weight: float) -> Tensor:
    return weight * rival - own if weight else -own


def joined_misfits(found: Joined, y: Tensor, weight: float = 1.0) -> Tensor:
    """The :func:`misfits` of N examples and a query under each class that it may join, ``[Q, N + 1, D]``.

    Args:
        found: the logits of all, of any number of queries.
        y: one-hot rows ``[N, D]`` of the examples.
        weight: what the largest logit of another class counts beside its own.

    Example:
        >>> others, own = torch.tensor([[[5.0, 1.0], [2.0, 2.0]]]), torch.tensor([[[6.0, 4.0], [2.0, 2.0]]])
        >>> joined_misfits(Joined(others, own), torch.tensor([[1.0, 0.0]]))
        tensor([[[-5., -1.],
                 [ 0.,  0.]]])
    """
    count, classes = y.shape
    if classes == 1:
        return torch.full_like(found.own, -math.inf)
    # The examples: only the column of the class that is joined changes, so the two largest rivals suffice.
    others, own = found.others[:, :count], found.own[:, :count]
    rivals = others.masked_fill(y > 0, -math.inf)
    first, place = rivals.max(2, keepdim=True)
    second = rivals.scatter(2, place, -math.inf).amax(2, keepdim=True)
    at_place = F.one_hot(place.squeeze(2), classes) > 0
    rival = torch.where(y > 0, first, torch.maximum(own, torch.where(at_place, second, first)))
    mine = torch.where(y > 0, own, others.masked_fill(y == 0, -math.inf).amax(2, keepdim=True))
    # The query: its class is the one that it joins.
    asked = found.others[:, count:]
    first, place = asked.max(2, keepdim=True)
    second = asked.scatter(2, place, -math.inf).amax(2, keepdim=True)
    last = torch.where(F.one_hot(place.squeeze(2), classes) > 0, second, first)
    mine, rival = torch.cat((mine, found.own[:, count:]), 1), torch.cat((rival, last), 1)
    return torch.where(mine.isinf(), torch.full_like(mine, math.inf), _less(rival, mine, weight))
