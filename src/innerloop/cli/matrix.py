"""The command that says how far a run carries: matrix."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from innerloop.cli import runs
from innerloop.cli.options import Device, Json
from innerloop.core.plain import json_of

if TYPE_CHECKING:
    from innerloop.cli.several import Loaded
    from innerloop.core.learner import Learner
    from innerloop.data.episodes import Sampler

#: What else than their own data functions are judged on.
FUNCTIONS = ("gp_rbf", "gp_matern52", "gp_periodic")


def matrix(
    run: Annotated[list[Path], typer.Argument(help="run folders that take the same kind of examples")],
    baseline: Annotated[Path | None, typer.Option(help="what others are compared with; default FineTune")] = None,
    on: Annotated[list[str] | None, typer.Option(help="another data set, NAME or NAME=FOLDER (repeatable)")] = None,
    root: Annotated[Path | None, typer.Option(help="folder of the first run's data set")] = None,
    ways: Annotated[int, typer.Option(help="classes a task")] = 5,
    shots: Annotated[int, typer.Option(help="support examples a class")] = 1,
    queries: Annotated[int, typer.Option(help="query examples a class")] = 5,
    tasks: Annotated[int, typer.Option(help="how many tasks a domain")] = 200,
    seed: Annotated[int, typer.Option(help="of the tasks")] = 0,
    plot: Annotated[Path | None, typer.Option(help="draw the gaps too: FILE.svg")] = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Runs in other domains than they were trained in, beside a baseline in each: how far they carry.

    Domains are the first run's test classes as they are, other ways and shots, wrong support labels, tasks within one
    group of classes, turned and inverted images, and the data sets after --on, whose images are brought to the runs'
    size and channels. Functions are judged on other kernels, and on sine waves out of range.
    """
    from innerloop.cli.several import loaded
    from innerloop.core.task import InputError
    from innerloop.data.episodes import FewShot
    from innerloop.evidence import baselines
    from innerloop.evidence.domains import matrix as judge
    from innerloop.report import evidence_figures as figures

    if plot is not None:
        figures.check_plot(plot)
    found = loaded([*run, *([baseline] if baseline is not None and baseline not in run else [])])
    learners: dict[str, Learner] = {one.name: one.learner for one in found}
    own, _ = runs.judged_by(run[0], None, None, None, "test", root=root)
    if isinstance(own, FewShot):
        domains = _images(own, found, on or [], ways, shots, queries, tasks, seed)
    else:
        domains = _functions(run[0], on or [])
    known = [one.name for one in found if one.path == baseline or (baseline is None and one.kind == "finetune")]
    if not known and isinstance(own, FewShot):
        known = ["logistic regression on inputs"]
        learners[known[0]] = baselines.on_inputs()
    if len(learners) < 2 or not known:
        raise InputError("there is nothing to compare with: give a second run and --baseline, or a FineTune run")
    pairs = {name: known[0] for name in learners if name not in known}
    result = judge(learners, domains, pairs, tasks=tasks, seed=seed, device=device)
    if plot is not None:
        figures.write_svg(figures.matrix_figure(result), plot)
    if as_json:
        typer.echo(json_of({"cells": [cell.json() for cell in result.cells()], "tasks": tasks, "seed": seed}))
    else:
        typer.echo(f"{result}\n\nIn brackets: the gap to {known[0]} on the same tasks, with its 95 % interval.")


def _images(
    own: Any, found: list[Loaded], on: list[str], ways: int, shots: int, queries: int, tasks: int, seed: int
) -> dict[str, Sampler]:
    """Conditions of the first run's own test classes, and other data sets in its form."""
    from innerloop.core.task import InputError
    from innerloop.data import registry
    from innerloop.data.fitted import fitted
    from innerloop.data.fixed import nested
    from innerloop.data.pools import Pools
    from innerloop.evidence.domains import conditions

    shape = found[0].facts.shape if found[0].facts is not None else own.pool.shape
    for one in found[1:]:
        if one.facts is not None and one.facts.shape != shape:
            raise InputError(
                f"{one.path} takes examples of shape {one.facts.shape}, {found[0].path} of {shape}: a matrix is of "
                f"runs that see the same examples, give the others a command of their own"
            )
    sizes: dict[str, Any] = {"ways": ways, "queries": queries, "tasks": tasks, "seed": seed}
    domains: dict[str, Sampler] = dict(conditions(fitted(own.pool, shape), shots=shots, **sizes))
    for given in on:
        word, _, folder = given.partition("=")
        name, place = runs.placed(word, Path(folder) if folder else None)
        source = registry.read(str(name), place)
        if not isinstance(source, Pools):
            raise InputError(f"--on {given}: {name} holds no pools of classes, and the runs are judged on classes")
        drawn = nested(fitted(source.test, shape), [shots], **sizes)
        domains[f"{ways}-way {shots}-shot, {word}"] = drawn[shots]
    return domains


def _functions(run: Path, on: list[str]) -> dict[str, Sampler]:
    """The run's own functions, other kernels, and sine waves out of the range that it was trained in."""
    from innerloop.data.functions import Sinusoid
    from innerloop.evidence.domains import sinusoids

    own, facts = runs.judged_by(run, None, None, None, "test")
    name = str(facts["data"])
    if isinstance(own, Sinusoid):
        domains: dict[str, Sampler] = dict(sinusoids(shots=own.shots, queries=own.queries))
    else:
        domains = {name: own}
        names = FUNCTIONS if name in FUNCTIONS else ()
        domains |= {other: _other(run, other) for other in names if other != name}
    return {**domains, **{other: _other(run, other) for other in on}}


def _other(run: Path, data: str) -> Sampler:
    return runs.judged_by(run, None, None, None, "test", data=data)[0]
