"""What a layer's adaptation is worth: the score that is left where it is kept as it was (the ANIL paper's test).

Raghu, Raghu, Bengio, Vinyals (*Rapid Learning or Feature Reuse?*, ICLR 2020, https://arxiv.org/abs/1909.09157) found of
MAML that accuracy stays where the whole body does not adapt at test time, and hardly falls without the head too.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from innerloop.core.learner import Learner
from innerloop.core.metric import accuracy, squared_error
from innerloop.core.modes import evaluating
from innerloop.core.task import Examples, InputError, Task
from innerloop.data.episodes import Sampler
from innerloop.evidence.layers import input_of_head, named_layers, outputs
from innerloop.evidence.shown import Tabled, intervals_of, mean_of
from innerloop.evidence.tasks import each_task, gradient_learner
from innerloop.learners.heads.prototypes import Prototypes
from innerloop.learners.optimization.gradient import GradientLearner

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Freezing(Tabled):
    """What is left of the score where parts of the network do not adapt at test time."""

    parts: tuple[str, ...]
    """What does not adapt: ``"nothing"`` first, F of them."""
    values: Floats
    """Accuracy of the queries, or squared error, ``[T, F]``."""
    metric: str
    """``"accuracy"`` or ``"mse"``."""

    @property
    def mean(self) -> Floats:
        """Over tasks, ``[F]``."""
        return mean_of(self.values)

    @property
    def intervals(self) -> Floats:
        """Of 95 %, of that mean, ``[F, 2]``."""
        return intervals_of(self.values, (0.0, 1.0) if self.metric == "accuracy" else None)

    @property
    def losses(self) -> Floats:
        """What freezing adds to the score on the same tasks, and the 95 % interval of that, ``[F, 3]``."""
        gaps = self.values - self.values[:, :1]
        return np.concatenate((mean_of(gaps)[:, None], intervals_of(gaps)), 1)

    def json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "metric": self.metric,
            "tasks": len(self.values),
            "frozen": list(self.parts),
            "mean": self.mean.tolist(),
            "interval": self.intervals.tolist(),
            "difference": self.losses.tolist(),
        }

    def table(self) -> list[list[str]]:  # noqa: D102
        rows = zip(self.parts, self.mean, self.intervals, self.losses, strict=True)
        return [
            ["frozen", self.metric, "95 %", "difference"],
            *([part, f"{mean:.3f}", f"{low:.3f} to {high:.3f}", f"{gap:+.3f} ({worst:+.3f} to {best:+.3f})"]
              for part, mean, (low, high), (gap, worst, best) in rows),
        ]  # fmt: skip


def freezing(
    learner: Learner,
    sampler: Sampler,
    *,
    parts: Mapping[str, Sequence[str]] | None = None,
    headless: bool = True,
    tasks: int = 100,
    seed: int = 0,
) -> Freezing:
    """What accuracy is left where the first part of the network does not adapt, the first two, and so on to all of it.

    Nothing is trained anew: the inner loop at test time leaves out what is frozen, which stays as meta-training left
    it.

    Args:
        learner: of :class:`~innerloop.learners.GradientLearner`.
        sampler: draws the tasks.
        parts: of the network, in their order, each as patterns of parameters' names; default the layers that adapt, in
            the order in which they run.
        headless: whether to try it without any inner loop and without the last layer too, of classes: the query's class
            is that of the nearest class mean, by the cosine of what goes into that layer (NIL, no inner loop).
        tasks: how many.
        seed: of the draw.

    Raises:
        InputError: for a learner without an inner loop, and patterns that no parameter that adapts matches.

    Example:
        >>> import innerloop as il
        >>> maml = il.MAML(il.nets.mlp(1, 8, 8, 1), lr=0.1, likelihood=il.Gaussian(scale=1.0))
        >>> freezing(maml, il.data.Sinusoid(queries=20), tasks=3).parts
        ('nothing', '0', '0 to 2', 'all')
    """
    whole = gradient_learner(learner, "what its layers' adaptation is worth")
    classifies = sampler.classifies
    made: dict[str, GradientLearner] = {}
    columns: list[list[float]] = []
    with evaluating(whole), torch.no_grad():
        for task in each_task(whole, sampler, tasks, seed):
            made = made or _frozen(whole, task, parts)
            scores = [_score(one.predict(one.adapt(task.support), task.query.x), one, task, classifies) for one in
                      made.values()]  # fmt: skip
            if headless and classifies:
                scores.append(_score(_headless(whole, task), whole, task, classifies))
            columns.append(scores)
    names = (*made, *(["all, nearest class mean"] if headless and classifies else []))
    return Freezing(names, np.array(columns), "accuracy" if classifies else "mse")


def _frozen(
    learner: GradientLearner, task: Task, parts: Mapping[str, Sequence[str]] | None
) -> dict[str, GradientLearner]:
    """The learner with more and more of its network frozen, by what is frozen."""
    if parts is None:
        called = named_layers(learner.net, None)
        with outputs(learner.net, called) as ran:
            learner.raw(learner.initial(task.query.y.shape[1]), task.query.x[:1])
        owner = {title: name for name, title in called.items()}
        parts = {title: [f"{owner[title]}.*" if owner[title] else "*"] for title in ran}
    own = {
        title: [name for name in learner.adapts if any(fnmatchcase(name, pattern) for pattern in patterns)]
        for title, patterns in parts.items()
    }
    own = {title: names for title, names in own.items() if names}
    if not own:
        raise InputError(f"none of {', '.join(parts)} adapts, of {', '.join(learner.adapts) or 'nothing'}")
    found, gone, titles = {"nothing": learner}, set[str](), list(own)
    for number, (title, names) in enumerate(own.items()):
        gone |= set(names)
        left = [name for name in learner.adapts if name not in gone]
        what = ("all" if not left else title if not number else f"{titles[0]} to {title}")  # fmt: skip
        found[what] = _adapting(learner, left)
    return found


def _adapting(learner: GradientLearner, names: list[str]) -> GradientLearner:
    """The same learner, whose inner loop changes these parameters alone."""
    other = copy.copy(learner)
    other.adapts = names
    return other


def _headless(learner: GradientLearner, task: Task) -> Tensor:
    """Raw predictions by the nearest class mean, by cosines of what goes into the last layer as it was trained."""
    own = learner.initial(task.support.y.shape[1])
    state = learner.state_of(own, task.support)
    support, query = (z.flatten(1) for z in input_of_head(learner, state, [x for x, _ in task]))
    head = Prototypes(distance="cosine").eval()
    return head.predict(head.adapt(Examples(support, task.support.y)), query)


def _score(raw: Tensor, learner: GradientLearner, task: Task, classifies: bool) -> float:
    mean, y = learner.likelihood.mean(raw)[None], task.query.y[None]
    return float(accuracy(mean, y) if classifies else squared_error(mean, y))
