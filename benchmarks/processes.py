"""Neural processes on Gaussian-process draws, beside the exact posterior: the tables of docs/results.md.

    python benchmarks/processes.py                   all rows, seed 0 (hours on two cores)
    python benchmarks/processes.py cnp tnp           train some rows
    python benchmarks/processes.py --print-only      the tables from the runs that are there

All are trained on RBF draws only (`innerloop train`, into runs/results/ROW-seedN) and scored on RBF, Matern-5/2 and
periodic ones by the log likelihood of a target point. Every row sees the same tasks; a score above that of the exact
posterior with the true hyperparameters would be a fault of the evaluation: the run then stops.
"""

from __future__ import annotations

import argparse
import json
from functools import cache
from pathlib import Path

import numpy as np
from page import RUNS, record, run, steps_done

import innerloop as il
from innerloop.data import GaussianProcess, registry
from innerloop.data.source import sampler
from innerloop.evaluation import stats
from innerloop.evaluation.evaluate import Report
from innerloop.learners.generative.gp import Oracle, oracle
from innerloop.recipes import load

KERNELS = ("rbf", "matern52", "periodic")

#: Title, arguments of `innerloop train`, published log likelihoods.
ROWS = {
    "cnp": ("CNP", "cnp --steps 80000", "0.26 / 0.04 / -1.40"),
    "np": ("NP", "np --steps 90000", "0.27 / 0.07 / -1.15"),
    "canp": ("CANP", "canp --steps 20000", "0.79 / 0.62 / -7.61"),
    "anp": ("ANP", "anp --steps 12000", "0.81 / 0.63 / -5.02"),
    "tnp": ("TNP-D", "tnp --steps 60000", "1.39 / 0.95 / -3.53"),
    "convcnp": ("ConvCNP", "convcnp --steps 25000", ""),
}
EQ_ROWS = {
    "convcnp-eq": ("ConvCNP", "convcnp --data gp_eq --steps 12000", "0.70 (XL 1.06)"),
    "cnp-eq": ("CNP", "cnp --data gp_eq --steps 20000", "-0.86"),
}


def train(name: str, arguments: str, seed: int) -> Path:
    """The folder of a trained run; an interrupted one is resumed."""
    folder = RUNS / f"{name}-seed{seed}"
    if not (folder / "recipe.json").exists():
        run(["train", *arguments.split(), "--seed", str(seed), "--out", str(folder)])
    elif steps_done(folder) < int(arguments.split()[-1]):
        run(["resume", str(folder)])
    return folder


def score(folder: Path, data: str, tasks: int, recalibrated: bool) -> dict:
    """Log likelihood and coverage of a run on a family of functions, computed once and kept beside the run."""
    kept = folder / f"{data}-{tasks}{'-recalibrated' if recalibrated else ''}.json"
    if not kept.exists():
        learner = load(folder)
        report: Report = il.evaluate(
            il.learners.Recalibrated(learner) if recalibrated else learner,
            sampler(registry.read(data), "test"),
            tasks=tasks,
            seed=0,
            how="vmap",
        )
        kept.write_text(json.dumps(report.json()))
    return json.loads(kept.read_text())


def shown(report: dict) -> str:
    """Log likelihood with its interval, and the coverage of the 50, 90 and 95 % intervals."""
    covered = "/".join(f"{100 * value:.0f}" for value in report["coverage"].values())
    return f"{report['log_likelihood']:.2f} ± {report['half_width']:.2f} ({covered})"


@cache
def exact(kernel: str, tasks: int) -> Oracle:
    """The exact posterior's log likelihoods on the tasks that every row sees."""
    return oracle(GaussianProcess(kernel), tasks=tasks, seed=0)


def row(name: str, data: list[str], tasks: int, title: str, published: str, recalibrated: bool, seed: int) -> str:
    """A line of the table, empty where the run is not there."""
    folder = RUNS / f"{name}-seed{seed}"
    if steps_done(folder) < int({**ROWS, **EQ_ROWS}[name][1].split()[-1]):
        return ""
    reports = [score(folder, one, tasks, recalibrated) for one in data]
    for one, report in zip(data, reports, strict=True):
        kernel = one.removeprefix("gp_")
        if kernel in KERNELS and report["log_likelihood"] > float(exact(kernel, tasks).factorized.mean()):
            raise SystemExit(f"{name} scores above the exact posterior on {kernel}: the evaluation is wrong")
    return f"| {title} | {' | '.join(map(shown, reports))} | {steps_done(folder):,} | {published} |\n"


def ceiling(tasks: int) -> str:
    """The exact posterior: with the true hyperparameters, and with only the prior of them known."""
    lines = []
    for title, pick in (("exact GP, each point alone", "factorized"), ("exact GP, all points together", "joint")):
        cells = []
        for kernel in KERNELS:
            values = np.asarray(getattr(exact(kernel, tasks), pick))
            low, high = stats.interval(values)
            cells.append(f"{values.mean():.3f} ± {(high - low) / 2:.3f}")
        lines.append(f"| {title}, hyperparameters known | {' | '.join(cells)} | | |")
    few = min(tasks, 1600)
    cells = []
    for kernel in KERNELS:
        report = il.evaluate(il.learners.MarginalGP("rbf"), GaussianProcess(kernel), tasks=few, seed=0, how="loop")
        cells.append(shown(report.json()))
    lines.append(f"| exact GP, RBF, hyperparameters inferred ({few} tasks) | {' | '.join(cells)} | | |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Train, evaluate, print, and put the tables into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", help=f"of {', '.join([*ROWS, *EQ_ROWS])}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tasks", type=int, default=16000)
    parser.add_argument("--print-only", action="store_true")
    arguments = parser.parse_args()
    both = {**ROWS, **EQ_ROWS}
    unknown = set(arguments.rows) - both.keys()
    if unknown:
        parser.error(f"unknown rows {sorted(unknown)}")
    if not arguments.print_only:
        RUNS.mkdir(parents=True, exist_ok=True)
        for name in arguments.rows or both:
            train(name, both[name][1], arguments.seed)
    data = [f"gp_{kernel}" for kernel in KERNELS]
    table = "| learner | RBF (trained on) | Matern-5/2 | periodic | steps | published |\n|---|---|---|---|---|---|\n"
    for name, (title, _, published) in ROWS.items():
        table += row(name, data, arguments.tasks, title, published, False, arguments.seed)
        table += row(name, data, arguments.tasks, f"{title}, recalibrated", "", True, arguments.seed)
    table += ceiling(arguments.tasks)
    eq = "| learner | EQ, lengthscale 0.25 | steps | published |\n|---|---|---|---|\n"
    for name, (title, _, published) in EQ_ROWS.items():
        eq += row(name, ["gp_eq"], arguments.tasks, title, published, False, arguments.seed)
    for name, text in (("processes", table), ("eq", eq)):
        print(text)
        record(name, text.rstrip())


if __name__ == "__main__":
    main()
