"""How many examples a meta-learner saves: scores against the number of shots, and the number that a baseline needs.

Learners and baselines are judged on the same tasks, and a task has the same classes and queries at every number of
shots, so that curves differ by what is learned from the support examples alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np

from innerloop.core.learner import Learner
from innerloop.core.metric import ACCURACY, Metric
from innerloop.core.task import InputError, did_you_mean
from innerloop.data.fixed import nested
from innerloop.data.pool import Pool
from innerloop.evaluation import stats
from innerloop.evidence.several import judged
from innerloop.evidence.shown import as_text

#: Shots of a curve where none are given: the grid of Hariharan and Girshick (2017).
SHOTS = (1, 2, 5, 10, 20)
#: What is drawn anew for an interval.
Over = Literal["tasks", "classes"]
#: Of means of shares, in double precision.
_ROUNDING = 1e-12


class Saved(NamedTuple):
    """How many shots the best baseline needs for what a learner does with fewer."""

    learner: str
    at: int
    """Shots of the learner."""
    needed: float
    """Shots that the best baseline needs, among those that were measured: infinite for more than the most of them, the
    fewest of them where it needs no more."""
    interval: tuple[float, float]
    """95 %, over tasks (or classes)."""
    baseline: str
    """The best one at that number of shots."""
    least: int
    most: int

    @property
    def times(self) -> float:
        """How many times as many shots the baseline needs."""
        return self.needed / self.at

    def __str__(self) -> str:
        """What a reader wants to know, in one line."""
        low, high = (self._number(end) for end in self.interval)
        return (
            f"{self.learner} with {self.at} shot{'s' if self.at > 1 else ''} equals {self.baseline} with "
            f"{self._number(self.needed)} ({low} to {high})"
        )

    def json(self) -> dict[str, Any]:
        """Plain values that JSON takes: ``None`` for more shots than were measured."""
        ends = [end if math.isfinite(end) else None for end in (self.needed, *self.interval)]
        return {**self._asdict(), "needed": ends[0], "interval": ends[1:]}

    def cell(self) -> str:
        """The number and its interval, for a table."""
        low, high = (self._number(end) for end in self.interval)
        needed = self._number(self.needed)
        return needed if low == needed == high else f"{needed} ({low} to {high})"

    def _number(self, value: float) -> str:
        if math.isinf(value):
            return f"more than {self.most}"
        return f"at most {self.least}" if value <= self.least else f"{value:.1f}"


@dataclass(frozen=True)
class Curve:
    """Scores of several learners on the same tasks at several numbers of shots.

    Args:
        shots: S numbers of support examples a class, rising.
        values: of each learner, ``[S, T]``: the metric on each task at each number of shots.
        baselines: names of those that are none of meta-learning, which the others are measured by.
        classes: of the tasks, ``[T, ways]``, for intervals over classes.
        metric: of the values.

    Raises:
        InputError: for values that do not fit together, or a baseline that has none.

    Example:
        >>> import numpy as np
        >>> tasks = np.linspace(-0.05, 0.05, 50)
        >>> values = {"ours": 0.8 + tasks[None] * [[1], [0]], "plain": np.array([[0.6], [0.9]]) + tasks}
        >>> found = Curve((1, 4), values, ("plain",))
        >>> round(found.saved("ours").needed, 3)
        2.52
    """

    shots: tuple[int, ...]
    values: Mapping[str, np.ndarray]
    baselines: tuple[str, ...] = ()
    classes: np.ndarray | None = field(default=None, repr=False)
    metric: Metric = ACCURACY

    def __post_init__(self) -> None:
        """Check the parts against each other."""
        shapes = {name: np.shape(one) for name, one in self.values.items()}
        if len(set(shapes.values())) != 1 or len(next(iter(shapes.values()))) != 2:
            raise InputError(f"a curve has values of shape {shapes}: every learner needs one for each shots and task")
        if next(iter(shapes.values()))[0] != len(self.shots) or list(self.shots) != sorted(set(self.shots)):
            raise InputError(f"the shots {self.shots} must rise, and be as many as the rows of the values: {shapes}")
        for name in self.baselines:
            if name not in self.values:
                raise InputError(f"the baseline {name!r} has no values{did_you_mean(name, self.values)}")

    @property
    def tasks(self) -> int:
        """T."""
        return int(next(iter(self.values.values())).shape[1])

    @property
    def learners(self) -> tuple[str, ...]:
        """Those that are no baselines."""
        return tuple(name for name in self.values if name not in self.baselines)

    def mean(self, name: str, shots: int) -> tuple[float, tuple[float, float]]:
        """The mean of a learner's metric at a number of shots, and its closed 95 % interval."""
        values = self.at(name, shots)
        return float(values.mean()), stats.interval(values, bounds=self.metric.bounds)

    def at(self, name: str, shots: int) -> np.ndarray:
        """A learner's values at a number of shots, ``[T]``.

        Raises:
            InputError: for a learner or a number of shots that the curve does not have.
        """
        if name not in self.values:
            raise InputError(f"the curve has no {name!r}{did_you_mean(name, self.values)}; it has {list(self.values)}")
        if shots not in self.shots:
            raise InputError(f"the curve has no value at {shots} shots; it has {', '.join(map(str, self.shots))}")
        return np.asarray(self.values[name][self.shots.index(shots)], dtype=np.float64)

    def best(self, shots: int) -> str:
        """The baseline with the best mean at a number of shots.

        Raises:
            InputError: if there is none.
        """
        if not self.baselines:
            raise InputError("the curve has no baseline to compare with: name one or more")
        return max(self.baselines, key=lambda name: self.metric.sign * self.at(name, shots).mean())

    def gap(self, name: str, shots: int) -> stats.Difference:
        """Paired difference from the best baseline at a number of shots: above 0 the learner is better."""
        own, best = (self.metric.sign * self.at(one, shots) for one in (name, self.best(shots)))
        return stats.paired(own, best, self.metric.bounds)

    def saved(
        self,
        name: str,
        at: int | None = None,
        *,
        over: Over = "tasks",
        draws: int = 2000,
        seed: int = 0,
    ) -> Saved:
        """How many shots the best baseline needs to be as good as a learner with ``at`` shots.

        At each number of shots the best baseline counts, whichever it is, which favors the baselines. Their best scores
        are made to rise with the shots (isotonic regression) and are read off, linearly in the logarithm of the shots.

        Args:
            name: of the learner.
            at: its shots; default the fewest.
            over: what is drawn anew for the interval: ``"tasks"``, for other tasks of these classes, or ``"classes"``,
                for other classes (each drawn as often as a Poisson number says, to first order).
            draws: of the bootstrap.
            seed: of these draws.

        Raises:
            InputError: if there is no baseline, or no classes to draw.
        """
        at = self.shots[0] if at is None else at
        own = self.at(name, at)
        self.best(at)
        rng = np.random.default_rng(seed)
        weights = self._weights(over, draws, rng)
        learner = self.metric.sign * np.append(weights @ own, own.mean())
        curves = np.stack([np.asarray(self.values[one], dtype=np.float64) for one in self.baselines])
        means = self.metric.sign * np.concatenate((curves @ weights.T, curves.mean(2, keepdims=True)), 2)
        best = means.max(0).T
        needed = np.array([_needed(self.shots, *pair) for pair in zip(best, learner, strict=True)])
        low, high = (float(np.quantile(needed[:-1], q, method="nearest")) for q in (0.025, 0.975))
        found = float(needed[-1])
        near = self.shots[int(np.argmin(np.abs(np.log(self.shots) - math.log(min(found, self.shots[-1])))))]
        return Saved(name, at, found, (low, high), self.best(near), self.shots[0], self.shots[-1])

    def _weights(self, over: Over, draws: int, rng: np.random.Generator) -> np.ndarray:
        """How much each task counts in each draw, ``[draws, T]``; a row sums to 1."""
        if over == "tasks":
            return rng.multinomial(self.tasks, np.full(self.tasks, 1 / self.tasks), draws) / self.tasks
        if over != "classes":
            raise InputError(f"intervals are over tasks or classes, not over {over!r}")
        if self.classes is None:
            raise InputError("the curve does not know the classes of its tasks: take the interval over tasks")
        known, place = np.unique(self.classes, return_inverse=True)
        place = place.reshape(self.classes.shape)
        # A task with classes of weights w counts as their product, of which only the first order is kept: the product
        # of five is zero for nine tasks of ten, which no set of tasks is large enough for.
        times = rng.poisson(1.0, (draws, len(known))) - 1.0
        weights = times[:, place].sum(2)
        return np.asarray((1 + weights - weights.mean(1, keepdims=True)) / self.tasks)

    def json(self, over: Over = "tasks") -> dict[str, Any]:
        """Plain values that JSON takes; intervals of saved shots are over tasks, or classes."""
        rows: dict[str, Any] = {}
        for name in self.values:
            means = [self.mean(name, shots) for shots in self.shots]
            rows[name] = {
                "baseline": name in self.baselines,
                self.metric.name: [mean for mean, _ in means],
                "interval": [list(interval) for _, interval in means],
            }
        found = {"shots": list(self.shots), "tasks": self.tasks, "metric": self.metric.name, "learners": rows}
        if self.baselines:
            found["saved"] = [self.saved(name, at, over=over).json() for name in self.learners for at in self.shots]
        return found

    def rows(self, over: Over = "tasks") -> list[list[str]]:
        """A table: learners by shots, then what is saved, with intervals over tasks, or classes."""
        shown = [["", *(f"{shots} shot{'s' if shots > 1 else ''}" for shots in self.shots)]]
        for name in self.values:
            cells = (self.mean(name, shots) for shots in self.shots)
            shown.append([name, *(self.metric.text(mean, interval) for mean, interval in cells)])
        if self.baselines:
            for name in self.learners:
                saved = [self.saved(name, shots, over=over).cell() for shots in self.shots]
                shown.append([f"shots for which the best baseline equals {name}", *saved])
        return shown

    def __str__(self) -> str:
        """The table as text."""
        return self.text()

    def text(self, over: Over = "tasks") -> str:
        """The table as text, columns aligned; intervals of saved shots are over tasks, or classes."""
        return as_text(self.rows(over))


