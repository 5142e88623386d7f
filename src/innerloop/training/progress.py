"""What a person sees of a long run, and how they stop it."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from innerloop.training.history import History

#: What ends a run after the step at hand: Ctrl-C, ``kill``, a terminal that is closed.
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


class Stop:
    """Whether a signal asked for the end of a run, and which."""

    signal: int | None = None


@contextmanager
def stop_signal() -> Iterator[Stop]:
    """Within, Ctrl-C, SIGTERM and SIGHUP are noted, so that a step ends whole; a second Ctrl-C breaks off at once.

    A signal that the process ignores (``nohup``) stays ignored. A closed terminal may well send SIGHUP twice, so no
    second signal but Ctrl-C breaks off.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def note(number: int, frame: FrameType | None) -> None:
        if stop.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.signal = stop.signal or int(number)

    known = [getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)]
    heeded = [number for number in known if signal.getsignal(number) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, note) for number in heeded}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class Bar:
    """Shows nothing."""

    def draw(self, used: float, loss: float, history: History) -> None:
        """Show a run of which the share ``used`` is done."""


@contextmanager
def progress_bar(show: bool) -> Iterator[Bar]:
    """What draws a bar on standard error, with rate, time left and score; or one that shows nothing."""
    if not show:
        yield Bar()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    class Quiet(Console):
        def on_broken_pipe(self) -> None:
            # Rich ends the process here: a run outlives those who watch it.
            self.quiet = True

    console = Quiet(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"))
    progress = Progress(*columns, console=console, transient=False, auto_refresh=False)
    with suppress(OSError):
        progress.start()
    try:
        yield _Drawn(console, progress)
    finally:
        # The terminal may have been closed meanwhile.
        with suppress(OSError):
            progress.stop()


class _Drawn(Bar):
    def __init__(self, console: Any, progress: Any) -> None:
        self.console, self.progress = console, progress
        self.line = progress.add_task("training", total=1.0, text="")
        self.start, self.first, self.drawn, self.smooth = time.monotonic(), -1.0, 0.0, 0.0

    def draw(self, used: float, loss: float, history: History) -> None:
        self.smooth = loss if self.first < 0 else 0.98 * self.smooth + 0.02 * loss
        self.first = used if self.first < 0 else self.first
        now = time.monotonic()
        # A terminal takes ten pictures a second, a log file one in ten seconds.
        pause = 0.1 if self.console.is_terminal else 10.0
        if used < 1.0 and now - self.drawn < pause:
            return
        self.drawn = now
        gone = now - self.start
        left = time_left(gone, self.first, used)
        rate = history.steps_here / gone if gone > 0 else 0.0
        score = f" · score {history.scores[-1][1]:.4f}" if history.scores else ""
        score += f" (best {history.best:.4f})" if history.best is not None else ""
        text = f"step {history.step} · {rate:.1f}/s · {clock(left)} left · loss {self.smooth:.4f}{score}"
        with suppress(OSError):
            self.progress.update(self.line, completed=min(used, 1.0), text=text)
            if self.console.is_terminal:
                self.progress.refresh()
            else:
                self.console.print(f"{100 * min(used, 1.0):3.0f} % · {text}", highlight=False, soft_wrap=True)


def time_left(gone: float, first: float, used: float) -> float:
    """Seconds until the end at the pace so far; NaN where there is none yet.

    Args:
        gone: seconds since the share ``first`` of the run was done.
        first: the share that was done then.
        used: the share that is done now.

    Example:
        >>> time_left(30.0, 0.0, 0.75), time_left(30.0, 0.5, 1.2)
        (10.0, 0.0)
    """
    return gone * max(1 - used, 0.0) / (used - first) if used > first else math.nan


def clock(seconds: float) -> str:
    """Minutes and seconds.

    Example:
        >>> clock(75.2), clock(float("nan"))
        ('1:15', '?')
    """
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}" if math.isfinite(seconds) else "?"
