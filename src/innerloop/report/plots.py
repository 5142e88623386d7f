"""Pictures of a report page: line charts and images, inline."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image
from torch import Tensor

from innerloop.training.history import History


def image(x: Tensor, alt: str) -> str:
    """An image ``[C, H, W]`` in 0 to 1 as an inline PNG, with words for those who do not see it."""
    pixels = (x.detach().cpu().float().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).squeeze(2).numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img src="data:image/png;base64,{data}" alt="{escape(alt)}" width="{x.shape[2]}" height="{x.shape[1]}">'


def curves(histories: Mapping[str, History]) -> str:
    """The learning curves of all runs: losses and, where there are any, validation scores."""
    losses = {name: _blocks(history) for name, history in histories.items()}
    # A validation may have given no score.
    known = {name: [one for one in history.scores if np.isfinite(one[1])] for name, history in histories.items()}
    scores = {name: tuple(zip(*points, strict=True)) for name, points in known.items() if points}
    ends = "; ".join(f"{name} from {y[0]:.3f} to {y[-1]:.3f}" for name, (_, y) in losses.items())
    best = "; ".join(f"{name} {max(y):.4f} at best" for name, (_, y) in scores.items())
    note = f"Training loss, smoothed over blocks of steps: {ends}. Two learners' losses need not measure the same."
    figures = _figure("loss", losses, note) + (_figure("score", scores, f"Validation score: {best}.") if scores else "")
    return f'<div class="figures">{figures}</div>'


def _blocks(history: History, most: int = 50) -> tuple[list[float], list[float]]:
    """Steps and losses, each the mean over a block of steps."""
    parts = np.array_split(np.array([(row["step"], row["loss"]) for row in history.rows]), min(most, history.step))
    return [float(part[:, 0].mean()) for part in parts], [float(part[:, 1].mean()) for part in parts]


def _figure(name: str, lines: Mapping[str, Sequence[Sequence[float]]], caption: str) -> str:
    """A line chart as inline SVG, in the color of the page's text."""
    ink, styles, colors = "#010203", ("-", "--", "-.", ":"), ("#2f7de1", "#d9730d", "#1a9a5c", "#b05ccc")
    figure = Figure(figsize=(5.0, 3.2), layout="constrained")
    axes = figure.add_subplot()
    for i, (label, (x, y)) in enumerate(lines.items()):
        # A label that starts with an underscore would be left out of the legend, and $ starts a formula.
        text = label.lstrip("_").replace("$", r"\$")
        axes.plot(x, y, styles[i % 4], color=colors[i % 4], label=text, marker="o" if len(x) < 20 else None)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.set_xlabel("outer step", color=ink)
    axes.set_ylabel(name, color=ink)
    axes.spines[:].set_color(ink)
    axes.tick_params(colors=ink)
    axes.legend(frameon=False, labelcolor=ink)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True)
    _, box, drawing = re.split(r'(viewBox="[^"]*")', buffer.getvalue(), maxsplit=1)
    drawing = drawing.partition("</metadata>")[2].replace(ink, "currentColor")
    # Names within a page are shared by all of its drawings.
    drawing = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", drawing)
    text = escape(caption)
    return f'<figure><svg {box} role="img" aria-label="{text}">{drawing}<figcaption>{text}</figcaption></figure>'
