"""How often each 95 % interval covers the truth, where it claims to: the table of docs/evidence.md "Intervals".

    python benchmarks/coverage.py                    all kinds, 2,000 experiments each (minutes on one core)
    python benchmarks/coverage.py closed open        some kinds
    python benchmarks/coverage.py --experiments 500  fewer

Each experiment draws data whose truth is known, makes the interval as the library does, and looks whether the truth
is in it. Of 2,000 experiments a coverage is known to 1 point, of 300 to 2.5. "The other one" is what is usual:
Student's interval; of episodes that share no class; of the mean over seeds, by episodes; Wald's; the quantiles of a
bootstrap over tasks; Hanley and McNeil's, which takes queries for independent.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from page import record_rows
from scipy import stats as scipy_stats

from innerloop.core.metric import ACCURACY
from innerloop.evaluation.classes import open_interval
from innerloop.evaluation.resampling import jackknife
from innerloop.evaluation.seeds import crossed
from innerloop.evaluation.stats import interval, paired, share_interval
from innerloop.evidence.reliability import reliability
from innerloop.evidence.selective import area_statistic, auroc_statistic

#: Queries of a task, as in 5 ways of 15.
QUERIES = 75
Ends = tuple[float, float] | None
Generator = np.random.Generator


class Setting(NamedTuple):
    """One row of the table."""

    kind: str
    what: str
    experiment: Callable[[Generator], tuple[float, Ends, Ends]]
    """The truth, our interval, and the other one."""


def students(values: np.ndarray) -> Ends:
    """Student's interval of a mean."""
    half = float(scipy_stats.t.ppf(0.975, len(values) - 1) * scipy_stats.sem(values))
    return float(values.mean()) - half, float(values.mean()) + half


def accuracies(generator: Generator, mean: float, alike: float, tasks: int) -> np.ndarray:
    """Of tasks whose own accuracies are beta distributed; ``alike`` is the correlation of a task's queries."""
    strength = 1 / alike - 1
    own = generator.beta(mean * strength, (1 - mean) * strength, tasks)
    return generator.binomial(QUERIES, own) / QUERIES


def closed() -> Iterator[Setting]:
    """Episodes with replacement from a fixed test set."""
    for mean, alike, tasks in (
        (0.55, 0.02, 600), (0.9, 0.05, 100), (0.98, 0.05, 100), (0.995, 0.02, 30), (0.995, 0.02, 100),
        (0.995, 0.05, 300), (0.998, 0.02, 1000),
    ):  # fmt: skip

        def experiment(
            generator: Generator, mean: float = mean, alike: float = alike, tasks: int = tasks
        ) -> tuple[float, Ends, Ends]:
            values = accuracies(generator, mean, alike, tasks)
            return mean, interval(values, bounds=(0, 1)), students(values)

        yield Setting("closed", f"accuracy {mean}, {tasks} tasks, correlation {alike}", experiment)
    for tasks in (100, 1000):

        def loss(generator: Generator, tasks: int = tasks) -> tuple[float, Ends, Ends]:
            # One task in seven has a mistake, and then most of the loss.
            values = (generator.random(tasks) < 0.15) * generator.gamma(1, 0.3, tasks) + generator.gamma(
                2, 0.003, tasks
            )
            return 0.15 * 0.3 + 0.006, interval(values), students(values)

        yield Setting("closed", f"negative log likelihood .051, {tasks} tasks", loss)


def difference() -> Iterator[Setting]:
    """Two methods on the same tasks."""
    for base, gap, tasks in ((0.6, 0.01, 600), (0.99, 0.003, 100), (0.995, 0.001, 1000)):

        def experiment(
            generator: Generator, base: float = base, gap: float = gap, tasks: int = tasks
        ) -> tuple[float, Ends, Ends]:
            own = generator.beta(base * 24, (1 - base) * 24, tasks)
            shared = generator.random((tasks, QUERIES))
            # Seven of ten queries are decided by what both methods see, the others by each for itself.
            alone = [np.where(generator.random((tasks, QUERIES)) < 0.7, shared, generator.random((tasks, QUERIES)))]
            first = (shared < own[:, None] + gap * (1 - own[:, None]) / (1 - base)).mean(1)
            second = (alone[0] < own[:, None]).mean(1)
            return gap, paired(first, second, (0, 1)).interval, students(first - second)

        yield Setting("paired difference", f"accuracy {base} and {base + gap:.3f}, {tasks} tasks", experiment)


