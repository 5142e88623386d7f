"""What adapts, on sine waves: squared error against shots, the tables of docs/results.md.

    python benchmarks/adapts.py                   all rows, seeds 0 1 2
    python benchmarks/adapts.py maml-1 cavia      train some rows
    python benchmarks/adapts.py --print-only      the table from the runs that are there

Every row is trained for the same outer steps on 10 points a task (`innerloop train`, into
runs/results/adapts-ROW-seedN) and scored on the same waves with 1 to 20 points. Without an inner step a network is one
function for all waves: a score better than that of the best such function would be a fault of the evaluation, and the
run then stops. Inner rates are the best of two or three that were tried for 2,500 steps; those of the others stand in
their recipes. All takes about ten minutes on one quiet core.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import numpy as np
import torch
from page import RUNS, record, run, steps_done
from torch import Tensor

import innerloop as il
from innerloop.data import Sinusoid
from innerloop.evaluation import stats
from innerloop.recipes import load

SHOTS = (1, 2, 5, 10, 20)
STEPS = 6000

#: Title, what adapts, arguments of `innerloop train`.
ROWS = {
    "maml-0": ("no inner step", "nothing", "maml --inner-steps 0 --set options.test_steps=0"),
    "maml-1": ("MAML, 1 inner step", "all", "maml --inner-lr 0.02 --inner-steps 1 --set options.test_steps=1"),
    "maml-5": ("MAML, 5 inner steps", "all", "maml --inner-lr 0.02 --inner-steps 5 --set options.test_steps=5"),
    "anil": ("ANIL, 5 inner steps", "head", "anil --inner-steps 5 --set options.test_steps=5"),
    "boil": ("BOIL, 1 inner step", "body", "boil --inner-steps 1 --set options.test_steps=1"),
    "metasgd": ("Meta-SGD, 1 inner step", "all, a rate each", "metasgd --inner-steps 1 --set options.test_steps=1"),
    "cavia": ("CAVIA, 1 inner step", "5 inputs", "cavia --inner-steps 1 --set options.test_steps=1"),
}


class BestFunction(il.Learner):
    """The one function with the least squared error over all waves: the mean wave, ``-2 E[a] cos(x) / pi``."""

    def __init__(self) -> None:
        super().__init__(il.Gaussian(scale=1.0))
        self.amplitude = torch.nn.Parameter(torch.tensor(2.55), requires_grad=False)

    def adapt(self, support: il.Examples, state: tuple[()] | None = None) -> tuple[()]:
        """Nothing to learn."""
        return ()

    def predict(self, state: tuple[()], x: Tensor) -> Tensor:
        """The mean wave at x."""
        return (-2 / math.pi * self.amplitude * torch.cos(x)).unsqueeze(0)


def train(name: str, seed: int, steps: int) -> None:
    """A trained run; one that is there is resumed where it was interrupted."""
    folder = RUNS / f"adapts-{name}-seed{seed}"
    if not (folder / "recipe.json").exists():
        options = ["--data", "sinusoid", "--steps", str(steps), "--seed", str(seed), "--quiet", "--out", str(folder)]
        run(["train", *ROWS[name][2].split(), *options])
    elif steps_done(folder) < steps:
        run(["resume", str(folder), "--quiet"])


def errors(learner: il.Learner, shots: int, tasks: int) -> list[float]:
    """The squared error of each task; the tasks are the same for every learner."""
    report = il.evaluate(learner, Sinusoid(shots=shots, queries=100), tasks=tasks, seed=0, how="vmap")
    return [float(value) for value in report.per_task["mse"]]


def score(folder: Path, shots: int, tasks: int) -> np.ndarray:
    """The squared errors of a run, computed once and kept beside it."""
    kept = folder / f"{shots}s-{tasks}.json"
    if not kept.exists():
        kept.write_text(json.dumps(errors(load(folder), shots, tasks)))
    return np.asarray(json.loads(kept.read_text()))


def cell(values: np.ndarray) -> str:
    """The mean over seeds and tasks ``[seeds, T]``, ± the 95 % interval over tasks, and the range over seeds."""
    if not np.isfinite(values).all() or values.mean() > 1000:
        # A few points in a narrow place: steps that fit them overshoot, further and further.
        return f"diverges (median {np.median(values):.2f})"
    low, high = stats.interval(values.mean(0))
    means = values.mean(1)
    spread = f" ({means.min():.2f} to {means.max():.2f})" if len(means) > 1 else ""
    return f"{values.mean():.2f} ± {(high - low) / 2:.2f}{spread}"


def table(seeds: list[int], steps: int, tasks: int) -> str:
    """The table in Markdown."""
    lines = [
        f"| learner | adapts | {' | '.join(f'{k} shots' for k in SHOTS)} | seeds, outer steps |",
        "|---" * (3 + len(SHOTS)) + "|",
    ]
    best = {shots: np.asarray([errors(BestFunction(), shots, tasks)]) for shots in SHOTS}
    for name, (title, adapts, _) in ROWS.items():
        folders = [RUNS / f"adapts-{name}-seed{seed}" for seed in seeds]
        folders = [folder for folder in folders if steps_done(folder) >= steps]
        if not folders:
            continue
        values = {shots: np.stack([score(folder, shots, tasks) for folder in folders]) for shots in SHOTS}
        for shots in SHOTS if name == "maml-0" else ():
            if stats.interval(values[shots].mean(0) - best[shots][0])[1] < 0:
                raise SystemExit(f"one function beats the best one at {shots} shots: the evaluation is wrong")
        cells = " | ".join(cell(values[shots]) for shots in SHOTS)
        lines.append(f"| {title} | {adapts} | {cells} | {len(folders)}, {steps:,} |")
    lines.append(f"| the best single function | | {' | '.join(cell(best[shots]) for shots in SHOTS)} | |")
    return "\n".join(lines)


def main() -> None:
    """Train, evaluate, print, and put the table into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--print-only", action="store_true")
    arguments = parser.parse_args()
    unknown = set(arguments.rows) - ROWS.keys()
    if unknown:
        parser.error(f"unknown rows {sorted(unknown)}")
    if not arguments.print_only:
        RUNS.mkdir(parents=True, exist_ok=True)
        for name in arguments.rows or ROWS:
            for seed in arguments.seeds:
                train(name, seed, arguments.steps)
    text = table(arguments.seeds, arguments.steps, arguments.tasks)
    print(text)
    record("adapts", text)


if __name__ == "__main__":
    main()
