"""How true is attribution to the input? Each method against what happens where parts of the input are taken away.

    python benchmarks/attribution.py                       all tables (some 15 minutes on two cores)
    python benchmarks/attribution.py drawings sentences    some of them

What was found stands in the folder of runs, so that it is not computed again. Printed is the share of the mean squared
change that the contributions leave unexplained, over random sets of parts: 0 is perfect, 1 no better than saying that
nothing matters; and, of drawings, the sensitivity. Each query is one of a task of its own: of Omniglot by the run
omniglot-protonet-seed0 (the committed recipe) in the folder of runs, of requests (banking77), of flowers (iris).
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from page import DATA, RUNS, record
from task_space import trained

import innerloop as il
from innerloop.cli.runs import judged_by
from innerloop.core.task import take
from innerloop.evaluation.stats import interval
from innerloop.evidence import Attribution, attribute
from innerloop.evidence.parts import METHODS
from innerloop.recipes import load

#: Parts in random rectangles, as many for all methods.
SAMPLES = 50


def drawings(folder: Path, queries: int, seed: int) -> Iterator[tuple[str, Attribution]]:
    """Omniglot 5-way 1-shot by a run, the contributions of pixels or patches of 4 x 4 pixels."""
    sampler, _ = judged_by(folder, 5, 1, 1, "test", root=DATA / "omniglot")
    learner = load(folder)
    tasks = sampler.draw(torch.Generator().manual_seed(seed), queries)
    for number in range(queries):
        support, query = take(tasks, number)
        # Shapley values of 49 patches take thousands of predictions.
        for method in METHODS[:3]:
            yield method, attribute(learner, support, query.x[:1], method, samples=SAMPLES, sensitive=2, seed=number)[0]


def sentences(queries: int, seed: int) -> Iterator[tuple[str, Attribution]]:
    """banking77, 5-way 5-shot, the contributions of words."""
    rows = list(csv.DictReader((DATA / "banking77" / "test.csv").open(encoding="utf-8")))
    by: dict[str, list[str]] = {}
    for one in rows:
        by.setdefault(one["category"], []).append(one["text"])
    random = np.random.default_rng(seed)
    for number in range(queries):
        names = random.choice(sorted(by), 5, replace=False)
        texts = [random.choice(by[name], 6, replace=False).tolist() for name in names]
        X, y = [text for row in texts for text in row[:5]], [name for name in names for _ in range(5)]
        few = il.FewShotClassifier("sentences", class_names=False).fit(X, y)
        query = texts[number % 5][5]
        if len(query.split()) > 1:
            for method in METHODS:
                yield method, few.attribute([query], method, samples=SAMPLES, seed=number)[0]


def tables(queries: int, seed: int) -> Iterator[tuple[str, Attribution]]:
    """Iris, 10 rows a class as a frame, the contributions of columns."""
    import pandas as pd
    from sklearn.datasets import load_iris

    data = load_iris(as_frame=True)
    random = np.random.default_rng(seed)
    for number in range(queries):
        order = np.concatenate([random.permutation(50)[:11] + 50 * label for label in range(3)]).reshape(3, 11)
        known, asked = order[:, :10].ravel(), order[number % 3, 10:]
        few = il.FewShotClassifier().fit(pd.DataFrame(data.data.iloc[known]), data.target.iloc[known])
        for method in ("occlusion", "shapley"):
            yield method, few.attribute(data.data.iloc[asked], method, samples=SAMPLES, seed=number)[0]


TABLES = {
    "drawings": "Omniglot, ProtoNet",
    "sentences": "banking77, words",
    "tables": "iris, columns",
}


def attributions(name: str, queries: int, seed: int, train: bool) -> Iterator[tuple[str, Attribution]]:
    """Of a table, each with its method."""
    if name == "drawings":
        return drawings(trained("omniglot-protonet", train), queries, seed)
    return sentences(queries, seed) if name == "sentences" else tables(queries, seed)


def cell(values: list[float | None]) -> str:
    """The median, and the middle half: a few shares are far above 1."""
    there = [value for value in values if value is not None]
    if not there:
        return ""
    low, middle, high = np.quantile(there, (0.25, 0.5, 0.75))
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", metavar="table", help=f"of {', '.join(TABLES)}")
    parser.add_argument("--queries", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--train", action="store_true", help="train first what is not there (half an hour a run)")
    arguments = parser.parse_args()
    names = arguments.tables or list(TABLES)
    if unknown := [name for name in names if name not in TABLES]:
        parser.error(f"{unknown[0]} is none of {', '.join(TABLES)}")
    torch.set_num_threads(1)
    titles = (
        "input",
        "method",
        "unexplained, median (quartiles)",
        "below 1, % (95 %)",
        "sensitivity, median (quartiles)",
    )
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for name in names:
        title = TABLES[name]
        kept = RUNS / f"attribution-{name}-{arguments.queries}-{arguments.seed}.json"
        if kept.exists():
            lines += json.loads(kept.read_text())
            continue
        first = len(lines)
        found: dict[str, list[Attribution]] = {}
        for method, one in attributions(name, arguments.queries, arguments.seed, arguments.train):
            found.setdefault(method, []).append(one)
        for method, each in found.items():
            shares = np.array([one.unexplained for one in each])
            better = (shares < 1).astype(float)
            low, high = interval(better, bounds=(0, 1))
            lines.append(
                f"| {title} | {method} | {cell(shares.tolist())} | {100 * better.mean():.0f} ({100 * low:.0f} to "
                f"{100 * high:.0f}) | {cell([one.sensitivity for one in each])} |"
            )
            print(lines[-1], flush=True)
        kept.write_text(json.dumps(lines[first:]))
    print("\n".join(lines))
    if not arguments.tables:
        record("inside-attribution", "\n".join(lines))


if __name__ == "__main__":
    main()
