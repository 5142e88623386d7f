"""Arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Run = Annotated[Path, typer.Argument(help="a run folder, written by `innerloop train --out`")]
Ways = Annotated[int | None, typer.Option(help="classes a task")]
Shots = Annotated[int | None, typer.Option(help="support examples a class (points, for regression)")]
Queries = Annotated[int | None, typer.Option(help="query examples a class (points, for regression)")]
Json = Annotated[bool, typer.Option("--json", help="print one JSON object and nothing else")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, mps, ...")]
Split = Annotated[str, typer.Option(help="train, val or test")]
Tasks = Annotated[int, typer.Option(help="how many tasks")]
Out = Annotated[Path, typer.Option(help="run folder; must not hold a run yet")]
Data = Annotated[
    str | None, typer.Option(help="see `innerloop data`, or the path of your own; default the recipe's, or glyphs")
]
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
Followed = Annotated[
    str | None,
    typer.Option(help="send the metrics to tensorboard, wandb or trackio; a resumed run goes on where it did, or none"),
]
