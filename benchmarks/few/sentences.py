"""Few examples of one's own, sentences: `banking77` and `clinc150` on MiniLM's features.

    python benchmarks/few/sentences.py --write

Support sets come from the training part of a corpus, queries from its test part. The meta-learned head of the rows of
one corpus has been trained on the other one alone; the head is chosen as by :class:`innerloop.FewShotClassifier`.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from corpora import OUTSIDE, Corpus, pool_of, read
from learned_head import train
from protocol import BASELINES, Answer, Cell, Contestant, Scores, head, run, table, write
from torch.nn import functional as F

import innerloop as il
from innerloop.encoders import Sentences
from innerloop.estimators.called import called
from innerloop.estimators.choice import HEADS, candidates, choose
from innerloop.learners.head import Head

ENCODER = Sentences()
OURS = "chosen, with the labels' words"
PLAIN = "chosen by leave-one-out"
CELLS = {
    "banking77": {
        "banking77, 77-way 1-shot": Cell(0, 1, tasks=10),
        "banking77, 77-way 5-shot": Cell(0, 5, tasks=10),
        "banking77, 5-way 1-shot": Cell(5, 1, queries=15, outside=75),
        "banking77, 5-way 5-shot": Cell(5, 5, queries=15, outside=75),
        "banking77, 15-way 5-shot": Cell(15, 5, queries=15, outside=225),
    },
    "clinc150": {
        "clinc150, 150-way 1-shot": Cell(0, 1, tasks=10),
        "clinc150, 150-way 5-shot": Cell(0, 5, tasks=10),
        "clinc150, 5-way 1-shot": Cell(5, 1, queries=15, outside=75),
        "clinc150, 5-way 5-shot": Cell(5, 5, queries=15, outside=75),
        "clinc150, 15-way 5-shot": Cell(15, 5, queries=15, outside=225),
    },
}


def chosen(learned: Callable[[], Head], named: bool) -> Contestant:
    """The head that leave-one-out chooses, with its temperature; what is known by :func:`familiarity`.

    ``named``: what classes are called joins their examples, where these speak for it.
    """

    def contestant(
        x: np.ndarray, y: np.ndarray, queries: np.ndarray, outside: np.ndarray, names: np.ndarray | None = None
    ) -> Answer:
        rows = torch.eye(int(y.max()) + 1, dtype=torch.float64)[torch.from_numpy(y)]
        support = il.Examples(torch.from_numpy(x).double(), rows)
        heads = candidates(len(x), rows.shape[1], x.shape[1], {"learned": learned, **HEADS}, "learned")
        words = called(ENCODER, names) if names is not None else None
        if words is not None and words.believed(support):
            heads = {name: words.primed(one) for name, one in heads.items()}
            counts["words"] = counts.get("words", 0) + 1
        choice = choose(heads, support, single="learned")
        asked = torch.from_numpy(np.concatenate((queries, outside))).double()
        one = heads[choice.name]
        raw = one.predict(one.adapt(support), asked[: len(queries)])[0]
        proba = (raw / choice.temperature).softmax(1)
        counts[choice.name] = counts.get(choice.name, 0) + 1
        return Answer(proba.numpy(), familiarity(support, asked).numpy())

    counts: dict[str, int] = {}
    contestant.counts, contestant.named = counts, named  # type: ignore[attr-defined]
    return contestant


def familiarity(support: il.Examples, x: torch.Tensor) -> torch.Tensor:
    """How near a query is to a class, for how near its own examples are: of the nearest class, ``[Q]``.

    The cosine to the prototype and half of that to the class's nearest example, less half of the examples' mean cosine
    to their prototype. The halves were chosen on the training parts, other draws.
    """
    z, q, y = F.normalize(support.x, dim=1), F.normalize(x, dim=1), support.y
    prototypes = F.normalize(y.mT @ z, dim=1)
    spread = ((z @ prototypes.mT) * y).sum(0) / y.sum(0)
    nearest = (q @ z.mT).unsqueeze(2).masked_fill(y == 0, -1).amax(1)
    return (q @ prototypes.mT + 0.5 * nearest - 0.5 * spread).amax(1)


def rows_of(name: str, corpus: Corpus, learned: Head, tasks: int | None, only: str) -> dict[str, dict[str, Scores]]:
    """All cells of a corpus."""
    strangers = np.flatnonzero((corpus.intents == OUTSIDE) & (corpus.parts == "oos_test"))
    found = {}
    for title, cell in CELLS[name].items():
        if only not in title:
            continue
        cell = (
            cell if tasks is None else Cell(cell.ways, cell.shots, min(tasks, cell.tasks), cell.queries, cell.outside)
        )
        plain, ours = chosen(lambda: learned, False), chosen(lambda: learned, True)
        contestants: Mapping[str, tuple[np.ndarray, Contestant]] = {
            **{key: (corpus.x, one) for key, one in BASELINES.items()},
            "learned": (corpus.x, head(lambda: learned)),
            PLAIN: (corpus.x, plain),
            OURS: (corpus.x, ours),
        }
        found[title] = run(
            corpus.intents,
            cell,
            0,
            contestants,
            support=corpus.rows("train"),
            queries=corpus.rows("test"),
            strangers=strangers if cell.ways == 0 and len(strangers) else None,
        )
        print(table({title: found[title]}, OURS), ours.counts, flush=True)  # type: ignore[attr-defined]
    return found


def main() -> None:
    """All rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--on", nargs="+", default=list(CELLS), choices=list(CELLS))
    parser.add_argument("--tasks", type=int, help="at most so many a row, for a quick look")
    parser.add_argument("--only", default="", help="rows whose title holds this")
    parser.add_argument("--cache", type=Path, help="folder that features are kept in")
    parser.add_argument("--write", action="store_true", help="into docs/results.md")
    given = parser.parse_args()
    torch.set_num_threads(1)
    # One example a class is a task, and no regression.
    warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
    corpora = {name: read(name, given.cache) for name in CELLS}
    for name in given.on:
        (other,) = (one for one in CELLS if one != name)
        learned = train(*pool_of(corpora[other]), seed=0)
        found = rows_of(name, corpora[name], learned, given.tasks, given.only)
        if given.write:
            write(f"sentences-{name}", table(found, OURS))


if __name__ == "__main__":
    main()
