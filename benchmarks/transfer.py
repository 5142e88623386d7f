"""What pre-training buys at equal total minutes, and the bridge to multi-task learning: two tables of docs/results.md.

    python benchmarks/transfer.py                          both, seeds 0 1 2, 2 minutes a cell
    python benchmarks/transfer.py starts --data omniglot   pre-train, then meta-train, on one data set
    python benchmarks/transfer.py bridge --minutes 10      heads of known tasks, one classifier, or episodes
    python benchmarks/transfer.py --device cuda            the same steps on another device
    python benchmarks/transfer.py --print-only             the tables from the runs that are there

A cell is a run of so many minutes of one thread: all of them meta-training, or half of them pre-training (`innerloop
pretrain`, shared by the learners) and half meta-training from it (`innerloop train --init`). Minutes become steps by
the seconds that a step takes, measured once by the processor's clock and kept in runs/results/transfer, so that a run
is the same on a busy machine; the validation at the end of a run is not counted. Runs are kept there too, and resumed.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from page import DATA, RUNS, record, run, steps_done

import innerloop as il
from innerloop.core.allocator import keep_memory
from innerloop.data import Pools, registry
from innerloop.evaluation import stats
from innerloop.recipes import defaults, load

SHOTS = (1, 5)
STARTS = ("none", "classifier", "rotation", "contrastive")
#: Learner: title, and its variants, of which a start takes the one with the best validation score.
LEARNERS = {
    "maml": ("MAML", ("options.lr=0.05", "options.lr=0.4")),
    "protonet": ("ProtoNet", ("",)),
    "finetune": ("fine-tuned head", ("",)),
}
ALONE = "the start alone, new head (half the minutes)"
#: The rows of the bridge, all trained from random weights: title, what a training batch is.
BRIDGE = {
    "multitask": ("heads of 50 known 5-way tasks on one body", "a task, its own head"),
    "finetune": ("one classifier over all 64 classes", "images"),
    "protonet": ("ProtoNet", "an episode"),
}
#: Changes to the recipes: one network for all, images as they are, one validation at the end, on few tasks.
CHANGES = {
    "": ["net.width=64", "training.validate_every=1000000000", "validation.tasks=100"],
    "protonet": [f"augment.{name}" for name in ("flip=false", "shift=0", "rotate=0", "scale=0", "shear=0")],
    "maml": [
        "episodes.ways=5",
        "episodes.shots=1",
        "episodes.queries=5",
        "augment.probability=0",
        "options.body_from=0",
        "options.test_steps=1",
        "training.tasks_per_step=2",
        "training.lr=1e-3",
        "training.average=0.99",
    ],
    "multitask": ["episodes.known=50", "episodes.shots=60", "episodes.queries=60", "episodes.batch=25"],
}


@dataclass(frozen=True)
class Plan:
    """What all runs of one call have in common."""

    folder: Path
    minutes: float
    tasks: int
    train: bool
    device: str


def changes(learner: str, variant: str = "") -> list[str]:
    """The changes to a learner's recipe, as values of ``--set``."""
    return [*CHANGES[""], *CHANGES.get(learner, []), *([variant] if variant else [])]


def seconds(plan: Plan, data: str, learner: str, repeats: int = 5) -> float:
    """The processor's seconds of an outer step (median), measured once and kept."""
    kept = plan.folder / "seconds.json"
    known = json.loads(kept.read_text()) if kept.exists() else {}
    name = f"{data} {learner}"
    if name not in known:
        recipe = defaults(learner, data)
        recipe.root = str(DATA / data)
        for part, _, value in (change.partition(".") for change in changes(learner)):
            key, _, word = value.partition("=")
            getattr(recipe, part)[key] = json.loads(word)
        source = recipe.source()
        sampler, training = recipe.sampler(source), recipe.training
        built = recipe.build(sampler.facts)
        lifted = il.lift(built.train(), training.get("how", "auto"))
        optimizer = torch.optim.Adam(built.parameters(), lr=1e-6)
        taken = []
        for step in range(2 + repeats):
            start = time.process_time()
            lifted.backward(sampler.draw(torch.Generator().manual_seed(step), training["tasks_per_step"]))
            optimizer.step()
            optimizer.zero_grad()
            taken.append(time.process_time() - start)
        known[name] = float(np.median(taken[2:]))
        kept.write_text(json.dumps(known, indent=1) + "\n")
    return known[name]


