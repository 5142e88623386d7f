"""Meta-train the head for sentences on features of the library's encoder, minutes on one core.

    python benchmarks/few/learned_head.py --on clinc150 banking77 --out src/innerloop/weights/sentences_head
    python benchmarks/few/learned_head.py --on clinc150 --choose

The first trains what the package ships, on both corpora. `benchmarks/few/sentences.py` trains one on each corpus and
scores it on the other. `--choose` is how the options of training were chosen: on all-way tasks of the other corpus,
from its training part and of another seed than the figures; and, for what a head gains on intents of its own corpus,
on each group of intents by a head that was trained on the others.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from corpora import Corpus, grouped, pool_of, read
from torch import Generator

import innerloop as il
from innerloop.data import FewShot, Pool
from innerloop.data.episodes import Sampler
from innerloop.evaluation.stats import interval

CORPORA = ["clinc150", "banking77"]
#: Chosen with `--choose`. With 400 steps at 1e-3 it gains on its own corpus, and loses on the other.
STEPS, TOGETHER, LR, NOISE = 100, 4, 5e-4, 0.5


class Mixed(Sampler):
    """Tasks of 10 to 40 ways and 1 to 5 shots, few shots more often; all tasks of a draw are of one size."""

    def __init__(self, pool: Pool, queries: int = 3) -> None:
        self.pool, self.queries = pool, queries

    def draw(self, generator: Generator, tasks: int) -> il.Task:
        """A batch of tasks."""
        one, other = torch.rand(2, generator=generator).tolist()
        ways = 10 + int(one * (min(self.pool.classes, 40) - 9))
        return FewShot(self.pool, ways=ways, shots=int(5.99**other), queries=self.queries).draw(generator, tasks)


def train(
    x: torch.Tensor,
    intents: Sequence[str],
    *,
    seed: int = 0,
    steps: int = STEPS,
    together: int = TOGETHER,
    lr: float = LR,
    **options: Any,
) -> il.learners.LearnedKernel:
    """The head that is meta-trained on features ``[N, H]`` of sentences with these intents."""
    head = il.learners.LearnedKernel(features=x.shape[1], **{"noise": NOISE, **options})
    il.fit(
        head,
        Mixed(Pool.of(x, intents)),
        steps=steps,
        tasks_per_step=together,
        how="loop",
        optimizer="AdamW",
        lr=lr,
        warmup=0.1,
        clip=1.0,
        seed=seed,
        progress=False,
    )
    return head.eval().requires_grad_(False)


def held_out_groups(corpus: Corpus, options: dict[str, Any], shots: int, tasks: int = 4) -> np.ndarray:
    """Accuracies on tasks of all intents of a group, by a head that was trained on the others."""
    found = []
    names = np.unique(corpus.intents)
    for kept in grouped(corpus).values():
        head = train(*pool_of(corpus, intents=np.setdiff1d(names, [*kept, "oos"])), **options)
        pool = Pool.of(*pool_of(corpus, intents=kept))
        sampler = FewShot(pool, ways=len(kept), shots=shots, queries=15)
        found += il.evaluate(head, sampler, tasks=tasks, open=False).per_task["accuracy"].tolist()
    return np.array(found)


def other_corpus(own: Corpus, other: Corpus, options: dict[str, Any], shots: int, tasks: int = 4) -> np.ndarray:
    """Accuracies on all-way tasks of the training part of another corpus than it was trained on."""
    rows = other.rows("train")
    pool = Pool.of(torch.from_numpy(other.x[rows]), other.intents[rows].tolist())
    sampler = FewShot(pool, ways=pool.classes, shots=shots, queries=6)
    report = il.evaluate(train(*pool_of(own), **options), sampler, tasks=tasks, seed=77, open=False)
    return report.per_task["accuracy"]


def main() -> None:
    """Train and keep, or choose."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--on", nargs="+", default=CORPORA, choices=CORPORA)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--choose", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, help="folder that features are kept in")
    given = parser.parse_args()
    corpora = [read(name, given.cache) for name in given.on]
    if given.choose:
        for options in ({"steps": 0}, {}, {"steps": 400, "together": 1, "lr": 1e-3}):
            for name, corpus in zip(given.on, corpora, strict=True):
                other = read(next(one for one in CORPORA if one != name), given.cache)
                for shots in (1, 5):
                    for what, found in (
                        ("own intents", held_out_groups(corpus, options, shots)),
                        ("the other corpus", other_corpus(corpus, other, options, shots)),
                    ):
                        low, high = (100 * end for end in interval(found))
                        text = f"{100 * found.mean():.1f} ± {(high - low) / 2:.1f}"
                        print(f"trained on {name}, {options}, {shots}-shot, {what}: {text}", flush=True)
    if given.out:
        head = train(*pool_of(*corpora), seed=given.seed)
        print(keep(head, given.on, given.seed, given.out))


def keep(head: il.learners.LearnedKernel, names: Sequence[str], seed: int, out: Path) -> Path:
    """Write the bundle that the package ships."""
    return il.save(
        out,
        head,
        card={
            "what": "The head `learned` for sentences: kernel ridge regression and prototypes after a linear map.",
            "data": (
                "Features of all-MiniLM-L6-v2 of BANKING77 (Casanueva et al. 2020, CC BY 4.0) and CLINC150 (Larson et "
                "al. 2019, CC BY 3.0), all their sentences with an intent."
            ),
            "license": "Apache-2.0; the data ask for the attribution above",
            "figures": "docs/results.md: those of heads that were trained on one of both corpora, on the other",
            "limits": "English requests, a sentence each; for features of all-MiniLM-L6-v2 alone",
        },
        origin={"data": list(names), "command": "python benchmarks/few/learned_head.py", "seed": seed},
        replace=True,
    )


if __name__ == "__main__":
    main()
