"""What generated examples gain over the same head without them, by shots: a table of docs/results.md.

    python benchmarks/generated.py                 trains the encoders that are not there, then scores
    python benchmarks/generated.py --tasks 200     fewer tasks
    python benchmarks/generated.py --heads RUN     other heads on a CIFAR-FS classifier: a table of docs/evidence.md

On the features of a frozen encoder that was trained as a classifier of the meta-training classes: Omniglot within an
alphabet (a task's classes share one of the test alphabets, no rotations; 20 drawings a character, so it stops at 10
shots) and CIFAR-FS. Distribution calibration stands beside the identical head that draws nothing; the hallucinator and
MetaGAN, meta-trained on one-shot tasks, beside prototypes that are trained alike on a linear map of the same features.
All choices are made on validation classes at one shot.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from page import DATA, RUNS, record, run

import innerloop as il
from innerloop.evaluation.evaluate import embed_all
from innerloop.recipes import load, load_run

SHOTS = (1, 2, 5, 10, 20)
COUNT = 100
STEPS = 1000
#: Of squared distances between features of unit length.
SCALE = 10.0
#: Validation tasks behind the choice of settings.
CHOICE = 200


def encoder(data: str, steps: int) -> tuple[torch.nn.Module, il.Pools]:
    """A classifier's encoder, trained by its recipe where it is not there, and the pools."""
    folder = RUNS / ("finetune-seed0" if data == "omniglot" else f"finetune-{data}-seed0")
    if not (folder / "best").exists():
        words = ["--data", data, "--root", str(DATA / data), "--steps", str(steps), "--seed", "0"]
        run(["train", "finetune", *words, "--out", str(folder)])
    network, _ = load(folder).split()
    pools = load_run(folder)[0].source()
    assert network is not None
    assert isinstance(pools, il.Pools)
    return network, pools


@torch.no_grad()
def features(network: torch.nn.Module, pool: il.Pool) -> il.Pool:
    """The pool as feature vectors of unit length: square roots of rectified features, which are less skewed."""
    z = embed_all(network, pool, torch.arange(pool.examples), torch.device("cpu")).flatten(1).sqrt()
    return il.Pool(torch.nn.functional.normalize(z, dim=1), pool.sizes, pool.names)


def groups(data: str, pool: il.Pool) -> list[il.Pool]:
    """The pools that a task's classes come from: each alphabet alone, or all classes."""
    if data != "omniglot":
        return [pool]
    alphabets = defaultdict(list)
    for name in pool.names:
        if "/rot" not in name:
            alphabets[name.split("/")[0]].append(name)
    return [pool.only(names) for names in alphabets.values() if len(names) >= 5]


Heads = tuple[il.Learner, il.Learner]


def calibrated(base: il.Pool, val: il.Pool) -> Heads:
    """Logistic regression on the support features alone, and with draws about them.

    Nothing is trained; how draws lie and spread is chosen on validation classes.
    """
    labels = torch.arange(base.classes).repeat_interleave(base.sizes)
    head = partial(
        il.learners.DistributionCalibration,
        *il.learners.DistributionCalibration.fit_base(base.x, labels),
        power=1.0,
        lr=0.5,
    )
    episodes = il.FewShot(val, ways=5, shots=1, queries=10)
    options = [{"neighbors": k, "pull": pull, "alpha": 0.0} for k in (2, 5) for pull in (0.0, 0.2, 0.5)]
    scores = [accuracy(head(count=COUNT, **chosen), episodes, CHOICE, 1).mean() for chosen in options]
    best = options[int(np.argmax(scores))]
    print(f"distribution calibration: {best}; on validation classes {max(scores):.4f}, lowest {min(scores):.4f}")
    return head(count=0), head(count=COUNT, **best)


def trained(kind: Callable[..., il.Learner], base: il.Pool, val: il.Pool) -> Heads:
    """Prototypes on a linear map of the features, and the same with generated features: the best on validation tasks.

    Both start from the identity.
    """
    size = base.x.shape[1]
    learners = []
    for make, options in ((il.ProtoNet, {}), (kind, {"features": size})):
        torch.manual_seed(0)
        adapter = torch.nn.Linear(size, size)
        torch.nn.init.eye_(adapter.weight)
        torch.nn.init.zeros_(adapter.bias)
        learner = make(adapter, **options, scale=SCALE)
        il.fit(
            learner,
            il.FewShot(base, ways=5, shots=1, queries=10),
            validate=il.FewShot(val, ways=5, shots=1, queries=10),
            validate_tasks=CHOICE,
            steps=STEPS,
            tasks_per_step=8,
            how="vmap",
            lr=1e-3,
            seed=0,
            progress=False,
        )
        learners.append(learner)
    return learners[0], learners[1]


def accuracy(head: il.Learner, episodes: il.FewShot, tasks: int, seed: int) -> np.ndarray:
    """Of each task."""
    report = il.evaluate(head, episodes, tasks=tasks, seed=seed, how="vmap", chunk=20, open=False)
    return report.per_task["accuracy"]


