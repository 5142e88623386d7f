"""The outer loop: steps of an optimizer until a budget is used, a signal comes, or a callback asks for the end.

``fit``, :func:`innerloop.acting.train`, :func:`innerloop.optimizers.train` and the range test of the learning rate are
this loop around a gradient of their own.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from innerloop.core import distributed
from innerloop.training.callbacks import Callback
from innerloop.training.history import History
from innerloop.training.progress import Bar, Stop, progress_bar, stop_signal
from innerloop.training.schedule import Factor


class NonFiniteLoss(ArithmeticError):  # noqa: N818
    """The loss became infinite or NaN; the last good checkpoint is kept."""


@dataclass(frozen=True)
class Budget:
    """How long a run is: so many steps, so many minutes of wall-clock time, or whichever ends first."""

    steps: int | None = None
    minutes: float | None = None

    def used(self, step: int, seconds: float) -> float:
        """The share that is used after so many steps and seconds; 1 or more at the end."""
        by_steps = (step / self.steps if self.steps else 1.0) if self.steps is not None else 0.0
        return max(by_steps, seconds / 60 / self.minutes if self.minutes else 0.0)


class Update:
    """What becomes of a gradient: clipped, followed by an optimizer at the rate of a schedule, averaged over steps.

    Args:
        optimizer: any; it holds the parameters.
        factor: of its learning rates, by the share of the run that is done; ``None`` leaves them to ``scheduler``.
        scheduler: steps after the optimizer.
        clip: largest norm of the gradient.
        clipped: the parameters that the norm is of; default the optimizer's.
        learner: whose weights are averaged.
        averaged: their average.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        *,
        factor: Factor | None = None,
        scheduler: torch.optim.lr_scheduler.LRScheduler | None = None,
        clip: float | None = None,
        clipped: Sequence[nn.Parameter] | None = None,
        learner: nn.Module | None = None,
        averaged: AveragedModel | None = None,
    ) -> None:
        self.optimizer, self.factor, self.scheduler = optimizer, factor, scheduler
        self.clip, self.learner, self.averaged = clip, learner, averaged
        self.clipped = clipped if clipped is not None else [p for g in optimizer.param_groups for p in g["params"]]
        self._base = [group["lr"] for group in optimizer.param_groups]

    def begin(self, used: float) -> None:
        """Set the learning rates for a step."""
        if self.factor is not None:
            factor = self.factor(used)
            for group, rate in zip(self.optimizer.param_groups, self._base, strict=True):
                group["lr"] = rate * factor

    def bound(self) -> float:
        """Clip the gradient; its norm before that, or 0 where nothing is clipped."""
        return float(nn.utils.clip_grad_norm_(self.clipped, self.clip)) if self.clip is not None else 0.0

    def step(self) -> None:
        """Follow the gradient, and forget it."""
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.scheduler is not None:
            self.scheduler.step()
        if self.averaged is not None and self.learner is not None:
            self.averaged.update_parameters(self.learner)

    @property
    def rate(self) -> float:
        """The learning rate of the first group."""
        return float(self.optimizer.param_groups[0]["lr"])


class OuterLoop:
    """Runs over the steps that are left; each ends with :meth:`take`, once its gradient is in ``.grad``.

    Args:
        update: what becomes of a gradient.
        budget: how long.
        history: gets a row a step; where it has some, the loop goes on after them.
        callbacks: called after each step.
        progress: show a bar.
        begin: called once, when the first gradient is there and before it changes a weight.
        kept: says where the last good weights are, for messages.

    Example:
        >>> weight = nn.Parameter(torch.tensor(3.0))
        >>> with OuterLoop(Update(torch.optim.SGD([weight], lr=0.25)), Budget(steps=2), History()) as loop:
        ...     for step, used in loop:
        ...         loss = weight**2
        ...         loss.backward()
        ...         used = loop.take(float(loss.detach()))
        >>> weight.item(), loop.history.losses
        (0.75, [9.0, 2.25])
    """

    def __init__(
        self,
        update: Update,
        budget: Budget,
        history: History,
        *,
        callbacks: Sequence[Callback] = (),
        progress: bool = False,
        begin: Callable[[], None] | None = None,
        kept: Callable[[], str] | None = None,
    ) -> None:
        self.update, self.budget, self.history = update, budget, history
        self.callbacks, self.progress, self.begin, self.kept = callbacks, progress, begin, kept
        self._start, self._before = time.monotonic(), history.seconds
        self._open = ExitStack()
        self._stop, self._bar = Stop(), Bar()

    def __enter__(self) -> Self:
        self._stop = self._open.enter_context(stop_signal())
        self._bar = self._open.enter_context(progress_bar(self.progress and distributed.rank() == 0))
        self.update.optimizer.zero_grad()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def used(self) -> float:
        """The share of the budget that is used by now."""
        seconds = self._before + time.monotonic() - self._start
        self.history.seconds = distributed.clock(seconds) if self.budget.minutes else seconds
        return self.budget.used(self.history.step, self.history.seconds)

    def __iter__(self) -> Iterator[tuple[int, float]]:
        """The number of each step, from 0, and the share of the budget that is used before it."""
        while (used := self.used()) < 1.0 and not self._ended():
            self.update.begin(used)
            yield self.history.step, used
        self._ended()
        self._begin()

    def _begin(self) -> None:
        if self.begin is not None:
            self.begin()
            self.begin = None

    def _ended(self) -> bool:
        """Whether a signal or a callback ends the run before its budget."""
        history = self.history
        if number := distributed.largest(self._stop.signal or 0):
            history.stopped, history.signal = "interrupted", number
        elif self.callbacks and distributed.anywhere(any(callback.stop for callback in self.callbacks)):
            history.stopped = "stopped"
        return history.stopped != "finished"

    def take(self, loss: float, **more: float) -> float:
        """Follow the gradient that is there, and write a row of the history.

        Args:
            loss: of the step.
            more: what else the row is to hold.

        Returns:
            the share of the budget that is used now.

        Raises:
            NonFiniteLoss: if the loss or the norm of a clipped gradient is not finite; no weight has changed then.
        """
        step = self.history.step + 1
        if not math.isfinite(loss):
            raise NonFiniteLoss(self._refusal(f"the loss is {loss}", step))
        size = self.update.bound()
        if not math.isfinite(size):
            raise NonFiniteLoss(self._refusal(f"the loss is {loss} and its gradient's norm {size}", step))
        self._begin()
        self.update.step()
        row = {"step": step, "loss": loss, "lr": self.update.rate, **more}
        self.history.rows.append(row)
        for callback in self.callbacks:
            callback.on_step(step, row)
        used = self.used()
        self._bar.draw(used, loss, self.history)
        return used

    def _refusal(self, what: str, step: int) -> str:
        where = f"; {self.kept()}" if self.kept is not None else ""
        return (
            f"{what} at step {step}: the run stops{where}. Lower the outer or the inner learning rate, clip the "
            f"gradient (clip=1.0), or look for extreme inputs"
        )