class World(NamedTuple):
    """A kind of classes: how much classes differ, how often two are mixed up, and what a middling episode has."""

    odds: float
    classes: float
    pairs: float

    def draw(self, generator: Generator, classes: int, episodes: int, ways: int = 5) -> tuple[np.ndarray, np.ndarray]:
        """The accuracy of each episode, and its classes."""
        good, place = self.classes * generator.standard_normal(classes), generator.standard_normal((classes, 2))
        if classes >= 2000:
            chosen = generator.integers(classes, size=(episodes, ways))
        else:
            chosen = np.argpartition(generator.random((episodes, classes)), ways, 1)[:, :ways]
        distance = np.square(place[chosen][:, :, None] - place[chosen][:, None]).sum(-1) + 1e9 * np.eye(ways)
        near = np.exp(-distance / 0.15).sum((1, 2)) / ways
        odds = self.odds + good[chosen].mean(1) * ways**0.5 - self.pairs * near
        odds += 0.5 * generator.standard_normal(episodes)
        return generator.binomial(QUERIES, 1 / (1 + np.exp(-odds))) / QUERIES, chosen


def open_() -> Iterator[Setting]:
    """The test set's classes are a draw from more; the other interval is of episodes that share no class."""
    worlds = {
        "CIFAR-FS, say": World(0.5, 0.3, 0.0),
        "mixed up in pairs": World(0.5, 0.15, 0.5),
        "drawings": World(4.5, 0.7, 2.0),
    }
    for name, classes, episodes in (
        ("CIFAR-FS, say", 20, 1000), ("mixed up in pairs", 20, 1000), ("CIFAR-FS, say", 100, 1000),
        ("mixed up in pairs", 100, 1000), ("drawings", 100, 1000), ("drawings", 400, 1000), ("drawings", 20, 1000),
    ):  # fmt: skip
        world = worlds[name]
        truth_of = np.random.default_rng(99)
        truth = float(np.mean([world.draw(truth_of, 4000, 20_000)[0].mean() for _ in range(20)]))

        def experiment(
            generator: Generator,
            world: World = world,
            truth: float = truth,
            classes: int = classes,
            episodes: int = episodes,
        ) -> tuple[float, Ends, Ends]:
            values, chosen = world.draw(generator, classes, episodes)
            apart = np.flatnonzero(_greedy(chosen))
            other = students(values[apart]) if len(apart) > 1 else None
            return truth, open_interval(values, chosen, (0, 1)), other

        yield Setting("open", f"{name}, {classes} classes, accuracy {truth:.3f}, {episodes} episodes", experiment)


def _greedy(chosen: np.ndarray) -> np.ndarray:
    """Which episodes to take so that none shares a class with one before it."""
    used: set[int] = set()
    found = np.zeros(len(chosen), bool)
    for number, classes in enumerate(chosen.tolist()):
        if used.isdisjoint(classes):
            found[number] = True
            used.update(classes)
    return found


def seeds() -> Iterator[Setting]:
    """Another seed and other episodes; the other interval is of the mean over seeds alone, by episodes."""
    for count, spread in ((2, 0.005), (3, 0.002), (3, 0.01), (3, 0.03), (5, 0.01), (5, 0.03)):

        def experiment(generator: Generator, count: int = count, spread: float = spread) -> tuple[float, Ends, Ends]:
            values = 0.7 + spread * generator.standard_normal((count, 1)) + 0.08 * generator.standard_normal((1, 300))
            values = values + 0.06 * generator.standard_normal((count, 300))
            return 0.7, crossed(values, ACCURACY).interval, students(values.mean(0))

        yield Setting("seeds", f"{count} seeds of deviation {spread}, 300 episodes of .08", experiment)


