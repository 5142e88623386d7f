"""The command that looks on at a run."""

from __future__ import annotations

import math
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.live import Live

from innerloop.cli.options import Json, Run
from innerloop.core.plain import json_of

if TYPE_CHECKING:
    from innerloop.report.live import Look
    from innerloop.training.record import Record


def watch(
    run: Run,
    once: Annotated[bool, typer.Option("--once", help="print it as it is now, and end")] = False,
    every: Annotated[float, typer.Option(help="seconds between two looks")] = 1.0,
    as_json: Json = False,
) -> None:
    """Look on at a run, until it ends or Ctrl-C: nothing of it is locked or changed."""
    from innerloop.core.task import InputError
    from innerloop.report.live import frame
    from innerloop.training.record import Record

    if not 0.1 <= every <= 3600:
        raise InputError(f"--every {every}: give 0.1 to 3600 seconds")
    record, about = Record(run), _about(run)
    look = first = _look(record, about)
    if as_json:
        typer.echo(json_of(look.json()))
        return
    console = Console(highlight=False)

    def shown() -> Any:
        return frame(look, console.width, console.options.ascii_only)

    if once or not look.running:
        console.print(shown())
        return
    with suppress(KeyboardInterrupt), Live(shown(), console=console, auto_refresh=False) as live:
        while look.running:
            time.sleep(every)
            look = _look(record, about, first)
            live.update(shown(), refresh=True)


def _about(run: Path) -> dict[str, Any]:
    """Title and budget by the run's recipe, which a run of :func:`innerloop.fit` has not."""
    from innerloop.recipes import load_run
    from innerloop.recipes.runs import RECIPE_FILE

    if not (run / RECIPE_FILE).exists():
        return {"title": str(run)}
    recipe, _ = load_run(run)
    training = recipe.fit_options()
    budget = {name: training[name] for name in ("steps", "minutes") if training.get(name)}
    return {"title": f"{run}: {recipe.learner} on {recipe.data}", **budget}


def _look(record: Record, about: dict[str, Any], first: Look | None = None) -> Look:
    """At a run now; its rate is that since the first look, or by its last checkpoint."""
    from innerloop.report.live import Look
    from innerloop.training.record import read_facts

    # Asked first: whatever a run that has ended wrote is there to be read.
    running, now = record.running, time.time()
    history = record.read()
    counted = read_facts(record.folder).get("step", 0)
    rate = counted / history.seconds if counted and history.seconds > 0 else math.nan
    if first is not None and now > first.at + 2 and history.step > first.history.step:
        rate = (history.step - first.history.step) / (now - first.at)
    return Look(history=history, running=running, rate=rate, at=now, silent=max(0.0, now - record.changed), **about)
