"""Learning rates over a run."""

from __future__ import annotations

import math
from collections.abc import Callable

from innerloop.core.task import InputError, did_you_mean

#: From the share of a run that is done, 0 to 1, to what the learning rate is multiplied by.
Factor = Callable[[float], float]
SCHEDULES = ("constant", "linear", "cosine")


def schedule_factor(name: str, progress: float, warmup: float = 0.0) -> float:
    """The learning rate's factor after a share ``progress`` of the run, 0 to 1.

    Args:
        name: ``"constant"``, ``"linear"`` (to 0) or ``"cosine"`` (to 0).
        progress: share of the run that is done.
        warmup: share of the run in which the rate rises linearly from 0, below 1.

    Raises:
        InputError: for an unknown schedule.

    Example:
        >>> [round(schedule_factor("cosine", p), 2) for p in (0.0, 0.5, 1.0)]
        [1.0, 0.5, 0.0]
    """
    check_schedule(name)
    progress = min(max(progress, 0.0), 1.0)
    if warmup and progress < warmup:
        return progress / warmup
    after = (progress - warmup) / (1 - warmup)
    if name == "constant":
        return 1.0
    return 1 - after if name == "linear" else 0.5 * (1 + math.cos(math.pi * after))


def check_schedule(name: str) -> None:
    """Refuse a schedule that is not known by name.

    Raises:
        InputError: with the nearest known one.
    """
    if name not in SCHEDULES:
        raise InputError(
            f"schedule {name!r} is unknown{did_you_mean(str(name), SCHEDULES)}; choose one of {', '.join(SCHEDULES)}, "
            f"or pass a function"
        )
