"""The command that writes a report of runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from innerloop.cli import runs
from innerloop.cli.options import Device, Json, Queries, Shots, Split, Tasks, Ways
from innerloop.core.plain import json_of

if TYPE_CHECKING:
    from innerloop.training.history import History


def report(
    run: Annotated[list[Path], typer.Argument(help="run folders; the first is compared with the others")],
    out: Annotated[Path | None, typer.Option(help="the page; default report.html, and none with --json alone")] = None,
    plots: Annotated[Path | None, typer.Option(help="folder for each plot as PNG (300 dpi) and SVG")] = None,
    ways: Ways = None,
    shots: Shots = None,
    queries: Queries = None,
    tasks: Tasks = 1000,
    seed: Annotated[int, typer.Option(help="of the tasks")] = 0,
    split: Split = "test",
    data: Annotated[str | None, typer.Option(help="another data set than the first run was trained on")] = None,
    root: Annotated[Path | None, typer.Option(help="folder of the data set")] = None,
    episode: Annotated[int, typer.Option(help="number of the task that is looked at closely")] = 0,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Write one self-contained page on one run or several: scores, curves, calibration, evidence, maps, budgets."""
    from innerloop.cli.several import names_of
    from innerloop.core.allocator import keep_memory
    from innerloop.core.folder import check_folder
    from innerloop.core.task import InputError
    from innerloop.evaluation.save import check_writable
    from innerloop.recipes import load
    from innerloop.report.build import build
    from innerloop.report.subject import look_at

    if not 0 <= episode < tasks:
        raise InputError(f"--episode {episode}: the tasks are 0 to {tasks - 1}")
    page = Path("report.html") if out is None and not as_json else out
    if page is not None:
        if page.is_dir():
            raise InputError(f"{page} is a folder: give the page a name, {page / 'report.html'}, say")
        check_writable(page.parent)
    if plots is not None:
        check_folder(plots)
    names = names_of(run)
    # What is not given is the first run's, for all.
    sampler, facts = runs.judged_by(run[0], ways, shots, queries, split, data=data, root=root)
    keep_memory()
    learners = [load(folder) for folder in run]
    options: dict[str, Any] = {"tasks": tasks, "seed": seed, "device": device}
    subjects = [
        look_at(name, learner, sampler, **options, history=_history(folder), about=_about(folder))
        for name, folder, learner in zip(names, run, learners, strict=True)
    ]
    protocol = f"{'' if split == 'test' else f'{split} '}{subjects[0].report.protocol or 'tasks'}"
    title = f"{' and '.join(names) if len(names) < 4 else f'{len(names)} learners'} on {facts['data']}"
    found = build(subjects, sampler, title=title, protocol=protocol, command=_command(), number=episode)
    if plots is not None:
        found.save_plots(plots)
    if page is not None:
        found.write(page)
    if as_json:
        typer.echo(json_of(found.json()))
        return
    typer.echo(found.summary)
    typer.echo(f"report: {page}{f', plots: {plots}' if plots is not None else ''}")


def _about(run: Path) -> dict[str, Any]:
    """What a run folder says of its run; nothing where :func:`innerloop.fit` alone wrote it."""
    from innerloop.recipes import load_run
    from innerloop.recipes.runs import RECIPE_FILE

    return load_run(run)[1] if (run / RECIPE_FILE).exists() else {}


def _history(run: Path) -> History | None:
    """Of the training, where the run has kept it: shipped weights have none."""
    from innerloop.training.record import Record
    from innerloop.training.store import METRICS

    return Record(run).read() if (run / METRICS).exists() else None


def _command() -> str:
    import shlex

    return shlex.join(["innerloop", *sys.argv[1:]])
