"""What a person sees of a long run, and how they stop it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from innerloop.training.store import History


@contextmanager
def stop_signal() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C (or SIGTERM) sets, so that a step ends whole; a second one breaks off at once."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def stop(number: int, frame: FrameType | None) -> None:
        if event.is_set():
            raise KeyboardInterrupt
        event.set()

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def progress_bar(
    show: bool, steps: int | None, minutes: float | None
) -> Iterator[Callable[[float, float, History], None]]:
    """A function of (share of the run that is done, loss, history) that draws a bar with rate, time left and score."""
    if not show:
        yield lambda used, loss, history: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"))
    start, first, drawn, smooth = time.monotonic(), -1.0, 0.0, 0.0
    with Progress(*columns, console=console, transient=False, auto_refresh=False) as bar:
        line = bar.add_task("training", total=1.0, text="")

        def draw(used: float, loss: float, history: History) -> None:
            nonlocal first, drawn, smooth
            smooth = loss if first < 0 else 0.98 * smooth + 0.02 * loss
            first = used if first < 0 else first
            now = time.monotonic()
            # A terminal takes ten pictures a second, a log file one in ten seconds.
            if used < 1.0 and now - drawn < (0.1 if console.is_terminal else 10.0):
                return
            drawn = now
            gone = now - start
            left = gone * (1 - used) / (used - first) if used > first else float("nan")
            rate = history.steps_here / gone if gone > 0 else 0.0
            score = f" · score {history.scores[-1][1]:.4f} (best {history.best:.4f})" if history.scores else ""
            text = f"step {history.step} · {rate:.1f}/s · {_clock(left)} left · loss {smooth:.4f}{score}"
            bar.update(line, completed=used, text=text)
            if console.is_terminal:
                bar.refresh()
            else:
                console.print(f"{100 * used:3.0f} % · {text}", highlight=False, soft_wrap=True)

        yield draw


def _clock(seconds: float) -> str:
    if seconds != seconds:
        return "?"
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
