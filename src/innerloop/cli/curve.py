"""The command that says how many examples a run saves: curve."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from innerloop.cli import runs
from innerloop.cli.options import Device, Json, Root, Split
from innerloop.core.plain import json_of

if TYPE_CHECKING:
    from innerloop.core.learner import Learner

Runs = Annotated[list[Path], typer.Argument(help="run folders; the first says the data")]
Over = Literal["tasks", "classes"]
Plot = Annotated[Path | None, typer.Option(help="draw it too: FILE.svg")]


def curve(
    run: Runs,
    shots: Annotated[str | None, typer.Option(help="numbers of shots; default 1,2,5,10,20 as far as they go")] = None,
    ways: Annotated[int, typer.Option(help="classes a task")] = 5,
    queries: Annotated[int, typer.Option(help="query examples a class")] = 5,
    tasks: Annotated[int, typer.Option(help="how many tasks")] = 300,
    seed: Annotated[int, typer.Option(help="of the tasks")] = 0,
    split: Split = "test",
    scratch: Annotated[
        bool, typer.Option("--scratch", help="also a network trained on each support set alone")
    ] = False,
    over: Annotated[Over, typer.Option(help="what intervals of saved shots are over: tasks or classes")] = "tasks",
    data: Annotated[str | None, typer.Option(help="another data set than the first run was trained on")] = None,
    root: Root = None,
    plot: Plot = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Scores against the number of shots, beside baselines, and how many shots the best of them needs instead.

    Baselines: logistic regression on the inputs as they are; each FineTune run, with its own head and with logistic
    regression on its features; with --scratch, a network trained on each support set from random weights.
    """
    from innerloop.cli.several import loaded
    from innerloop.core.task import InputError
    from innerloop.data.episodes import FewShot
    from innerloop.data.fitted import fitted
    from innerloop.evidence import baselines, efficiency
    from innerloop.report import evidence_figures as figures

    if plot is not None:
        figures.check_plot(plot)
    numbers = _numbers(shots) if shots is not None else None
    found = loaded(run)
    sampler, _ = runs.judged_by(run[0], ways, 1, queries, split, data=data, root=root)
    if not isinstance(sampler, FewShot):
        raise InputError(
            f"{run[0]} is judged on tasks without classes, and shots are examples of a class: see evaluate"
        )
    known: dict[str, Learner] = {"logistic regression on inputs": baselines.on_inputs()}
    learners: dict[str, Learner] = {}
    for one in found:
        if one.kind == "finetune":
            known |= {one.name: one.learner, f"{one.name}, logistic head": baselines.on_features(one.learner)}
        else:
            learners[one.name] = one.learner
    facts = found[0].facts
    for one in found[1:]:
        if one.facts is not None and facts is not None and one.facts.shape != facts.shape:
            raise InputError(
                f"{one.path} takes examples of shape {one.facts.shape}, {run[0]} of {facts.shape}: a curve is of runs "
                f"that see the same examples, innerloop matrix compares others"
            )
    pool = sampler.pool if facts is None else fitted(sampler.pool, facts.shape)
    if scratch:
        known["network trained on the support set"] = baselines.from_scratch(sampler.facts)
    result = efficiency.curve(
        learners, pool, baselines=known, shots=numbers or efficiency.shots_of(pool, queries), ways=sampler.ways,
        queries=queries, tasks=tasks, seed=seed, device=device,
    )  # fmt: skip
    if plot is not None:
        figures.write_svg(figures.curve_figure(result), plot)
    typer.echo(json_of({**result.json(over), "ways": sampler.ways, "seed": seed}) if as_json else result.text(over))


def _numbers(text: str) -> list[int]:
    """The numbers of a list with commas."""
    from innerloop.core.task import InputError

    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--shots {text!r} must be whole numbers with commas between them: 1,2,5,10,20") from None
