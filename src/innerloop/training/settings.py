"""How a learner is trained: what a recipe's training table says, checked in one place before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from innerloop.core.lifting import How
from innerloop.core.numbers import check_count, check_number
from innerloop.core.random import check_seed
from innerloop.core.task import InputError, did_you_mean
from innerloop.training.aggregate import AGGREGATORS, WEIGHTINGS, Aggregator
from innerloop.training.schedule import check_schedule

OptimizerFactory = Callable[[list[nn.Parameter]], torch.optim.Optimizer]
SchedulerFactory = Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler]


#: Whole numbers: the smallest one, and whether it can be left out.
_COUNTS = {
    "steps": (0, True),
    "tasks_per_step": (1, False),
    "chunk": (1, True),
    "validate_every": (1, True),
    "validate_tasks": (1, False),
}
_NUMBERS = {
    "minutes": ("(0, inf)", True),
    "lr": ("(0, inf)", False),
    "weight_decay": ("[0, inf)", False),
    "warmup": ("[0, 1)", False),
    "clip": ("(0, inf)", True),
    "average": ("(0, 1)", True),
    "memory": ("(0, inf)", True),
    "save_seconds": ("[0, inf)", False),
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The options of :func:`innerloop.fit`, which has their description; each is checked here.

    Raises:
        InputError: naming the option, its value and its limits.

    Example:
        >>> Settings(steps=100, lr=3e-4).tasks_per_step
        4
    """

    steps: int | None = None
    minutes: float | None = None
    tasks_per_step: int = 4
    optimizer: str | OptimizerFactory = "Adam"
    lr: float = 1e-3
    weight_decay: float = 0.0
    schedule: str | SchedulerFactory = "cosine"
    warmup: float = 0.0
    clip: float | None = None
    average: float | None = None
    reduction: Literal["mean", "sum"] = "mean"
    aggregate: str | Aggregator = "mean"
    weighting: str | None = None
    how: How = "auto"
    chunk: int | None = None
    precision: str | None = None
    compiled: bool = False
    memory: float | None = None
    validate_every: int | None = None
    validate_tasks: int = 200
    seed: int = 0
    save_seconds: float = 60.0

    def __post_init__(self) -> None:
        """Check each value by itself, and those that exclude each other."""
        if self.steps is None and self.minutes is None:
            raise InputError("fit needs a budget: steps=, minutes= or both")
        for name, (least, optional) in _COUNTS.items():
            check_count(name, getattr(self, name), least, optional)
        for name, (interval, optional) in _NUMBERS.items():
            check_number(name, getattr(self, name), interval, optional)
        check_seed(self.seed)
        if not isinstance(self.compiled, bool):
            raise InputError(f"compiled={self.compiled!r} cannot be used: give true or false")
        self._check_names()

    def _check_names(self) -> None:
        if not callable(self.optimizer):
            check_optimizer(self.optimizer)
        if not callable(self.schedule):
            check_schedule(self.schedule)
        _check_choice("reduction", self.reduction, ("mean", "sum"))
        if not callable(self.aggregate):
            _check_choice("aggregate", self.aggregate, AGGREGATORS, ", or pass a function")
        if self.weighting is not None:
            _check_choice("weighting", self.weighting, WEIGHTINGS)
        if (self.aggregate != "mean") + (self.weighting is not None) + (self.reduction != "mean") > 1:
            raise InputError(
                f"reduction={self.reduction!r}, aggregate={self.aggregate!r} and weighting={self.weighting!r} each say "
                f"what becomes of the tasks' losses: change one of them"
            )


def optimizers() -> dict[str, type[torch.optim.Optimizer]]:
    """The optimizers of ``torch.optim`` that follow a gradient, by name."""
    found = {
        name: kind
        for name, kind in vars(torch.optim).items()
        if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer) and kind is not torch.optim.Optimizer
    }
    # One evaluates the loss again and again, at places of its own; the other takes sparse gradients alone.
    return {name: kind for name, kind in found.items() if name not in ("LBFGS", "SparseAdam")}


def check_optimizer(name: Any) -> None:
    """Refuse what is no name of an optimizer.

    Raises:
        InputError: with the nearest known one.
    """
    known = optimizers()
    if name not in known:
        raise InputError(
            f"torch.optim has no optimizer {name!r} that follows a plain gradient{did_you_mean(str(name), known)}: use "
            f"a name such as Adam, AdamW or SGD, or pass a function"
        )


def _check_choice(name: str, value: Any, known: tuple[str, ...], other: str = "") -> None:
    if value not in known:
        raise InputError(
            f"{name}={value!r} is unknown{did_you_mean(str(value), known)}; choose one of {', '.join(known)}{other}"
        )
