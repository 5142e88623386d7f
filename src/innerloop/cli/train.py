"""Commands that train: train, pretrain, sweep, resume."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from typer.main import get_command

from innerloop.cli import runs
from innerloop.cli.options import (
    Change,
    Data,
    Device,
    Followed,
    Init,
    Json,
    Minutes,
    Norm,
    Out,
    Queries,
    Quiet,
    Rate,
    Root,
    Run,
    Seed,
    Shots,
    Steps,
    Ways,
    Width,
)
from innerloop.cli.show import show
from innerloop.core.plain import json_of

if TYPE_CHECKING:
    from innerloop.recipes import Recipe

#: Ways of pre-training, and their learners.
PRETRAINERS = {"classifier": "finetune", "rotation": "rotation", "contrastive": "contrastive"}


def train(
    learner: Annotated[str, typer.Argument(help="see `innerloop learners`")],
    out: Out,
    data: Data = None,
    root: Root = None,
    ways: Ways = None,
    shots: Shots = None,
    queries: Queries = None,
    tasks_per_step: Annotated[int | None, typer.Option(help="tasks in each outer step")] = None,
    steps: Steps = None,
    minutes: Minutes = None,
    seed: Seed = 0,
    norm: Norm = None,
    lr: Rate = None,
    inner_steps: Annotated[int | None, typer.Option(help="inner steps (MAML, Reptile)")] = None,
    inner_lr: Annotated[float | None, typer.Option(help="inner learning rate (MAML, Reptile)")] = None,
    first_order: Annotated[bool, typer.Option("--first-order", help="first-order MAML")] = False,
    width: Width = None,
    how: Annotated[str | None, typer.Option(help="auto, vmap, loop, chunk or patches")] = None,
    chunk: Annotated[int | None, typer.Option(help="tasks per backward pass")] = None,
    init: Init = None,
    freeze: Annotated[
        list[str] | None,
        typer.Option(help="parameters to leave alone, by a pattern of names: 'encoder.*' (repeatable)"),
    ] = None,
    device: Device = None,
    change: Change = None,
    track: Followed = None,
    quiet: Quiet = False,
) -> None:
    """Meta-train a learner by its committed recipe, and what the options change in it."""
    from innerloop.core import distributed

    recipe = asked(
        learner, data=data, root=root, ways=ways, shots=shots, queries=queries, tasks_per_step=tasks_per_step,
        steps=steps, minutes=minutes, seed=seed, norm=norm, lr=lr, inner_steps=inner_steps, inner_lr=inner_lr,
        first_order=first_order, width=width, how=how, chunk=chunk, init=init, freeze=freeze, device=device,
        change=change,
    )  # fmt: skip
    begun = distributed.first(lambda: runs.begun(recipe, out))
    end(runs.trained(recipe, out, resume=begun, quiet=quiet, track=track))


def asked(learner: str, **options: Any) -> Recipe:
    """The recipe that the options of ``train`` ask for, checked.

    Args:
        learner: its name.
        options: those of :func:`train`, without ``out``, ``quiet`` and ``track``; what is left out is ``None``.
    """
    said: dict[str, Any] = defaultdict(lambda: None, options)
    return runs.recipe_of(
        learner, said["data"], change=said["change"], root=said["root"], init=said["init"], seed=said["seed"],
        norm=said["norm"], freeze=said["freeze"],
        tables={
            "episodes": {name: said[name] for name in ("ways", "shots", "queries")},
            "training": {
                name: said[name] for name in ("tasks_per_step", "steps", "minutes", "lr", "how", "chunk", "device")
            },
            "options": {
                "steps": said["inner_steps"], "lr": said["inner_lr"], "first_order": said["first_order"] or None,
            },
            "net": {"width": said["width"]},
        },
    )  # fmt: skip


def asked_by(words: Sequence[str], **options: Any) -> Recipe:
    """The recipe that the words of a command line ask for.

    Args:
        words: the learner, then options, as they stand after ``innerloop train``.
        options: of :func:`train`, in place of those of the words.

    Raises:
        InputError: for words that are none.
    """
    from innerloop.core.task import InputError

    single = typer.Typer(add_completion=False)
    single.command()(train)
    try:
        with get_command(single).make_context("train", [*words, "--out", "."]) as context:
            found = {name: value for name, value in context.params.items() if name not in ("out", "quiet", "track")}
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        raise InputError(f"`innerloop train {' '.join(words)}`: {error.format_message()}") from None
    # What can be given several times is a tuple here, and a list where typer calls the command.
    said = {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}
    return asked(**{**said, **options})


def pretrain(
    method: Annotated[str, typer.Argument(help=", ".join(PRETRAINERS))],
    out: Out,
    data: Data = None,
    root: Root = None,
    steps: Steps = None,
    minutes: Minutes = None,
    seed: Seed = 0,
    norm: Norm = None,
    lr: Rate = None,
    width: Width = None,
    init: Init = None,
    device: Device = None,
    change: Change = None,
    track: Followed = None,
    quiet: Quiet = False,
) -> None:
    """Train an encoder on all meta-training classes or their images alone; `train --init` starts from it."""
    from innerloop.core.task import InputError, did_you_mean

    if method not in PRETRAINERS:
        hint = did_you_mean(method, PRETRAINERS)
        raise InputError(f"pre-training {method!r} is unknown{hint}; choose one of {', '.join(PRETRAINERS)}")
    train(
        PRETRAINERS[method], out, data, root, steps=steps, minutes=minutes, seed=seed, norm=norm, lr=lr, width=width,
        init=init, device=device, change=change, track=track, quiet=quiet,
    )  # fmt: skip
    runs.console().print(f"meta-train from it: innerloop train LEARNER --init {out}", highlight=False)


def sweep(
    learner: Annotated[str, typer.Argument(help="see `innerloop learners`")],
    tried: Annotated[
        list[str],
        typer.Option("--try", help="training.lr=1e-4..1e-2:log, options.steps=1..5, episodes.ways=[5,20] (repeatable)"),
    ],
    out: Annotated[Path, typer.Option(help="folder of the sweep: each trial is a run folder in it")],
    trials: Annotated[int, typer.Option(help="how many in all, over all processes and repetitions")] = 20,
    storage: Annotated[str | None, typer.Option(help="URL of a database; default sqlite:///OUT/sweep.db")] = None,
    name: Annotated[str | None, typer.Option(help="of the sweep in its storage; default LEARNER-DATA")] = None,
    data: Data = None,
    root: Root = None,
    steps: Steps = None,
    minutes: Minutes = None,
    seed: Seed = 0,
    norm: Norm = None,
    init: Init = None,
    device: Device = None,
    change: Change = None,
    as_json: Json = False,
) -> None:
    """Train a learner many times with other values and search for the best; the same command again goes on."""
    from innerloop.core.allocator import keep_memory
    from innerloop.sweep import Axis, run, shown

    recipe = runs.recipe_of(
        learner, data, change=change, root=root, init=init, seed=seed, norm=norm,
        tables={"training": {"steps": steps, "minutes": minutes, "device": device}},
    )  # fmt: skip
    keep_memory()
    rows = run(
        recipe, [Axis.read(text) for text in tried], out=out, trials=trials, storage=storage, name=name,
        say=lambda line: Console(stderr=True).print(line, highlight=False, soft_wrap=True),
    )  # fmt: skip
    if as_json:
        typer.echo(json_of({"best": next(iter(rows), None), "trials": rows}))
    else:
        show(shown(rows), False)


def resume(run: Run, root: Root = None, track: Followed = None, quiet: Quiet = False) -> None:
    """Go on with an interrupted run, bit for bit; --root says where its data lie now."""
    from innerloop.recipes import load_run

    recipe, _ = load_run(run)
    recipe.root = str(root.absolute()) if root is not None else recipe.root
    end(runs.trained(recipe, run, resume=True, quiet=quiet, track=track))


def end(code: int) -> None:
    """Exit with a code of its own where a run was interrupted, so that ``train && evaluate`` stops there."""
    if code:
        raise typer.Exit(code)
