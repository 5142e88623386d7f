"""The command that looks at data before hours are spent: check."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from innerloop.cli.options import Json
from innerloop.core.plain import json_of

if TYPE_CHECKING:
    from innerloop.data.check import Checked
    from innerloop.data.own.looking import Told
    from innerloop.data.own.record import OwnData

#: Classes and findings that are shown by name.
_SHOWN = 12
#: Seconds after which a bar is drawn.
_PATIENCE = 2.0


def check(
    data: Annotated[
        Path, typer.Argument(help="a folder or file: pictures, sentences, a table, arrays", metavar="DATA")
    ],
    label: Annotated[str | None, typer.Option(help="the label column; default the one that is called so")] = None,
    inputs: Annotated[list[str] | None, typer.Option(help="an input column; default all others (repeatable)")] = None,
    task: Annotated[str | None, typer.Option(help="the column that says which of many tasks a row is of")] = None,
    group: Annotated[str | None, typer.Option(help="the column of rows that belong together")] = None,
    categorical: Annotated[list[str] | None, typer.Option(help="a column of categories (repeatable)")] = None,
    missing: Annotated[list[str] | None, typer.Option(help="a word for a missing value (repeatable)")] = None,
    encoding: Annotated[str | None, typer.Option(help="of texts and CSV files; default UTF-8")] = None,
    sheet: Annotated[str | None, typer.Option(help="of an Excel file")] = None,
    header: Annotated[
        bool | None, typer.Option("--header/--no-header", help="whether the first line names the columns")
    ] = None,
    shots: Annotated[int | None, typer.Option(help="examples a class that will be asked for")] = None,
    as_json: Json = False,
) -> None:
    """Look at your own data: what they are taken for, and what is wrong with them. Nothing is written.

    Exit code 0 if something can be learned from them, 1 if a fault has to be mended first.

    innerloop check photographs

    innerloop check questions.csv --label topic --shots 5 --json
    """
    from innerloop.data import check as look

    columns = {
        "label": label, "inputs": inputs or None, "task": task, "group": group, "categorical": categorical or (),
        "missing": missing or (), "encoding": encoding, "sheet": sheet,
    }  # fmt: skip
    with _bar(not as_json) as told:
        found = look(data, shots=shots, told=told, header=header, **columns)
    encoder = _encoder(found)
    after = _next(data, {**columns, "header": header})
    if as_json:
        typer.echo(json_of({**found.json(), "encoder": encoder, "next": after if found.usable else None}))
    else:
        _tell(found, encoder, after)
    if not found.usable:
        raise typer.Exit(1)


def _next(data: Path, options: dict[str, Any]) -> str:
    """What learns from the data: a command, or where it has no such option, two lines of Python in one."""
    said = {name: value for name, value in options.items() if value not in (None, ())}
    if set(said) <= {"label", "inputs"}:
        words = [f"--label={said['label']}"] if "label" in said else []
        words += [f"--inputs={name}" for name in said.get("inputs", [])]
        return f"innerloop learn {shlex.join([str(data), *words])} --out TASK"
    arguments = ", ".join([repr(str(data)), *(f"{name}={value!r}" for name, value in said.items())])
    return f"own = il.data.read_own({arguments}); il.FewShotClassifier().fit(own.X, own.y)"


def _encoder(found: Checked) -> str | None:
    """What the inputs would be encoded by."""
    from innerloop.encoders.find import looked

    own = found.own
    broken = {name for finding in found.findings if finding.what == "damaged" for name in finding.where}
    whole = [place for place, name in enumerate(own.names) if name not in broken]
    if not whole:
        return None
    return looked(own.take(whole).X)


@contextmanager
def _bar(show: bool) -> Iterator[Told]:
    """What draws a bar on standard error, once it has taken long."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("looking"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    bar = Progress(*columns, console=console, transient=True)
    start, line = time.monotonic(), bar.add_task("looking")

    def told(done: int, total: int) -> None:
        if show and console.is_terminal and time.monotonic() - start > _PATIENCE:
            bar.start()
            bar.update(line, completed=done, total=total)

    try:
        yield told
    finally:
        if bar.live.is_started:
            bar.stop()


def _tell(found: Checked, encoder: str | None, after: str) -> None:
    console, own = Console(soft_wrap=True, highlight=False), found.own
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, value in _rows(found, encoder):
        table.add_row(name, value)
    console.print(table)
    for finding in found.findings:
        console.print(f"[bold]{'FAULT' if finding.stops else 'note '}[/bold] {_plain(finding.says)}")
        if len(finding.where) > 1 and finding.what in ("damaged", "absent", "conflict", "leak"):
            for name in finding.where[:_SHOWN]:
                console.print(f"      {_plain(name)}")
            if len(finding.where) > _SHOWN:
                console.print(f"      and {len(finding.where) - _SHOWN} more: --json lists them")
    for note in own.notes:
        console.print(f"read  {_plain(note)}")
    console.print(f"next: {_plain(after)}" if found.usable else "mend the faults first, then check again")


def _rows(found: Checked, encoder: str | None) -> Iterator[tuple[str, str]]:
    own = found.own
    things = {"images": "pictures", "text": "sentences", "table": "rows of a table", "vectors": "feature vectors"}
    unlabeled = f", {own.unlabeled} without a label" if own.unlabeled else ""
    yield "data", f"{len(own)} {things[own.kind]}{unlabeled}, labels by {own.label}"
    if own.objective == "classification":
        yield "classes", _counts(own)
    if own.hierarchy:
        yield "coarser", f"{len({above[0] for above in own.hierarchy.values()})} classes above these"
    if own.splits is not None:
        yield "splits", ", ".join(f"{name} {own.splits.count(name)}" for name in sorted(set(own.splits)))
    if own.tasks is not None:
        yield "tasks", str(len(set(own.tasks)))
    if found.pictures:
        side, modes, formats = (found.pictures[part] for part in ("side", "modes", "formats"))
        shown = ", ".join(f"{name} {count}" for name, count in {**formats, **modes}.items())
        yield "pictures", f"sides of {side['smallest']} to {side['largest']} pixels; {shown}"
    if own.kind == "table":
        yield "columns", ", ".join(map(str, own.X.columns))
    if own.kind == "vectors":
        yield "features", str(own.X.shape[1])
    if encoder is not None:
        yield "encoder", encoder


def _counts(own: OwnData) -> str:
    counts = own.counts
    shown = ", ".join(f"{label} {count}" for label, count in list(counts.items())[:_SHOWN])
    more = f", and {len(counts) - _SHOWN} more" if len(counts) > _SHOWN else ""
    least, most = min(counts.values(), default=0), max(counts.values(), default=0)
    spread = f" of {least} examples" if least == most else f" of {least} to {most} examples"
    return f"{len(counts)}{spread}: {shown}{more}"


def _plain(text: Any) -> str:
    from rich.markup import escape

    return escape(str(text))
