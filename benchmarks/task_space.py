"""Are tasks of the same classes alike to a learner? The law that a task space must hold, on Omniglot and CIFAR-FS.

    python benchmarks/task_space.py                                       by the mean feature (a minute on two cores)
    python benchmarks/task_space.py --method features --method fisher     by the Fisher information, too (ten minutes)

Tasks are drawn from sets of five test classes that share none, and of Omniglot from alphabets; printed is the AUROC of
two tasks being of the same set, by their similarity, with its interval over three draws of sets and tasks. The runs are
those of the committed recipes, in the folder of runs as omniglot-protonet-seed0 and so on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from page import DATA, RUNS, record, run

import innerloop as il
from innerloop.cli.runs import judged_by
from innerloop.evaluation.stats import interval
from innerloop.evidence import task_space
from innerloop.recipes import load

ROWS = {
    "omniglot-protonet": ("Omniglot, ProtoNet", "omniglot"),
    "omniglot-maml": ("Omniglot, MAML", "omniglot"),
    "cifar_fs-maml": ("CIFAR-FS, MAML", "cifar_fs"),
}
#: Sets of classes, tasks of each, and draws of both.
SETS, TASKS, DRAWS = 4, 4, 3


def trained(name: str, train: bool) -> Path:
    """The folder of a run DATA-LEARNER, trained by its committed recipe where it is not there and that is asked for."""
    folder = RUNS / f"{name}-seed0"
    if train and not (folder / "best").exists():
        data, _, learner = name.rpartition("-")
        where = ["--data", data, "--root", str(DATA / data)]
        print(run(["train", learner, *where, "--quiet", "--out", str(folder)]), flush=True)
    return folder


def few_shot(pool: il.Pool, names: list[str]) -> il.FewShot:
    """Tasks of five of the classes, 5 shots each."""
    return il.FewShot(pool.only(names), ways=5, shots=5, queries=1)


def groups(pool: il.Pool, data: str, seed: int) -> dict[str, dict[str, il.FewShot]]:
    """Samplers by group, by what makes a group."""
    names = [name for name in pool.names if "@" not in name]
    order = np.random.default_rng(seed).permutation(len(names)).tolist()
    sets = {f"set {i}": [names[place] for place in order[5 * i : 5 * i + 5]] for i in range(SETS)}
    found = {"the same classes": {name: few_shot(pool, chosen) for name, chosen in sets.items()}}
    if data == "omniglot":
        scripts: dict[str, list[str]] = {}
        for name in names:
            scripts.setdefault(name.partition("/")[0], []).append(name)
        large = [script for script in sorted(scripts) if len(scripts[script]) >= 20]
        chosen = np.random.default_rng(seed).permutation(large)[:6].tolist()
        found["the same alphabet"] = {script: few_shot(pool, scripts[script]) for script in chosen}
    return found


def cell(values: list[float]) -> str:
    """A mean over draws, with half of its interval."""
    low, high = interval(np.array(values), bounds=(0, 1))
    mean = float(np.mean(values))
    return f"{mean:.3f}" if np.ptp(values) == 0 else f"{mean:.3f} ({low:.3f} to {high:.3f})"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", choices=("features", "fisher"), action="append")
    parser.add_argument("--seed", type=int, default=0, help="of the first draw")
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--train", action="store_true", help="train first what is not there (half an hour a run)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    methods = arguments.method or ["features"]
    lines = [f"| run | alike is | {' | '.join(methods)} |", "|---" * (2 + len(methods)) + "|"]
    for name, (title, data) in ROWS.items():
        folder = trained(name, arguments.train)
        if not (folder / "best").exists():
            print(f"{folder} is not there: {title} is left out")
            continue
        learner = load(folder)
        pool = judged_by(folder, 5, 5, 1, "test", root=DATA / data)[0].pool
        values: dict[str, dict[str, list[float]]] = {}
        for draw in range(arguments.seed, arguments.seed + arguments.draws):
            for kind, samplers in groups(pool, data, draw).items():
                for method in methods:
                    found = task_space(learner, samplers, method=method, tasks=TASKS, seed=draw)
                    values.setdefault(kind, {}).setdefault(method, []).append(found.separation)
        for kind, by in values.items():
            lines.append(f"| {title} | {kind} | {' | '.join(cell(by[method]) for method in methods)} |")
            print(lines[-1], flush=True)
    print("\n".join(lines))
    if methods == ["features"] and arguments.draws == DRAWS:
        record("inside-tasks", "\n".join(lines))


if __name__ == "__main__":
    main()
