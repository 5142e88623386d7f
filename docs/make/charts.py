"""The results as pictures: each is drawn from a table of the pages, when the site is made."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from innerloop.report.plots import COLORS, INK, drawing, label
from innerloop.reproduction import blocks

DOCS = Path(__file__).resolve().parents[1]
_NUMBER = re.compile(r"(-?[\d.]+(?:e[+-]?\d+)?)(?: ± ([\d.]+))?")


class Chart(NamedTuple):
    """A table to draw: points with their intervals, a line for each row."""

    page: str
    block: str
    """The name of the table, or the first words of its first row."""
    title: str
    columns: tuple[str, ...]
    axis: str
    log: bool = False


CHARTS = (
    Chart("results", "omniglot", "Omniglot: learners beside each other", ("5w1s", "20w1s"), "accuracy, %"),
    Chart(
        "results",
        "processes",
        "Functions: neural processes and the exact posterior",
        ("RBF (trained on)",),
        "log likelihood per point",
    ),
    Chart(
        "results",
        "continual_omniglot",
        "Classes that keep coming: what is retained",
        ("10 classes", "50 classes", "200 classes"),
        "accuracy, %",
    ),
    Chart("results", "continual_digits", "Digits, turned further and further", ("ACC",), "accuracy retained, %"),
    Chart(
        "results",
        "optimizers",
        "Learned optimizers: loss after as many steps, beside Adam",
        ("50 steps", "500 steps"),
        "training loss",
        log=True,
    ),
    Chart(
        "performance", "innerloop (`vmap`", "A MAML step of a perceptron, two cores", ("ms",), "milliseconds", log=True
    ),
    Chart("performance", "innerloop, bfloat16", "A ProtoNet step, two cores", ("ms",), "milliseconds"),
)


def write(folder: Path) -> None:
    """Write ``charts.md`` and its drawings."""
    (folder / "images" / "charts").mkdir(parents=True, exist_ok=True)
    parts = [
        "# At a glance\n",
        "Points are means, lines their 95 % intervals where the table has them; the tables have the rest: "
        "budgets, seeds, dates, commands.\n",
    ]
    for number, chart in enumerate(CHARTS):
        head, rows = table((DOCS / f"{chart.page}.md").read_text(encoding="utf-8"), chart.block)
        file = f"images/charts/{number}.svg"
        (folder / file).write_text(drawing(draw(chart, head, rows)).replace(INK, "#222222"), encoding="utf-8")
        parts.append(f"## {chart.title}\n\n![{chart.title}]({file})\n\nFrom [{chart.page}]({chart.page}.md).\n")
    (folder / "charts.md").write_text("\n".join(parts), encoding="utf-8")


def table(text: str, block: str) -> tuple[list[str], list[list[str]]]:
    """The head and the rows of a table of a page: the block of that name, or the one with such a row."""
    between = blocks.block(text, block)
    if between is None:
        between = text[text.rfind("\n\n", 0, text.index(f"| {block}")) + 1 :]
    lines = re.search(r"(?:^\|.*\n?)+", between, re.MULTILINE)
    if lines is None:
        raise LookupError(f"there is no table {block!r}")
    cells = [[cell.strip() for cell in line.strip().strip("|").split(" | ")] for line in lines[0].splitlines()]
    return cells[0], cells[2:]


def draw(chart: Chart, head: list[str], rows: list[list[str]]) -> Figure:
    """A line for each row, a color for each column."""
    figure = Figure(figsize=(7.2, 0.9 + 0.34 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    for i, column in enumerate(chart.columns):
        place = head.index(column)
        points = [(at, _NUMBER.match(row[place])) for at, row in enumerate(rows) if place < len(row)]
        found = [(at, float(match[1]), float(match[2] or 0)) for at, match in points if match]
        axes.errorbar(
            [value for _, value, _ in found], [at + 0.14 * i for at, _, _ in found], xerr=[room for *_, room in found],
            fmt="os^"[i % 3], color=COLORS[i], markersize=5, capsize=2, label=label(column),
        )  # fmt: skip
    names = [re.sub(r"\*\*|`", "", row[0]) for row in rows]
    axes.set_yticks(
        range(len(rows)), [label(name if len(name) < 58 else f"{name[:56]}…") for name in names], fontsize=8
    )
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel(chart.axis)
    if chart.log:
        axes.set_xscale("log")
    if len(chart.columns) > 1:
        axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, 1.0), ncols=len(chart.columns))
        axes.set_ylim(len(rows) - 0.3, -1.4)
    return figure
