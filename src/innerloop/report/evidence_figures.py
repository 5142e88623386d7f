"""Pictures of what few examples are worth: scores against shots, and how far a run carries."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, NullLocator

from innerloop.core.files import write_text_atomically
from innerloop.core.task import InputError
from innerloop.evidence.domains import Matrix
from innerloop.evidence.efficiency import Curve
from innerloop.report.plots import COLORS, drawing, label


def curve_figure(curve: Curve, title: str = "") -> Figure:
    """Scores against the shots, with intervals; baselines are dashed."""
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for i, name in enumerate(curve.values):
        means, ends = zip(*(curve.mean(name, shots) for shots in curve.shots), strict=True)
        scale = curve.metric.scale
        low, high = ([abs(end[k] - mean) * scale for end, mean in zip(ends, means, strict=True)] for k in (0, 1))
        axes.errorbar(
            curve.shots, [mean * scale for mean in means], [low, high], label=label(name), capsize=2, marker="o",
            markersize=4, color=COLORS[i % len(COLORS)], linestyle="--" if name in curve.baselines else "-",
        )  # fmt: skip
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(list(curve.shots)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels(list(map(str, curve.shots)))
    axes.set_xlabel("examples a class")
    axes.set_ylabel(f"{curve.metric.called}{f', {curve.metric.unit}' if curve.metric.unit else ''}")
    axes.set_title(label(title))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize="small")
    return figure


def matrix_figure(matrix: Matrix) -> Figure:
    """The gaps to the baseline: blue where the learner is better, orange where worse, pale where it is not known."""
    names = [name for name in matrix.learners if name in matrix.baselines]
    figure = Figure(figsize=(3.2 + 1.7 * len(names), 1.2 + 0.34 * len(matrix.domains)), layout="constrained")
    axes = figure.add_subplot()
    for row, domain in enumerate(matrix.domains):
        for column, name in enumerate(names):
            cell = matrix.cell(name, domain)
            color = {"better": "#9cc4f5", "worse": "#f5c08a"}.get(cell.verdict, "#eeeeee")
            axes.add_patch(Rectangle((column, row), 1, 1, facecolor=color, edgecolor="white"))
            gap = cell.metric.shown(cell.gap.mean, sign=True) if cell.gap is not None else ""
            words = f"{gap}\n({cell.metric.shown(cell.value)} / {cell.metric.shown(cell.beside)})"
            axes.text(column + 0.5, row + 0.5, words, ha="center", va="center", fontsize=7, color="black")
    axes.set_xlim(0, len(names))
    axes.set_ylim(len(matrix.domains), 0)
    axes.set_xticks([column + 0.5 for column in range(len(names))], [label(name) for name in names], fontsize=7)
    axes.set_yticks([row + 0.5 for row in range(len(matrix.domains))], list(map(label, matrix.domains)), fontsize=7)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("gap (learner / baseline); gray: the 95 % interval holds 0", fontsize=7)
    return figure


def check_plot(path: Path) -> None:
    """Refuse, before the work, a file that is no SVG or cannot be written.

    Raises:
        InputError: naming the file.
    """
    if path.suffix.lower() != ".svg":
        raise InputError(f"--plot {path} must end in .svg: the picture is an SVG")
    if not path.parent.is_dir():
        raise InputError(f"--plot {path}: there is no folder {path.parent}; make it first")
    if path.is_dir():
        raise InputError(f"--plot {path} is a folder: give a file in it")


def write_svg(figure: Figure, path: Path) -> None:
    """Write a figure to a file, whole, at one moment."""
    write_text_atomically(path, drawing(figure))
