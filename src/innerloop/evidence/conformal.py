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

from innerloop.core.task import Examples, InputError
from innerloop.evidence.refits import at_once


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
        if not 0 < coverage < 1:
            raise InputError(f"the coverage is {coverage}; it must lie between 0 and 1")
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
        return ((misfit >= misfit[-1]) & alike).sum()

    queries, candidates = x.repeat_interleave(classes, 0), eye.repeat(rows, 1)
    size = at_once(numbers or support.x.numel() * classes)
    parts = zip(queries.split(size), candidates.split(size), strict=True)
    with torch.no_grad():
        worse = torch.cat([torch.func.vmap(rank)(*part) for part in parts]).view(rows, classes)
    counts = support.y.sum(0) if by_class else support.y.new_full((classes,), len(support.x))
    return Ranks(worse, counts.long() + 1)


def misfits(raw: Tensor, y: Tensor) -> Tensor:
    """How far the largest logit of another class lies above that of its own, ``[N, D], [N, D] -> [N]``.

    Example:
        >>> misfits(torch.tensor([[1.0, 3.0], [0.0, 4.0]]), torch.eye(2)[[0, 1]])
        tensor([ 2., -4.])
    """
    own = raw.masked_fill(y == 0, -math.inf).amax(1)
    other = raw.masked_fill(y > 0, -math.inf).amax(1)
    # A class of which no other example is left fits worst; where there is neither, all fit alike.
    return torch.where(own.isinf(), torch.full_like(own, math.inf), other - own)
