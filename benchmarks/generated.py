"""What generated examples gain over the same head without them, by shots: a table of docs/results.md.

    python benchmarks/generated.py                 trains the encoders that are not there, then scores
    python benchmarks/generated.py --tasks 200     fewer tasks

On the features of a frozen encoder that was trained as a classifier of the meta-training classes: Omniglot within an
alphabet (a task's classes share one of the test alphabets, no rotations; 20 drawings a character, so it stops at 10
shots) and CIFAR-FS. Distribution calibration stands beside the identical head that draws nothing; the hallucinator and
MetaGAN, meta-trained on one-shot tasks, beside prototypes that are trained alike on a linear map of the same features.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from results import DATA, PAGE, RUNS, put, run

import innerloop as il
from innerloop.evaluation.evaluate import embed_all
from innerloop.recipes import load

SHOTS = (1, 2, 5, 10, 20)
COUNT = 100
STEPS = 1000


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


def calibrated(base: il.Pool) -> tuple[il.Learner, il.Learner]:
    """Logistic regression on the support features alone, and with draws about them (nothing is trained)."""
    labels = torch.arange(base.classes).repeat_interleave(base.sizes)
    statistics = il.DistributionCalibration.fit_base(base.x, labels)
    return il.DistributionCalibration(*statistics, count=0), il.DistributionCalibration(*statistics, count=COUNT)


def trained(kind: Callable[..., il.Learner], base: il.Pool) -> tuple[il.Learner, il.Learner]:
    """Prototypes on a linear map of the features, and the same with generated features, trained alike."""
    size = base.x.shape[1]
    learners = []
    for make in (il.ProtoNet, kind):
        torch.manual_seed(0)
        learner = make(il.nets.mlp(size, size), **({} if make is il.ProtoNet else {"features": size}), scale=1 / size)
        episodes = il.FewShot(base, ways=10, shots=1, queries=10)
        il.fit(learner, episodes, steps=STEPS, tasks_per_step=8, how="vmap", lr=1e-3, seed=0, progress=False)
        learners.append(learner)
    return learners[0], learners[1]


METHODS = {
    "distribution calibration": calibrated,
    "hallucinator": partial(trained, il.Hallucinator),
    "MetaGAN": partial(trained, il.MetaGAN),
}


def gains(data: str, steps: int, tasks: int) -> str:
    """A line a method: accuracy without and with generated features, and the paired gain, by shots."""
    network, pools = encoder(data, steps)
    base = features(network, pools.train.only([name for name in pools.train.names if "/rot" not in name]))
    parts = groups(data, features(network, pools.test))
    name = "Omniglot, within alphabet" if data == "omniglot" else "CIFAR-FS"
    return "".join(f"| {name} | {title} | {line(make(base), parts, tasks)} |\n" for title, make in METHODS.items())


def line(heads: tuple[il.Learner, il.Learner], parts: list[il.Pool], tasks: int) -> str:
    """The cells of a line."""
    cells = []
    for shots in SHOTS:
        if min(int(part.sizes.min()) for part in parts) < shots + 10:
            cells.append("")
            continue
        scores: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
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
    return " | ".join(cells)


def main() -> None:
    """Score, print, and put the table into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=600)
    arguments = parser.parse_args()
    table = f"| 5-way | method | {' | '.join(f'{k} shots' for k in SHOTS)} |\n{'|---' * (2 + len(SHOTS))}|\n"
    for data, steps in (("omniglot", 800), ("cifar_fs", 800)):
        table += gains(data, steps, arguments.tasks)
    print(table)
    PAGE.write_text(put(PAGE.read_text(), "generated", table.rstrip()))


if __name__ == "__main__":
    main()
