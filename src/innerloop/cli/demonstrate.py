"""The demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from innerloop.cli.options import (
    Seed,
)


def demo(
    out: Annotated[Path, typer.Option(help="folder for report.html")] = Path("demo"),
    steps: Annotated[int, typer.Option(help="outer steps; the default takes about three minutes")] = 660,
    seed: Seed = 0,
) -> None:
    """Train and compare on the embedded data, and write one self-contained report.html."""
    from innerloop.demo import run_demo

    typer.echo(f"report: {run_demo(out, steps, seed)}")
