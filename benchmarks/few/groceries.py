"""Groceries: photographs of 81 kinds, features of EfficientNet-lite0, the head chosen by itself.

    python benchmarks/few/groceries.py                 the table of docs/results.md (about half an hour on two cores)
    python benchmarks/few/groceries.py --tasks 20      a look
    python benchmarks/few/groceries.py --seed 1        other draws

`innerloop` is `FewShotClassifier(encoder="photographs")` on the files themselves. Baselines run on what others would
take, the last layer's mean of a picture's middle at 224 pixels ("plain"), and on the encoder's own vectors ("our
vectors"). The encoder's views, mixes, limits and penalty were chosen on other draws, of 41 of the kinds, and on
drawings and rendered shapes: docs/results.md says how.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np
import torch

import innerloop as il
from innerloop.core.cache import folder
from innerloop.data import read_image
from innerloop.encoders.photographs import Photographs, network

sys.path.insert(0, str(Path(__file__).resolve().parent))
from protocol import BASELINES, Answer, Cell, Contestant, run, table, write

DATA = Path(os.environ.get("INNERLOOP_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
OURS = "innerloop"


def plain(files: list[str]) -> np.ndarray:
    """The last layer's mean of the middle of each picture, ``[N, 1280]``."""
    net, rows = network(), []
    with torch.inference_mode():
        for start in range(0, len(files), 16):
            part = [read_image(file, size=256, fit="crop")[:, 16:240, 16:240] for file in files[start : start + 16]]
            rows.append(net((torch.stack(part).float() - 127) / 128)["head"].mean((2, 3)))
    return torch.cat(rows).numpy()


def kept(name: str, files: list[str]) -> np.ndarray:
    """The plain features, computed once."""
    path = folder() / "few" / f"{name}.npy"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, plain(files))
    return np.load(path)


def ourselves(encoder: Photographs) -> Contestant:
    """The estimator on files; what is known is told by the largest cosine to a class's mean."""
    plainly = BASELINES["cosine prototypes"]

    def contestant(x: np.ndarray, y: np.ndarray, queries: np.ndarray, outside: np.ndarray) -> Answer:
        few = il.FewShotClassifier(encoder=encoder).fit(list(x), y)
        proba = few.predict_proba(list(queries))
        known = None
        if len(outside):
            vectors = [encoder.transform(list(part)) for part in (x, queries, outside)]
            known = plainly(vectors[0], y, vectors[1], vectors[2]).known
        return Answer(proba, known)

    return contestant


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--tasks", type=int, default=200)
    ask.add_argument("--draws", type=int, default=10, help="tasks of all classes")
    ask.add_argument("--seed", type=int, default=0)
    ask.add_argument("--only", default="", help="tasks whose name begins so, such as 81-way")
    ask.add_argument("--write", action="store_true", help="put the table into docs/results.md")
    asked = ask.parse_args()
    torch.set_num_threads(1)
    found = sorted((DATA / "groceries" / "images").glob("*/*.jpg"))
    files = np.array([str(path) for path in found])
    _, classes = np.unique([path.parent.name for path in found], return_inverse=True)
    encoder = Photographs(cache=folder() / "few")
    vectors, plainly = encoder.transform(list(files)), kept("groceries-plain", list(files))
    contestants: dict[str, tuple[np.ndarray, Contestant]] = {OURS: (files, ourselves(encoder))}
    contestants |= {f"{name}, plain": (plainly, one) for name, one in BASELINES.items()}
    contestants |= {f"{name}, our vectors": (vectors, one) for name, one in BASELINES.items()}
    cells = {
        "5-way 1-shot": Cell(5, 1, asked.tasks, outside=100),
        "5-way 5-shot": Cell(5, 5, asked.tasks, outside=100),
        "81-way 1-shot": Cell(0, 1, asked.draws),
        "81-way 5-shot": Cell(0, 5, asked.draws),
    }
    scores = {
        title: run(classes, cell, asked.seed, contestants)
        for title, cell in cells.items()
        if title.startswith(asked.only)
    }
    text = table(scores, OURS)
    print(text)
    if asked.write:
        write("few-groceries", text)


if __name__ == "__main__":
    main()
