"""Groceries: what photographs without a label add to a few with one.

    python benchmarks/few/unlabeled.py             the table of docs/results.md

Tasks of 5 kinds: some labelled photographs of each, and 20 without a label, of which some are of the task's kinds (each
as often as it comes) and the others of other kinds; queries are all other photographs of the kinds. All contestants
learn from the encoder's vectors; those that take labels alone see no others. The head's factor, steps and similarity
that is as much of no class as of one were chosen on the first 40 kinds and draws of seed 7; figures are of the others.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

import innerloop as il
from innerloop.core.cache import folder
from innerloop.encoders.photographs import Photographs
from innerloop.evaluation.stats import interval, paired

sys.path.insert(0, str(Path(__file__).resolve().parent))
from protocol import write

DATA = Path(os.environ.get("INNERLOOP_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
#: Kinds that options were chosen on.
TUNED, WAYS, FREE = 40, 5, 20


class Draw(NamedTuple):
    """One task, as places in the features."""

    support: np.ndarray
    y: np.ndarray
    free: np.ndarray
    queries: np.ndarray
    truth: np.ndarray


def draw(classes: np.ndarray, kinds: np.ndarray, shots: int, own: int, seed: tuple[int, int]) -> Draw:
    """A task with ``own`` unlabelled photographs of its kinds, and others up to 20."""
    generator = np.random.default_rng(seed)
    chosen = generator.permutation(kinds)
    places = [generator.permutation(np.flatnonzero(classes == name)) for name in chosen[:WAYS]]
    support = np.concatenate([part[:shots] for part in places])
    rest = generator.permutation(np.concatenate([part[shots:] for part in places]))
    strangers = generator.permutation(np.flatnonzero(np.isin(classes, chosen[WAYS:])))
    code = {name: number for number, name in enumerate(chosen[:WAYS])}
    queries = rest[FREE:]
    return Draw(
        support,
        np.repeat(np.arange(WAYS), shots),
        np.concatenate((rest[:own], strangers[: FREE - own])),
        queries,
        np.array([code[classes[place]] for place in queries]),
    )


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--tasks", type=int, default=200)
    ask.add_argument("--seed", type=int, default=0)
    ask.add_argument("--write", action="store_true", help="put the table into docs/results.md")
    asked = ask.parse_args()
    torch.set_num_threads(1)
    found = sorted((DATA / "groceries" / "images").glob("*/*.jpg"))
    _, classes = np.unique([path.parent.name for path in found], return_inverse=True)
    kinds = np.unique(classes)[TUNED:]
    encoder = Photographs(cache=folder() / "few")
    x = torch.from_numpy(encoder.transform(list(map(str, found)))).double()
    labels_alone = {
        f"{encoder.single}, labels alone": encoder.heads()[encoder.single],
        "prototypes, labels alone": lambda: il.learners.Prototypes(distance="cosine"),
    }
    all_of_them = {
        "prototypes, less the mean of the unlabelled": lambda: il.learners.SoftMeans(steps=0),
        "soft-means": il.learners.SoftMeans,
    }
    heads = {
        name: make().double().eval().requires_grad_(False) for name, make in {**labels_alone, **all_of_them}.items()
    }
    lines = [
        "| task | of 20 unlabelled, of its kinds | head | accuracy | gain of soft-means |",
        "|---|---|---|---|---|",
    ]
    rows = torch.eye(WAYS, dtype=torch.float64)
    for shots in (1, 5):
        for own in (20, 10, 0):
            right: dict[str, list[float]] = {name: [] for name in heads}
            for number in range(asked.tasks):
                task = draw(classes, kinds, shots, own, (asked.seed, number))
                few = il.Examples(x[task.support], rows[torch.from_numpy(task.y)])
                free = x[task.free]
                more = il.Examples(torch.cat((few.x, free)), torch.cat((few.y, torch.zeros(FREE, WAYS).double())))
                for name, head in heads.items():
                    state = head.adapt(few if name in labels_alone else more)
                    answers = head.predict(state, x[task.queries])[0].argmax(1).numpy()
                    right[name].append(float((answers == task.truth).mean()))
            ours = np.array(right["soft-means"])
            for place, (name, values) in enumerate(right.items()):
                low, high = interval(np.array(values))
                gain = ""
                if name != "soft-means":
                    difference = paired(ours, np.array(values))
                    ends = [100 * end for end in difference.interval]
                    gain = f"{100 * difference.mean:+.1f} ({ends[0]:+.1f} to {ends[1]:+.1f})"
                lead = f"{WAYS}-way {shots}-shot | {own}" if not place else " | "
                accuracy = f"{100 * np.mean(values):.1f} ± {50 * (high - low):.1f}"
                lines.append(f"| {lead} | {name} | {accuracy} | {gain} |")
    text = "\n".join(lines)
    print(text)
    if asked.write:
        write("few-unlabeled", text)


if __name__ == "__main__":
    main()
