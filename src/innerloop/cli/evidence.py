"""The command that scores explanations: evidence."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from innerloop.cli import runs
from innerloop.cli.options import Device, Json, Queries, Quiet, Run, Shots, Split, Ways
from innerloop.cli.show import show
from innerloop.core.plain import json_of

if TYPE_CHECKING:
    from innerloop.evidence.scores import EvidenceScores


def evidence(
    run: Run,
    ways: Ways = None,
    shots: Shots = None,
    queries: Queries = None,
    tasks: Annotated[int, typer.Option(help="how many tasks")] = 100,
    seed: Annotated[int, typer.Option(help="of the tasks, of wrong labels and of what is removed at random")] = 0,
    split: Split = "test",
    wrong: Annotated[float, typer.Option(help="share of support labels that are made wrong, one at least")] = 0.04,
    removals: Annotated[int | None, typer.Option(help="examples that are taken away in the end")] = None,
    thorough: Annotated[bool, typer.Option("--thorough", help="scores that take many refits, too")] = False,
    against: Annotated[Path | None, typer.Option(help="a run of another seed, for how stable evidence is")] = None,
    data: Annotated[str | None, typer.Option(help="another data set than it was trained on")] = None,
    root: Annotated[Path | None, typer.Option(help="folder of that data set")] = None,
    device: Device = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Score the evidence of a run's support examples: deletion test, wrong labels, agreement with exact refits."""
    from rich.console import Console
    from rich.progress import Progress

    from innerloop.core.allocator import keep_memory
    from innerloop.core.device import find_device
    from innerloop.evidence.quality import score_evidence
    from innerloop.recipes import load

    keep_memory()
    sampler, facts = runs.judged_by(run, ways, shots, queries, split, data=data, root=root)
    place = find_device(device or "cpu")
    learner = load(run).to(place)
    other = load(against).to(place) if against is not None else None
    console = Console(stderr=True, quiet=quiet)
    with Progress(console=console, transient=True, disable=not console.is_terminal or quiet) as bar:
        shown = bar.add_task("tasks", total=tasks)
        found = score_evidence(
            learner,
            sampler,
            tasks=tasks,
            seed=seed,
            wrong=wrong,
            removals=removals,
            thorough=thorough,
            other=other,
            progress=lambda done: bar.update(shown, completed=done),
        )
    if as_json:
        said = {name: facts[name] for name in ("run", "learner", "data", "split")}
        typer.echo(json_of({**said, "against": str(against) if against else None, **found.json()}))
        return
    show([{**row, **_numbers(row)} for row in found.rows()], False)
    typer.echo(_foot(found))


def _numbers(row: dict[str, object]) -> dict[str, str]:
    return {name: f"{row[name]:.3f}" for name in ("value", "low", "high")}


def _foot(found: EvidenceScores) -> str:
    return (
        f"{found.tasks} tasks of {found.support} support examples, seed {found.seed}; low and high are the ends of the "
        f"95 % interval over tasks"
    )
