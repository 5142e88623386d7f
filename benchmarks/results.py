"""Train the committed recipes and print the tables of docs/results.md.

    python benchmarks/results.py                     all rows, seed 0 (hours on two cores)
    python benchmarks/results.py protonet maml       some rows
    python benchmarks/results.py --seeds 0 1 2       several seeds a row
    python benchmarks/results.py --print-only        the tables from the runs that are there
    python benchmarks/results.py --rates             milliseconds a step of the runs that are there, on this machine

Budgets are steps, so that a run is the same on a busy machine and bit for bit the same again; they were chosen to fit
the minutes of the table on two quiet cores, which --rates checks. The command line trains a
run, as a user would, into runs/results/ROW-seedN; one that is there is resumed where it was interrupted, not trained
again. What is printed stands between the marks in docs/results.md afterwards.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

import innerloop as il
from innerloop.core.allocator import keep_memory
from innerloop.recipes import load, load_run

HOME = Path(__file__).resolve().parent.parent
RUNS = HOME / "runs" / "results"
PAGE = HOME / "docs" / "results.md"
MARKS = "<!-- {}: {} -->"
DATA = Path(os.environ.get("INNERLOOP_DATA", HOME.parent / "shared" / "data"))


FIVE = ((5, 1), (5, 5))


@dataclass(frozen=True)
class Row:
    """One trained learner and where it is evaluated."""

    title: str
    train: str
    """Arguments of ``innerloop train``: the learner, then options."""
    minutes: float
    """The budget on two quiet cores, validation and the run that it starts from included."""
    protocols: tuple[tuple[int, int], ...] = ((5, 1), (5, 5), (20, 1), (20, 5))
    """Ways and shots."""
    published: str = ""
    run: str = ""
    """The row whose run this one evaluates, in place of one of its own."""
    init: str = ""
    """The row whose network the training starts from."""
    norm: str = ""
    """Evaluated under this policy, in place of the recipe's."""
    inner_steps: str = ""
    """Inner steps at test time, in place of the recipe's."""
    tasks: tuple[int, int] = (1000, 1000)
    """Test tasks of a 5-way and of a 20-way cell: fewer where each one takes an inner loop or thousands of pairs."""

    def tasks_of(self, ways: int) -> int:
        """Test tasks of a cell."""
        return self.tasks[0] if ways == 5 else self.tasks[1]


REPTILE = (
    "reptile --set net.pool=max --set options.shared_head=out --set options.optimizer=SGD --inner-lr 0.1 "
    "--set training.validate_every=999 --steps"
)
MAML = (
    "maml --set options.steps=5 --set options.test_steps=5 --inner-lr 0.03 --lr 3e-4 --set training.validate_every=500 "
    "--set validation.tasks=100 --steps"
)
MAML_PUBLISHED = "98.7 / 99.9 / 95.8 / 98.9 (transductive)"

ROWS = {
    "protonet": Row(
        "ProtoNet, filters 48-64-128-256, 40 ways",
        "protonet --ways 40 --set training.precision=bfloat16 --set training.validate_every=2125 --steps 8500",
        11,
        published="98.8 / 99.7 / 96.0 / 98.9",
    ),
    "protonet-64": Row(
        "ProtoNet, 64 filters", "protonet --width 64 --steps 3900", 10, published="98.8 / 99.7 / 96.0 / 98.9"
    ),
    "relationnet": Row(
        "RelationNet",
        "relationnet --set training.precision=bfloat16 --set training.validate_every=3000 --steps 12000",
        20,
        published="99.6 / 99.8 / 97.6 / 99.1",
        tasks=(1000, 200),
    ),
    "maml": Row(
        "MAML, second order, 5 inner steps, from ProtoNet, 64 filters",
        f"{MAML} 1000",
        16,
        published=MAML_PUBLISHED,
        tasks=(300, 60),
        init="protonet-64",
    ),
    "maml-batch": Row(
        "the same run, batch statistics",
        f"{MAML} 1000",
        16,
        FIVE,
        published=MAML_PUBLISHED,
        run="maml",
        norm="batch",
        tasks=(300, 60),
    ),
    "maml-start": Row(
        "where that run started (no MAML step)", f"{MAML} 0", 10, FIVE, tasks=(300, 60), init="protonet-64"
    ),
    "reptile": Row(
        "Reptile, from ProtoNet, 64 filters",
        f"{REPTILE} 400",
        12,
        FIVE,
        published="95.39 / 98.90 / 88.14 / 96.65",
        tasks=(200, 60),
        init="protonet-64",
    ),
    "reptile-start": Row(
        "where that run started (no Reptile step)", f"{REPTILE} 0", 10, ((5, 1),), tasks=(200, 60), init="protonet-64"
    ),
    "reptile-scratch": Row(
        "Reptile, from random weights",
        "reptile --set training.validate_every=900 --steps 1800",
        5,
        FIVE,
        published="95.39 / 98.90 / 88.14 / 96.65",
        tasks=(200, 60),
    ),
    "maml-scratch": Row(
        "MAML, second order, from random weights",
        "maml --set options.test_steps=2 --steps 15500",
        30,
        published=MAML_PUBLISHED,
        inner_steps="1",
        tasks=(200, 60),
    ),
    "versa": Row(
        "VERSA",
        "versa --set training.precision=bfloat16 --set training.validate_every=2250 --steps 9000",
        11,
        published="99.70 / 99.75 / 97.66 / 98.77",
    ),
    "statistician": Row(
        "Neural Statistician, with a classification loss",
        "statistician --set options.discriminative=10 --set training.precision=bfloat16 "
        "--set training.validate_every=2000 --steps 8000",
        12,
        published="98.1 / 99.5 / 93.2 / 98.1",
    ),
    "statistician-pure": Row(
        "Neural Statistician, the published objective alone",
        "statistician --set options.posterior=all --set augment.probability=0 --queries 7 "
        "--set training.precision=bfloat16 --set training.validate_every=2000 --steps 4000",
        10,
        published="98.1 / 99.5 / 93.2 / 98.1",
    ),
    "finetune": Row("FineTune (baseline)", "finetune --steps 800", 3),
    "untrained": Row("untrained network", "protonet --width 64 --steps 0", 0),
}