def curve(
    learners: Mapping[str, Learner],
    pool: Pool,
    *,
    baselines: Mapping[str, Learner],
    shots: Sequence[int] = SHOTS,
    ways: int = 5,
    queries: int = 5,
    tasks: int = 300,
    seed: int = 0,
    device: str | None = None,
) -> Curve:
    """Judge learners and baselines on the same tasks at several numbers of shots.

    Args:
        learners: by name.
        pool: of the classes, which none of them was trained on.
        baselines: by name.
        shots: support examples a class, each number once.
        ways: classes a task.
        queries: query examples a class.
        tasks: how many.
        seed: of the draw.
        device: where to run; default where each learner is.

    Raises:
        InputError: for names that stand twice, or sizes that the pool cannot give.

    Example:
        >>> import torch, innerloop as il
        >>> pool = il.Pool.of(torch.rand(80, 3), [i % 8 for i in range(80)])
        >>> heads = {"prototypes": il.learners.Prototypes()}, {"logistic": il.learners.LogisticRegression()}
        >>> found = curve(heads[0], pool, baselines=heads[1], shots=(1, 2), ways=3, tasks=4)
        >>> found.shots, found.tasks, found.learners
        ((1, 2), 4, ('prototypes',))
    """
    both = sorted(set(learners) & set(baselines))
    if both:
        raise InputError(f"{both[0]!r} is a learner and a baseline: give it another name in one of them")
    if tasks < 2:
        raise InputError(f"an interval needs 2 tasks or more, not {tasks}: give tasks=300")
    numbers = tuple(sorted(set(shots)))
    drawn = nested(pool, numbers, ways=ways, queries=queries, tasks=tasks, seed=seed)
    found = judged(
        {**learners, **baselines}, {str(k): one for k, one in drawn.items()}, number=tasks, seed=seed, device=device
    )
    values = {
        name: np.stack([np.asarray(report.per_task[ACCURACY.name]) for report in reports.values()])
        for name, reports in found.items()
    }
    return Curve(numbers, values, tuple(baselines), drawn[numbers[0]].given.classes.numpy())


