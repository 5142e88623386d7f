"""Tasks of "Knowing what it does not know": features of the library's encoders, made once and kept in runs/knowing.

Classes of each data set fall into two halves by a fixed seed: the first for what is tuned or fitted, the second for
tables.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from page import DATA, HOME
from sklearn.datasets import load_digits

import innerloop as il
from innerloop.encoders.photographs import Photographs
from innerloop.encoders.sentences import Sentences
from innerloop.estimators.choice import HEADS, SINGLE, Choice, candidates, choose, ready
from innerloop.learners.head import Head

KEPT = HOME / "runs" / "knowing"
SETS = ("groceries", "banking77", "clinc150")
Classes = list[np.ndarray]


def table(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Features ``[N, H]`` and the class of each, from runs/knowing, or made there."""
    file = KEPT / f"{name}.npz"
    if not file.exists():
        if name == "groceries":
            items = sorted(map(str, (DATA / name / "images").glob("*/*.jpg")))
            labels = [Path(item).parent.name for item in items]
            features = Photographs().transform(items)
        else:
            pairs = list(sentences(name))
            labels = [label for _, label in pairs]
            features = Sentences().transform([text for text, _ in pairs])
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, x=np.asarray(features, dtype=np.float32), y=np.array(labels))
    with np.load(file) as kept:
        return kept["x"].astype(np.float64), kept["y"]


def sentences(name: str) -> Iterator[tuple[str, str]]:
    """Texts and labels of all parts."""
    if name == "banking77":
        for part in ("train", "test"):
            with (DATA / name / f"{part}.csv").open(encoding="utf-8", newline="") as lines:
                yield from ((row["text"], row["category"]) for row in csv.DictReader(lines))
    else:
        for rows in json.loads((DATA / name / "data_full.json").read_text(encoding="utf-8")).values():
            yield from ((text, label) for text, label in rows)


def classes(name: str, half: str = "second") -> tuple[Classes, np.ndarray]:
    """Features of each class of a half (or ``all``), and those of no class."""
    x, y = table(name)
    known = [x[y == label] for label in np.unique(y) if label != "oos"]
    order = np.random.default_rng(99).permutation(len(known))
    middle = len(known) // 2
    kept = {"first": order[:middle], "second": order[middle:], "all": order}[half]
    return [known[i] for i in kept], x[y == "oos"]


@lru_cache
def classes_of(name: str, half: str = "second") -> Classes:
    """Features of each class of a half, read once."""
    return classes(name, half)[0]


@lru_cache
def digits() -> list[np.ndarray]:
    """Pixels of each class."""
    found = load_digits()
    return [found.data[found.target == c] for c in range(10)]


def blobs(random: np.random.Generator, ways: int) -> Classes:
    """Normal classes of 4 to 384 numbers, from hardly to well apart."""
    size = int(random.choice([4, 16, 64, 384]))
    apart = 1.5 * float(np.exp(random.uniform(np.log(0.1), np.log(3)))) * size**-0.25
    return [apart * random.normal(size=size) + random.normal(size=(110, size)) for _ in range(ways)]


def task(
    of: Classes, random: np.random.Generator, counts: np.ndarray, queries: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Examples, labels, queries, labels, and the classes that they are of."""
    picked = random.choice(len(of), len(counts), replace=False)
    parts = [(of[c], random.permutation(len(of[c]))) for c in picked]
    x = [rows[order[:count]] for (rows, order), count in zip(parts, counts, strict=True)]
    q = [rows[order[count : count + queries]] for (rows, order), count in zip(parts, counts, strict=True)]
    y, t = (np.repeat(np.arange(len(counts)), [len(part) for part in some]) for some in (x, q))
    return np.concatenate(x), y, np.concatenate(q), t, picked


def sizes(random: np.random.Generator, most: int) -> tuple[int, np.ndarray]:
    """Shots, and examples of each class: 5 to 60 in all, of equal counts in seven tasks of ten."""
    shots = int(random.choice([2, 3, 5, 8]))
    ways = int(random.choice([d for d in (2, 3, 5, 10, 15) if 5 <= d * shots <= 60 and d <= most]))
    if random.random() < 0.7:
        return shots, np.full(ways, shots)
    return shots, np.maximum(1, random.multinomial(ways * shots - ways, np.full(ways, 1 / ways)) + 1)


def few(x: np.ndarray, y: np.ndarray) -> il.Examples:
    """As a head takes them."""
    return il.Examples(torch.from_numpy(x), torch.eye(int(y.max()) + 1, dtype=torch.float64)[torch.from_numpy(y)])


def makers(data: str) -> dict[str, Callable[[], Head]]:
    """Heads that are tried: the usual ones, and that of photographs. That of sentences was trained on these."""
    return {**Photographs().heads(), **HEADS} if data == "groceries" else dict(HEADS)


def decided(name: str, x: np.ndarray, y: np.ndarray, data: str) -> tuple[Head, Choice]:
    """A head by name or chosen among all, and what is said of it."""
    made, support, single = makers(data), few(x, y), "depths" if data == "groceries" else SINGLE
    if name == "auto":
        heads = candidates(len(x), support.y.shape[1], x.shape[1], made, single)
    else:
        heads = {name: ready(made[name]())}
    choice = choose(heads, support, single)
    return heads[choice.name], choice
