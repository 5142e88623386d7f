"""Peak memory of a training step against inner steps, tasks and filters: the table and picture of docs/performance.md.

    python benchmarks/memory.py                   what is not measured yet (about five minutes on one quiet core)
    python benchmarks/memory.py --again           all of it
    python benchmarks/memory.py --print-only      table and picture from what is measured

Each point is one outer step in a process of its own: how far its peak resident memory rises above what the process
needed for a step of the same kind with a tiny network. Points are kept in docs/images/memory.json. Resident memory is
counted as the system does, in pages that the allocator may hold a little longer than a tensor lives.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from page import HOME, put
from speed import PAGE

import innerloop as il
from innerloop.data import Pool

PICTURE = HOME / "docs" / "images" / "memory.png"
KEPT = PICTURE.with_suffix(".json")
TITLES = {
    "maml": "MAML, second order",
    "maml-first-order": "MAML, first order",
    "reptile": "Reptile",
    "imaml": "iMAML, 5 CG steps",
}
STEPS, TASKS, FILTERS, HOWS = (1, 2, 5, 10, 20), (1, 4, 16), (16, 32, 64), ("loop", "chunk", "vmap")


@dataclass(frozen=True)
class Point:
    """One outer step: 5-way, 1-shot, 15 queries, 28x28."""

    learner: str
    steps: int = 5
    tasks: int = 4
    filters: int = 32
    how: str = "loop"

    @property
    def key(self) -> str:
        """Its name in the file."""
        return f"{self.learner} {self.how}: {self.steps} steps, {self.tasks} tasks, {self.filters} filters"


def points() -> list[Point]:
    """All that is plotted, each once."""
    found = []
    for learner in TITLES:
        found += [Point(learner, steps=steps) for steps in STEPS]
        found += [Point(learner, tasks=tasks, how=how) for tasks in TASKS for how in HOWS]
        found += [Point(learner, filters=filters) for filters in FILTERS]
    return list(dict.fromkeys(found))


def step(point: Point) -> None:
    """One outer step, up to the gradient."""
    net = il.nets.conv4((1, 28, 28), width=point.filters, norm="support", out=5)
    learner: il.Learner = {
        "maml": lambda: il.MAML(net, steps=point.steps, lr=0.1),
        "maml-first-order": lambda: il.MAML(net, steps=point.steps, lr=0.1, first_order=True),
        "reptile": lambda: il.Reptile(net, steps=point.steps, optimizer="SGD", lr=0.1),
        "imaml": lambda: il.learners.IMAML(net, steps=point.steps, lr=0.1, proximal=0.5),
    }[point.learner]()
    pool = Pool.of(torch.zeros(100, 1, 28, 28, dtype=torch.uint8), torch.arange(5).repeat_interleave(20))
    queries = 0 if point.learner == "reptile" else 15
    tasks = il.FewShot(pool, ways=5, shots=1, queries=queries).draw(torch.Generator().manual_seed(0), point.tasks)
    il.lift(learner, point.how, 4 if point.how == "chunk" else None).backward(tasks)


def peak() -> float:
    """MiB of resident memory at most, so far in this process."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def measure(point: Point) -> float:
    """MiB above a tiny step of the same kind; to be called once in a process."""
    step(replace(point, steps=1, tasks=1, filters=4))
    before = peak()
    step(point)
    return peak() - before


def measured() -> dict[str, float]:
    """What is kept."""
    return json.loads(KEPT.read_text()) if KEPT.exists() else {}


def table(kept: dict[str, float]) -> str:
    """Three tables and the picture."""

    def rows(name: str, columns: list[tuple[str, dict]]) -> list[str]:
        lines = [f"| {name} | {' | '.join(title for title, _ in columns)} |", "|---" * (1 + len(columns)) + "|"]
        for learner, title in TITLES.items():
            cells = [kept.get(Point(learner, **changes).key) for _, changes in columns]
            lines.append(f"| {title} | {' | '.join('' if cell is None else f'{cell:.0f}' for cell in cells)} |")
        return lines

    base = Point("maml")
    lines = [
        f"MiB of peak resident memory in one outer step of conv-4, 28x28, 5-way 1-shot 15-query (Reptile: the support "
        f"set alone), beyond a tiny step of the same kind; {base.steps} inner steps, {base.tasks} tasks in a loop and "
        f"{base.filters} filters where nothing else is said. {torch.get_num_threads()} thread, torch "
        f"{torch.__version__}; `python benchmarks/memory.py`.",
        "",
        *rows("inner steps", [(str(k), {"steps": k}) for k in STEPS]),
        "",
        *rows("tasks", [(f"{n}, {how}", {"tasks": n, "how": how}) for how in HOWS for n in TASKS]),
        "",
        *rows("filters", [(str(w), {"filters": w}) for w in FILTERS]),
        "",
        "![Peak memory against inner steps, tasks and filters](images/memory.png)",
    ]
    return "\n".join(lines)


def draw(kept: dict[str, float]) -> None:
    """The picture: one panel for each thing that grows."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 3, figsize=(11, 3.6), sharey=True, layout="constrained")
    axes = (("steps", "inner steps", STEPS), ("tasks", "tasks a step", TASKS), ("filters", "filters", FILTERS))
    for panel, (name, label, values) in zip(panels, axes, strict=True):
        for color, (learner, title) in enumerate(TITLES.items()):
            for how, line in zip(HOWS, ("-", "--", ":"), strict=True):
                if how != "loop" and name != "tasks":
                    continue
                heights = [kept.get(Point(learner, **{name: value}, how=how).key) for value in values]
                if None not in heights:
                    label_of = title if how == "loop" else None
                    panel.plot(values, heights, line, color=f"C{color}", marker="o", markersize=3, label=label_of)
        panel.set(xscale="log", yscale="log", xlabel=label)
        panel.set_xticks(values, [str(value) for value in values])
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("peak memory, MiB")
    panels[0].legend(fontsize=8)
    hows = [
        panels[1].plot([], [], line, color="gray", label="chunks of 4" if how == "chunk" else how)[0]
        for how, line in zip(HOWS, ("-", "--", ":"), strict=True)
    ]
    panels[1].legend(handles=hows, fontsize=8, loc="upper left")
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURE, dpi=130, metadata={"Software": None})


def main() -> None:
    """Measure what is missing, draw, print, and put the table into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--print-only", action="store_true")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--point", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.point:
        print(measure(Point(**json.loads(arguments.point))))
        return
    kept = {} if arguments.again else measured()
    for point in [] if arguments.print_only else points():
        if point.key not in kept:
            command = [sys.executable, str(Path(__file__)), "--point", json.dumps(asdict(point))]
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            kept[point.key] = float(subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment).stdout)
            KEPT.write_text(json.dumps(kept, indent=1) + "\n")
            print(f"{point.key}: {kept[point.key]:.0f} MiB", flush=True)
    draw(kept)
    text = table(kept)
    print(text)
    PAGE.write_text(put(PAGE.read_text(), "memory", text))


if __name__ == "__main__":
    main()
