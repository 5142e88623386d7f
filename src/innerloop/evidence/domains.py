"""How far a run carries: the same learner on other data, sizes, labels and inputs than it was trained on, in a matrix.

Each cell has a baseline's score on the same tasks beside the learner's, and the paired gap with its interval: what is
harder for everybody is no failing of the learner's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from innerloop.core.learner import Learner
from innerloop.core.metric import Metric
from innerloop.core.task import InputError, did_you_mean
from innerloop.data.episodes import Sampler
from innerloop.data.fitted import inverted, turned
from innerloop.data.fixed import Fixed, mislabeled, nested, within
from innerloop.data.functions import Sinusoid
from innerloop.data.pool import Pool
from innerloop.evaluation import stats
from innerloop.evaluation.reports import Report
from innerloop.evidence.several import judged
from innerloop.evidence.shown import as_text

#: Shares of the support labels that are wrong.
WRONG = (0.1, 0.2, 0.4)


@dataclass(frozen=True)
class Cell:
    """One learner in one domain, beside its baseline."""

    learner: str
    domain: str
    metric: Metric
    value: float
    interval: tuple[float, float]
    baseline: str | None
    """The baseline's name; ``None`` where the learner is one itself."""
    beside: float
    """The baseline's score, NaN where there is none."""
    gap: stats.Difference | None
    """Learner less baseline on the same tasks, above 0 where the learner is better."""

    @property
    def verdict(self) -> str:
        """``"better"``, ``"worse"`` or ``"alike"``: whether the interval of the gap leaves 0 out."""
        if self.gap is None or self.gap.interval[0] <= 0 <= self.gap.interval[1]:
            return "alike" if self.gap is not None else ""
        return "better" if self.gap.mean > 0 else "worse"

    def text(self) -> str:
        """Score, then the gap with its interval."""
        score = self.metric.shown(self.value)
        if self.gap is None:
            return f"{score} ± {self.metric.shown((self.interval[1] - self.interval[0]) / 2)}"
        low, high = (self.metric.shown(end, sign=True) for end in self.gap.interval)
        return f"{score} ({self.metric.shown(self.gap.mean, sign=True)}: {low} to {high})"

    def json(self) -> dict[str, Any]:
        """Plain values that JSON takes."""
        gap = None if self.gap is None else {**self.gap._asdict(), "interval": list(self.gap.interval)}
        return {
            "learner": self.learner, "domain": self.domain, "metric": self.metric.name, "value": self.value,
            "interval": list(self.interval), "baseline": self.baseline, "beside": self.beside, "gap": gap,
            "verdict": self.verdict,
        }  # fmt: skip