def steps(plan: Plan, data: str, learner: str, share: float) -> int:
    """Outer steps of a share of the minutes."""
    return max(1, round(60 * plan.minutes * share / seconds(plan, data, learner)))


def trained(plan: Plan, data: str, seed: int, learner: str, start: str, variant: str = "") -> Path | None:
    """The folder of a run, trained, resumed, or as it is; ``None`` where it is not there and must not be trained.

    ``start`` says how its network was pre-trained: "" is a pre-training itself, "untrained" a run of no step at all.
    """
    share = {"none": 1.0, "untrained": 0.0}.get(start, 0.5)
    todo = steps(plan, data, learner, share) if share else 0
    name = "-".join(word for word in (data, learner, start, variant.partition("=")[2], f"seed{seed}") if word)
    folder = plan.folder / f"{plan.minutes:g}min-{name}"
    if not plan.train:
        return folder if steps_done(folder) >= todo else None
    if not (folder / "recipe.json").exists():
        words = ["--data", data, "--root", str(DATA / data), "--steps", str(todo), "--seed", str(seed), "--quiet"]
        words += ["--device", plan.device]
        words += [word for change in changes(learner, variant) for word in ("--set", change)]
        if start in STARTS[1:]:
            words += ["--init", str(pretrained(plan, data, seed, start))]
        run(["train", learner, *words, "--out", str(folder)])
    elif steps_done(folder) < todo:
        run(["resume", str(folder), "--quiet"])
    return folder


def pretrained(plan: Plan, data: str, seed: int, start: str) -> Path | None:
    """The folder of a pre-training."""
    if start == "none":
        return trained(plan, data, seed, "finetune", "untrained")
    return trained(plan, data, seed, "finetune" if start == "classifier" else start, "")


def chosen(plan: Plan, data: str, seed: int, learner: str, start: str) -> Path | None:
    """The variant of a learner with the best score on validation tasks."""
    folders = [trained(plan, data, seed, learner, start, variant) for variant in LEARNERS[learner][1]]
    scores = [-np.inf if f is None else il.bundle.read(f).origin["score"] for f in folders]
    return None if None in folders else folders[int(np.argmax(scores))]


@cache
def pools(data: str) -> Pools:
    """The data set, as every run is tested on it."""
    read = registry.read(data, str(DATA / data))
    assert isinstance(read, Pools)
    return read


def accuracies(plan: Plan, data: str, folder: Path, shots: int) -> list[float]:
    """The accuracy on each test task, in percent, computed once; the tasks are the same for every run."""
    kept = folder / f"5w{shots}s-{plan.tasks}.json"
    if not kept.exists():
        sampler = il.FewShot(pools(data).test, ways=5, shots=shots, queries=15)
        report = il.evaluate(load(folder), sampler, tasks=plan.tasks, seed=0, open=False, device=plan.device)
        kept.write_text(json.dumps([100 * float(value) for value in report.per_task["accuracy"]]))
    return json.loads(kept.read_text())


def scores(plan: Plan, data: str, folders: list[Path | None], shots: int) -> np.ndarray | None:
    """Of the runs of all seeds, ``[seeds, T]``; ``None`` where one is missing."""
    there = [folder for folder in folders if folder is not None]
    if len(there) < len(folders):
        return None
    return np.asarray([accuracies(plan, data, folder, shots) for folder in there])


def cell(values: np.ndarray | None, against: np.ndarray | None = None) -> str:
    """The mean with its interval over tasks; against others the paired difference, and in how many seeds it leads."""
    if values is None:
        return ""
    low, high = stats.interval(values.mean(0))
    text = f"{values.mean():.1f} ± {(high - low) / 2:.1f}"
    if against is None:
        return text
    gap = stats.paired(values.mean(0), against.mean(0))
    above = int((values.mean(1) > against.mean(1)).sum())
    return f"{text}; {gap.mean:+.1f} ({gap.interval[0]:+.1f} to {gap.interval[1]:+.1f}), {above} of {len(values)}"


