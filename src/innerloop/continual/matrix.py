"""The accuracy matrix of a learner on a stream, and what is read off it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from innerloop.core import norm
from innerloop.core.learner import Learner, State
from innerloop.core.lifting import embed
from innerloop.core.modes import evaluating
from innerloop.core.task import InputError
from innerloop.data.streams import Stream, StreamFamily
from innerloop.evaluation import stats


@dataclass(frozen=True, eq=False)
class Result:
    """R[t, i]: the score on task i after training on tasks 0 to t (counted from 0 here, from 1 in the formulas).

    A score is a share of right answers or, for real targets, minus the mean squared error: more is better.

    Args:
        matrix: R, ``[T, T]``; rows of tasks after which nothing was measured are NaN.
        guess: b, ``[T]``: the score of guessing (one over the classes in question, or predicting 0), which is what a
            network with random weights has on average.
        memory: bytes of the state after the last batch.
        new: classes of each task that were new when it came, ``[T]``.
        shares: whether scores are shares of right answers, which lie within 0 and 1.

    Example:
        >>> result = Result(np.array([[0.9, 0.1], [0.6, 0.8]]), np.array([0.2, 0.2]), memory=0, new=np.array([2, 2]))
        >>> [round(float(value), 2) for value in (result.acc, result.bwt, result.fwt, result.forgetting)]
        [0.7, -0.3, -0.1, 0.3]
    """

    matrix: np.ndarray
    guess: np.ndarray
    memory: int
    new: np.ndarray
    shares: bool = True

    @property
    def acc(self) -> float:
        """Mean over tasks of R[T, i]: the average (retained) accuracy at the end."""
        return float(self.matrix[-1].mean())

    @property
    def bwt(self) -> float:
        """Backward transfer, the mean over i < T of R[T, i] - R[i, i], divided by T - 1; negative for forgetting."""
        return _mean((self.matrix[-1] - self.matrix.diagonal())[:-1])

    @property
    def fwt(self) -> float:
        """Forward transfer, the mean over i > 1 of R[i - 1, i] - b[i], divided by T - 1."""
        return _mean(self.matrix.diagonal(1) - self.guess[1:])

    @property
    def forgetting(self) -> float:
        """The mean over i < T of (max over t < T of R[t, i]) - R[T, i], divided by T - 1 (Chaudhry et al. 2018)."""
        return _mean((self.matrix[:-1].max(0, initial=-np.inf) - self.matrix[-1])[:-1])

    @property
    def curve(self) -> np.ndarray:
        """The mean score over the tasks seen so far, after each of them: ``[T]``."""
        return np.array([row[: t + 1].mean() for t, row in enumerate(self.matrix)])

    @property
    def seen(self) -> np.ndarray:
        """Classes (or tasks, where the classes stay) seen after each task, ``[T]``."""
        return self.new.cumsum()

    def json(self) -> dict[str, Any]:
        """Plain values; a row that was not measured is ``null``."""
        rows = [None if np.isnan(row).any() else row.tolist() for row in self.matrix]
        found = {name: getattr(self, name) for name in METRICS}
        return {
            **{name: None if np.isnan(value) else value for name, value in found.items()},
            "memory": self.memory,
            "matrix": rows,
            "guess": self.guess.tolist(),
            "new": self.new.tolist(),
            "shares": self.shares,
        }

    @classmethod
    def of(cls, values: dict[str, Any]) -> Result:
        """Back from :meth:`json`."""
        size = len(values["guess"])
        rows = [[np.nan] * size if row is None else row for row in values["matrix"]]
        new, shares = np.array(values["new"]), values.get("shares", True)
        return cls(np.array(rows), np.array(values["guess"]), values["memory"], new, shares)


#: Differences of scores.
TRANSFER = ("bwt", "fwt", "forgetting")
#: What a summary holds.
METRICS = ("acc", *TRANSFER)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


@torch.no_grad()
def run(
    learner: Learner, stream: Stream | StreamFamily, seed: int = 0, *, after: Iterable[int] | None = None
) -> Result:
    """Fold a learner over a stream, batch by batch, and score it on every task after each task.

    Where the learner has an encoder that sees each example alone, all inputs are embedded once.

    Args:
        learner: any learner; it is run in evaluation mode, from the prior, and left in the mode it had.
        stream: a stream, or a family to draw it from.
        seed: of the draw.
        after: measure after these numbers of tasks only (the last is always among them); default after each. BWT, FWT
            and forgetting need all of them and are NaN otherwise.

    Raises:
        InputError: for a number of tasks that the stream does not have.

    Example:
        >>> import innerloop as il
        >>> family = il.continual.Split(il.Pool.of(torch.rand(40, 8), [i % 4 for i in range(40)]), shots=6, held_out=4)
        >>> run(il.learners.Embedded(torch.nn.Identity(), il.learners.Prototypes()), family).matrix.shape
        (4, 4)
    """
    stream = stream.draw(seed) if isinstance(stream, StreamFamily) else stream
    marks = set(range(1, stream.length + 1)) if after is None else {*after, stream.length}
    if not all(1 <= mark <= stream.length for mark in marks):
        raise InputError(f"the stream has {stream.length} tasks, it cannot be measured after {sorted(marks)}")
    with evaluating(learner):
        encoder, head = learner.split()
        if encoder is not None and norm.folds(encoder):
            learner, stream = head, stream.map(lambda x: embed(encoder, x))
        matrix, state = _matrix(learner, stream, marks)
    return Result(matrix, _guess(stream), _bytes(state), _new(stream), stream.classifies)


def _matrix(learner: Learner, stream: Stream, marks: set[int]) -> tuple[np.ndarray, State]:
    matrix = np.full((stream.length, stream.length), np.nan)
    state: State = None
    for number, (batch, task) in enumerate(zip(stream.batches, stream.tasks, strict=True)):
        state = learner.adapt(batch, state)
        last = number + 1 == len(stream.batches) or stream.tasks[number + 1] != task
        if last and task + 1 in marks:
            matrix[task] = _scores(learner, state, stream)
    return matrix, state


def _scores(learner: Learner, state: State, stream: Stream) -> np.ndarray:
    """The score on the held-out set of each task, ``[T]``; all are predicted in one call."""
    x = torch.cat([part.x for part in stream.held_out])
    mean = learner.likelihood.mean(learner.predict(state, x))
    own, scores = stream.own, []
    for task, (part, found) in enumerate(
        zip(stream.held_out, mean.split([len(part.x) for part in stream.held_out]), strict=True)
    ):
        if not stream.classifies:
            scores.append(-float((found - part.y).square().mean()))
            continue
        # A learner that has seen no class of its own task gives NaN probabilities, which are wrong answers.
        found = found.nan_to_num(0.0)
        found = found.masked_fill(~own[task], -1.0) if own is not None else found
        scores.append(float((found.argmax(1) == part.y.argmax(1)).double().mean()))
    return np.array(scores)


def _guess(stream: Stream) -> np.ndarray:
    if not stream.classifies:
        return np.array([-float(part.y.square().mean()) for part in stream.held_out])
    own = stream.own
    choices = own.sum(1).tolist() if own is not None else [stream.targets] * stream.length
    return 1 / np.array(choices, dtype=np.float64)


def _new(stream: Stream) -> np.ndarray:
    """Classes that first come with each task; 1 a task where the targets stay."""
    if stream.scenario == "domain" or not stream.classifies:
        return np.ones(stream.length, dtype=np.int64)
    there = torch.stack([part.y.sum(0) > 0 for part in stream.held_out])
    # A class that tasks share is new once, with the first of them.
    return (there & (there.cumsum(0) == 1)).sum(1).numpy(force=True)


def _bytes(state: State) -> int:
    return sum(leaf.numel() * leaf.element_size() for leaf in pytree.tree_leaves(state) if isinstance(leaf, Tensor))


def orders(
    make: Callable[[int], Learner],
    family: StreamFamily,
    seeds: Sequence[int],
    *,
    after: Iterable[int] | None = None,
) -> list[Result]:
    """One result for each stream order.

    Args:
        make: a learner for a seed, which sets its random weights and draws as well.
        family: of streams.
        seeds: one a stream.
        after: see :func:`run`.
    """
    return [run(make(seed), family, seed, after=after) for seed in seeds]


def summary(results: Sequence[Result]) -> dict[str, Any]:
    """Mean and 95 % interval over stream orders of each metric, and the mean curve.

    Example:
        >>> one = Result(np.array([[0.5, 0.5], [0.5, 1.0]]), np.array([0.5, 0.5]), memory=8, new=np.array([1, 1]))
        >>> summary([one, one])["acc"]
        {'mean': 0.75, 'interval': [0.75, 0.75]}
    """
    found: dict[str, Any] = {}
    for name in METRICS:
        values = np.array([getattr(result, name) for result in results])
        if not np.isnan(values).any():
            bounds = _bounds(results[0], difference=name in TRANSFER)
            found[name] = {"mean": float(values.mean()), "interval": _interval(values, bounds)}
    curves = np.array([result.curve for result in results])
    measured = ~np.isnan(curves[0])
    found["curve"] = {
        "seen": results[0].seen[measured].tolist(),
        "mean": curves.mean(0)[measured].tolist(),
        "interval": [_interval(values, _bounds(results[0])) for values in curves.T[measured]],
    }
    return {**found, "memory": max(result.memory for result in results), "orders": len(results)}


def _interval(values: np.ndarray, bounds: tuple[float, float]) -> list[float] | None:
    """Student's t interval over stream orders, as far as it lies within the bounds."""
    if len(values) < 2:
        return None
    low, high = stats.interval(values)
    return [max(low, bounds[0]), min(high, bounds[1])]


