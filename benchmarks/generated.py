"""What generated examples gain over the same head without them, by shots: a table of docs/results.md.

    python benchmarks/generated.py                 trains the encoders that are not there, then scores
    python benchmarks/generated.py --tasks 200     fewer tasks

Distribution calibration on the features of a frozen encoder that was trained as a classifier of the meta-training
classes, against the identical head that draws nothing, on the same tasks: Omniglot within an alphabet (its tasks share
one of the test alphabets, no rotations) and CIFAR-FS. Omniglot has 20 drawings a character: it stops at 10 shots.
"""

from __future__ import annotations

import argparse
from collections import defaultdict

import numpy as np
import torch
from results import DATA, PAGE, RUNS, put, run

import innerloop as il
from innerloop.evaluation.evaluate import embed_all
from innerloop.recipes import load

SHOTS = (1, 2, 5, 10, 20)
COUNT = 100


def encoder(data: str, steps: int) -> tuple[torch.nn.Module, il.Pools]:
    """A classifier's encoder, trained by its recipe where it is not there, and the pools."""
    folder = RUNS / ("finetune-seed0" if data == "omniglot" else f"finetune-{data}-seed0")
    if not (folder / "best.safetensors").exists():
        words = ["--data", data, "--root", str(DATA / data), "--steps", str(steps), "--seed", "0"]
        run(["train", "finetune", *words, "--out", str(folder)])
    learner, _, pools = load(folder)
    network, _ = learner.split()
    assert network is not None
    return network, pools


@torch.no_grad()
def features(network: torch.nn.Module, pool: il.Pool) -> il.Pool:
    """The pool's examples as feature vectors."""
    z = embed_all(network, pool, torch.arange(len(pool.x)), torch.device("cpu")).flatten(1)
    return il.Pool(z, pool.sizes, pool.names)


def groups(data: str, pool: il.Pool) -> list[il.Pool]:
    """The pools that a task's classes come from: each alphabet alone, or all classes."""
    if data != "omniglot":
        return [pool]
    alphabets = defaultdict(list)
    for name in pool.names:
        if "/rot" not in name:
            alphabets[name.split("/")[0]].append(name)
    return [pool.only(names) for names in alphabets.values() if len(names) >= 5]


def gains(data: str, steps: int, tasks: int) -> str:
    """A line for accuracy without and with draws, and the paired gain, for each number of shots."""
    network, pools = encoder(data, steps)
    base = features(network, pools.train.only([name for name in pools.train.names if "/rot" not in name]))
    statistics = il.DistributionCalibration.fit_base(base.x, torch.arange(base.classes).repeat_interleave(base.sizes))
    heads = [il.DistributionCalibration(*statistics, count=count) for count in (0, COUNT)]
    parts = groups(data, features(network, pools.test))
    cells = []
    for shots in SHOTS:
        if int(min(int(part.sizes.min()) for part in parts)) < shots + 10:
            cells.append("")
            continue
        scores = [[], []]
        for number, part in enumerate(parts):
            sampler = il.FewShot(part, ways=5, shots=shots, queries=10)
            share = max(2, tasks // len(parts))
            for head, kept in zip(heads, scores, strict=True):
                report = il.evaluate(head, sampler, tasks=share, seed=number, how="vmap", chunk=20, open=False)
                kept.append(report.per_task["accuracy"])
        without, with_draws = (100 * np.concatenate(kept) for kept in scores)
        gap = il.paired(with_draws, without)
        half = (gap.interval[1] - gap.interval[0]) / 2
        cells.append(f"{without.mean():.2f} → {with_draws.mean():.2f} ({gap.mean:+.2f} ± {half:.2f})")
    name = "Omniglot, within alphabet" if data == "omniglot" else "CIFAR-FS"
    return f"| {name} | {' | '.join(cells)} |\n"


def main() -> None:
    """Score, print, and put the table into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=600)
    arguments = parser.parse_args()
    table = f"| 5-way, {COUNT} draws a shot | {' | '.join(f'{k} shots' for k in SHOTS)} |\n|---|---|---|---|---|---|\n"
    for data, steps in (("omniglot", 800), ("cifar_fs", 800)):
        table += gains(data, steps, arguments.tasks)
    print(table)
    PAGE.write_text(put(PAGE.read_text(), "generated", table.rstrip()))


if __name__ == "__main__":
    main()
