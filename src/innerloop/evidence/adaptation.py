"""The adaptation itself: what each inner step does to loss, accuracy and confidence, on support and query set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from innerloop.core.learner import Learner
from innerloop.core.metric import accuracy, squared_error
from innerloop.core.modes import evaluating
from innerloop.core.numbers import check_count
from innerloop.core.task import Task
from innerloop.data.episodes import Sampler
from innerloop.evidence.shown import Tabled, intervals_of, mean_of
from innerloop.evidence.tasks import each_task, gradient_learner
from innerloop.learners.optimization.gradient import GradientLearner

Floats = npt.NDArray[np.float64]

#: What is measured of each part of a task: its title, and the bounds that it has.
MEASURES: Mapping[str, tuple[str, tuple[float, float] | None]] = {
    "loss": ("loss", None),
    "accuracy": ("accuracy", (0.0, 1.0)),
    "confidence": ("confidence", (0.0, 1.0)),
    "mse": ("squared error", None),
}
PARTS = ("support", "query")


@dataclass(frozen=True)
class Adaptation(Tabled):
    """Loss, accuracy and confidence before the first inner step and after each one, on each of some tasks.

    Of classes there are ``"loss"`` (mean negative log likelihood, in nats), ``"accuracy"`` and ``"confidence"`` (mean
    probability of the answer given); of real targets ``"loss"`` and ``"mse"``.
    """

    values: Mapping[tuple[str, str], Floats]
    """By part (``"support"``, ``"query"``) and measure: ``[T, K + 1]``."""
    test_steps: int
    """How many steps the learner itself takes outside training."""
    name: str = ""
    """Of the learner."""

    @property
    def steps(self) -> int:
        """K, the last step."""
        return next(iter(self.values.values())).shape[1] - 1

    @property
    def tasks(self) -> int:
        """T."""
        return len(next(iter(self.values.values())))

    @property
    def measures(self) -> tuple[str, ...]:
        """What was measured."""
        return tuple(dict.fromkeys(measure for _, measure in self.values))

    def mean(self, part: str, measure: str) -> Floats:
        """Over tasks, after each step: ``[K + 1]``."""
        return mean_of(self.values[part, measure])

    def intervals(self, part: str, measure: str) -> Floats:
        """Of 95 %, of that mean: ``[K + 1, 2]``."""
        return intervals_of(self.values[part, measure], MEASURES[measure][1])

    def gains(self, measure: str = "accuracy", part: str = "query") -> Floats:
        """What each step adds to it on the same tasks, and the 95 % interval of that: ``[K, 3]``."""
        steps = np.diff(self.values[part, measure], axis=1)
        return np.concatenate((mean_of(steps)[:, None], intervals_of(steps)), 1)

    def json(self) -> dict[str, Any]:
        """Plain values: means and intervals of every part and measure."""
        curves = {
            part: {
                measure: {
                    "mean": self.mean(part, measure).tolist(),
                    "interval": self.intervals(part, measure).tolist(),
                }
                for measure in self.measures
            }
            for part in PARTS
        }
        return {"learner": self.name, "tasks": self.tasks, "test_steps": self.test_steps, **curves}

    def table(self) -> list[list[str]]:  # noqa: D102
        columns = [(part, measure) for measure in self.measures for part in PARTS]
        titles = ["step", *(f"{part} {MEASURES[measure][0]}" for part, measure in columns)]
        rows = [
            [self._step(step), *(self._cell(step, *column) for column in columns)] for step in range(self.steps + 1)
        ]
        return [titles, *rows]

    def _step(self, step: int) -> str:
        return f"{step}*" if step == self.test_steps else str(step)

    def _cell(self, step: int, part: str, measure: str) -> str:
        mean, (low, high) = self.mean(part, measure)[step], self.intervals(part, measure)[step]
        return f"{mean:.3f} ({low:.3f} to {high:.3f})" if np.isfinite(low) else f"{mean:.3f}"


def adaptation(
    learner: Learner, sampler: Sampler, *, steps: int | None = None, tasks: int = 100, seed: int = 0
) -> Adaptation:
    """Follow the inner loop of a gradient-based learner step by step, on fixed tasks.

    One inner loop a task shows all numbers of steps, exactly: that of j steps is a prefix of that of k. No parameter of
    the learner changes.

    Args:
        learner: MAML, ANIL, BOIL, Meta-SGD, Reptile, CAVIA, iMAML or another of
            :class:`~innerloop.learners.GradientLearner`; it is run in evaluation mode and left in the mode it had.
        sampler: draws the tasks.
        steps: the last step K; default twice what the learner takes outside training, 5 at least.
        tasks: how many.
        seed: of the draw.

    Raises:
        InputError: for a learner without inner steps, fewer than 1 task, or a negative number of steps.

    Example:
        >>> import innerloop as il
        >>> maml = il.MAML(il.nets.mlp(1, 8, 1), lr=0.01, likelihood=il.Gaussian(scale=1.0))
        >>> found = adaptation(maml, il.data.Sinusoid(), steps=3, tasks=4)
        >>> found.mean("query", "mse").shape, found.tasks
        ((4,), 4)
    """
    learner = gradient_learner(learner, "its path")
    steps = max(5, 2 * learner.test_steps) if steps is None else steps
    check_count("steps", steps, 0)
    rows: dict[tuple[str, str], list[Tensor]] = {}
    with evaluating(learner):
        for task in each_task(learner, sampler, tasks, seed):
            for key, values in _followed(learner, task, steps, sampler.classifies).items():
                rows.setdefault(key, []).append(values)
    found = {key: torch.stack(values).double().cpu().numpy() for key, values in rows.items()}
    return Adaptation(found, learner.test_steps, type(learner).__name__)


def _followed(learner: GradientLearner, task: Task, steps: int, classifies: bool) -> dict[tuple[str, str], Tensor]:
    """Each measure after each step, ``[K + 1]``."""
    found: dict[tuple[str, str], list[Tensor]] = {}
    with torch.no_grad():
        for own in learner.path(task.support, steps):
            state = learner.state_of(own, task.support)
            for part, (x, y) in zip(PARTS, task, strict=True):
                raw = learner.predict(state, x)
                mean = learner.likelihood.mean(raw)
                measured = {"loss": learner.likelihood.nll(raw, y).mean()}
                if classifies:
                    measured |= {"accuracy": accuracy(mean[None], y[None])[0], "confidence": mean.amax(-1).mean()}
                else:
                    measured |= {"mse": squared_error(mean[None], y[None])[0]}
                for measure, value in measured.items():
                    found.setdefault((part, measure), []).append(value)
    return {key: torch.stack(values) for key, values in found.items()}
