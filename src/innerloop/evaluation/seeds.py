"""Several runs of one recipe, each with its own seed: what another seed would change, apart from other episodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from innerloop.core.metric import Metric
from innerloop.core.task import InputError
from innerloop.evaluation.classes import class_spread
from innerloop.evaluation.compare import common
from innerloop.evaluation.reports import Report, plain
from innerloop.evaluation.stats import ends, interval, quantile

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class OverSeeds:
    """A mean over seeds and episodes, and where its spread comes from."""

    metric: Metric
    value: float
    """The mean; of a difference, above 0 where the first are better."""
    interval: tuple[float, float]
    """Of 95 %, for another seed of training and other episodes of this test set."""
    open_interval: tuple[float, float] | None
    """The same for other classes, too; ``None`` as in a report."""
    each: tuple[float, ...]
    """The mean of each seed."""
    of_seeds: float
    """The standard deviation between seeds: of what a seed's mean over endless episodes would be."""
    of_episodes: float
    """The standard deviation between episodes, of what all seeds agree on."""
    rest: float
    """The standard deviation of what a seed makes of an episode beyond both."""
    tasks: int
    difference: bool = False

    @property
    def seeds(self) -> int:
        """How many."""
        return len(self.each)

    def json(self) -> dict[str, Any]:
        """Plain values that JSON takes."""
        found: dict[str, Any] = plain(
            {
                "metric": self.metric.name,
                "value": self.value,
                "interval": list(self.interval),
                "open_interval": list(self.open_interval) if self.open_interval else None,
                "each": list(self.each),
                "deviation": {"seeds": self.of_seeds, "episodes": self.of_episodes, "rest": self.rest},
                "seeds": self.seeds,
                "tasks": self.tasks,
                "difference": self.difference,
            }
        )
        return found

    def __str__(self) -> str:
        """One line: the mean over seeds with its interval, and the spread of seeds and of episodes."""
        shown, what = self.metric.shown, "difference" if self.difference else self.metric.name
        text = f"{self.seeds} seeds: {what} {self.metric.text(self.value, self.interval)}"
        if self.open_interval is not None:
            text += f" (open {shown(self.open_interval[0])} to {shown(self.open_interval[1])})"
        return (
            f"{text}; deviation of seeds {shown(self.of_seeds)}, of episodes {shown(self.of_episodes)}, of both "
            f"together {shown(self.rest)}; each {', '.join(shown(value) for value in self.each)}"
        )


def over_seeds(
    reports: Sequence[Report], against: Sequence[Report] | None = None, metric: str | None = None
) -> OverSeeds:
    """The mean over runs that differ in their seed alone, evaluated on the same episodes, as a random draw of seeds.

    A seed shifts all its episodes and an episode is hard for all seeds, so neither the mean over seeds nor the one over
    episodes has independent values: it is a crossed design of random effects, and the variance of the mean has a part
    of seeds, one of episodes and one of both.

    Args:
        reports: one a seed, of the same episodes; two or more.
        against: as many of another recipe on these episodes, each beside the one that it is compared with (the same
            seed): the result is then the difference, above 0 where the first are better.
        metric: its name; default what the tasks are judged by.

    Raises:
        InputError: for fewer than two reports, other episodes, or a metric that they do not share.

    Example:
        >>> import torch, innerloop as il
        >>> pool = il.Pool.of(torch.randn(80, 4), [i % 8 for i in range(80)])
        >>> tasks = il.FewShot(pool, ways=2, shots=2, queries=5)
        >>> learners = [il.ProtoNet(il.nets.mlp(4, 8, 3)) for seed in range(3)]
        >>> found = over_seeds([il.evaluate(learner, tasks, tasks=20) for learner in learners])
        >>> found.seeds, found.interval[0] < found.value < found.interval[1]
        (3, True)

    References:
        Searle, Casella, McCulloch, *Variance Components*, Wiley 1992. On seeds as a source of variance: Bouthillier et
        al., *Accounting for Variance in Machine Learning Benchmarks*, MLSys 2021, https://arxiv.org/abs/2103.03098.
    """
    every = [*reports, *(against or [])]
    if len(reports) < 2:
        raise InputError(f"{len(reports)} seeds say nothing of others: give the reports of two runs or more")
    if against is not None and len(against) != len(reports):
        raise InputError(f"{len(reports)} seeds against {len(against)}: give each the one that it is compared with")
    if len({report.episodes for report in every}) > 1:
        raise InputError("the runs do not see the same tasks: evaluate all with one sampler, seed and number of tasks")
    chosen = common(reports[0], every[-1], metric)
    for report in every:
        common(report, reports[0], chosen.name)
    values = np.stack([np.asarray(report.per_task[chosen.name], np.float64) for report in reports])
    bounds = chosen.bounds
    if against is not None:
        values = chosen.sign * (values - np.stack([report.per_task[chosen.name] for report in against]))
        bounds = (bounds[0] - bounds[1], bounds[1] - bounds[0]) if bounds else None
    there = np.isfinite(values).all(0)
    if there.sum() < 2:
        raise InputError("fewer than two tasks have a finite value for all seeds: there is no spread to see")
    first = reports[0]
    classes = first.indices.classes.numpy()[there] if first.open and first.indices is not None else None
    return crossed(values[:, there], chosen, bounds, classes, difference=against is not None)


