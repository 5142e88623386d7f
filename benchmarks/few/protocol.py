"""Tasks of a few examples on ready features: how they are drawn, who stands beside, how they are compared.

A row of `docs/results.md` "Few examples of one's own" is made of:

1. *draws* of tasks from features ``[N, H]`` and classes ``[N]``: the support set from one part of the rows, the queries
   from another (``benchmarks/few/groceries.py``: the remaining pictures of each class), seeded;
2. *contestants*, functions ``(x, y, queries, outside) -> Answer``, all on the same draws;
3. *scores* of each task (accuracy, log loss, none-of-these AUROC), the calibration error of all answers together, and
   paired differences with their 95 % interval (Student's t over tasks).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import normalize

import innerloop as il

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from page import record

from innerloop.evaluation.metrics import calibration_gaps, calibration_of
from innerloop.evaluation.stats import interval, paired

BINS = 15


class Draw(NamedTuple):
    """One task, as places in the features: support ``[N]``, queries ``[Q]``, queries of none of its classes ``[O]``."""

    support: np.ndarray
    y: np.ndarray
    """Of the support set, 0 to ways - 1."""
    queries: np.ndarray
    truth: np.ndarray
    outside: np.ndarray
    names: np.ndarray
    """Of the task's classes, ``[D]``."""


class Answer(NamedTuple):
    """What a contestant says of a task."""

    proba: np.ndarray
    """``[Q, D]``."""
    known: np.ndarray | None = None
    """How much each query, and then each one outside, is like a known class, ``[Q + O]``; higher is more."""


Contestant = Callable[..., Answer]
"""From the support set ``[N, H]``, its classes ``[N]``, the queries ``[Q, H]`` and those outside ``[O, H]``."""


@dataclass(frozen=True)
class Cell:
    """A size of tasks: ways (0 for all classes), shots, tasks, queries a class (0 for all that remain)."""

    ways: int
    shots: int
    tasks: int = 200
    queries: int = 0
    outside: int = 0
    """Queries of classes that are not in the task."""


def draws(
    classes: np.ndarray,
    cell: Cell,
    seed: int,
    *,
    support: np.ndarray | None = None,
    queries: np.ndarray | None = None,
    strangers: np.ndarray | None = None,
) -> Iterator[Draw]:
    """Tasks of a size; the first of them do not depend on how many there are.

    Args:
        classes: of each row, ``[N]``.
        cell: the size.
        seed: of the draws.
        support: the rows that support sets come from; default all.
        queries: the rows that queries come from; default the rows of ``support`` that were not drawn.
        strangers: the rows that are of no class, all of which are queries of none; default those of the classes that
            are not drawn.
    """
    source = np.arange(len(classes)) if support is None else support
    names = np.unique(classes[source])
    own = {name: source[classes[source] == name] for name in names}
    asked = own if queries is None else {name: queries[classes[queries] == name] for name in names}
    ways = cell.ways or len(names)
    for number in range(cell.tasks):
        generator = np.random.default_rng((seed, number))
        chosen = generator.permutation(names)
        places, tried = [], []
        for name in chosen[:ways]:
            drawn = generator.permutation(own[name])[: cell.shots]
            rest = generator.permutation(np.setdiff1d(asked[name], drawn))
            places.append(drawn)
            tried.append(rest[: cell.queries] if cell.queries else rest)
        others = [asked[name] for name in chosen[ways:]]
        left = generator.permutation(np.concatenate(others)) if others else np.empty(0, dtype=int)
        yield Draw(
            np.concatenate(places),
            np.repeat(np.arange(ways), [len(part) for part in places]),
            np.concatenate(tried),
            np.repeat(np.arange(ways), [len(part) for part in tried]),
            left[: cell.outside].astype(int) if strangers is None else strangers,
            chosen[:ways],
        )


def head(make: Callable[[], il.learners.Head]) -> Contestant:
    """A head of the library by itself, its probabilities as they come; what is known is told by the largest logit."""

    def contestant(x: np.ndarray, y: np.ndarray, queries: np.ndarray, outside: np.ndarray) -> Answer:
        one = make().double().eval().requires_grad_(False)
        rows = torch.eye(int(y.max()) + 1, dtype=torch.float64)[torch.from_numpy(y)]
        state = one.adapt(il.Examples(torch.from_numpy(x).double(), rows))
        raw = one.predict(state, torch.from_numpy(np.concatenate((queries, outside))).double())[0]
        return Answer(raw[: len(queries)].softmax(1).numpy(), raw.amax(1).numpy())

    return contestant


