"""A run as a picture in the terminal: how far it is, how long it takes, its losses and its validation scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from innerloop.evaluation.reports import plain
from innerloop.training.history import History
from innerloop.training.progress import clock

#: From nothing to a whole block, and what stands for it where there are only letters.
_BLOCKS, _LETTERS = " ▁▂▃▄▅▆▇█", "  ...::##"
#: Losses that the shown one is the mean of.
_LAST = 100
#: Seconds without news after which a run may have been killed.
_SILENCE = 180


@dataclass(frozen=True)
class Look:
    """A run at a moment."""

    title: str
    """What it is: its folder, learner and data set."""
    history: History
    running: bool
    steps: int | None = None
    """Outer steps in all, where they are said."""
    minutes: float | None = None
    """Wall-clock budget, where it is said."""
    rate: float = math.nan
    """Outer steps a second."""
    at: float = 0.0
    """When, in seconds since 1970."""
    silent: float = 0.0
    """Seconds since there was something new."""

    @property
    def used(self) -> float:
        """The share of the budget that is used; NaN where none is said."""
        shares = [self.history.step / self.steps] if self.steps else []
        shares += [self.history.seconds / 60 / self.minutes] if self.minutes else []
        return min(1.0, max(shares)) if shares else math.nan

    @property
    def left(self) -> float:
        """Seconds until its end at this rate; NaN where that is not known."""
        times = [(self.steps - self.history.step) / self.rate] if self.steps and self.rate > 0 else []
        times += [60 * self.minutes - self.history.seconds] if self.minutes else []
        return max(0.0, min(times)) if times and self.running else math.nan

    @property
    def loss(self) -> float:
        """The mean of the last losses; NaN before the first."""
        last = self.history.losses[-_LAST:]
        return float(np.mean(last)) if last else math.nan

    @property
    def ended(self) -> str:
        """How it ended, or that it runs."""
        if self.running:
            silent = f", no news for {clock(self.silent)}: it may have been killed" if self.silent > _SILENCE else ""
            return f"running{silent}"
        begun = self.steps is not None and self.history.step < self.steps and self.history.stopped == "finished"
        return "ended before its last step" if begun and not self.minutes else self.history.stopped

    def json(self) -> dict[str, Any]:
        """All of it as plain values."""
        history = self.history
        return plain(
            {
                "run": self.title,
                "running": self.running,
                "ended": None if self.running else self.ended,
                "step": history.step,
                "steps": self.steps,
                "minutes": self.minutes,
                "used": self.used,
                "rate": self.rate,
                "left": self.left,
                "loss": self.loss,
                "lr": history.rows[-1].get("lr", math.nan) if history.rows else math.nan,
                "scores": history.scores,
                "best": history.best,
                "best_step": history.best_step if history.best is not None else None,
            }
        )


def frame(look: Look, width: int = 80, ascii_only: bool = False) -> RenderableType:
    """A run as something that rich prints.

    Args:
        look: at the run.
        width: of the terminal, in letters.
        ascii_only: draw by letters that every terminal has.
    """
    history, dot = look.history, " - " if ascii_only else " · "
    steps = f" of {look.steps:,}" if look.steps else ""
    parts = [f"step {history.step:,}{steps}"]
    parts += [f"{look.rate:.1f}/s"] if math.isfinite(look.rate) else []
    parts += [f"{clock(look.left)} left"] if math.isfinite(look.left) else []
    parts += [f"lr {history.rows[-1]['lr']:.2g}"] if history.rows and "lr" in history.rows[-1] else []
    shown: list[RenderableType] = [Text(f"{look.title}{dot}{look.ended}", style="bold")]
    if math.isfinite(look.used):
        bar = Table.grid()
        bar.add_row(ProgressBar(total=1.0, completed=look.used, width=min(width, 60)))
        shown.append(bar)
    shown.append(Text(dot.join(parts)))
    if history.rows:
        shown.append(Text(f"\nloss {look.loss:.4f}, the mean of the last {min(_LAST, history.step)} steps"))
        lines = chart(history.losses, min(width - 12, 68), letters=_LETTERS if ascii_only else _BLOCKS)
        shown += [Text(line) for line in lines]
    if history.scores:
        table = Table(box=None, pad_edge=False, header_style="")
        for name in ("step", "validation score", ""):
            table.add_column(name, justify="right" if name else "left")
        for step, score in history.scores[-8:]:
            best = "best" if history.best is not None and step == history.best_step else ""
            table.add_row(f"{step:,}", f"{score:.4f}" if math.isfinite(score) else "none", best)
        shown += [Text(""), table]
    if history.best is not None:
        shown.append(Text(f"best {history.best:.4f} at step {history.best_step:,}"))
    return Group(*shown)


def chart(values: Sequence[float], width: int, height: int = 6, letters: str = _BLOCKS) -> list[str]:
    """Values as lines of letters, the highest first: each column is the mean of a block of them.

    Args:
        values: finite ones.
        width: columns at most.
        height: lines.
        letters: from nothing to a whole block.

    Example:
        >>> for line in chart([4.0, 3.0, 1.0, 0.0], 4, 2):
        ...     print(line.rstrip())
           4.000 █▄
           0.000 ██▄▁
    """
    parts = np.array_split(np.asarray(values, dtype=np.float64), min(max(1, width), len(values)))
    means = np.array([part.mean() for part in parts])
    low, high = float(means.min()), float(means.max())
    steps = len(letters) - 1
    share = (means - low) / (high - low) if high > low else np.full(len(means), 0.5)
    # The lowest value keeps a foot, so that every column is seen.
    filled = np.maximum(1, np.round(share * height * steps)).astype(int)
    lines = []
    for row in reversed(range(height)):
        label = f"{high:8.3f}" if row == height - 1 else f"{low:8.3f}" if row == 0 else " " * 8
        lines.append(f"{label} {''.join(letters[min(max(n - row * steps, 0), steps)] for n in filled)}")
    return lines
