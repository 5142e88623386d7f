"""What exact evidence costs: refits beside one adaptation, and Shapley values beside a plain loop of refits.

    python benchmarks/refits.py                  the table (some minutes on one thread)
    python benchmarks/refits.py --only maml      some rows
    python benchmarks/refits.py --print-only     without writing it into docs/evidence.md

Seconds are those of one thread's own work, the shortest of some runs that take turns, so that a busy machine changes
the ratios little; the weights are random, on which no time depends. A task is 5-way 5-shot, its images of Omniglot's
size, its tables of 8 columns. The plain loop adapts to each subset and predicts, one after the other, by the same code.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from page import put

import innerloop as il
from innerloop.core import norm
from innerloop.core.layout import fast_layout
from innerloop.evidence import answered, leave_one_out, others

PAGE = Path(__file__).resolve().parent.parent / "docs" / "evidence.md"
WAYS, SHOTS = 5, 5


class Row(NamedTuple):
    """A learner and what it learns from."""

    name: str
    learner: il.Learner
    support: il.Examples
    reach: str
    """The ratio of leave-one-out that was to be reached."""


def conv(policy: str) -> il.nets.Conv4:
    """The strided network of MAML on Omniglot."""
    return il.nets.conv4(norm=policy, pool="stride", out=WAYS)


def rows() -> Iterator[Row]:
    """The learners of the table."""
    torch.manual_seed(0)
    y = torch.eye(WAYS).repeat(SHOTS, 1)
    images = il.Examples(torch.rand(len(y), 1, 28, 28), y)
    yield Row("ProtoNet, conv-4, running", il.ProtoNet(calibrated(il.nets.conv4(), images.x)), images, "1.2")
    yield Row("RelationNet, conv-4, running", relationnet(images.x), images, "")
    for policy in ("none", "group", "support"):
        for steps in (1, 2):
            name = f"MAML, conv-4 strided, {policy}, {steps} step{'s' if steps > 1 else ''}"
            yield Row(name, il.MAML(conv(policy), steps=steps, lr=0.4), images, "6")
    yield Row("ANIL, conv-4 strided, group, 5 steps", il.ANIL(conv("group"), steps=5), images, "")
    table = il.Examples(torch.randn(len(y), 8), y)
    yield Row("in-context, 8 columns", il.learners.InContext(), table, "8")


def calibrated(net: torch.nn.Module, x: torch.Tensor) -> torch.nn.Module:
    """With running statistics of some images."""
    norm.calibrate(net, [x])
    return net


def relationnet(x: torch.Tensor) -> il.RelationNet:
    """On maps of 7 x 7."""
    return il.RelationNet(calibrated(il.nets.conv4(maps=True, pools=2), x))


def seconds(ways: dict[str, Callable[[], object]], runs: int) -> dict[str, float]:
    """Of one thread's work, the least of some runs that take turns."""
    found = dict.fromkeys(ways, float("inf"))
    for name, run in ways.items():
        run()
        for _ in range(1 if name == "plain" else runs):
            start = time.thread_time()
            run()
            found[name] = min(found[name], time.thread_time() - start)
    return found


def line(row: Row, runs: int) -> str:
    """One row of the table."""
    learner, support = row.learner.eval(), row.support
    x = torch.rand(15 * WAYS, *support.x.shape[1:])
    kept = others(len(support.x))

    @torch.no_grad()
    def once(part: il.Examples, queries: torch.Tensor) -> torch.Tensor:
        with norm.fused():
            return learner.predict(learner.adapt(il.Examples(fast_layout(part.x), part.y)), fast_layout(queries))

    def plain() -> None:
        for i, rest in enumerate(kept):
            once(il.Examples(support.x[rest], support.y[rest]), support.x[i : i + 1])

    found = seconds(
        {
            "one": lambda: once(support, x),
            "few": lambda: once(support, x[:WAYS]),
            "own": lambda: leave_one_out(learner, support),
            "few queries": lambda: answered(learner, support, kept, x[:WAYS]),
            "queries": lambda: answered(learner, support, kept, x),
            "plain": plain,
        },
        runs,
    )
    one, few = found["one"], found["few"]
    return (
        f"| {row.name} | {1000 * one:.1f} | {1000 * found['own']:.1f} | **{found['own'] / one:.1f}** "
        f"| {row.reach and f'<= {row.reach}'} | {found['plain'] / one:.1f} | {found['few queries'] / few:.1f} "
        f"| {found['queries'] / one:.1f} |"
    )


def shapley(runs: int) -> list[str]:
    """The shipped in-context classifier on 10 rows of 3 classes and 4 columns: all 1,023 subsets."""
    random = np.random.RandomState(0)
    y = np.arange(10) % 3
    X, x = random.normal(size=(10, 4)) + y[:, None], np.full((1, 4), 0.8)
    model = il.InContextClassifier().fit(X, y)

    def plain() -> None:
        for _ in range(8):
            rows = np.sort(random.permutation(10)[:5])
            il.InContextClassifier().fit(X[rows], y[rows]).predict_proba(x)

    ways = {"exact": lambda: model.explain(x, turn=False, shapley=True), "plain": plain}
    found = seconds(ways, runs)
    loop = found["plain"] / 8 * 1023
    return [
        "",
        "Exact Shapley values of 10 rows by the shipped in-context classifier, 1,023 refits of an ensemble of 2",
        f"and its trees, and leave-one-out beside them: **{found['exact']:.1f} s** of one thread's work, where a",
        f"plain loop of refits takes {loop:.1f} s (by 8 of them); to reach: 5 s.",
    ]


def main() -> None:
    """Print the table and put it into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[], help="rows whose name holds one of these words")
    parser.add_argument("--runs", type=int, default=5, help="of each, the shortest counts")
    parser.add_argument("--print-only", action="store_true", help="do not write the page")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    lines = [
        "| learner | adapt + predict 75 queries, ms | leave-one-out of all 25, ms | ratio | to reach | plain loop "
        "| 5 queries, all 25 left out | 75 queries |",
        "|---|---|---|---|---|---|---|---|",
    ]
    print("\n".join(lines))
    for row in rows():
        if not arguments.only or any(word.lower() in row.name.lower() for word in arguments.only):
            lines.append(line(row, arguments.runs))
            print(lines[-1], flush=True)
    if not arguments.only or "shapley" in arguments.only:
        lines += shapley(arguments.runs)
        print("\n".join(lines[-4:]))
    if not arguments.print_only and not arguments.only:
        PAGE.write_text(put(PAGE.read_text(), "refits", "\n".join(lines)))


if __name__ == "__main__":
    main()
