"""Scoring: metrics of a lifted learner over batches of tasks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from torch import Tensor
from torch.linalg import LinAlgError  # type: ignore[attr-defined]

from innerloop.core import distributed
from innerloop.core.learner import Learner
from innerloop.core.lifting import Lifted
from innerloop.core.metric import Metric, Predictions
from innerloop.core.task import InputError, Task, check, count, take
from innerloop.evaluation import metrics

#: Makes a batch of tasks on the device where they are scored.
Batch = Callable[[], Task]


@dataclass(frozen=True)
class Wanted:
    """What is to be measured."""

    classifies: bool
    """Whether targets are one-hot rows: a learner may well fit them by squared error."""
    two: bool
    """Whether tasks have two ways, both of them among the queries."""
    stated: Metric | None
    """What the sampler says that its tasks are judged by."""
    asked: list[Metric]
    """Further ones."""

    def metrics(self, targets: int, spreads: bool) -> dict[str, Metric]:
        """All of them by name, first what the tasks are judged by."""
        usual = metrics.standard(self.classifies, self.two and targets == 2, spreads)
        return {one.name: one for one in (*([self.stated] if self.stated else []), *usual, *self.asked)}


@dataclass(frozen=True)
class Scores:
    """What was measured."""

    metrics: dict[str, Metric]
    """The metrics by name, first what the tasks are judged by."""
    per_task: dict[str, np.ndarray]
    """Their values, ``[T]``, and what share of targets intervals of a predicted spread cover."""
    failed: tuple[int, ...]
    """Tasks that have a query without a finite prediction."""
    calibration_error: float | None
    """Over all queries, where the learner gives probabilities."""

    @property
    def metric(self) -> Metric:
        """What the tasks are judged by."""
        return next(iter(self.metrics.values()))

    @property
    def judged(self) -> np.ndarray:
        """Its values, ``[T]``."""
        return self.per_task[self.metric.name]


def score(lifted: Lifted, batches: Iterator[Batch], wanted: Wanted, features: bool = False) -> Scores:
    """Score batches of tasks, one at a time; of several ranks each takes its share, and all have the whole.

    Args:
        lifted: the learner.
        batches: of tasks.
        wanted: what to measure.
        features: whether examples are what an encoder made of them: a few may then be infinite.

    Raises:
        InputError: for malformed tasks, tasks without queries, or outputs that do not fit the targets.
    """
    likelihood = lifted.learner.likelihood
    sample = next(batches)()
    _check(lifted.learner, sample, features)
    measured = wanted.metrics(sample.query.y.shape[-1], likelihood.spreads)
    scored: dict[int, dict[str, Tensor]] = {}
    for number, make in distributed.shared(chain([lambda: sample], batches)):
        batch = make()
        if not features:
            check(batch, lifted.learner.missing)
        if batch.query.x.shape[1] == 0:
            raise no_queries()
        found = Predictions(likelihood, _predict(lifted, batch), batch.query.y)
        kept = {name: metric.score(found) for name, metric in measured.items()}
        if not wanted.classifies and likelihood.spreads:
            cdf = torch.func.vmap(likelihood.cdf)(found.raw, found.y)
            kept |= {f"coverage{100 * level:.0f}": metrics.coverage(cdf, level) for level in metrics.LEVELS}
        kept["*failed"] = found.failed
        if wanted.classifies and likelihood.classifies:
            # Sums, since the probabilities of all queries may be many.
            kept["*gaps"] = metrics.calibration_gaps(found.mean, found.y).unsqueeze(0)
        scored[number] = {name: values.cpu() for name, values in kept.items()}
    parts = distributed.collect(scored)
    joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    failed, gaps = joined.pop("*failed").nonzero().flatten().tolist(), joined.pop("*gaps", None)
    error = metrics.calibration_of(gaps.sum(0)) if gaps is not None else None
    return Scores(measured, {name: _array(values) for name, values in joined.items()}, tuple(failed), error)


def no_queries() -> InputError:
    """What is said of tasks with nothing to score."""
    return InputError("the tasks have no queries to score: build the sampler with queries=15, say")


def _predict(lifted: Lifted, tasks: Task) -> Tensor:
    """Raw predictions ``[T, S, Q, P]``, NaN for a task whose linear algebra has no solution."""
    try:
        return lifted.predict(tasks)
    except LinAlgError as error:
        found: dict[int, Tensor] = {}
        for number in range(count(tasks)):
            with suppress(LinAlgError):
                found[number] = lifted.predict(take(tasks, slice(number, number + 1)))
        if not found:
            raise InputError(
                f"the learner cannot adapt to any of {count(tasks)} tasks ({str(error).splitlines()[0]}): look for "
                f"inputs without any spread, or regularize it more"
            ) from error
        none = torch.full_like(next(iter(found.values())), math.nan)
        return torch.cat([found.get(number, none) for number in range(count(tasks))])


def _check(learner: Learner, tasks: Task, features: bool) -> None:
    """Refuse what cannot be scored: a malformed batch or, by its first task, a learner that does not fit.

    Features, which an encoder made of examples that were checked, need not be finite.
    """
    if not features:
        check(tasks, learner.missing)
        first = tasks
    else:
        finite = torch.stack([part.x.isfinite().flatten(1).all(1) for part in tasks]).all(0).nonzero()
        if not len(finite):
            return
        first = take(tasks, slice(int(finite[0]), int(finite[0]) + 1))
        check(first)
    if tasks.query.x.shape[1] == 0:
        raise no_queries()
    check_outputs(learner, first)


def check_outputs(learner: Learner, tasks: Task) -> None:
    """Refuse a learner whose raw outputs do not fit the tasks' targets, by a trial run on the first that can be run.

    Raises:
        InputError: naming both sizes and the remedy.
    """
    for number in range(count(tasks)):
        with suppress(LinAlgError):
            _check_task(learner, take(tasks, number))
            return


def _remedy(learner: Learner, kind: torch.dtype) -> str:
    """What to do about inputs that a learner cannot be run on."""
    own = next((p.dtype for p in learner.parameters()), kind)
    if own == kind:
        return "build its network for that input and output"
    return f"the inputs are {kind} and its parameters {own}: give inputs of that type, x.to({own}), say"


def _check_task(learner: Learner, task: Task) -> None:
    targets = task.query.y.shape[1]
    try:
        got = learner.predict(learner.adapt(task.support), task.query.x).shape[-1]
    except (InputError, LinAlgError):
        raise
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"the learner cannot run a task with support x {tuple(task.support.x.shape)} and {targets} target columns "
            f"({str(error).splitlines()[0]}): {_remedy(learner, task.support.x.dtype)}"
        ) from error
    learner.likelihood.check(got, targets)


def _array(values: Tensor) -> np.ndarray:
    """As NumPy has them, which knows no bfloat16."""
    return (values.float() if values.dtype in (torch.float16, torch.bfloat16) else values).numpy()
