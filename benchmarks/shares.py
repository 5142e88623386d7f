"""Where the time of a contestant's step goes, by operator and shape.

    python benchmarks/shares.py protonet_innerloop
    python benchmarks/shares.py maml_innerloop --rows 20 --steps 5

Self times of PyTorch's profiler, a step's mean; shapes are those of an operator's first two arguments. Names are those
of benchmarks/contestants.py. It only prints: what docs/performance.md says of a profile is read off here.
"""

from __future__ import annotations

import argparse

import torch
from contestants import CONTESTANTS
from torch.profiler import ProfilerActivity, profile
from turns import processor


def shape(shapes: list[list[int]]) -> str:
    """Those of the first two arguments, as words."""
    return ", ".join("x".join(map(str, sides)) for sides in shapes[:2] if sides)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("contestant", choices=sorted(CONTESTANTS))
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rows", type=int, default=12)
    given = parser.parse_args()
    step = CONTESTANTS[given.contestant]()
    for _ in range(5):
        step()
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiled:
        for _ in range(given.steps):
            step()
    taken = sorted(profiled.key_averages(group_by_input_shape=True), key=lambda row: -row.self_cpu_time_total)
    whole = sum(row.self_cpu_time_total for row in taken)
    print(
        f"{given.contestant}: {whole / given.steps / 1000:.1f} ms a step under the profiler, mean of {given.steps}; "
        f"{processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}\n"
    )
    print("| operator | shapes | ms a step | % |\n|---|---|---|---|")
    for row in taken[: given.rows]:
        ms = row.self_cpu_time_total / given.steps / 1000
        print(f"| {row.key} | {shape(row.input_shapes)} | {ms:.1f} | {100 * row.self_cpu_time_total / whole:.1f} |")


if __name__ == "__main__":
    main()
