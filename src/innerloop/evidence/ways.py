"""How refits of a learner are lifted: chosen once for it and kept, as subsets of many sizes follow each other."""

from __future__ import annotations

from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from innerloop.core.learner import Learner
from innerloop.core.lifting import lift
from innerloop.core.memory import bytes_per_task, free
from innerloop.core.task import Examples, Task
from innerloop.core.ways import mapped, predictor

#: Tasks that the ways are tried on.
_TRIED = 6
#: Share of the free memory that refits may take.
_SHARE = 0.25


class Way(NamedTuple):
    """A way that was found right, and fastest."""

    how: str
    """``"vmap"`` or ``"loop"``."""
    chunk: int
    """Refits at a time."""


class _Known(NamedTuple):
    how: str
    chunk: int | None
    """Tasks at a time that were fastest, where that is not all."""
    each: float
    """Bytes that an example of a task takes."""


_KNOWN: WeakKeyDictionary[Learner, dict[tuple[object, ...], _Known]] = WeakKeyDictionary()


def way_of(learner: Learner, support: Examples, examples: int, x: Tensor) -> Way:
    """The way to refit a learner on many subsets.

    Args:
        learner: in evaluation mode.
        support: of the task.
        examples: of each subset.
        x: queries of each refit, ``[B, Q, *F]``.
    """
    y = support.y
    key = (type(learner), learner.norm, support.x.shape[1:], y.shape[1], support.x.dtype, support.x.device)
    known = _KNOWN.setdefault(learner, {}).get(key)
    size = examples + x.shape[1]
    if known is None:
        some = torch.arange(examples, device=x.device) % len(y)
        alike = Examples(*(part[some].expand(_TRIED, *part[some].shape) for part in support))
        queries = x[:1].expand(_TRIED, *x.shape[1:])
        tasks = Task(alike, Examples(queries, y.new_zeros(()).expand(*queries.shape[:2], y.shape[1])))
        known = _KNOWN[learner][key] = _found(learner, tasks)
    room = _SHARE * free(x.device) / (known.each * size) if known.each else len(x)
    return Way(known.how, max(1, int(min(room, known.chunk or len(x)))))


def _found(learner: Learner, tasks: Task) -> _Known:
    lifted = lift(learner, "auto")
    lifted.settle(tasks, "predict")
    choice = lifted.choice
    if choice.how == "loop":
        return _Known("loop", None, 0.0)
    each = bytes_per_task(lambda some: mapped("vmap", predictor(learner), some), tasks)
    return _Known("vmap", choice.chunk, each / (tasks.support.x.shape[1] + tasks.query.x.shape[1]))