def shares() -> Iterator[Setting]:
    """A share of independent examples: a promise of 95 % at least; the other is Wald's."""
    for share, count in ((0.5, 10), (0.8, 25), (0.9, 100), (0.97, 200), (0.99, 1000)):

        def experiment(generator: Generator, share: float = share, count: int = count) -> tuple[float, Ends, Ends]:
            found = generator.binomial(count, share) / count
            half = 1.96 * (found * (1 - found) / count) ** 0.5
            return share, share_interval(found, count), (found - half, found + half)

        yield Setting("share (at least)", f"{share} of {count}", experiment)


def calibration() -> Iterator[Setting]:
    """The calibration error without noise; the other is the usual bootstrap over tasks, by quantiles."""
    for off, tasks in ((0.0, 300), (0.01, 300), (0.03, 100), (0.03, 1000), (0.1, 100)):
        edges = np.linspace(0, 1, 16)
        many = np.random.default_rng(7).beta(6, 1.5, 2_000_000)
        place = np.clip((many * 15).astype(int), 0, 14)
        gap = -4 * off * many * (1 - many)
        truth = float(np.abs(np.bincount(place, gap, len(edges) - 1)).sum() / len(many))

        def experiment(
            generator: Generator, off: float = off, tasks: int = tasks, truth: float = truth
        ) -> tuple[float, Ends, Ends]:
            said = generator.beta(6, 1.5, (tasks, QUERIES))
            chance = said - 4 * off * said * (1 - said)
            # Queries of a task are right or wrong together, a little.
            own = generator.standard_normal((tasks, 1))
            mixed = 0.4 * own + (1 - 0.4**2) ** 0.5 * generator.standard_normal(said.shape)
            right = scipy_stats.norm.cdf(mixed) < chance
            place = np.clip((said * 15).astype(int), 0, 14)
            sums = np.stack([np.where(place == k, right - said, 0).mean(1) for k in range(15)], 1)
            again = generator.multinomial(tasks, np.full(tasks, 1 / tasks), 300) / tasks
            ends = np.quantile(np.abs(again @ sums).sum(1), (0.025, 0.975))
            return truth, reliability(said, right).interval, (float(ends[0]), float(ends[1]))

        yield Setting("calibration error", f"{truth:.4f}, {tasks} tasks", experiment)


def areas() -> Iterator[Setting]:
    """AUROC of strangers, and the area under risk against coverage, over tasks."""
    for shift, tasks in ((1.0, 50), (1.0, 300), (3.0, 100)):
        truth = float(scipy_stats.norm.cdf(shift / (2 * 1.25) ** 0.5))

        def ranking(
            generator: Generator, shift: float = shift, tasks: int = tasks, truth: float = truth
        ) -> tuple[float, Ends, Ends]:
            shared = 0.5 * generator.standard_normal((2, tasks, 1))
            own = shift + shared[0] + generator.standard_normal((tasks, 30))
            strange = shared[1] + generator.standard_normal((tasks, 30))
            statistic = auroc_statistic(own, strange)
            area = statistic(np.arange(tasks))
            # Hanley and McNeil 1982.
            q1, q2, n = area / (2 - area), 2 * area**2 / (1 + area), tasks * 30
            error = ((area * (1 - area) + (n - 1) * (q1 + q2 - 2 * area**2)) / n**2) ** 0.5
            return (
                truth,
                jackknife(statistic, tasks, bounds=(0, 1)).interval,
                (area - 1.96 * error, area + 1.96 * error),
            )

        yield Setting("AUROC", f"{truth:.3f}, {tasks} tasks", ranking)
    for base, tasks in ((1.0, 100), (3.0, 300)):
        large = np.random.default_rng(5)
        truth = float(np.mean([_area(large, base, 20_000)(np.arange(20_000)) for _ in range(6)]))

        def risk(
            generator: Generator, base: float = base, tasks: int = tasks, truth: float = truth
        ) -> tuple[float, Ends, Ends]:
            statistic = _area(generator, base, tasks)
            return truth, jackknife(statistic, tasks, bounds=(0, 1)).interval, None

        yield Setting("area under risk", f"{truth:.4f}, {tasks} tasks", risk)


