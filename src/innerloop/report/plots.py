"""Plots of a report: each is drawn once, and serves the page, a picture of 300 dots an inch, and a drawing."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image
from torch import Tensor

from innerloop.core.files import write_atomically, write_text_atomically
from innerloop.core.folder import prepare_folder
from innerloop.training.history import History

#: Stands for the color of the text around a plot; no other part has it.
INK = "#010203"
#: Told apart without red and green, on white and on black.
COLORS = ("#2f7de1", "#d9730d", "#1a9a5c", "#b05ccc", "#8a8f2a", "#d1498b")
STYLES = ("-", "--", "-.", ":")
#: As drawings, not as outlines of letters; the same names and no date each time.
_CLEAN: Any = {"svg.fonttype": "none", "svg.hashsalt": "innerloop"}
_NOTHING = {"Creator": None, "Date": None, "Format": None, "Type": None}


@dataclass(frozen=True)
class Plot:
    """A plot with its words."""

    name: str
    """Of its files, and of what is within it: letters, digits and hyphens."""
    caption: str
    """What it shows and what one sees there, for those who do not see it too."""
    figure: Figure

    def html(self) -> str:
        """As a part of a page, in the color of its text."""
        _, box, drawing = re.split(r'(viewBox="[^"]*")', self.svg, maxsplit=1)
        drawing = drawing.partition(">")[2].replace(INK, "currentColor")
        # Names within a page are shared by all of its drawings.
        drawing = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{self.name}-", drawing)
        text = escape(self.caption)
        return f'<figure><svg {box} role="img" aria-label="{text}">{drawing}<figcaption>{text}</figcaption></figure>'

    @cached_property
    def svg(self) -> str:
        """As a drawing whose letters are letters."""
        return drawing(self.figure, transparent=True)

    def save(self, folder: Path) -> list[Path]:
        """Write ``NAME.png`` (300 dots an inch, on white) and ``NAME.svg``.

        Raises:
            InputError: if the folder cannot be written.
        """
        prepare_folder(folder)
        png, svg = folder / f"{self.name}.png", folder / f"{self.name}.svg"
        write_atomically(png, lambda temporary: self.figure.savefig(temporary, format="png", dpi=300, facecolor="w"))
        write_text_atomically(svg, self.svg.replace(INK, "#000000"))
        return [png, svg]


def drawing(figure: Figure, *, transparent: bool = False) -> str:
    """A figure as an SVG whose letters are letters, the same bytes for the same figure."""
    buffer = io.StringIO()
    with mpl.rc_context(_CLEAN):
        figure.savefig(buffer, format="svg", transparent=transparent, metadata=_NOTHING)
    # Whatever font the reader has: the one that the plot was laid out with is wider than most.
    return re.sub(r"(font: [^;\"]*?px) [^;\"]*", r"\1 system-ui, sans-serif", buffer.getvalue())


def image(x: Tensor, alt: str) -> str:
    """An image ``[C, H, W]`` in 0 to 1 as an inline PNG, with words for those who do not see it."""
    pixels = (x.detach().cpu().float().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).squeeze(2).numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img src="data:image/png;base64,{data}" alt="{escape(alt)}" width="{x.shape[2]}" height="{x.shape[1]}">'


def panel(x: str, y: str, size: tuple[float, float] = (5.0, 3.2)) -> tuple[Figure, Any]:
    """A figure with one pair of axes, in the color of the text."""
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)
    axes.spines[:].set_color(INK)
    axes.tick_params(colors=INK)
    return figure, axes


def label(text: str) -> str:
    """Words of a person as a label: one that starts with an underscore would be left out, and $ starts a formula."""
    return text.lstrip("_").replace("$", r"\$")


def lines(
    name: str, drawn: Mapping[str, Sequence[Sequence[float]]], caption: str, *, x: str = "outer step", y: str = ""
) -> Plot:
    """Lines by their labels, each two lists of numbers."""
    figure, axes = panel(x, y or name)
    for i, (text, (across, up)) in enumerate(drawn.items()):
        marker = "o" if len(across) < 20 else None
        axes.plot(across, up, STYLES[i % 4], color=COLORS[i % len(COLORS)], label=label(text), marker=marker)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.legend(frameon=False, labelcolor=INK)
    return Plot(name, caption, figure)


def curves(histories: Mapping[str, History]) -> list[Plot]:
    """The learning curves of all runs: losses and, where there are any, validation scores."""
    losses = {name: _blocks(history) for name, history in histories.items()}
    # A validation may have given no score.
    known = {name: [one for one in history.scores if np.isfinite(one[1])] for name, history in histories.items()}
    scores = {name: tuple(zip(*points, strict=True)) for name, points in known.items() if points}
    ends = "; ".join(f"{name} from {y[0]:.3f} to {y[-1]:.3f}" for name, (_, y) in losses.items())
    best = "; ".join(f"{name} {max(y):.4f} at best" for name, (_, y) in scores.items())
    other = " Two learners' losses need not measure the same." if len(losses) > 1 else ""
    note = f"Training loss, smoothed over blocks of steps: {ends}.{other}"
    return [lines("loss", losses, note), *([lines("score", scores, f"Validation score: {best}.")] if scores else [])]


def figures(plots: Sequence[Plot]) -> str:
    """Plots side by side, where there is room."""
    return f'<div class="figures">{"".join(plot.html() for plot in plots)}</div>'


def _blocks(history: History, most: int = 50) -> tuple[list[float], list[float]]:
    """Steps and losses, each the mean over a block of steps."""
    parts = np.array_split(np.array([(row["step"], row["loss"]) for row in history.rows]), min(most, history.step))
    return [float(part[:, 0].mean()) for part in parts], [float(part[:, 1].mean()) for part in parts]