def crossed(
    values: Floats,
    metric: Metric,
    bounds: tuple[float, float] | None = None,
    classes: npt.NDArray[np.intp] | None = None,
    difference: bool = False,
) -> OverSeeds:
    """The same from the values themselves.

    Args:
        values: of each seed on each episode, ``[S, T]``.
        metric: how they are shown.
        bounds: between which every value lies.
        classes: of each episode, ``[T, ways]``.
        difference: whether values are differences.
    """
    seeds, tasks = values.shape
    by_seed, by_task, mean = values.mean(1), values.mean(0), float(values.mean())
    left = values - by_seed[:, None] - by_task + mean
    squares = {
        "seeds": tasks * float(by_seed.var(ddof=1)),
        "tasks": seeds * float(by_task.var(ddof=1)),
        "rest": float(np.square(left).sum()) / ((seeds - 1) * (tasks - 1)),
    }
    of_seeds, of_tasks = (max(squares[name] - squares["rest"], 0.0) for name in ("seeds", "tasks"))
    seed_part = of_seeds / (seeds * tasks)
    task_part = squares["tasks"] / (seeds * tasks)
    third = float(np.mean((by_task - mean) ** 3)) / tasks**2
    # All values alike: their spread says nothing of how near 1, say, the next ones will be.
    alike = seed_part + task_part <= 0 and not difference
    found = (
        interval(by_task, bounds=bounds)
        if alike else _ends(mean, seed_part, seeds, task_part, tasks - 1, third, bounds)
    )  # fmt: skip
    wide = None
    spread = class_spread(by_task, classes) if classes is not None else None
    if spread is not None:
        skew = spread.skew * spread.variance**1.5
        wide = _ends(mean, seed_part, seeds, spread.variance, spread.degrees, skew, bounds)
    deviations = [float(np.sqrt(part)) for part in (of_seeds / tasks, of_tasks / seeds, squares["rest"])]
    each = tuple(float(value) for value in by_seed)
    return OverSeeds(metric, mean, found, wide, each, deviations[0], deviations[1], deviations[2], tasks, difference)


def _ends(
    mean: float,
    seed_part: float,
    seeds: int,
    task_part: float,
    degrees: float,
    third: float,
    bounds: tuple[float, float] | None,
) -> tuple[float, float]:
    """By both parts of the variance, each with the quantile of its own degrees of freedom.

    One quantile of the degrees of both together (Satterthwaite) takes two or three seeds that happen to lie close for
    certain.
    """
    variance = seed_part + task_part
    if variance <= 0:
        return mean, mean
    half = (quantile(seeds - 1) ** 2 * seed_part + quantile(degrees) ** 2 * task_part) ** 0.5
    return ends(mean, variance**0.5, third / variance**1.5, half / variance**0.5, bounds)