def _bounds(result: Result, difference: bool = False) -> tuple[float, float]:
    """Between which a score lies, or a difference of two."""
    if not result.shares:
        return -np.inf, np.inf
    return -1.0 if difference else 0.0, 1.0


def plot(results: dict[str, Sequence[Result]], path: str | Path) -> Path:
    """Curves over what was seen, a line for each learner, and the first one's mean matrix: one picture.

    Args:
        results: of each learner, one for each stream order.
        path: the file, by its ending PNG, SVG or PDF.

    Returns:
        the path.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, several in results.items():
        curves = np.array([result.curve for result in several])
        measured = ~np.isnan(curves[0])
        seen, curves = several[0].seen[measured], curves[:, measured]
        (line,) = left.plot(seen, curves.mean(0), marker=".", label=name)
        if len(curves) > 1:
            bounds = _bounds(several[0])
            low, high = np.array([_interval(values, bounds) for values in curves.T]).T
            left.fill_between(seen, low, high, alpha=0.2, color=line.get_color())
    left.set(xlabel="classes (or tasks) seen", ylabel="score on the tasks seen so far")
    left.legend()
    name, several = next(iter(results.items()))
    image = right.imshow(np.mean([result.matrix for result in several], 0), aspect="auto", interpolation="nearest")
    right.set(xlabel="task tested", ylabel="task trained last", title=name)
    figure.colorbar(image, ax=right)
    figure.savefig(path)
    return Path(path)
