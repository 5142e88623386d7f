"""The command that goes through streams: continual."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from innerloop.cli import runs
from innerloop.cli.options import (
    Json,
    Root,
)
from innerloop.core.plain import json_of


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
    typer.echo(json_of(found) if as_json else found["text"])
