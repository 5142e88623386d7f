"""Two ranks of one thread against one process of two threads: MAML's second-order step on conv-4.

    python benchmarks/scale.py               two minutes on two quiet cores
    python benchmarks/scale.py --repeats 1 --most 1 --steps 2 --tasks 4

The learner is MAML on conv-4 (64 filters, 28x28 images), 5-way 1-shot with 15 queries a class, one inner step. A repeat
starts each of the two anew, one after the other; what is timed is ``il.fit`` after a few steps to warm up, sampling,
clipping and optimizer included. The ratio is of throughputs within a repeat, of which there are more until its 95 %
interval lies within a tenth of it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

import torch
from page import put
from speed import PAGE
from turns import processor, ratios, settled

import innerloop as il
from innerloop.core import distributed
from innerloop.core.allocator import keep_memory

#: Ranks and threads of each.
WAYS_TO_RUN = {"1 process x 2 threads": (1, 2), "2 ranks x 1 thread": (2, 1)}


def work(steps: int, tasks: int) -> None:
    """Train for a while and print the seconds, on rank 0."""
    keep_memory()
    x = torch.randint(256, (2000, 1, 28, 28), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    pool = il.Pool.of(x, torch.arange(len(x)) % 100)
    sampler = il.FewShot(pool, ways=5, shots=1, queries=15)
    torch.manual_seed(0)
    learner = il.MAML(il.nets.conv4(width=64, norm="batch", out=5), lr=0.4)
    options = {"tasks_per_step": tasks, "how": "loop", "progress": False}
    with distributed.start():
        il.fit(learner, sampler, steps=2, **options)
        start = time.perf_counter()
        il.fit(learner, sampler, steps=steps, **options)
        if distributed.rank() == 0:
            print(json.dumps(time.perf_counter() - start))


def seconds(ranks: int, threads: int, words: list[str]) -> float:
    """Start the work in processes of its own."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    command += [__file__, "--worker", *words]
    return float(subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout)


def main() -> None:
    """Interleave the two and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=6)
    parser.add_argument("--most", type=int, default=30, help="repeats until the ratio is known")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--tasks", type=int, default=16)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments.steps, arguments.tasks)
        return
    words = ["--steps", str(arguments.steps), "--tasks", str(arguments.tasks)]
    found: dict[str, list[float]] = {name: [] for name in WAYS_TO_RUN}
    one, many = found
    while len(found[one]) < arguments.repeats or (len(found[one]) < arguments.most and not settled(found, one)):
        for name, (ranks, threads) in WAYS_TO_RUN.items():
            found[name].append(1000 * seconds(ranks, threads, words) / arguments.steps)
    lines = [
        f"MAML conv-4, {arguments.tasks} tasks, one second-order step; PyTorch {torch.__version__}, "
        f"{processor()}, {os.cpu_count()} cores, {len(found[one])} repeats of {arguments.steps} steps, median (range)",
        "",
        "| run | ms a step | throughput |",
        "|---|---|---|",
    ]
    faster = {one: [1.0], many: ratios(found, many)[one]}
    for name, times in found.items():
        lines.append(f"| {name} | {spread(times, 0)} | {spread(faster[name], 2)} |")
    print("\n".join(lines))
    PAGE.write_text(put(PAGE.read_text(), "ranks", "\n".join(lines)))


def spread(values: list[float], digits: int) -> str:
    """Median and range."""
    middle, low, high = (f"{f(values):.{digits}f}" for f in (statistics.median, min, max))
    return middle if low == high else f"{middle} ({low} to {high})"


if __name__ == "__main__":
    main()