def shots_of(pool: Pool, queries: int, shots: Sequence[int] = SHOTS) -> tuple[int, ...]:
    """The numbers of shots that the classes have examples for beside the queries, and the most that they have.

    Raises:
        InputError: if they have none.

    Example:
        >>> import torch
        >>> shots_of(Pool.of(torch.zeros(40, 2), [0, 1] * 20), queries=5)
        (1, 2, 5, 10, 15)
    """
    room = int(pool.sizes.min()) - queries
    if room < 1:
        raise InputError(
            f"the smallest class has {int(pool.sizes.min())} examples, {queries} queries leave none to learn from: "
            f"take fewer queries"
        )
    return tuple(sorted({number for number in shots if number <= room} | ({room} if room < max(shots) else set())))


def _needed(shots: Sequence[int], scores: np.ndarray, wanted: float) -> float:
    """The shots at which rising scores reach what is wanted: infinite if they do not, at least the fewest."""
    from scipy.optimize import isotonic_regression

    rising = isotonic_regression(scores).x
    if wanted > rising[-1] + _ROUNDING:
        return math.inf
    if wanted <= rising[0] + _ROUNDING:
        return float(shots[0])
    upper = int(np.searchsorted(rising, wanted, side="left"))
    upper = min(upper, len(rising) - 1)
    low, high = rising[upper - 1], rising[upper]
    share = (wanted - low) / (high - low)
    return float(shots[upper - 1] * (shots[upper] / shots[upper - 1]) ** share)
