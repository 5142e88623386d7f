"""Minutes to 98 % on Omniglot, 5-way 1-shot, from random weights: a table of docs/performance.md.

    python benchmarks/minutes.py                 ProtoNet, seeds 0 1 2
    python benchmarks/minutes.py --seeds 3       another seed

A budget of steps is chosen beforehand and the whole schedule runs in it, so the score is that of a finished training,
not the luck of a validation on the way. The clock is that of the training, data in memory; scores are on 1,000 test
tasks.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from page import DATA, run
from speed import KEPT, PAGE, machine, put

import innerloop as il
from innerloop.core import checkpoint
from innerloop.core.allocator import keep_memory
from innerloop.recipes import load, load_run

OMNIGLOT = f"--data omniglot --root {DATA / 'omniglot'} --set training.validate_every=100000"
#: Title, arguments of `innerloop train`, seeds.
ROWS = {
    "protonet": (
        "ProtoNet, 64 filters, bfloat16 encoder",
        "protonet --width 64 --set training.precision=bfloat16 --set training.average=0.98 --lr 4e-3 --steps 550",
        (0, 1, 2),
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--seeds", nargs="+", type=int)
    given = parser.parse_args()
    keep_memory()
    lines = ["| | seed | minutes | steps | accuracy, 5-way 1-shot |", "|---|---|---|---|---|"]
    for name in given.rows or ROWS:
        title, arguments, seeds = ROWS[name]
        for seed in given.seeds or seeds:
            folder = KEPT / f"minutes-{name}-{seed}"
            shutil.rmtree(folder, ignore_errors=True)
            run(["train", *arguments.split(), *OMNIGLOT.split(), "--seed", str(seed), "--out", str(folder)])
            lines.append(f"| {title} | {seed} | {row(folder)} |")
    text = "\n".join(lines) + f"\n\n*{machine()}*"
    print(text)
    PAGE.write_text(put(PAGE.read_text(), "minutes", text))


def row(folder: Path) -> str:
    _, facts = checkpoint.load(folder / "last.safetensors")
    recipe, _ = load_run(folder)
    sampler = recipe.episodes_of(recipe.source(), "test", ways=5, shots=1, queries=15)
    report = il.evaluate(load(folder), sampler, tasks=1000, seed=0, open=False)
    low, high = report.interval
    (folder / "score.json").write_text(json.dumps(report.json()))
    return f"{facts['seconds'] / 60:.2f} | {facts['step']} | {100 * report.value:.2f} ± {50 * (high - low):.2f}"


if __name__ == "__main__":
    main()
