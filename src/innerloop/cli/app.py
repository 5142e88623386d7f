"""The command line: its commands, and how it ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import nullcontext, redirect_stdout
from functools import cache
from io import StringIO
from typing import Annotated, Any, NoReturn

import typer
from typer.main import get_command

from innerloop.cli.browse import data, learners
from innerloop.cli.check import check
from innerloop.cli.curve import curve
from innerloop.cli.demonstrate import demo
from innerloop.cli.evidence import evidence
from innerloop.cli.matrix import matrix
from innerloop.cli.models import models
from innerloop.cli.predict import predict, score_task
from innerloop.cli.report import report
from innerloop.cli.reproduce import reproduce
from innerloop.cli.score import compare, evaluate
from innerloop.cli.serve import serve
from innerloop.cli.stream import continual
from innerloop.cli.studio import studio
from innerloop.cli.task import add, export, learn
from innerloop.cli.train import pretrain, resume, sweep, train
from innerloop.cli.watch import watch

app = typer.Typer(no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False)
#: In the order in which help lists them.
COMMANDS: dict[str, Callable[..., None]] = {
    "check": check, "learn": learn, "predict": predict, "add": add, "test": score_task, "export": export,
    "serve": serve, "studio": studio,
    "pretrain": pretrain, "train": train, "sweep": sweep, "resume": resume, "watch": watch,
    "evaluate": evaluate, "compare": compare, "curve": curve, "matrix": matrix, "evidence": evidence,
    "reproduce": reproduce, "report": report, "continual": continual, "learners": learners, "data": data,
    "models": models, "demo": demo,
}  # fmt: skip
for name, command in COMMANDS.items():
    app.command(name)(command)


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


@cache
def program() -> Any:
    """The commands as they are called, put together from their signatures once a process."""
    return get_command(app)


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
            code = program()(standalone_mode=False)
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
