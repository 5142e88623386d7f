"""What an evaluation gives: the value of each metric on each task, and how they were had."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from innerloop.core.metric import Metric
from innerloop.data.episodes import Episodes
from innerloop.evaluation import stats
from innerloop.evaluation.classes import open_interval


@dataclass
class Report:
    """A learner's metrics on a set of tasks, one value a task, and how they were had.

    A task that has a query without a finite prediction has *failed*. Such a query counts as answered wrongly, as far as
    that can be: accuracy, ROC-AUC and delta-AUPRC keep a value. What has no worst value (squared error, log likelihood,
    metrics of one's own) has none on that task: it is left out of the mean and of the interval, and named.
    """

    metric: Metric
    """What the tasks are judged by: what their sampler says, or accuracy (classes), the log likelihood (real targets of
    predicted spread), or the mean squared error."""
    per_task: dict[str, np.ndarray]
    """Each metric's values, ``[T]``, NaN or infinite for a task without one: ``nll`` and the metric; for a predicted
    spread ``mse`` and ``coverage50``, for two ways ``roc_auc`` and ``delta_auprc``, too; and those asked for."""
    metrics: dict[str, Metric]
    """The metrics of ``per_task``, by name."""
    norm: str
    transductive: bool
    seed: int
    episodes: str
    """Digest of the tasks, their examples included: two reports with the same one saw the same tasks."""
    ways: int | None = None
    shots: int | tuple[int, int] | None = None
    """A number, or the smallest and the largest one."""
    queries: int | tuple[int, int | None] | None = None
    calibration_error: float | None = None
    failed: tuple[int, ...] = ()
    """The tasks that have a query without a finite prediction, counted from 0."""
    asked: tuple[str, ...] = ()
    """The further metrics that were asked for."""
    weights: str = ""
    """Digest of the learner's parameters and buffers."""
    open: bool = False
    """Whether the classes count as random draws, for the open interval: that of few-shot episodes."""
    indices: Episodes | None = field(default=None, repr=False)

    @property
    def tasks(self) -> int:
        """How many tasks."""
        return len(self.per_task[self.metric.name])

    @property
    def value(self) -> float:
        """The metric's mean over the tasks that have one; NaN if none has."""
        return self.mean(self.metric.name)

    @property
    def score(self) -> float:
        """The metric's mean, signed so that more is better: what weights are chosen by.

        A failed task without a value counts as the worst of the others, so that to fail never looks better than to try;
        minus infinity where no task has a value.
        """
        values = np.asarray(self.per_task[self.metric.name], dtype=np.float64)
        signed = self.metric.sign * finite(values)
        if not len(signed):
            return -math.inf
        missing = sum(not math.isfinite(values[task]) for task in self.failed)
        # Rounded once: without a failed task it is the mean itself.
        return float(np.mean(np.append(signed, np.full(missing, signed.min())))) if missing else float(np.mean(signed))

    @property
    def interval(self) -> tuple[float, float]:
        """Closed 95 % interval: over episodes of this test set; NaN for fewer than two."""
        return self.interval_of(self.metric.name)

    @property
    def open_interval(self) -> tuple[float, float] | None:
        """Open 95 % interval: the test set's classes, with their examples, as random draws.

        ``None`` where episodes have no classes, or hardly any two of them are without a common one.
        """
        return self.open_interval_of(self.metric.name)

    @property
    def coverage(self) -> dict[str, float] | None:
        """Share of targets within the central 50, 90 and 95 % intervals, where the spread is predicted."""
        names = [name for name in self.per_task if name not in self.metrics]
        return {name.removeprefix("coverage"): self.mean(name) for name in names} or None

    def mean(self, name: str) -> float:
        """The mean of a metric of ``per_task`` over the tasks that have a value; NaN if none has."""
        values = finite(self.per_task[name])
        return float(np.mean(values)) if len(values) else math.nan

    def interval_of(self, name: str) -> tuple[float, float]:
        """The closed 95 % interval of a metric of ``per_task``; within the metric's bounds, if it has any."""
        return stats.interval(finite(self.per_task[name]), bounds=self.metrics[name].bounds)

    def open_interval_of(self, name: str) -> tuple[float, float] | None:
        """The open 95 % interval of a metric of ``per_task``."""
        if not self.open or self.indices is None:
            return None
        return open_interval(self.per_task[name], self.indices.classes.numpy(), self.metrics[name].bounds)

    def json(self) -> dict[str, Any]:
        """The report as plain values that JSON takes: accuracies are shares, 0 to 1; what has no value is ``None``."""
        low, high = self.interval
        return plain(
            {
                **{name: self.mean(name) for name in self.metrics},
                "metric": self.metric.name,
                "interval": [low, high],
                "half_width": (high - low) / 2,
                "open_interval": list(self.open_interval) if self.open_interval else None,
                "calibration_error": self.calibration_error,
                "coverage": self.coverage,
                "tasks": self.tasks,
                "failed": list(self.failed),
                "ways": self.ways,
                "shots": self.shots,
                "queries": self.queries,
                "norm": self.norm,
                "transductive": self.transductive,
                "seed": self.seed,
                "episodes": self.episodes,
            }
        )

    def __str__(self) -> str:
        """One line: the mean with its interval, the protocol, the norm policy and whether it is transductive."""
        metric, kind = self.metric, self.protocol
        text = f"{f'{kind}: ' if kind else ''}{metric.name} {metric.text(self.value, self.interval)}"
        found = self.open_interval
        if found is not None and self.indices is not None:
            (low, high), ways = found, self.indices.classes.shape[1]
            classes = len(self.indices.classes.unique())
            few = f" from only {classes} classes" if classes < 4 * ways else ""
            text += f" (open {metric.shown(low)} to {metric.shown(high)}{few})"
        for name in self.asked:
            text += f", {name} {self.metrics[name].text(self.mean(name), self.interval_of(name))}"
        transductive = "transductive" if self.transductive else "not transductive"
        tasks = "1 task" if self.tasks == 1 else f"{self.tasks} tasks"
        text += f", {tasks}, seed {self.seed}, norm {self.norm}, {transductive}"
        return "; ".join([text, *self.notes])

    @property
    def protocol(self) -> str:
        """The sizes of the tasks, as far as they are fixed: ``"5-way 1-shot"``."""
        shots = self.shots
        if isinstance(shots, tuple):
            shots = shots[0] if shots[0] == shots[1] else f"{shots[0]} to {shots[1]}"  # type: ignore[assignment]
        parts = [f"{self.ways}-way"] if self.ways else []
        return " ".join([*parts, *([f"{shots}-shot"] if shots is not None else [])])

    @property
    def notes(self) -> list[str]:
        """What the figures cannot say: too few tasks, tasks without a finite prediction, tasks without a value."""
        values = np.isfinite(self.per_task[self.metric.name])
        found = []
        if values.sum() < 2:
            found.append("too few tasks for an interval")
        elif values.sum() < stats.FEW:
            found.append(f"{values.sum()} tasks are too few for an interval that one can rely on")
        if self.failed:
            left = " and are left out" if not values[list(self.failed)].any() else ""
            found.append(f"{len(self.failed)} tasks have predictions that are not finite{left}: {_list(self.failed)}")
        others = [int(task) for task in np.flatnonzero(~values) if task not in self.failed]
        if others:
            found.append(f"{len(others)} tasks have no finite {self.metric.called} and are left out: {_list(others)}")
        return found


def finite(values: np.ndarray) -> np.ndarray:
    """The values that are finite, in double precision."""
    values = np.asarray(values, dtype=np.float64)
    return values[np.isfinite(values)]


def plain(value: Any) -> Any:
    """Plain values that JSON takes: what is not finite is ``None``, tuples are lists."""
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _list(numbers: tuple[int, ...] | list[int], most: int = 5) -> str:
    shown = ", ".join(map(str, numbers[:most]))
    return f"{shown}, ..." if len(numbers) > most else shown