METHODS = {
    "distribution calibration": calibrated,
    "hallucinator": partial(trained, il.learners.Hallucinator),
    # Logits of prototypes are at most 0: "fake" starts where a class of no likeness lies.
    "MetaGAN": partial(trained, partial(il.learners.MetaGAN, fake=-2 * SCALE)),
}


def gains(data: str, steps: int, tasks: int) -> str:
    """A line a method: accuracy without and with generated features, and the paired gain, by shots."""
    network, pools = encoder(data, steps)
    base, val = (
        features(network, pool.only([name for name in pool.names if "/rot" not in name]))
        for pool in (pools.train, pools.val)
    )
    parts = groups(data, features(network, pools.test))
    name = "Omniglot, within alphabet" if data == "omniglot" else "CIFAR-FS"
    return "".join(f"| {name} | {title} | {line(make(base, val), parts, tasks)} |\n" for title, make in METHODS.items())


def line(heads: Heads, parts: list[il.Pool], tasks: int) -> str:
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
                kept.append(accuracy(head, sampler, share, number))
        without, with_draws = (100 * np.concatenate(kept) for kept in scores)
        gap = il.paired(with_draws, without)
        half = (gap.interval[1] - gap.interval[0]) / 2
        cells.append(f"{without.mean():.2f} → {with_draws.mean():.2f} ({gap.mean:+.2f} ± {half:.2f})")
    return " | ".join(cells)


#: Heads that the hallucinator feeds, from what is chosen on validation classes, and the choices.
FED: dict[str, tuple[Callable[..., il.learners.Head], list[float]]] = {
    "ridge regression": (lambda penalty: il.learners.Ridge(penalty=penalty), [0.1, 1.0]),
    "logistic regression": (lambda C: il.learners.LogisticRegression(C=C), [1.0, 10.0]),
}


def fed(folder: str, tasks: int) -> str:
    """Heads alone, on a linear map that is meta-trained alike, and with generated features."""
    network, _ = load(folder).split()
    assert network is not None
    pools = il.data.cifar_fs(DATA / "cifar_fs")
    base, val, test = (features(network, first(pool, 150)) for pool in (pools.train, pools.val, pools.test))
    size = base.x.shape[1]
    told = il.FewShot(val, ways=5, shots=1, queries=10)
    lines = [
        "| head | shots | alone | on a meta-trained map | with generated features | gain over the better of both |"
    ]
    lines.append("|---|---|---|---|---|---|")
    for title, (make, choices) in FED.items():
        found = [accuracy(il.learners.Embedded(torch.nn.Identity(), make(c)), told, CHOICE, 1).mean() for c in choices]
        best = choices[int(np.argmax(found))]
        torch.manual_seed(0)
        adapter = torch.nn.Linear(size, size)
        torch.nn.init.eye_(adapter.weight)
        torch.nn.init.zeros_(adapter.bias)
        learners = {
            "alone": il.learners.Embedded(torch.nn.Identity(), make(best)),
            "map": il.learners.Embedded(adapter, make(best)),
            "generated": il.learners.Hallucinator(torch.nn.Identity(), head=make(best), features=size, count=5),
        }
        for name in ("map", "generated"):
            il.fit(
                learners[name], il.FewShot(base, ways=5, shots=1, queries=10), validate=told, validate_tasks=CHOICE,
                steps=400, tasks_per_step=8, how="vmap", lr=1e-3, seed=0, progress=False,
            )  # fmt: skip
        for shots in (1, 2, 5):
            sampler = il.FewShot(test, ways=5, shots=shots, queries=10)
            scores = {name: 100 * accuracy(one, sampler, tasks, 7) for name, one in learners.items()}
            rival = max(("alone", "map"), key=lambda name: scores[name].mean())
            gap = il.paired(scores["generated"], scores[rival])
            means = " | ".join(f"{one.mean():.2f}" for one in scores.values())
            low, high = gap.interval
            lines.append(f"| {title} | {shots} | {means} | {gap.mean:+.2f} ({low:+.2f} to {high:+.2f}) |")
            print(lines[-1], flush=True)
    return "\n".join(lines)


def first(pool: il.Pool, each: int) -> il.Pool:
    """The first examples of each class."""
    starts = pool.sizes.cumsum(0) - pool.sizes
    index = torch.cat([torch.arange(int(start), int(start) + each) for start in starts])
    return il.Pool(pool.x[index], torch.full_like(pool.sizes, each), pool.names)


def main() -> None:
    """Score, print, and put the table into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=600)
    parser.add_argument("--heads", metavar="RUN", help="a trained finetune run on CIFAR-FS")
    arguments = parser.parse_args()
    if arguments.heads:
        record("generated_heads", fed(arguments.heads, arguments.tasks))
        return
    table = f"| 5-way | method | {' | '.join(f'{k} shots' for k in SHOTS)} |\n{'|---' * (2 + len(SHOTS))}|\n"
    for data, steps in (("omniglot", 800), ("cifar_fs", 800)):
        table += gains(data, steps, arguments.tasks)
    print(table)
    record("generated", table.rstrip())


if __name__ == "__main__":
    main()
