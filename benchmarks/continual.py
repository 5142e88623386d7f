"""Continual learning: the tables of docs/results.md on sequential Omniglot and on rotated digits.

    python benchmarks/continual.py                 both; meta-trains OML and ANML first (40 minutes on one thread)
    python benchmarks/continual.py digits          rotated digits only (about an hour on one thread)
    python benchmarks/continual.py omniglot        sequential Omniglot only
    python benchmarks/continual.py --print-only    the tables from the results that are there

Rates and the like are chosen on other streams than those reported: for Omniglot on validation classes, for digits on
other seeds. Each run is kept in runs/results/continual, so that an interrupted benchmark goes on where it was.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from page import DATA, RUNS, record, run, steps_done
from torch import nn

import innerloop as il
from innerloop.continual import Result, Rotated, Split, StreamFamily, digits
from innerloop.core.allocator import keep_memory
from innerloop.recipes import load

KEPT = RUNS / "continual"


@dataclass(frozen=True)
class Row:
    """A learner and the options that it may choose from."""

    title: str
    make: Callable[..., il.Learner]
    """Of ``seed``, ``targets`` (the classes of the stream) and options."""
    grid: tuple[dict[str, Any], ...] = ({},)
    bound: bool = False
    """Keeps all data: it is trained anew whenever it is measured, so only at the marks."""


def grid(**choices: tuple[Any, ...]) -> tuple[dict[str, Any], ...]:
    """All combinations."""
    found: list[dict[str, Any]] = [{}]
    for name, values in choices.items():
        found = [{**one, name: value} for one in found for value in values]
    return tuple(found)


class Bench:
    """A family to choose on, one to report on, and the results of the rows on both."""

    def __init__(
        self,
        name: str,
        rows: dict[str, Row],
        tuning: StreamFamily,
        orders: tuple[int, ...],
        test: StreamFamily,
        marks: tuple[int, ...] = (),
    ) -> None:
        self.name, self.rows, self.tuning, self.orders = name, rows, tuning, orders
        self.test, self.marks = test, marks

    def result(self, row: str, options: dict[str, Any], seed: int, *, tuning: bool, only: bool) -> Result | None:
        """The result of a row with options on one stream, computed once; with ``only``, the one that is there."""
        text = json.dumps([self.name, row, options, seed, tuning], sort_keys=True)
        path = KEPT / f"{self.name}-{row}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.json"
        if path.exists():
            return Result.of(json.loads(path.read_text())["result"])
        if only:
            return None
        torch.manual_seed(seed)
        stream = (self.tuning if tuning else self.test).draw(seed)
        after = self.marks or (None if not self.rows[row].bound else (stream.length,))
        learner = self.rows[row].make(seed=seed, targets=stream.targets, **options)
        found = il.continual.run(learner, stream, after=(stream.length,) if tuning else after)
        KEPT.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"key": json.loads(text), "result": found.json()}))
        print(f"{self.name} {row} {options} seed {seed}: {found.acc:.4f}", flush=True)
        return found

    def chosen(self, row: str, *, only: bool) -> dict[str, Any] | None:
        """The options of the best mean score on the tuning orders; ``None`` where they were not run."""
        options = self.rows[row].grid
        if len(options) == 1:
            return options[0]
        found = [[self.result(row, one, seed, tuning=True, only=only) for seed in self.orders] for one in options]
        if any(result is None for results in found for result in results):
            return None
        scores = [np.mean([result.acc for result in results if result]) for results in found]
        return options[int(np.argmax(scores))]

    def results(self, row: str, seeds: list[int], *, only: bool) -> list[Result]:
        """The reported results, one a seed."""
        options = self.chosen(row, only=only)
        if options is None:
            return []
        found = [self.result(row, options, seed, tuning=False, only=only) for seed in seeds]
        return [result for result in found if result is not None]


def shown(values: list[float], digits: int = 1) -> str:
    """Mean and half the 95 % interval over orders, in percent."""
    found = 100 * np.array(values)
    if len(found) < 2:
        return f"{found.mean():.{digits}f}"
    low, high = il.evaluation.stats.interval(found)
    return f"{found.mean():.{digits}f} ± {(high - low) / 2:.{digits}f}"


def said(options: dict[str, Any] | None) -> str:
    """Options in words."""
    return ", ".join(f"{name} {value}" for name, value in (options or {}).items())


TASKS, BATCH, MEMORY, GLANCES = 20, 10, 200, 5


def perceptron(kind: type[il.Learner], **fixed: Any) -> Callable[..., il.Learner]:
    """A learner on a 64-100-100-10 perceptron, whose weights follow the seed."""

    def make(seed: int, targets: int, **options: Any) -> il.Learner:
        return kind(il.nets.mlp(64, 100, 100, targets), seed=seed, **fixed, **options)

    return make


REPLAY = {"memory": MEMORY, "replay": 10}


def digits_rows(shots: int) -> dict[str, Row]:
    """The learners, for streams of ``shots`` images a task."""
    ewc = perceptron(il.learners.EWC, glances=GLANCES, every=shots // BATCH)
    few, more = (GLANCES,), (2 * GLANCES, 4 * GLANCES)
    return {
        "naive": Row("naive fine-tuning", perceptron(il.learners.Naive, glances=GLANCES), grid(lr=(0.01, 0.03, 0.1))),
        "ewc": Row("EWC, online", ewc, grid(lr=(0.03, 0.1), strength=(1.0, 10.0, 100.0))),
        "agem": Row("A-GEM", perceptron(il.learners.AGEM, glances=GLANCES, **REPLAY), grid(lr=(0.03, 0.1, 0.3))),
        "er": Row(
            "experience replay",
            perceptron(il.learners.ExperienceReplay, **REPLAY),
            grid(lr=(0.1, 0.2, 0.3, 0.5), glances=few + more),
        ),
        "mer": Row(
            "MER",
            perceptron(il.learners.MER, **REPLAY),
            grid(lr=(0.03, 0.1), within=(0.1, 0.3), glances=few) + grid(lr=(0.1,), within=(0.1, 0.3), glances=more),
        ),
        "cmaml": Row(
            "C-MAML",
            perceptron(il.learners.CMAML, **REPLAY),
            grid(inner_lr=(0.01, 0.03, 0.1), lr=(0.3, 0.5), glances=few)
            + grid(inner_lr=(0.1,), lr=(0.3, 0.5), glances=more),
        ),
        "lamaml": Row(
            "La-MAML",
            perceptron(il.learners.LaMAML, **REPLAY),
            grid(inner_lr=(0.1, 0.2, 0.3), lr=(0.03, 0.3), glances=few)
            + grid(inner_lr=(0.2, 0.3), lr=(0.3,), glances=more),
        ),
        "joint": Row(
            "joint (all data kept)", perceptron(il.learners.Joint, epochs=20), grid(lr=(1e-3, 3e-3)), bound=True
        ),
    }


#: On rotated MNIST, 1,000 images a task (Gupta et al. 2020).
PUBLISHED = {"naive": "53.38", "mer": "77.42", "cmaml": "77.33", "lamaml": "77.42"}


def digits_bench(shots: int) -> Bench:
    """The same family for both: what differs is the seed of the angles, the images and their order."""
    family = Rotated(digits(), tasks=TASKS, shots=shots, batch=BATCH)
    return Bench(f"digits{shots}", digits_rows(shots), family, (100,), family)


def digits_table(bench: Bench, seeds: list[int], *, only: bool) -> str:
    """Accuracy, transfer, forgetting and memory; then La-MAML against replay on the same streams."""
    lines = [
        f"{bench.test.shots} images a task:\n",
        "| learner | ACC | BWT | forgetting | state, kB | chosen | MNIST, published |",
        "|---|---|---|---|---|---|---|",
    ]
    accuracy = {}
    for name, row in bench.rows.items():
        found = bench.results(name, seeds, only=only)
        if len(found) < len(seeds):
            continue
        accuracy[name] = np.array([result.acc for result in found])
        cells = [shown([getattr(result, metric) for result in found]) for metric in ("acc", "bwt", "forgetting")]
        cells = [cell if "nan" not in cell else "" for cell in cells]
        size = f"{max(result.memory for result in found) / 1000:.0f}"
        lines.append(
            f"| {row.title} | {' | '.join(cells)} | {size} | {said(bench.chosen(name, only=True))} | "
            f"{PUBLISHED.get(name, '')} |"
        )
    lines.append("")
    for name in ("lamaml", "cmaml", "mer"):
        if name in accuracy and "er" in accuracy and len(seeds) > 1:
            gap = il.paired(accuracy[name], accuracy["er"])
            lines.append(
                f"{bench.rows[name].title} minus experience replay, paired over {gap.tasks} streams: "
                f"{100 * gap.mean:+.1f} points (95 % interval {100 * gap.interval[0]:+.1f} to "
                f"{100 * gap.interval[1]:+.1f}), better on {gap.wins}, worse on {gap.losses}.\n"
            )
    return "\n".join(lines).rstrip()


MARKS = (10, 50, 100, 200)
TRAINED = {"oml": "oml --steps 9000", "anml": "anml --steps 5500"}
START = RUNS / "omniglot-protonet-64-seed0"


def train(name: str) -> None:
    """Meta-train by the command line, if it is not there."""
    folder, steps = RUNS / f"{name}-seed0", int(TRAINED[name].split()[-1])
    if not (folder / "recipe.json").exists():
        data = ["--data", "omniglot", "--root", str(DATA / "omniglot")]
        run(["train", *TRAINED[name].split(), *data, "--seed", "0", "--out", str(folder)])
    elif steps_done(folder) < steps:
        run(["resume", str(folder)])


@cache
def trained(folder: Path) -> il.Learner:
    """The learner of a run, its encoder frozen."""
    return load(folder).eval().requires_grad_(False)


def scratch(kind: type[il.Learner], **fixed: Any) -> Callable[..., il.Learner]:
    """A learner on a convolutional network with random weights."""

    def make(seed: int, targets: int, **options: Any) -> il.Learner:
        return kind(il.nets.conv4(norm="group", out=targets), seed=seed, **fixed, **options)

    return make


def whole(kind: type[il.Learner], folder: Path, **fixed: Any) -> Callable[..., il.Learner]:
    """A learner on a trained encoder and a new last layer, all of it learning."""

    def make(seed: int, targets: int, **options: Any) -> il.Learner:
        encoder = trained(folder).split()[0]
        return kind(nn.Sequential(encoder, nn.Linear(64, targets)), seed=seed, **fixed, **options)

    return make


def last(kind: type[il.Learner], folder: Path, features: int, **fixed: Any) -> Callable[..., il.Learner]:
    """A learner on the features of a trained encoder: a new last layer learns, the rest stays."""

    def make(seed: int, targets: int, **options: Any) -> il.Learner:
        head = kind(nn.Linear(features, targets), seed=seed, **fixed, **options)
        return il.learners.Embedded(trained(folder).split()[0], head)

    return make


def folded(folder: Path) -> Callable[..., il.Learner]:
    """A meta-trained learner as it is, but for the rate of its online steps."""

    def make(seed: int, targets: int, test_lr: float | None = None) -> il.Learner:
        learner = trained(folder)
        if test_lr is not None:
            learner.head.test_lr = test_lr
        return learner

    return make


OML, ANML = RUNS / "oml-seed0", RUNS / "anml-seed0"
RATES = grid(lr=(3e-4, 1e-3, 3e-3, 1e-2, 3e-2))
LAST = grid(lr=(3e-4, 1e-3, 3e-3, 1e-2, 3e-2))
ONLINE = grid(test_lr=(0.003, 0.01, 0.03, 0.1, 0.3))
OMNIGLOT = {
    "naive-scratch": Row("naive fine-tuning, random weights", scratch(il.learners.Naive), RATES),
    "naive-start": Row("naive fine-tuning, from the ProtoNet's network", whole(il.learners.Naive, START), RATES),
    "naive-last": Row("naive, last layer on the ProtoNet's features", last(il.learners.Naive, START, 64), LAST),
    "er-last": Row(
        "experience replay (200), last layer on the ProtoNet's features",
        last(il.learners.ExperienceReplay, START, 64, memory=200),
        LAST,
    ),
    "oml": Row("OML", folded(OML), ONLINE),
    "anml": Row("ANML", folded(ANML), ONLINE),
    "protonet": Row("prototype fold (ProtoNet, 64 filters)", folded(START)),
    "joint-scratch": Row(
        "joint, random weights", scratch(il.learners.Joint, epochs=20), grid(lr=(1e-3, 3e-3)), bound=True
    ),
    "joint-oml": Row(
        "joint, last layer on OML's features",
        last(il.learners.Joint, OML, 128, epochs=30),
        grid(lr=(3e-3, 1e-2)),
        bound=True,
    ),
}


def omniglot_bench() -> Bench:
    """Validation classes to choose on, test classes to report on; no rotations."""
    pools = il.data.omniglot(DATA / "omniglot", rotations=False)
    tuning, test = Split(pools.val, classes=100), Split(pools.test, classes=MARKS[-1])
    there = {"oml": OML, "anml": ANML, "joint-oml": OML}
    rows = {k: row for k, row in OMNIGLOT.items() if (there.get(k, START) / "best").exists()}
    return Bench("omniglot", rows, tuning, (100,), test, MARKS)


def omniglot_table(bench: Bench, seeds: list[int], *, only: bool) -> str:
    """Accuracy on all classes seen, after 10 to 200 of them; how many times naive fine-tuning's."""
    lines = [
        f"| learner | {' | '.join(f'{mark} classes' for mark in MARKS)} | state, kB | chosen |",
        "|---|" + "---|" * (len(MARKS) + 2),
    ]
    ends = {}
    for name, row in bench.rows.items():
        found = bench.results(name, seeds, only=only)
        if len(found) < len(seeds):
            continue
        ends[name] = np.mean([result.acc for result in found])
        cells = [shown([float(result.curve[mark - 1]) for result in found]) for mark in MARKS]
        size = f"{max(result.memory for result in found) / 1000:,.0f}"
        lines.append(f"| {row.title} | {' | '.join(cells)} | {size} | {said(bench.chosen(name, only=True))} |")
    naive = [ends[name] for name in ("naive-scratch", "naive-start") if name in ends]
    lines += [
        f"\n{bench.rows[name].title}: {ends[name] / max(naive):.1f} times the accuracy of the better of the two whole "
        f"networks fine-tuned naively, after {MARKS[-1]} classes."
        for name in ("oml", "anml", "protonet")
        if name in ends and naive
    ]
    return "\n".join(lines)


