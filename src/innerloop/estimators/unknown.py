"""None of these: how little a query is like any known class, with a bound on how often a known one is rejected.

A query is tried with each class, as for prediction sets: it joins the examples, and each of them is scored by how
little the others of its class explain it, and how much another class does. If the query is of a known class, all are
alike, so that its place among their scores is any with the same probability. A query is rejected where that place is
among the worst in every class; a query of a known class is in its own no more often than the error that was asked for.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from innerloop.core.task import Examples, InputError
from innerloop.encoders.base import Encoder
from innerloop.evidence import joined_misfits, leave_one_out, ranks, refit_misfits
from innerloop.learners.head import Head
from innerloop.learners.heads.prototypes import Prototypes
from innerloop.learners.heads.spans import Spans

#: What a rival class counts beside a query's own: chosen on half of the classes of two data sets.
_RIVAL = 0.2
#: Features from which on lengths say little and directions much.
_LONG = 64
_AT_ONCE = 2**20


class Strangeness(NamedTuple):
    """How little queries are like any class."""

    place: Tensor
    """A query's best place among the examples in any class, itself included; 1 is the worst: int64 ``[Q]``."""
    among: int
    """Of how many."""
    lone: int
    """Examples that are alone in their class, and so never better than a query."""
    score: Tensor
    """1 less the best p-value, with places between the examples' told apart, ``[Q]``: near 1 is like no class."""

    def rejected(self, error: float) -> Tensor:
        """Which queries are like no class, where a share ``error`` of those of known classes may be, bool ``[Q]``.

        Raises:
            InputError: for an error below what so few examples can tell.
        """
        least = (self.lone + 1) / self.among
        if not 0 < error < 1 or error < least - 1e-9:
            alone = f", {self.lone} of them alone in their class, which says nothing" if self.lone else ""
            raise InputError(
                f"error={error}: what is unknown is told by its place among {self.among - 1} examples{alone}: give an "
                f"error of {'1 / (n + 1)' if not self.lone else '(alone + 1) / (n + 1)'} = {least:.4g} at least and "
                f"below 1, or more examples"
            )
        return self.place <= (error * self.among + 1e-9)


def strangeness(support: Examples, x: Tensor, encoder: Encoder | None = None) -> Strangeness:
    """How little queries ``[Q, H]`` are like any class of a support set.

    Vectors of many numbers by the spans of the classes, others by squared distances to their means.
    """
    head, weight = _judge(support, encoder)
    y, count = support.y, len(support.y)
    places, scores = [], []
    with torch.no_grad():
        for part in x.split(max(1, _AT_ONCE // (count * y.shape[1]))):
            joined = head.joined(support, part)
            if joined is None:
                misfit = refit_misfits(lambda some: leave_one_out(head, some), support, part, weight)
            else:
                misfit = joined_misfits(joined, y, weight)
            found = ranks(misfit, y).worse
            places.append(found.amax(1))
            scores.append(1 - ((found - 1 + _between(misfit)) / (count + 1)).amax(1))
    lone = int((y.sum(0) < 1.5).sum())
    return Strangeness(torch.cat(places), count + 1, lone, torch.cat(scores))


def _judge(support: Examples, encoder: Encoder | None) -> tuple[Head, float]:
    """The head whose logits tell what is strange, and what a rival class counts; by sizes alone, never by labels."""
    if encoder is not None and encoder.kind == "table":
        return encoder.heads()["prototypes"]().double().eval(), 0.0
    if support.x.shape[1] >= _LONG:
        return Spans().double().eval(), _RIVAL
    return Prototypes().double().eval(), 0.0


def _between(misfit: Tensor) -> Tensor:
    """Where a query lies from the next worse example (0) to the next better one (1), ``[Q, N + 1, D] -> [Q, D]``."""
    known, asked = misfit[:, :-1], misfit[:, -1]
    finite = known.isfinite()
    level = torch.where(finite, known, 0).sum(1) / finite.sum(1).clamp(min=1)
    spread = (torch.where(finite, known - level.unsqueeze(1), 0).square().sum(1) / finite.sum(1).clamp(min=1)).sqrt()
    spread = torch.where(spread > 0, spread, torch.ones_like(spread))
    is_worse = known >= asked.unsqueeze(1)
    worse = known.masked_fill(~is_worse, math.inf).amin(1)
    better = known.masked_fill(is_worse, -math.inf).amax(1)
    beyond = 0.5 * torch.exp((better - asked) / spread)
    within = 1 - 0.5 * torch.exp((asked - worse) / spread)
    inner = ((worse - asked) / (worse - better)).clamp(0, 1)
    inner = torch.where(worse > better, inner, torch.full_like(inner, 0.5))
    return torch.where(worse.isinf(), beyond, torch.where(better.isinf(), within, inner)).nan_to_num(nan=0.5)
