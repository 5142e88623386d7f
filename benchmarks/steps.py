"""What an outer step of MAML takes, each way, beside the arithmetic that it takes: milliseconds of one thread a task.

    python benchmarks/steps.py                       strided conv-4, 5-way 1-shot 5-query, 2 inner steps, 16 tasks
    python benchmarks/steps.py --pool max --queries 15 --steps 1
    python benchmarks/steps.py --turns 20 --width 32 --norm batch

Time is that of the processor on one thread, so that a busy machine disturbs it least; the ways take turns in one
process. The limit is the floating-point operations that PyTorch counts in the loop at the rate of a matrix product of
the network's own size (245 rows of patches by 64 filters), measured in the same turns.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode
from turns import processor

import innerloop as il
from innerloop.core.allocator import keep_memory
from innerloop.core.lifting import How

#: Name, way and tasks at a time.
WAYS: dict[str, tuple[How, int | None]] = {
    "loop": ("loop", None),
    "vmap": ("vmap", None),
    "patches": ("patches", None),
    "patches, 4 at a time": ("patches", 4),
}


def drawn(tasks: int, shots: int, queries: int, ways: int = 5) -> il.Task:
    """Random images: speed does not depend on what is on them."""
    generator = torch.Generator().manual_seed(0)
    xs, xq = (torch.rand(tasks, ways * n, 1, 28, 28, generator=generator) for n in (shots, queries))
    ys, yq = (F.one_hot(torch.arange(ways).repeat(n), ways).float().expand(tasks, -1, -1) for n in (shots, queries))
    return il.Task(il.Examples(xs, ys), il.Examples(xq, yq))


def seconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def rate(width: int) -> float:
    """Floating-point operations a second of a matrix product."""
    a, b, out = torch.randn(245, 9 * width), torch.randn(9 * width, width), torch.empty(245, width)
    times = 200

    def products() -> None:
        for _ in range(times):
            torch.mm(a, b, out=out)

    return 2 * a.numel() * width * times / seconds(products)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", choices=("stride", "max"), default="stride")
    parser.add_argument("--norm", default="support")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--shots", type=int, default=1)
    parser.add_argument("--queries", type=int, default=5)
    parser.add_argument("--tasks", type=int, default=16)
    parser.add_argument("--first-order", action="store_true")
    parser.add_argument("--shared-head", action="store_true", help="one row for all classes, as in the recipe")
    parser.add_argument("--turns", type=int, default=7)
    given = parser.parse_args()
    torch.set_num_threads(1)
    keep_memory()
    torch.manual_seed(0)
    head = "out" if given.shared_head else None
    net = il.nets.conv4((1, 28, 28), width=given.width, out=1 if head else 5, norm=given.norm, pool=given.pool)
    maml = il.MAML(net, steps=given.steps, lr=0.4, first_order=given.first_order, shared_head=head)
    tasks = drawn(given.tasks, given.shots, given.queries)
    lifted = {name: il.lift(maml, how, chunk) for name, (how, chunk) in WAYS.items()}
    for way in lifted.values():
        way.backward(tasks)
    with FlopCounterMode(display=False) as counter:
        lifted["loop"].backward(tasks)
    each = counter.get_total_flops() / given.tasks
    took: dict[str, list[float]] = {name: [] for name in lifted}
    rates = []
    for _ in range(given.turns):
        rates.append(rate(given.width))
        for name, way in lifted.items():
            maml.zero_grad()
            took[name].append(1000 * seconds(lambda way=way: way.backward(tasks)) / given.tasks)  # type: ignore[misc]
    limit = 1000 * each / statistics.median(rates)
    print(
        f"conv-4, pool={given.pool}, norm={given.norm}, {given.width} filters, 5-way {given.shots}-shot "
        f"{given.queries}-query, {given.steps} inner steps, {given.tasks} tasks, "
        f"{'first' if given.first_order else 'second'} order{', shared head' if head else ''}; one thread, "
        f"{processor()}, torch {torch.__version__}, {given.turns} turns\n"
    )
    print("| | ms a task | range | times the loop | times the limit |\n|---|---|---|---|---|")
    for name, ms in took.items():
        ratio = statistics.median(a / b for a, b in zip(ms, took["loop"], strict=True))
        middle = statistics.median(ms)
        print(f"| {name} | {middle:.1f} | {min(ms):.1f} to {max(ms):.1f} | {ratio:.2f} | {middle / limit:.1f} |")
    share = f"{each / 1e9:.2f} GFLOP at {statistics.median(rates) / 1e9:.0f} GFLOP/s"
    print(f"| limit: {share} | {limit:.1f} | | | 1.0 |")


if __name__ == "__main__":
    main()