def _area(generator: Generator, base: float, tasks: int) -> Callable[[np.ndarray], float]:
    odds = base + 0.8 * generator.standard_normal((tasks, 1)) + 1.5 * generator.standard_normal((tasks, 30))
    right = generator.random(odds.shape) < 1 / (1 + np.exp(-odds))
    return area_statistic(odds + 0.5 * generator.standard_normal(odds.shape), right)


def correlation() -> Iterator[Setting]:
    """A mean over tasks of rank correlations; the other is the bootstrap over tasks, by quantiles."""
    for strength, tasks in ((0.3, 30), (0.9, 30), (0.9, 200)):
        large = np.random.default_rng(3)
        truth = float(_correlations(large, strength, 40_000).mean())

        def experiment(
            generator: Generator, strength: float = strength, tasks: int = tasks, truth: float = truth
        ) -> tuple[float, Ends, Ends]:
            values = _correlations(generator, strength, tasks)
            means = values[generator.integers(tasks, size=(1000, tasks))].mean(1)
            ends = np.quantile(means, (0.025, 0.975))
            return truth, interval(values, bounds=(-1, 1)), (float(ends[0]), float(ends[1]))

        yield Setting("correlation", f"{truth:.2f}, {tasks} tasks", experiment)


def _correlations(generator: Generator, strength: float, tasks: int) -> np.ndarray:
    first = generator.standard_normal((tasks, 25))
    second = strength * first + (1 - strength**2) ** 0.5 * generator.standard_normal((tasks, 25))
    ranks = [values.argsort(1).argsort(1) - 12.0 for values in (first, second)]
    return np.asarray((ranks[0] * ranks[1]).sum(1) / np.square(ranks[0]).sum(1))


KINDS: dict[str, Callable[[], Iterator[Setting]]] = {
    "closed": closed, "difference": difference, "open": open_, "seeds": seeds, "shares": shares,
    "calibration": calibration, "areas": areas, "correlation": correlation,
}  # fmt: skip


def measured(setting: Setting, experiments: int, seed: int) -> str:
    """The row of a setting."""
    generator = np.random.default_rng(seed)
    found: list[list[tuple[bool, bool, float]]] = [[], []]
    for _ in range(experiments):
        truth, *both = setting.experiment(generator)
        for place, ends in zip(found, both, strict=True):
            if ends is not None:
                place.append((truth < ends[0], truth > ends[1], ends[1] - ends[0]))
    cells = []
    for place in found:
        if not place:
            cells += ["", ""]
            continue
        below, above, width = np.array(place, dtype=float).T
        covered = 100 * (1 - below.mean() - above.mean())
        cells += [f"{covered:.1f} ({100 * below.mean():.1f} / {100 * above.mean():.1f})", f"{np.median(width):.4f}"]
    return f"| {setting.kind} | {setting.what} | {cells[0]} | {cells[1]} | {cells[2]} | {cells[3]} |"


def main() -> None:
    """Simulate, print the table, and put it into the page where all of it was simulated."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", help=f"default all: {', '.join(KINDS)}")
    parser.add_argument("--experiments", type=int, default=2000, help="a setting")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    unknown = [kind for kind in options.kinds if kind not in KINDS]
    if unknown:
        parser.error(f"{unknown[0]!r} is no kind: choose from {', '.join(KINDS)}")
    head = [
        "| interval | setting | covers, % (truth below / above it) | width | the other one covers, % | width |",
        "|---|---|---|---|---|---|",
    ]
    print("\n".join(head), flush=True)
    for kind in options.kinds or KINDS:
        rows = []
        for setting in KINDS[kind]():
            rows.append(measured(setting, options.experiments, options.seed))
            print(rows[-1], flush=True)
        record_rows("coverage", [*head, *rows], labels=2)


if __name__ == "__main__":
    main()
