"""The command line: pretrain, train, sweep, resume, evaluate, compare, continual, learners, data, demo."""

from __future__ import annotations

import json
import os
import sys
from contextlib import nullcontext, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from innerloop.cli import runs

app = typer.Typer(
    help="Meta-learning: train on many small tasks, then learn a new one from a handful of examples.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Run = Annotated[Path, typer.Argument(help="a run folder, written by `innerloop train --out`")]
Ways = Annotated[int | None, typer.Option(help="classes a task")]
Shots = Annotated[int | None, typer.Option(help="support examples a class (points, for regression)")]
Queries = Annotated[int | None, typer.Option(help="query examples a class (points, for regression)")]
Json = Annotated[bool, typer.Option("--json", help="print one JSON object and nothing else")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, mps, ...")]
Split = Annotated[str, typer.Option(help="train, val or test")]
Tasks = Annotated[int, typer.Option(help="how many tasks")]
Out = Annotated[Path, typer.Option(help="run folder; must not hold a run yet")]
Data = Annotated[str | None, typer.Option(help="see `innerloop data`; default the recipe's, or glyphs")]
Root = Annotated[Path | None, typer.Option(help="folder of the data set")]
Steps = Annotated[int | None, typer.Option(help="outer steps; 0 leaves the learner untrained")]
Minutes = Annotated[float | None, typer.Option(help="wall-clock budget")]
Seed = Annotated[int, typer.Option(help="of all that is random")]
Norm = Annotated[str | None, typer.Option(help="group, support, running, batch or none")]
Rate = Annotated[float | None, typer.Option(help="outer learning rate")]
Width = Annotated[int | None, typer.Option(help="filters of the network")]
Init = Annotated[Path | None, typer.Option(help="run folder whose network the training starts from")]
Change = Annotated[list[str] | None, typer.Option("--set", help="any value of the recipe: training.average=0.999")]
Quiet = Annotated[bool, typer.Option("--quiet", help="no progress bar")]

#: Ways of pre-training, and their learners.
PRETRAINERS = {"classifier": "finetune", "rotation": "rotation", "contrastive": "contrastive"}


def _version(asked: bool) -> None:
    if asked:
        from innerloop.core.version import VERSION

        typer.echo(f"innerloop {VERSION}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", help="print the version", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Meta-learning: train on many small tasks, then learn a new one from a handful of examples."""


@app.command()
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
    how: Annotated[str | None, typer.Option(help="auto, vmap, loop or chunk")] = None,
    chunk: Annotated[int | None, typer.Option(help="tasks per backward pass")] = None,
    init: Init = None,
    freeze: Annotated[
        list[str] | None,
        typer.Option(help="parameters to leave alone, by a pattern of names: 'encoder.*' (repeatable)"),
    ] = None,
    device: Device = None,
    change: Change = None,
    quiet: Quiet = False,
) -> None:
    """Meta-train a learner by its committed recipe, and what the options change in it."""
    from innerloop.core import distributed

    recipe = runs.recipe_of(
        learner, data, change=change, root=root, init=init, seed=seed, norm=norm, freeze=freeze,
        tables={
            "episodes": {"ways": ways, "shots": shots, "queries": queries},
            "training": {
                "tasks_per_step": tasks_per_step, "steps": steps, "minutes": minutes, "lr": lr, "how": how,
                "chunk": chunk, "device": device,
            },
            "options": {"steps": inner_steps, "lr": inner_lr, "first_order": first_order or None},
            "net": {"width": width},
        },
    )  # fmt: skip
    begun = distributed.first(lambda: runs.begun(recipe, out))
    _end(runs.trained(recipe, out, resume=begun, quiet=quiet))


@app.command()
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
    quiet: Quiet = False,
) -> None:
    """Train an encoder on all meta-training classes or their images alone; `train --init` starts from it."""
    from innerloop.core.task import InputError, did_you_mean

    if method not in PRETRAINERS:
        hint = did_you_mean(method, PRETRAINERS)
        raise InputError(f"pre-training {method!r} is unknown{hint}; choose one of {', '.join(PRETRAINERS)}")
    train(
        PRETRAINERS[method], out, data, root, steps=steps, minutes=minutes, seed=seed, norm=norm, lr=lr, width=width,
        init=init, device=device, change=change, quiet=quiet,
    )  # fmt: skip
    runs.console().print(f"meta-train from it: innerloop train LEARNER --init {out}", highlight=False)


@app.command()
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
        typer.echo(json.dumps({"best": next(iter(rows), None), "trials": rows}))
    else:
        _table(shown(rows), False)


@app.command()
def resume(run: Run, root: Root = None, quiet: Quiet = False) -> None:
    """Go on with an interrupted run, bit for bit; --root says where its data lie now."""
    from innerloop.recipes import load_run

    recipe, _ = load_run(run)
    recipe.root = str(root.absolute()) if root is not None else recipe.root
    _end(runs.trained(recipe, run, resume=True, quiet=quiet))


@app.command()
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
    data: Annotated[str | None, typer.Option(help="another data set than it was trained on")] = None,
    root: Annotated[Path | None, typer.Option(help="folder of that data set")] = None,
    out: Annotated[Path | None, typer.Option(help="folder for the tasks and scores; default RUN/evaluations")] = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Score a run on fixed, seeded tasks of a split; the tasks and each one's score are kept beside the run."""
    from innerloop.core import distributed
    from innerloop.evaluation.save import check_writable, save_report

    folder = out if out is not None else run / "evaluations"
    sampler, facts = runs.judged_by(run, ways, shots, queries, split, data=data, root=root)
    distributed.first(lambda: check_writable(folder))
    report = runs.scored(run, sampler, tasks=tasks, seed=seed, device=device, inner_steps=inner_steps, norm=norm)
    if distributed.rank() > 0:
        return
    # What was found is said first: should it be impossible to keep, it is not lost.
    typer.echo(json.dumps({**report.json(), "split": split}, allow_nan=False) if as_json else str(report))
    sizes = {"w": report.ways, "s": report.shots, "q": report.queries}
    kind = "".join(f"{size}{letter}" for letter, size in sizes.items() if isinstance(size, int)) or "tasks"
    kind += f"-{data}" if data else ""
    kind += f"-norm_{norm}" if norm else ""
    kind += f"-{inner_steps}steps" if inner_steps is not None else ""
    save_report(report, folder, f"{split}-{kind}-{tasks}tasks-seed{seed}", {**facts, "inner_steps": inner_steps})


@app.command()
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
        typer.echo(json.dumps(both, allow_nan=False))
    else:
        typer.echo(f"{first}: {a}\n{second}: {b}\n{found}")


@app.command()
def continual(
    learner: Annotated[
        str, typer.Argument(help="naive, experiencereplay, agem, ewc, lamaml, cmaml, mer, joint, or a run")
    ],
    stream: Annotated[str, typer.Option(help="rotated_digits, split_digits, split_glyphs, split_omniglot, ...")],
    root: Root = None,
    orders: Annotated[int, typer.Option(help="streams, each in another order")] = 3,
    seed: Annotated[int, typer.Option(help="of the first stream; the others follow")] = 0,
    classes: Annotated[int | None, typer.Option(help="classes of a split stream")] = None,
    scenario: Annotated[str | None, typer.Option(help="class, task or domain, for a split stream")] = None,
    after: Annotated[list[int] | None, typer.Option(help="measure after so many tasks only (several times)")] = None,
    init: Annotated[Path | None, typer.Option(help="run folder whose encoder an online learner starts from")] = None,
    change: Annotated[list[str] | None, typer.Option("--set", help="an option of the learner, e.g. lr=0.1")] = None,
    out: Annotated[Path | None, typer.Option(help="folder for continual.json and continual.png")] = None,
    as_json: Json = False,
) -> None:
    """Fold a learner over streams of tasks: accuracy at the end, transfer, forgetting, memory."""
    from innerloop.continual.command import report
    from innerloop.core.allocator import keep_memory

    keep_memory()
    options = dict(runs.value(text) for text in change or [])
    found = report(
        learner, stream, str(root) if root is not None else None, list(range(seed, seed + orders)),
        sizes={"classes": classes, "scenario": scenario}, after=after, init=init, options=options, out=out,
    )  # fmt: skip
    typer.echo(json.dumps(found) if as_json else found["text"])


@app.command("learners")
def list_learners(as_json: Json = False) -> None:
    """The learners and their recipes."""
    from innerloop.data import registry
    from innerloop.learners.named import learner_class
    from innerloop.recipes import defaults, learner_names

    rows: list[dict[str, Any]] = []
    for name in learner_names():
        kind, recipe = learner_class(name), defaults(name)
        norm = recipe.norm if "images" in registry.find(recipe.data).kinds else "none"
        rows.append(
            {
                "learner": name,
                "family": kind.__module__.split(".")[-2],
                "objectives": list(kind.objectives),
                "norm": norm,
                "transductive": kind.looks_at_queries or norm == "batch",
                "what": (kind.__doc__ or "").strip().splitlines()[0],
            }
        )
    if not as_json:
        words = {"classification": "classes", "regression": "reals"}
        for row in rows:
            kinds = row.pop("objectives")
            row["for"] = words[kinds[0]] if len(kinds) == 1 else "both"
            row["norm"] += " (transductive)" if row.pop("transductive") else ""
            row["what"] = row.pop("what")
    _table(rows, as_json)


@app.command("data")
def list_data(
    name: Annotated[str | None, typer.Argument(help="a data set, to read and count it")] = None,
    root: Root = None,
    download: Annotated[bool, typer.Option("--download", help="fetch it into --root first")] = False,
    as_json: Json = False,
) -> None:
    """The data sets; with a name, read one (or fetch it) and count its classes and examples."""
    from innerloop.data import registry

    if name is None:
        rows = registry.catalog()
        if not as_json:
            rows = [{**row, "kind": row["kind"][:3][-1]} for row in rows]
        _table(rows, as_json)
        return
    found = registry.read(name, root, **({"download": True} if download else {})).describe()
    _table(found.rows, as_json)
    for note in found.notes:
        Console(stderr=True).print(note, highlight=False, soft_wrap=True)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="folder for report.html")] = Path("demo"),
    minutes: Annotated[float, typer.Option(help="about how long")] = 3.0,
    seed: Seed = 0,
) -> None:
    """Train and compare on the embedded data, and write one self-contained report.html."""
    from innerloop.demo import run_demo

    typer.echo(f"report: {run_demo(out, minutes, seed)}")