def main() -> None:
    """Train, run, print, and put the tables into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", help="of omniglot, digits")
    parser.add_argument("--orders", type=int, default=None, help="stream orders: 3 for Omniglot, 5 for digits")
    parser.add_argument(
        "--shots", type=int, default=200, help="images a task; 1000, as published, takes 5 times as long"
    )
    parser.add_argument("--print-only", action="store_true")
    arguments = parser.parse_args()
    unknown = set(arguments.tables) - {"omniglot", "digits"}
    if unknown:
        parser.error(f"unknown tables {sorted(unknown)}")
    keep_memory()
    wanted = arguments.tables or ["digits", "omniglot"]
    texts = {}
    if "digits" in wanted:
        seeds = list(range(arguments.orders or 5))
        texts["continual_digits"] = digits_table(digits_bench(arguments.shots), seeds, only=arguments.print_only)
    if "omniglot" in wanted:
        if not (DATA / "omniglot").is_dir():
            parser.error(f"no Omniglot under {DATA}: set INNERLOOP_DATA")
        if not START.exists():
            parser.error(f"no run at {START}: innerloop reproduce omniglot/protonet-64")
        for name in TRAINED if not arguments.print_only else ():
            train(name)
        seeds = list(range(arguments.orders or 3))
        texts["continual_omniglot"] = omniglot_table(omniglot_bench(), seeds, only=arguments.print_only)
    for name, text in texts.items():
        print(text, end="\n\n")
        record(name, text)


if __name__ == "__main__":
    main()