def logistic(C: float) -> Contestant:
    """scikit-learn's logistic regression on features of unit length."""

    def contestant(x: np.ndarray, y: np.ndarray, queries: np.ndarray, outside: np.ndarray) -> Answer:
        model = LogisticRegression(C=C, max_iter=1000).fit(normalize(x), y)
        proba = model.predict_proba(normalize(np.concatenate((queries, outside))))
        return Answer(proba[: len(queries)], proba.max(1))

    return contestant


#: What any method has to beat.
BASELINES: dict[str, Contestant] = {
    "cosine prototypes": head(lambda: il.learners.Prototypes(distance="cosine")),
    "logistic regression, C=1": logistic(1.0),
    "logistic regression, C=100": logistic(100.0),
    "ridge": head(il.learners.Ridge),
}


@dataclass
class Scores:
    """Of one contestant in one cell, a value a task."""

    accuracy: list[float] = field(default_factory=list)
    log_loss: list[float] = field(default_factory=list)
    auroc: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    gaps: torch.Tensor = field(default_factory=lambda: torch.zeros(BINS + 1, dtype=torch.float64))
    """Of calibration, summed over tasks."""

    def add(self, answer: Answer, draw: Draw, seconds: float) -> None:
        """One task more."""
        best = answer.proba.argmax(1)
        self.accuracy.append(float((best == draw.truth).mean()))
        self.log_loss.append(float(-np.log(answer.proba[np.arange(len(best)), draw.truth].clip(1e-12)).mean()))
        if answer.known is not None and len(draw.outside):
            known = np.arange(len(answer.known)) < len(draw.queries)
            self.auroc.append(float(roc_auc_score(known, answer.known)))
        self.seconds.append(seconds)
        rows = torch.eye(answer.proba.shape[1], dtype=torch.float64)[torch.from_numpy(draw.truth)]
        self.gaps += calibration_gaps(torch.from_numpy(answer.proba), rows, BINS)

    @property
    def ece(self) -> float:
        """Expected calibration error of the top answer, 15 bins of equal width, over the answers of all tasks."""
        return calibration_of(self.gaps)


def run(
    classes: np.ndarray,
    cell: Cell,
    seed: int,
    contestants: Mapping[str, tuple[np.ndarray, Contestant]],
    *,
    support: np.ndarray | None = None,
    queries: np.ndarray | None = None,
    strangers: np.ndarray | None = None,
) -> dict[str, Scores]:
    """All contestants, each with its features ``[N, H]``, on the same tasks."""
    found = {name: Scores() for name in contestants}
    begun = time.monotonic()
    drawn = draws(classes, cell, seed, support=support, queries=queries, strangers=strangers)
    for number, draw in enumerate(drawn):
        for name, (x, contestant) in contestants.items():
            start = time.perf_counter()
            # A contestant that reads what classes are called says so.
            more = (draw.names,) if getattr(contestant, "named", False) else ()
            answer = contestant(x[draw.support], draw.y, x[draw.queries], x[draw.outside], *more)
            found[name].add(answer, draw, time.perf_counter() - start)
        if sys.stderr.isatty():
            print(f"\r{number + 1} of {cell.tasks} tasks, {time.monotonic() - begun:.0f} s", end="", file=sys.stderr)
    return found


def mean(values: Sequence[float], scale: float = 100.0) -> str:
    """A mean with its 95 % interval, ``86.3 ± 1.6``."""
    low, high = interval(np.asarray(values))
    digits = 1 if scale == 100 else 3
    return f"{scale * float(np.mean(values)):.{digits}f} ± {scale * (high - low) / 2:.{digits}f}"


def gain(ours: Scores, other: Scores) -> str:
    """The paired difference of accuracies in points with its 95 % interval, ``+1.2 (+0.6 to +1.8)``."""
    found = paired(np.asarray(ours.accuracy), np.asarray(other.accuracy))
    low, high = (100 * end for end in found.interval)
    return f"{100 * found.mean:+.1f} ({low:+.1f} to {high:+.1f})"


def table(cells: Mapping[str, Mapping[str, Scores]], ours: str) -> str:
    """Markdown: a block of rows for each cell, a row for each contestant, with the gain of ``ours`` over it."""
    lines = [
        f"| task | head | accuracy | paired gain of {ours} | log loss | ECE | none of these, AUROC | ms |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for title, found in cells.items():
        for place, (name, scores) in enumerate(found.items()):
            known = mean(scores.auroc, 1.0) if scores.auroc else ""
            lead = "" if name == ours else gain(found[ours], scores)
            lines.append(
                f"| {title if not place else ''} | {name} | {mean(scores.accuracy)} | {lead} | "
                f"{np.mean(scores.log_loss):.3f} | {100 * scores.ece:.1f} | {known} | "
                f"{1000 * float(np.median(scores.seconds)):.0f} |"
            )
    return "\n".join(lines)


def write(name: str, text: str) -> None:
    """Keep a table, and put it into docs/results.md."""
    record(name, text)
