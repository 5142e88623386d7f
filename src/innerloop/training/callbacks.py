"""Hooks of a run: what is called at its steps and validations, and may ask for its end."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from innerloop import bundle
from innerloop.core import distributed
from innerloop.core.learner import Learner
from innerloop.core.numbers import check_count, check_number
from innerloop.core.task import InputError
from innerloop.evaluation.reports import Report
from innerloop.training.history import History


class Callback:
    """Looks on at a run; a subclass writes the methods that it needs.

    Set :attr:`stop`, or make it a property, to end the run after the step at hand. What :meth:`state` gives is kept in
    the checkpoint, so a resumed run goes on where it was. In a process group every rank calls its own.

    Example:
        >>> import innerloop as il
        >>> class Until(Callback):
        ...     def on_step(self, step, metrics):
        ...         self.stop = metrics["loss"] < 100.0
        >>> maml = il.MAML(il.nets.mlp(1, 8, 1), lr=0.01, likelihood=il.Gaussian(scale=1.0))
        >>> il.fit(maml, il.data.Sinusoid(), steps=9, progress=False, callbacks=[Until()]).stopped
        'stopped'
    """

    #: Whether the run is to end.
    stop: bool = False
    #: Whether it is of no use in a run without validation.
    validates: ClassVar[bool] = False

    def on_start(self, learner: Learner, folder: Path | None) -> None:
        """Before anything is written: all options are known to be good.

        Args:
            learner: whose weights are validated and kept, an average where one was asked for.
            folder: the run folder, if there is one; it is there.
        """

    def on_step(self, step: int, metrics: Mapping[str, float]) -> None:
        """After each outer step, from 1: ``metrics`` is its row of the history (``loss``, ``lr``, ...)."""

    def on_validation(self, step: int, report: Report) -> None:
        """After each validation."""

    def on_end(self, history: History) -> None:
        """After the last step and validation, when all is saved."""

    def state(self) -> dict[str, Any]:
        """What has to outlive an interruption, as JSON takes it."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what :meth:`state` gave."""


class EarlyStopping(Callback):
    """Ends a run whose validation score does not improve any more.

    Args:
        patience: so many validations in a row without an improvement are the end.
        least: an improvement is more than that.

    Raises:
        InputError: for a patience below 1 or a negative ``least``.

    Example:
        >>> stopping = EarlyStopping(patience=3)
        >>> stopping.stop
        False
    """

    validates = True

    def __init__(self, patience: int, least: float = 0.0) -> None:
        check_count("patience", patience, 1)
        check_number("least", least, "[0, inf)")
        self.patience, self.least = patience, least
        self.best, self.without = -math.inf, 0

    @property
    def stop(self) -> bool:  # type: ignore[override]  # noqa: D102
        return self.without >= self.patience

    def on_validation(self, step: int, report: Report) -> None:  # noqa: D102
        # A score that is not a number is no improvement.
        better = report.score > self.best + self.least
        self.best, self.without = (report.score, 0) if better else (self.best, self.without + 1)

    def state(self) -> dict[str, Any]:  # noqa: D102
        return {"best": self.best if math.isfinite(self.best) else None, "without": self.without}

    def restore(self, state: Mapping[str, Any]) -> None:  # noqa: D102
        self.best = -math.inf if state["best"] is None else state["best"]
        self.without = state["without"]


class LogEvery(Callback):
    """Calls a function every so many steps, on the first of several ranks.

    Args:
        steps: between two calls.
        function: of the step's number and its metrics; by default they are printed.

    Raises:
        InputError: for less than 1 step.

    Example:
        >>> import innerloop as il
        >>> maml = il.MAML(il.nets.mlp(1, 8, 1), lr=0.01, likelihood=il.Gaussian(scale=1.0))
        >>> seen = LogEvery(2, lambda step, metrics: print(step, sorted(metrics)))
        >>> _ = il.fit(maml, il.data.Sinusoid(), steps=4, progress=False, callbacks=[seen])
        2 ['loss', 'lr', 'step']
        4 ['loss', 'lr', 'step']
    """

    def __init__(self, steps: int, function: Callable[[int, Mapping[str, float]], None] | None = None) -> None:
        check_count("the number of steps between two calls", steps, 1)
        self.steps, self.function = steps, function or _print

    def on_step(self, step: int, metrics: Mapping[str, float]) -> None:  # noqa: D102
        if step % self.steps == 0 and distributed.rank() == 0:
            self.function(step, metrics)


class CheckpointEvery(Callback):
    """Keeps the learner of every so many steps, as a bundle ``step-00000100`` in the run folder.

    Its weights are those that a validation would see, an average if one was asked for; running statistics are as
    training left them.

    Args:
        steps: between two files.

    Raises:
        InputError: for less than 1 step, or a run without a folder.
    """

    def __init__(self, steps: int) -> None:
        check_count("the number of steps between two checkpoints", steps, 1)
        self.steps = steps
        self._learner: Learner | None = None
        self._folder: Path | None = None

    def on_start(self, learner: Learner, folder: Path | None) -> None:  # noqa: D102
        if folder is None:
            raise InputError(f"CheckpointEvery({self.steps}) has nowhere to write: give fit a folder, out=")
        self._learner, self._folder = learner, folder

    def on_step(self, step: int, metrics: Mapping[str, float]) -> None:  # noqa: D102
        if step % self.steps == 0 and distributed.rank() == 0 and self._learner is not None and self._folder:
            place = self._folder / f"step-{step:08d}"
            bundle.save(place, self._learner, origin={"step": step}, replace=True, anonymous=True)


def check_callbacks(callbacks: Sequence[Callback], validated: bool) -> None:
    """Refuse what is no list of callbacks, or of no use.

    Raises:
        InputError: naming the first one that is none, or that waits for validations that are not asked for.
    """
    if not isinstance(callbacks, Sequence):
        raise InputError(f"callbacks={callbacks!r} is no list: give callbacks=[...], with one or several in it")
    for callback in callbacks:
        if not isinstance(callback, Callback):
            raise InputError(
                f"{callback!r} is no callback: derive a class from il.training.Callback, or wrap a function of step "
                f"and metrics in il.training.LogEvery(1, function)"
            )
        if callback.validates and not validated:
            raise InputError(f"{type(callback).__name__} looks at validations, and there are none: give validate=")


def _print(step: int, metrics: Mapping[str, float]) -> None:
    print(f"step {step}: " + ", ".join(f"{name} {value:.4g}" for name, value in metrics.items() if name != "step"))