def _end(code: int) -> None:
    """Exit with a code of its own where a run was interrupted, so that ``train && evaluate`` stops there."""
    if code:
        raise typer.Exit(code)


def _table(rows: list[dict[str, Any]], as_json: bool) -> None:
    """Rows as a table that is as wide as the terminal, and in a pipe as wide as it has to be: no name is cut."""
    if as_json:
        typer.echo(json.dumps(rows))
        return
    console = Console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in rows[0] if rows else ():
        words = name == "what"
        table.add_column(name, no_wrap=not words, overflow="fold", ratio=1 if words and console.is_terminal else None)
    for row in rows:
        table.add_row(*(", ".join(map(str, v)) if isinstance(v, list) else str(v) for v in row.values()))
    if not console.is_terminal:
        console = Console(width=Console(width=10_000).measure(table).maximum)
    console.print(table, highlight=False)


#: What typer raises for words that it does not understand: a class of click, which typer may bring along.
_UsageError: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "UsageError")


def main() -> NoReturn:
    """Run the command line; what cannot be done ends with one line on standard error and exit code 2."""
    from innerloop.core import distributed

    # Parts of one's own are looked for where the command is given, as `python -m` does.
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        with distributed.start(), redirect_stdout(StringIO()) if distributed.rank() > 0 else nullcontext():
            code = app(standalone_mode=False)
            sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output has gone, as `head` does: nothing is wrong, and there is nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(128 + 13) from None
    except (KeyboardInterrupt, typer.Abort):
        print("innerloop: interrupted", file=sys.stderr)
        raise SystemExit(128 + 2) from None
    except Exception as error:
        message = _message(error)
        if message is None:
            raise
        who = f"innerloop, rank {os.environ['RANK']}" if distributed.launched() else "innerloop"
        print(f"{who}: {message}", file=sys.stderr)
        raise SystemExit(2) from None
    raise SystemExit(code if isinstance(code, int) else 0)


def _message(error: Exception) -> str | None:
    """What is said of an error that is the caller's or the system's; ``None`` for one that is a fault of ours."""
    from innerloop.core.task import InputError
    from innerloop.training.outer import NonFiniteLoss

    if isinstance(error, _UsageError):
        words = error.ctx.command_path if error.ctx is not None else "innerloop"
        text = " ".join(error.format_message().split()).rstrip(".")
        return f"{text}; {words} --help says more" if text else f"give a command; {words} --help lists them"
    if isinstance(error, InputError | NonFiniteLoss):
        return " ".join(str(error).split("\n"))
    if isinstance(error, OSError):
        where = f" {error.filename}" if error.filename else ""
        return f"the system refuses{where}: {error.strerror or error}"
    return None