def run(arguments: list[str]) -> str:
    """Run the command line and give its standard output."""
    command = [sys.executable, "-m", "innerloop", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def steps_done(folder: Path) -> int:
    """Outer steps of a run so far, -1 where there is none."""
    metrics = folder / "metrics.jsonl"
    return len(metrics.read_text().splitlines()) if (folder / "best").exists() else -1


def train(name: str, seed: int) -> Path:
    """The folder of a trained run."""
    folder = RUNS / f"{name}-seed{seed}"
    steps = int(ROWS[name].train.split()[-1])
    if not (folder / "recipe.json").exists():
        learner, *options = ROWS[name].train.split()
        data = ["--data", "omniglot", "--root", str(DATA / "omniglot")]
        start = ["--init", str(train(ROWS[name].init, seed))] if ROWS[name].init else []
        run(["train", learner, *data, *options, *start, "--seed", str(seed), "--out", str(folder)])
    elif steps_done(folder) < steps:
        run(["resume", str(folder)])
    return folder


def evaluate(folder: Path, ways: int, shots: int, row: Row) -> dict:
    """The report of a run under one protocol, computed once and kept beside the run."""
    kept = folder / f"{ways}w{shots}s-{row.tasks_of(ways)}{row.norm}{row.inner_steps}.json"
    if not kept.exists():
        protocol = ["--ways", str(ways), "--shots", str(shots), "--queries", "15", "--tasks", str(row.tasks_of(ways))]
        protocol += ["--norm", row.norm] if row.norm else []
        protocol += ["--inner-steps", row.inner_steps] if row.inner_steps else []
        kept.write_text(run(["evaluate", str(folder), *protocol, "--seed", "0", "--json"]))
    return json.loads(kept.read_text())


def cell(reports: list[dict]) -> str:
    """Mean over seeds in percent, with the closed and the open interval (averaged over seeds)."""
    accuracy = 100 * np.mean([r["accuracy"] for r in reports])
    closed = 100 * np.mean([r["half_width"] for r in reports])
    wide = [r["open_interval"] for r in reports if r["open_interval"]]
    text = f"{accuracy:.2f} ± {closed:.2f}"
    return f"{text} ({50 * np.mean([high - low for low, high in wide]):.2f})" if wide else text


def table(names: list[str], seeds: list[int]) -> str:
    """The table in Markdown."""
    lines = [
        "| learner | 5w1s | 5w5s | 20w1s | 20w5s | ECE 5w1s | norm | transductive | seeds, tasks | minutes, steps "
        "| published |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name in names:
        row = ROWS[name]
        folders = [RUNS / f"{row.run or name}-seed{seed}" for seed in seeds]
        folders = [folder for folder in folders if steps_done(folder) >= int(row.train.split()[-1])]
        if not folders:
            continue
        cells, facts = [], {}
        for ways, shots in ((5, 1), (5, 5), (20, 1), (20, 5)):
            if (ways, shots) not in row.protocols:
                cells.append("")
                continue
            reports = [evaluate(folder, ways, shots, row) for folder in folders]
            cells.append(cell(reports))
            facts = facts or reports[0]
        steps = [steps_done(folder) for folder in folders]
        lines.append(
            f"| {row.title} | {' | '.join(cells)} | {100 * facts['calibration_error']:.2f} | {facts['norm']} | "
            f"{'yes' if facts['transductive'] else 'no'} | "
            f"{len(folders)}, {row.tasks[0]} / {row.tasks[1]} | {row.minutes}, {int(np.mean(steps))} | "
            f"{row.published} |"
        )
    return "\n".join(lines)


SINUSOID = "maml --data sinusoid --steps 60000"
INNER_STEPS = (0, 1, 5, 10)


def train_sinusoid(seed: int) -> None:
    """MAML on sinusoids, if it is not there."""
    folder = RUNS / f"sinusoid-seed{seed}"
    if not (folder / "recipe.json").exists():
        run(["train", *SINUSOID.split(), "--seed", str(seed), "--out", str(folder)])


def sinusoid_table(seeds: list[int]) -> str:
    """Query squared error of MAML on sinusoids (10 shots, 2,000 tasks of 100 queries) after several inner steps."""
    lines = [f"| seed | {' | '.join(f'{k} steps' for k in INNER_STEPS)} |", "|---" * (1 + len(INNER_STEPS)) + "|"]
    for seed in seeds:
        folder = RUNS / f"sinusoid-seed{seed}"
        if not (folder / "best").exists():
            continue
        cells = []
        for k in INNER_STEPS:
            words = ["--shots", "10", "--queries", "100", "--tasks", "2000", "--inner-steps", str(k), "--json"]
            report = json.loads(run(["evaluate", str(folder), *words]))
            cells.append(f"{report['mse']:.3f} ± {report['half_width']:.3f}")
        lines.append(f"| {seed} | {' | '.join(cells)} |")
    return "\n".join(lines)


def put(page: str, name: str, text: str) -> str:
    """The page with ``text`` between the marks of ``name``."""
    begin, end = MARKS.format(name, "begin"), MARKS.format(name, "end")
    before, rest = page.split(begin)
    _, after = rest.split(end)
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    return f"{before}{begin}\n*{today}*\n\n{text}\n{end}{after}"


def rates(names: list[str]) -> str:
    """Milliseconds of an outer step of each run that is there (median of 15), and the minutes that its steps take."""
    lines = [f"{torch.get_num_threads()} threads, torch {torch.__version__}"]
    keep_memory()
    for name in names:
        folder = RUNS / f"{name}-seed0"
        if ROWS[name].run or steps_done(folder) < 1:
            continue
        learner, (recipe, _) = load(folder), load_run(folder)
        learner.train().requires_grad_(True)
        training, sampler = recipe.training, recipe.sampler(recipe.source())
        lifted = il.lift(learner, training.get("how", "auto"), precision=training.get("precision"))
        optimizer = torch.optim.Adam(learner.parameters(), lr=1e-6)
        seconds = []
        for step in range(18):
            start = time.perf_counter()
            lifted.backward(sampler.draw(torch.Generator().manual_seed(step), training["tasks_per_step"]))
            optimizer.step()
            optimizer.zero_grad()
            seconds.append(time.perf_counter() - start)
        median, steps = float(np.median(seconds[3:])), steps_done(folder)
        lines.append(
            f"{name}: {1000 * median:.0f} ms a step ({1000 * min(seconds[3:]):.0f} to {1000 * max(seconds[3:]):.0f}), "
            f"{steps} steps {median * steps / 60:.1f} minutes without validation, budget {ROWS[name].minutes}"
        )
    return "\n".join(lines)


def main() -> None:
    """Train, evaluate, print, and put the tables into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--print-only", action="store_true")
    parser.add_argument("--rates", action="store_true")
    arguments = parser.parse_args()
    if arguments.rates:
        print(rates(arguments.rows or list(ROWS)))
        return
    unknown = set(arguments.rows) - ROWS.keys()
    if unknown:
        parser.error(f"unknown rows {sorted(unknown)}")
    if not arguments.print_only:
        if not (DATA / "omniglot").is_dir():
            parser.error(f"no Omniglot under {DATA}: set INNERLOOP_DATA")
        RUNS.mkdir(parents=True, exist_ok=True)
        for name in dict.fromkeys(ROWS[name].run or name for name in arguments.rows or ROWS):
            for seed in arguments.seeds:
                train(name, seed)
        if not arguments.rows:
            for seed in arguments.seeds:
                train_sinusoid(seed)
    for name, make in (("omniglot", partial(table, list(ROWS))), ("sinusoid", sinusoid_table)):
        text = make(arguments.seeds)
        print(text, end="\n\n")
        # Read late: other benchmarks write into the same page.
        PAGE.write_text(put(PAGE.read_text(), name, text))


if __name__ == "__main__":
    main()