def starts_table(plan: Plan, names: list[str], seeds: list[int]) -> str:
    """Accuracy by learner and start, with the paired difference to no pre-training."""
    lines = [f"| data, 5-way | learner | {' | '.join(STARTS)} |", "|---" * (2 + len(STARTS)) + "|"]
    for data in names:
        folders = {
            (title, start): [chosen(plan, data, seed, learner, start) for seed in seeds]
            for learner, (title, _) in LEARNERS.items()
            for start in STARTS
        }
        folders |= {(ALONE, start): [pretrained(plan, data, seed, start) for seed in seeds] for start in STARTS}
        for shots in SHOTS:
            for title in dict.fromkeys(title for title, _ in folders):
                row = [scores(plan, data, folders[title, start], shots) for start in STARTS]
                cells = [cell(row[0]), *(cell(values, row[0]) for values in row[1:])]
                lines.append(f"| {data}, {shots}-shot | {title} | {' | '.join(cells)} |")
    return "\n".join(
        [*lines, "", budget(plan, names, ["finetune", "rotation", "contrastive", "protonet", "maml"], seeds)]
    )


def bridge_table(plan: Plan, seeds: list[int]) -> str:
    """Accuracy on CIFAR-FS by how the body was trained, with the paired difference to per-task heads."""
    lines = ["| trained as | a batch is | 5-way 1-shot | 5-way 5-shot |", "|---|---|---|---|"]
    folders = {name: [trained(plan, "cifar_fs", seed, name, "none") for seed in seeds] for name in BRIDGE}
    values = {name: [scores(plan, "cifar_fs", runs, shots) for shots in SHOTS] for name, runs in folders.items()}
    for name, (title, batch) in BRIDGE.items():
        others = values["multitask"] if name != "multitask" else (None, None)
        cells = [cell(own, other) for own, other in zip(values[name], others, strict=True)]
        lines.append(f"| {title} | {batch} | {' | '.join(cells)} |")
    untrained = [pretrained(plan, "cifar_fs", seed, "none") for seed in seeds]
    cells = [cell(scores(plan, "cifar_fs", untrained, shots)) for shots in SHOTS]
    lines.append(f"| not at all | | {' | '.join(cells)} |")
    return "\n".join([*lines, "", budget(plan, ["cifar_fs"], list(BRIDGE), seeds)])


def budget(plan: Plan, names: list[str], learners: list[str], seeds: list[int]) -> str:
    """What the minutes were in steps."""
    rates = "; ".join(
        f"{data}: "
        + ", ".join(
            f"{name} {1000 * seconds(plan, data, name):.0f} ({steps(plan, data, name, 1.0)})" for name in learners
        )
        for data in names
    )
    return (
        f"{plan.minutes:g} minutes of one thread a cell, seeds {' '.join(map(str, seeds))}, {plan.tasks} test tasks. "
        f"Milliseconds of an outer step (steps in all the minutes): {rates}."
    )


def main() -> None:
    """Train, evaluate, print, and put the tables into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help="starts, bridge; default both")
    parser.add_argument("--data", nargs="+", default=["omniglot", "cifar_fs"])
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--tasks", type=int, default=400)
    parser.add_argument("--device", default="cpu", help="where to train; steps follow from the processor's time")
    parser.add_argument("--folder", type=Path, default=RUNS / "transfer")
    parser.add_argument("--print-only", action="store_true")
    given = parser.parse_args()
    unknown = set(given.parts) - {"starts", "bridge"}
    if unknown:
        parser.error(f"unknown parts {sorted(unknown)}")
    # The budgets are minutes of one thread; the command line's processes inherit it.
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    keep_memory()
    given.folder.mkdir(parents=True, exist_ok=True)
    plan = Plan(given.folder, given.minutes, given.tasks, not given.print_only, given.device)
    tables = {
        "starts": lambda: starts_table(plan, given.data, given.seeds),
        "bridge": lambda: bridge_table(plan, given.seeds),
    }
    for part in given.parts or tables:
        text = tables[part]()
        print(text, end="\n\n", flush=True)
        # Runs elsewhere are trials: the page shows those of the repository.
        if given.folder == RUNS / "transfer":
            record(part, text)


if __name__ == "__main__":
    main()
