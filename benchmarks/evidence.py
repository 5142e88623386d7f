"""How good the evidence of learners is: wrong labels on Omniglot, deletion on CIFAR-FS, agreement, stability.

    python benchmarks/evidence.py --runs runs/results            the tables of docs/evidence.md
    python benchmarks/evidence.py --runs runs/results --only omniglot/maml/test       one part, kept for the tables

Tasks have 5 classes of 5 examples. Which evidence is best is picked on tasks of the validation classes and reported on
those of the test classes. "In context" is the package's network for tables, which reads the features that the
ProtoNet's encoder gives, along the first principal components of meta-training images; their number is picked likewise.
Scores of each part are kept in runs/evidence; the runs are those that `innerloop train` wrote, by the names below.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from page import DATA, HOME, RUNS, record
from torch import Tensor

import innerloop as il
from innerloop.cli.runs import judged_by
from innerloop.core.files import write_text_atomically
from innerloop.core.plain import json_of
from innerloop.encoders.incontext import InContextHead
from innerloop.evidence.quality import score_evidence
from innerloop.learners.head import Head
from innerloop.recipes import load

KEPT = HOME / "runs" / "evidence"
#: The run of each learner, and one of another seed.
NAMES = {
    "omniglot": {
        "protonet": ("omniglot-protonet-seed0", "omniglot-protonet-seed1"),
        "relationnet": ("omniglot-relationnet-seed0", "omniglot-relationnet-seed1"),
        "maml": ("omniglot-maml-seed0", ""),
        "incontext4": ("omniglot-protonet-seed0", ""),
        "incontext8": ("omniglot-protonet-seed0", ""),
    },
    "cifar_fs": {
        "protonet": ("curves-cifar_fs-protonet-all-seed0", ""),
        "relationnet": ("cifar_fs-relationnet-seed0", ""),
        # Five inner steps for each of 25 refits: minutes a task.
        "maml": ("cifar_fs-maml-seed0", ""),
        "incontext8": ("curves-cifar_fs-protonet-all-seed0", ""),
    },
}
WORDS = {
    "protonet": "ProtoNet", "relationnet": "RelationNet", "maml": "MAML",
    "incontext4": "in context, 4 components", "incontext8": "in context, 8 components",
}  # fmt: skip
#: Test tasks; there are half as many of the validation classes.
TASKS = {"omniglot": 30, "cifar_fs": 16}
#: Meta-training tasks of 25 images that tell the axes.
FOR_AXES = 40
EXACT = {"leave-one-out", "margin", "influence", "relabel"}
Rows = list[dict[str, Any]]


class Principal(Head):
    """The package's in-context network on features along given axes.

    Args:
        mean: of the features, ``[F]``.
        axes: orthonormal, ``[C, F]``. Not the support set's own: without one example those are others, and with them
            every number that the network reads.
    """

    def __init__(self, mean: Tensor, axes: Tensor) -> None:
        super().__init__(il.Categorical())
        self.register_buffer("mean", mean)
        self.register_buffer("axes", axes)
        self.head = InContextHead()

    def adapt(self, support: il.Examples, state: Any = None) -> il.Examples:  # noqa: D102
        return self.head.adapt(il.Examples(self._along(support.x), support.y), state)

    def predict(self, state: il.Examples, x: Tensor) -> Tensor:  # noqa: D102
        return self.head.predict(state, self._along(x))

    def numbers(self, examples: int, classes: int, features: int) -> int:
        """Those of the network, and the features."""
        return self.head.numbers(examples, classes, len(self.axes)) + examples * features

    def _along(self, z: Tensor) -> Tensor:
        return (z.flatten(1) - self.mean) @ self.axes.mT


def learner_of(name: str, run: Path, root: Path) -> il.Learner:
    """A trained learner, or the in-context network behind its encoder, along components of meta-training features."""
    found = load(run)
    if not name.startswith("incontext"):
        return found
    encoder, _ = found.split()
    assert encoder is not None
    sampler, _ = judged_by(run, 5, 5, 1, "train", root=root)
    images = sampler.draw(torch.Generator().manual_seed(0), FOR_AXES).support.x.flatten(0, 1)
    with torch.no_grad():
        z = encoder.eval()(images).flatten(1)
    _, _, axes = torch.linalg.svd(z - z.mean(0), full_matrices=False)
    head = Principal(z.mean(0), axes[: int(name.removeprefix("incontext"))].clone())
    return il.learners.Embedded(encoder, head).eval()


def part(data: str, name: str, split: str, tasks: int, runs: Path, device: str, seed: int) -> Rows:
    """Scores of a learner on tasks of a split, kept."""
    kept = KEPT / f"{data}-{name}-{split}-{tasks}-{seed}.json"
    if not kept.exists():
        run, again = NAMES[data][name]
        sampler, _ = judged_by(runs / run, 5, 5, 1, split, root=DATA / data)
        learner = learner_of(name, runs / run, DATA / data).to(device)
        other = learner_of(name, runs / again, DATA / data).to(device) if again and (runs / again).exists() else None
        begun = time.monotonic()
        found = score_evidence(
            learner, sampler, tasks=tasks, seed=seed, deletion=data == "cifar_fs", other=other,
            progress=partial(say, f"{data}/{name}/{split}", tasks, begun),
        )  # fmt: skip
        KEPT.mkdir(parents=True, exist_ok=True)
        write_text_atomically(kept, json_of(found.json()))
    rows: Rows = json.loads(kept.read_text())["scores"]
    return rows


def say(what: str, tasks: int, begun: float, done: int) -> None:
    """How far a part is."""
    if done % 10 == 0 or done == tasks:
        print(f"{what}: {done} of {tasks} tasks, {time.monotonic() - begun:.0f} s", flush=True)


def value(row: dict[str, Any], digits: int = 3) -> str:
    """A mean with its interval; one without an end is said so."""
    low, high = ("inf" if end is None else f"{end:.{digits}f}" for end in (row["low"], row["high"]))
    mean = "inf" if row["value"] is None else f"{row['value']:.{digits}f}"
    return f"{mean} ({low} to {high})"


def of(rows: Rows, score: str) -> dict[str, dict[str, Any]]:
    """The rows of a score, by what it is of."""
    return {row["of"]: row for row in rows if row["score"].startswith(score)}


def best(rows: Rows, score: str, wanted: Callable[[str], bool]) -> str:
    """The name of the highest value, the first of equals."""
    found = {name: row for name, row in of(rows, score).items() if wanted(name)}
    return max(found, key=lambda name: found[name]["value"])


def wrong_labels(names: list[str], get: Callable[[str, str, str], Rows]) -> list[str]:
    """Table: one wrong label in 25, Omniglot."""
    lines = ["| learner | best evidence | AUROC | leave-one-out | self-confidence | best without refits | AUROC |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for name in names:
        val, test = get("omniglot", name, "val"), get("omniglot", name, "test")
        first = best(val, "AUROC", lambda one: one != "self-confidence")
        cheap = best(val, "AUROC", lambda one: one not in EXACT and one != "self-confidence")
        found = of(test, "AUROC")
        cells = [first, value(found[first], 4), value(found["leave-one-out"], 4), value(found["self-confidence"], 4)]
        lines.append(f"| {WORDS[name]} | {' | '.join(cells)} | {cheap} | {value(found[cheap], 4)} |")
    return lines


def deletion(names: list[str], get: Callable[[str, str, str], Rows]) -> list[str]:
    """Table: the share of answers that turn, CIFAR-FS."""
    lines = ["| learner | removed | turned, 1 of 25 | 2 of 25 | 4 of 25 | times random, 1 | 2 | 4 | area between |"]
    lines += ["|---|---|---|---|---|---|---|---|---|"]
    for name in names:
        val, test = get("cifar_fs", name, "val"), get("cifar_fs", name, "test")
        cheap = best(val, "area", lambda one: one != "leave-one-out" and "random" not in one)
        for order in ("at random", "own class at random", "leave-one-out", cheap):
            cells = [value(of(test, f"answers turned, {gone} ")[order]) for gone in (1, 2, 4)]
            for gone in (1, 2, 4):
                row = of(test, f"times random, {gone} ").get(order)
                cells.append("" if row is None else value(row, 1))
            area = of(test, "area").get(order)
            cells.append("" if area is None else value(area))
            said = f"{order}, by validation the best without refits" if order == cheap else order
            lines.append(f"| {WORDS[name]} | {said} | {' | '.join(cells)} |")
    return lines


def agreement(names: dict[str, list[str]], get: Callable[[str, str, str], Rows]) -> list[str]:
    """Table: rank agreement with leave-one-out, and with another training."""
    lines = [
        "| data | learner | evidence | Spearman | Kendall | with another seed's, Spearman |",
        "|---|---|---|---|---|---|",
    ]
    for data, learners in names.items():
        for name in learners:
            rows = get(data, name, "test")
            spearman, kendall = (of(rows, f"agreement with exact, {kind}") for kind in ("Spearman", "Kendall"))
            stable = of(rows, "stability")
            for evidence in ("leave-one-out", *spearman):
                cells = [
                    value(table[evidence], 2) if evidence in table else "" for table in (spearman, kendall, stable)
                ]
                if any(cells):
                    lines.append(f"| {data} | {WORDS[name]} | {evidence} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--runs", type=Path, default=RUNS, help="folder of the trained runs")
    ask.add_argument("--tasks", type=int, help="test tasks; default 30 of Omniglot, 16 of CIFAR-FS")
    ask.add_argument("--learners", nargs="*", default=list(WORDS), help="that the tables have; default all with runs")
    ask.add_argument("--seed", type=int, default=0)
    ask.add_argument("--device", default="cpu")
    ask.add_argument("--only", nargs="*", default=[], help="DATA/LEARNER/SPLIT, computed and kept")
    ask.add_argument("--write", action="store_true", help="keep the records and put the tables into docs/evidence.md")
    asked = ask.parse_args()
    torch.set_num_threads(1)

    def get(data: str, name: str, split: str) -> Rows:
        tasks = asked.tasks or TASKS[data]
        tasks, seed = (tasks, asked.seed) if split == "test" else (tasks // 2, asked.seed + 1)
        return part(data, name, split, tasks, asked.runs, asked.device, seed)

    if asked.only:
        for words in asked.only:
            get(*words.split("/"))
        return
    there = {
        data: [one for one in names if one in asked.learners and (asked.runs / names[one][0]).exists()]
        for data, names in NAMES.items()
    }
    tables = {
        "evidence-labels": wrong_labels(there["omniglot"], get),
        "evidence-deletion": deletion(there["cifar_fs"], get),
        "evidence-agreement": agreement(there, get),
    }
    for name, lines in tables.items():
        print("\n".join(lines), end="\n\n")
        if asked.write:
            record(name, "\n".join(lines), device=asked.device.upper())


if __name__ == "__main__":
    main()
