"""Two learners on the same tasks, task by task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from innerloop.core.metric import Metric
from innerloop.core.task import InputError, did_you_mean
from innerloop.evaluation import stats
from innerloop.evaluation.classes import open_interval
from innerloop.evaluation.reports import Report, plain


@dataclass(frozen=True)
class Comparison:
    """A paired difference, signed by its metric: above 0 the first is better, whichever way the metric runs."""

    metric: Metric
    """What they are compared on."""
    difference: stats.Difference
    """First minus second, times the metric's sign."""
    left_out: int = 0
    """Tasks on which one of them has no finite value."""
    open_interval: tuple[float, float] | None = None
    """Of the difference for other classes of the kind; ``None`` as in a report."""

    def json(self) -> dict[str, Any]:
        """Plain values that JSON takes: those of the difference, with the metric and what was left out."""
        found = {"metric": self.metric.name, "better": self.metric.better, "left_out": self.left_out}
        found["open_interval"] = list(self.open_interval) if self.open_interval else None
        return plain({**self.difference._asdict(), **found})

    def __str__(self) -> str:
        """One line: how much better the first is, with the interval, the p value, and the tasks won and lost."""
        gap, unit = self.difference, f" {self.metric.points}" if self.metric.points else ""
        mean, low, high = (self.metric.shown(value, sign=True) for value in (gap.mean, *gap.interval))
        wide = ""
        if self.open_interval is not None:
            wide = ", open {} to {}".format(*(self.metric.shown(end, sign=True) for end in self.open_interval))
        direction = f"{self.metric.name}, {self.metric.better} is better, so above 0 is for the first"
        text = (
            f"difference {mean}{unit} (95 % interval {low} to {high}{wide}) in {direction}; p {gap.p_value:.2g}; "
            f"better on {gap.wins}, worse on {gap.losses} of {gap.tasks}"
        )
        return f"{text}; {self.left_out} tasks without a finite value are left out" if self.left_out else text


def compare(first: Report, second: Report, metric: str | None = None) -> Comparison:
    """Compare two reports of the same tasks, task by task.

    Args:
        first: one learner's.
        second: another's.
        metric: its name; default what the first's tasks are judged by or, where the second has no such figure (one
            learner predicts a spread, the other does not), the first that both have.

    Returns:
        the difference, above 0 where the first is better.

    Raises:
        InputError: if they saw other tasks, have no metric in common, lack the one that is asked for, or have fewer
            than two tasks on which both have a value.

    Example:
        >>> import innerloop as il
        >>> mamls = [il.MAML(il.nets.mlp(1, 8, 1), lr=lr, likelihood=il.Gaussian(scale=1.0)) for lr in (0.1, 0.01)]
        >>> found = compare(*(il.evaluate(maml, il.data.Sinusoid(), tasks=10) for maml in mamls))
        >>> found.metric.name, found.difference.tasks
        ('mse', 10)
    """
    if first.episodes != second.episodes:
        raise InputError(
            "the two learners do not see the same tasks: their data, their sizes or their seeds differ; evaluate both "
            "with one sampler, seed and number of tasks"
        )
    chosen = common(first, second, metric)
    a, b = (np.asarray(report.per_task[chosen.name], dtype=np.float64) for report in (first, second))
    both = np.isfinite(a) & np.isfinite(b)
    gap = stats.paired(chosen.sign * a[both], chosen.sign * b[both], chosen.bounds)
    wide = None
    if first.open and first.indices is not None:
        wide = open_interval(chosen.sign * np.where(both, a - b, np.nan), first.indices.classes.numpy())
    return Comparison(chosen, gap, int((~both).sum()), wide)


def common(first: Report, second: Report, name: str | None) -> Metric:
    """The metric that both reports have: the one that is asked for, or the first one's, or the second's, or another.

    Raises:
        InputError: if they share none, or not the one that is asked for.
    """
    both = {key: one for key, one in first.metrics.items() if _same(one, second.metrics.get(key))}
    if name is not None:
        if name not in both:
            raise InputError(
                f"metric {name!r} is not in both reports{did_you_mean(name, both)}; they share {_words(both)}"
            )
        return both[name]
    for own in (first.metric, second.metric):
        if own.name in both:
            return both[own.name]
    if not both:
        raise InputError(
            f"the reports share no metric: the first has {_words(first.metrics)}, the second {_words(second.metrics)}"
        )
    return next(iter(both.values()))


def _same(one: Metric, other: Metric | None) -> bool:
    return other is not None and (one.name, one.better) == (other.name, other.better)


def _words(metrics: dict[str, Metric]) -> str:
    return ", ".join(metrics) or "none"
