"""How fast: each figure as a ratio within one run, against the arithmetic limit, peers and loops by hand.

    make bench                                   everything, with the peers installed
    python benchmarks/speed.py maml sines        some groups
    python benchmarks/speed.py --repeats 21

Every contestant runs in a process of its own (benchmarks/contestants.py) and they take turns, so that a slow moment of
the machine hits all of them. They take more turns until the 95 % interval of each ratio's median lies within a tenth of
it, or --most are taken, which the table says. Medians, with the range, of the repeats; a peer that is not installed is
left out and named. The limit is the floating-point operations that PyTorch counts in a step over the matrix product's
rate, measured in the same run. The tables stand between the marks of docs/performance.md afterwards.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from contestants import CONTESTANTS
from page import put
from torch.utils.flop_counter import FlopCounterMode
from turns import WITHIN, interval, processor, ratios, settled

HOME = Path(__file__).resolve().parent.parent
PAGE = HOME / "docs" / "performance.md"
KEPT = HOME / "runs" / "bench"


@dataclass(frozen=True)
class Group:
    """Contestants over the same work."""

    title: str
    rows: dict[str, str]
    """Name of the contestant and what the table calls it; the first is the one that ratios refer to."""
    times: int = 1
    """Runs between two readings of the clock."""
    counted: str = ""
    """The contestant whose operations make the limit."""
    scale: dict[str, float] = field(default_factory=dict)
    """How many times the work of the first a unit of another one has to be multiplied by."""
    unit: str = "ms"
    images: int = 0
    """Images in a unit of work, for a column of images a second."""
    repeats: int = 0
    """At first so many repeats at most, for what takes seconds."""


GROUPS = {
    "maml": Group(
        "MAML, conv-4 (64 filters, 28x28), 5-way 1-shot 15-query, 16 tasks, one second-order step",
        {
            "maml_innerloop": "innerloop (a loop, which `auto` chooses)",
            "maml_innerloop_vmap": "innerloop, `vmap`",
            "maml_by_hand": "loop by hand, textbook network",
            "maml_higher": "higher, textbook network",
            "maml_higher_our_net": "higher, our network, memory layout and allocator",
        },
        times=3,
        repeats=9,
        counted="maml_by_hand",
    ),
    "sines": Group(
        "MAML, 1-40-40-1 on sinusoids, 25 tasks, 5 second-order steps",
        {
            "sines_innerloop": "innerloop (`vmap`, which `auto` chooses)",
            "sines_innerloop_compiled": "innerloop, `vmap`, compiled",
            "sines_innerloop_loop": "innerloop, a loop",
            "sines_by_hand": "loop by hand",
            "sines_higher": "higher",
            "sines_torchopt": "torchopt",
            "sines_jax": "JAX, jit(vmap(grad))",
        },
        times=40,
        repeats=9,
    ),
    "protonet": Group(
        "ProtoNet, conv-4 (64 filters, 28x28), 60-way 1-shot 5-query, with a step of Adam",
        {
            "protonet_innerloop": "innerloop",
            "protonet_innerloop_bfloat16": "innerloop, bfloat16 encoder",
            "protonet_easyfsl": "easyfsl, textbook network",
        },
        times=5,
        counted="protonet_innerloop",
    ),
    "draw": Group(
        "Drawing a 20-way 5-shot 15-query episode of Omniglot (400 images) as tensors",
        {"draw_innerloop": "innerloop", "draw_files": "decoding one PNG an example"},
        times=20,
        images=400,
    ),
    "evaluate": Group(
        "Evaluating ProtoNet on 10,000 5-way 5-shot 15-query episodes",
        {
            "evaluate_innerloop": "innerloop: every image embedded once",
            "evaluate_episodes": "every episode embedded by itself (timed on 100, times 100)",
        },
        scale={"evaluate_episodes": 100},
        unit="s",
        repeats=5,
    ),
}


class Worker:
    """A contestant's process."""

    def __init__(self, name: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(HOME / "benchmarks" / "contestants.py"), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.ready = self.process.stdout.readline().strip() == "ready"
        self.problem = "" if self.ready else self._problem()

    def _problem(self) -> str:
        lines = self.process.communicate()[1].strip().splitlines()
        return lines[-1] if lines else "it ended without a word"

    def run(self, times: int) -> float:
        """Seconds of one unit, the mean of ``times``."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{times}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.communicate()


def peak_rate(size: int = 2048) -> float:
    """Floating-point operations a second of a float32 matrix product, the best of some."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    best = 0.0
    for _ in range(5):
        start = time.perf_counter()
        a @ b
        best = max(best, 2 * size**3 / (time.perf_counter() - start))
    return best


def operations(name: str) -> float:
    """Floating-point operations of one unit of a contestant's work."""
    step = CONTESTANTS[name]()
    with FlopCounterMode(display=False) as counter:
        step()
    return float(counter.get_total_flops())


def measure(group: Group, repeats: int, most: int) -> dict:
    """Seconds of each contestant in each turn, until the ratios are known."""
    workers: dict[str, Worker] = {}
    try:
        for name in group.rows:
            workers[name] = Worker(name)
        missing = {name: worker.problem for name, worker in workers.items() if not worker.ready}
        running = {name: worker for name, worker in workers.items() if worker.ready}
        seconds: dict[str, list[float]] = {name: [] for name in running}
        rates: list[float] = []
        least, first = min(repeats, group.repeats or repeats), next(iter(group.rows))
        while len(rates) < least or (len(rates) < most and not settled(seconds, first)):
            rates.append(peak_rate())
            for name, worker in running.items():
                seconds[name].append(worker.run(group.times) * group.scale.get(name, 1.0))
    finally:
        for worker in workers.values():
            worker.close()
    count = operations(group.counted) if group.counted else 0.0
    return {"seconds": seconds, "missing": missing, "operations": count, "rate": float(np.median(rates))}


def table(group: Group, found: dict) -> str:
    scale = 1000 if group.unit == "ms" else 1
    first = next(iter(group.rows))
    against = ratios(found["seconds"], first)
    limit = found["operations"] / found["rate"]
    heads = ["", group.unit, "range", "times innerloop's (95 %)"]
    heads += ["times the limit"] if limit else []
    heads += ["images/s"] if group.images else []
    lines = [f"**{group.title}**", "", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, title in group.rows.items():
        if name in found["missing"]:
            lines.append(f"| {title} | not run: {found['missing'][name]} |" + " |" * (len(heads) - 2))
            continue
        took = np.array(found["seconds"][name])
        cells = [
            title,
            f"{scale * np.median(took):.3g}",
            f"{scale * took.min():.3g} to {scale * took.max():.3g}",
            "1.00" if name == first else beside(against[name]),
        ]
        cells += [f"{np.median(took) / limit:.2f}"] if limit else []
        cells += [f"{group.images / np.median(took):,.0f}"] if group.images else []
        lines.append(f"| {' | '.join(cells)} |")
    if limit:
        rate = f"{found['rate'] / 1e9:.0f} GFLOP/s"
        lines.append(f"| limit: {found['operations'] / 1e9:.1f} GFLOP at {rate} | {1000 * limit:.0f} | | | 1.00 |")
    return "\n".join(lines)


def beside(found: list[float]) -> str:
    """The median ratio with its interval."""
    low, high = interval(found)
    return f"{np.median(found):.2f} ({low:.2f} to {high:.2f})"


def imports(repeats: int) -> dict:
    """Seconds of a fresh interpreter that imports torch, or innerloop."""
    seconds: dict[str, list[float]] = {"torch": [], "innerloop": []}
    for _ in range(repeats + 1):
        for name, took in seconds.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", f"import {name}"], check=True)
            took.append(time.perf_counter() - start)
    # The first of each has read the files from the disk.
    return {name: took[1:] for name, took in seconds.items()}


def import_table(found: dict) -> str:
    torch_, ours = (np.array(found[name]) for name in ("torch", "innerloop"))
    lines = ["**Import time of a fresh interpreter**", "", "| | s | range |", "|---|---|---|"]
    for title, took in (("`import torch`", torch_), ("`import innerloop`", ours), ("beyond torch", ours - torch_)):
        lines.append(f"| {title} | {np.median(took):.2f} | {took.min():.2f} to {took.max():.2f} |")
    return "\n".join(lines)


def machine() -> str:
    names = ("torch", "higher", "torchopt", "easyfsl", "jax")
    versions = []
    for name in names:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            versions.append(f"{name} not installed")
    return (
        f"{processor()}, {torch.get_num_threads()} threads, Python {platform.python_version()}, {', '.join(versions)}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("groups", nargs="*", help=f"default all: {', '.join(GROUPS)}, imports")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--most", type=int, default=60, help="repeats until the ratios are known")
    parser.add_argument("--no-page", action="store_true", help="print, and leave docs/performance.md as it is")
    given = parser.parse_args()
    KEPT.mkdir(parents=True, exist_ok=True)
    for name in given.groups or [*GROUPS, "imports"]:
        if name == "imports":
            found = imports(min(given.repeats, 9))
            text = import_table(found)
        else:
            found = measure(GROUPS[name], given.repeats, given.most)
            text = table(GROUPS[name], found)
        repeats = len(next(iter(found.get("seconds", found).values())))
        known = name == "imports" or settled(found["seconds"], next(iter(GROUPS[name].rows)))
        text += f"\n\n*{machine()}; {repeats} interleaved repeats"
        text += "*" if known else f", after which not every ratio's interval was within {WITHIN:.0%} of it*"
        (KEPT / f"{name}.json").write_text(json.dumps(found))
        print(text, "\n", flush=True)
        if not given.no_page:
            PAGE.write_text(put(PAGE.read_text(), name, text))


if __name__ == "__main__":
    main()
