"""Commands that score a run: evaluate, compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from innerloop.cli import runs
from innerloop.cli.options import (
    Device,
    Json,
    Queries,
    Run,
    Shots,
    Split,
    Tasks,
    Ways,
)
from innerloop.core.plain import json_of


def evaluate(
    run: Run,
    ways: Ways = None,
    shots: Shots = None,
    queries: Queries = None,
    tasks: Tasks = 1000,
    seed: Annotated[int, typer.Option(help="of the tasks")] = 0,
    split: Split = "test",
    inner_steps: Annotated[int | None, typer.Option(help="inner steps, in place of the recipe's")] = None,
    norm: Annotated[str | None, typer.Option(help="normalization policy, in place of the recipe's")] = None,
    views: Annotated[
        bool, typer.Option("--views", help="see each image also moved and mirrored, by half of the training's changes")
    ] = False,
    data: Annotated[str | None, typer.Option(help="another data set than it was trained on")] = None,
    root: Annotated[Path | None, typer.Option(help="folder of that data set")] = None,
    out: Annotated[Path | None, typer.Option(help="folder for the tasks and scores; default RUN/evaluations")] = None,
    also: Annotated[
        list[Path] | None, typer.Option(help="another run, of another seed, for the mean over seeds; several times")
    ] = None,
    uncertainty: Annotated[
        bool, typer.Option("--uncertainty", help="also calibration, risk against coverage, strangers")
    ] = False,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Score a run on fixed, seeded tasks of a split; the tasks and each one's score are kept beside the run."""
    from innerloop.core import distributed
    from innerloop.core.device import device_name, find_device
    from innerloop.evaluation.save import check_writable, save_report
    from innerloop.evaluation.seeds import over_seeds

    folder = out if out is not None else run / "evaluations"
    sampler, facts = runs.judged_by(run, ways, shots, queries, split, data=data, root=root)
    known = runs.known_tasks(run, sampler, ways, shots, queries, split, data=data, root=root) if uncertainty else None
    distributed.first(lambda: check_writable(folder))
    how: dict[str, Any] = {"seed": seed, "device": device, "inner_steps": inner_steps, "norm": norm, "views": views}
    # Of another data set it says nothing about the run's own.
    how["root"] = root if data is None else None
    report = runs.scored(run, sampler, tasks=tasks, **how)
    sure = runs.uncertain(run, sampler, known, tasks=tasks, **how) if known is not None else None
    others = [runs.scored(one, sampler, tasks=tasks, **how) for one in also or ()]
    if distributed.rank() > 0:
        return
    seeds = over_seeds([report, *others]) if others else None
    more = {name: one for name, one in (("seeds", seeds), ("uncertainty", sure)) if one is not None}
    found = {**report.json(), "split": split, **{name: one.json() for name, one in more.items()}}
    # What was found is said first: should it be impossible to keep, it is not lost.
    typer.echo(json_of(found) if as_json else "\n".join(map(str, [report, *more.values()])))
    sizes = {"w": report.ways, "s": report.shots, "q": report.queries}
    kind = "".join(f"{size}{letter}" for letter, size in sizes.items() if isinstance(size, int)) or "tasks"
    kind += f"-{data}" if data else ""
    kind += f"-norm_{norm}" if norm else ""
    kind += f"-{inner_steps}steps" if inner_steps is not None else ""
    kind += "-views" if views else ""
    facts = {**facts, "inner_steps": inner_steps, "views": views, "device": device_name(find_device(device or "cpu"))}
    save_report(report, folder, f"{split}-{kind}-{tasks}tasks-seed{seed}", facts)


def compare(
    first: Run,
    second: Run,
    ways: Ways = None,
    shots: Shots = None,
    queries: Queries = None,
    tasks: Tasks = 1000,
    seed: Annotated[int, typer.Option(help="of the tasks")] = 0,
    split: Split = "test",
    data: Annotated[str | None, typer.Option(help="another data set than the first run was trained on")] = None,
    root: Annotated[Path | None, typer.Option(help="folder of the data set")] = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Score two runs on the same tasks, and the paired difference between them: above 0 the first is better."""
    from innerloop.core.task import InputError
    from innerloop.evaluation.compare import compare as paired

    if tasks < 2:
        raise InputError(f"a comparison needs 2 tasks or more, not {tasks}: give --tasks 1000")
    # What is not given is the first run's, for both.
    sampler, _ = runs.judged_by(first, ways, shots, queries, split, data=data, root=root)
    a, b = (runs.scored(run, sampler, tasks=tasks, seed=seed, device=device) for run in (first, second))
    found = paired(a, b)
    if as_json:
        both = {"first": a.json(), "second": b.json(), "difference": found.json(), "split": split}
        typer.echo(json_of(both))
    else:
        typer.echo(f"{first}: {a}\n{second}: {b}\n{found}")