@dataclass(frozen=True)
class Matrix:
    """Learners by domains.

    Args:
        reports: by learner, then by domain, all learners on the same tasks.
        baselines: the baseline of each learner that has one, by names.

    Raises:
        InputError: for learners in other domains than the others, or a baseline that has no reports.
    """

    reports: Mapping[str, Mapping[str, Report]]
    baselines: Mapping[str, str]

    def __post_init__(self) -> None:
        """Check the parts against each other."""
        first = next(iter(self.reports.values()), {})
        for name, found in self.reports.items():
            if list(found) != list(first):
                raise InputError(f"{name!r} is judged in the domains {list(found)}, others in {list(first)}")
        for name in (*self.baselines, *self.baselines.values()):
            if name not in self.reports:
                raise InputError(f"{name!r} has no reports{did_you_mean(name, self.reports)}")

    @property
    def domains(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(next(iter(self.reports.values()), {}))

    @property
    def learners(self) -> tuple[str, ...]:
        """Their names, baselines last."""
        own = [name for name in self.reports if name not in self.baselines.values()]
        return (*own, *(name for name in self.reports if name not in own))

    def cell(self, learner: str, domain: str) -> Cell:
        """One learner in one domain."""
        own, baseline = self.reports[learner][domain], self.baselines.get(learner)
        if baseline is None:
            return Cell(learner, domain, own.metric, own.value, own.interval, None, float("nan"), None)
        other = self.reports[baseline][domain]
        metric = own.metric if own.metric.name in other.metrics else other.metric
        a, b = (np.asarray(one.per_task[metric.name], dtype=np.float64) for one in (own, other))
        both = np.isfinite(a) & np.isfinite(b)
        gap = stats.paired(metric.sign * a[both], metric.sign * b[both], metric.bounds)
        return Cell(
            learner, domain, metric, own.mean(metric.name), own.interval_of(metric.name), baseline,
            other.mean(metric.name), gap,
        )  # fmt: skip

    def cells(self) -> list[Cell]:
        """All of them, domain by domain."""
        return [self.cell(name, domain) for domain in self.domains for name in self.learners]

    def rows(self) -> list[list[str]]:
        """A table: domains by learners."""
        shown = [["", *self.learners]]
        shown += [[domain, *(self.cell(name, domain).text() for name in self.learners)] for domain in self.domains]
        return shown

    def __str__(self) -> str:
        """The table as text, columns aligned."""
        return as_text(self.rows())


def matrix(
    learners: Mapping[str, Learner],
    domains: Mapping[str, Sampler],
    baselines: Mapping[str, str],
    *,
    tasks: int = 200,
    seed: int = 0,
    device: str | None = None,
) -> Matrix:
    """Judge learners in several domains.

    Args:
        learners: by name, the baselines among them.
        domains: tasks by name, see :func:`conditions`.
        baselines: the name of each learner's baseline.
        tasks: of each domain.
        seed: of those that are drawn.
        device: where to run; default where each learner is.

    Raises:
        InputError: for fewer than two tasks, or no domain.

    Example:
        >>> import torch, innerloop as il
        >>> pool = Pool.of(torch.rand(120, 3), [i % 12 for i in range(120)])
        >>> heads = {"prototypes": il.learners.Prototypes(), "ridge": il.learners.Ridge()}
        >>> found = matrix(heads, conditions(pool, tasks=4), {"prototypes": "ridge"}, tasks=4)
        >>> found.domains[:2], found.cell("prototypes", "5-way 1-shot").gap.tasks
        (('5-way 1-shot', '5-way 5-shot'), 4)
    """
    if tasks < 2:
        raise InputError(f"a gap needs 2 tasks or more, not {tasks}: give tasks=200")
    if not domains:
        raise InputError("there is no domain to judge in: give one or more")
    return Matrix(judged(learners, domains, number=tasks, seed=seed, device=device), dict(baselines))


def conditions(
    pool: Pool, *, ways: int = 5, shots: int = 1, queries: int = 5, tasks: int = 200, seed: int = 0
) -> dict[str, Fixed]:
    """Tasks of a pool as they are, of other sizes, with wrong labels, within a group, turned and inverted.

    What the pool cannot give is left out: more ways than it has classes, turns of what is no image, groups where names
    of classes have none (``Alphabet/character01`` has one). Wrong labels are those of tasks with 5 shots.

    Args:
        pool: of classes that the learners were not trained on.
        ways: classes a task.
        shots: support examples a class.
        queries: query examples a class.
        tasks: of each.
        seed: of the draw.

    Raises:
        InputError: if the pool cannot even give tasks of these sizes.
    """
    room = int(pool.sizes.min()) - queries
    found = {_sizes(ways, shots): nested(pool, [shots], ways=ways, queries=queries, tasks=tasks, seed=seed)[shots]}
    for more, each in ((ways, 1), (ways, 5), (ways, 15), (20, 1), (20, 5)):
        if more <= pool.classes and each <= room:
            drawn = nested(pool, [each], ways=more, queries=queries, tasks=tasks, seed=seed)[each]
            found.setdefault(_sizes(more, each), drawn)
    five = found.get(_sizes(ways, 5))
    if five is not None:
        for share in (share for share in WRONG if share * five.shots * five.ways >= 2):
            found[f"{five.ways}-way 5-shot, {share:.0%} wrong labels"] = mislabeled(five, share, seed)
    groups = grouped(pool.names)
    if sum(len(group) >= ways for group in groups) > 1:
        one = within(pool, groups, ways=ways, shots=shots, queries=queries, tasks=tasks, seed=seed)
        found[f"{_sizes(ways, shots)}, one group a task"] = one
    if len(pool.shape) == 3:
        changed = {"negatives": inverted(pool)}
        if pool.shape[1] == pool.shape[2]:
            changed["turned by 90 degrees"] = turned(pool)
        first = next(iter(found.values()))
        for word, other in changed.items():
            found[f"{_sizes(ways, shots)}, {word}"] = Fixed(other, first.given)
    return found


def grouped(names: Sequence[str]) -> list[list[str]]:
    """Classes by the group that their names begin with, before a stroke; turned ones are left out.

    Example:
        >>> grouped(["Greek/alpha", "Greek/beta", "Greek/beta/rot090", "Latin/a", "owl"])
        [['Greek/alpha', 'Greek/beta'], ['Latin/a']]
    """
    found: dict[str, list[str]] = {}
    for name in names:
        parts = name.split("/")
        if len(parts) == 2:
            found.setdefault(parts[0], []).append(name)
    return list(found.values())


def _sizes(ways: int, shots: int) -> str:
    return f"{ways}-way {shots}-shot"


def sinusoids(*, shots: int = 10, queries: int = 10) -> dict[str, Sinusoid]:
    """Sine waves within the range of meta-training, and out of it in one thing at a time.

    Args:
        shots: support points a task.
        queries: query points a task.

    Example:
        >>> list(sinusoids())[:2]
        ['sinusoids', 'amplitude 5 to 10']
    """
    make = partial(Sinusoid, shots=shots, queries=queries)
    return {
        "sinusoids": make(),
        "amplitude 5 to 10": make(amplitude=(5.0, 10.0)),
        "phase pi to 2 pi": make(phase=(math.pi, 2 * math.pi)),
        "x from 5 to 10": make(inputs=(5.0, 10.0)),
    }
