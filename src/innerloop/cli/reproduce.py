"""The command reproduce: rows of the tables made again and held against what was recorded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from innerloop.cli import rerun, runs
from innerloop.cli.options import Device, Json, Quiet
from innerloop.cli.show import show
from innerloop.core.plain import json_of

if TYPE_CHECKING:
    from innerloop.reproduction import Compared, Printed, Trained

Tables = dict[str, "Trained | Printed"]


def reproduce(
    names: Annotated[
        list[str] | None, typer.Argument(help="rows (omniglot/protonet), tables (omniglot), or all", show_default=False)
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="name the rows, minutes of each, what makes it")] = False,
    seed: Annotated[list[int] | None, typer.Option(help="in place of those recorded (repeatable)")] = None,
    place: Annotated[Path, typer.Option("--runs", help="folder of the runs: what is there is gone on with")] = Path(
        "runs/results"
    ),
    root: Annotated[Path | None, typer.Option(help="folder that the data sets lie in; default INNERLOOP_DATA")] = None,
    device: Device = None,
    within: Annotated[
        Literal["closed", "open"], typer.Option(help="the interval that decides the exit code")
    ] = "closed",
    check: Annotated[bool, typer.Option("--check", help="train nothing: score the runs that are there")] = False,
    update: Annotated[bool, typer.Option("--update", help="record what was found, and renew the page")] = False,
    records: Annotated[
        Path | None, typer.Option(help="folder of other tables than the library's own: NAME.toml, NAME.json")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make rows of docs/results.md again, and hold each figure against the recorded one and its intervals."""
    from innerloop.core.device import find_device
    from innerloop.core.task import InputError
    from innerloop.reproduction import Trained, chosen, read_tables
    from innerloop.reproduction.tables import checkout

    tables = read_tables(records)
    if not names and not listed:
        raise InputError("nothing was named: give rows, tables or all; innerloop reproduce --list has their names")
    picked = chosen(tables, names or ["all"])
    if listed:
        show(_list(tables, picked), as_json)
        return
    if seed is not None and len(set(seed)) < len(seed):
        raise InputError(f"--seed is given twice: {', '.join(map(str, seed))}")
    if update and records is None and checkout() is None:
        raise InputError("--update writes into the repository, and this is an installed package: run it in a clone")
    where = str(find_device(device or "cpu"))
    root = root if root is not None else _data()
    how = rerun.How(place, root, where, check, quiet or as_json)
    rows: list[dict[str, Any]] = []
    left: list[str] = []
    for name, wanted in picked.items():
        table = tables[name]
        # A table is printed whole, a row is trained alone.
        for part in [[row] for row in wanted] if isinstance(table, Trained) else [wanted]:
            try:
                rows += _made(how, table, part, seed, update)
            except (InputError, rerun.UnfinishedError) as refused:
                # Who asks for all gets what can be had, and who only checks what is there; what is named has to be.
                if "all" not in (names or []) and not isinstance(refused, rerun.UnfinishedError):
                    raise
                left.append(f"{name}/{part[0]}" if isinstance(table, Trained) else name)
                left[-1] += f" is left out: {refused}"
    if not rows:
        more = f" (and {len(left) - 1} others)" if len(left) > 1 else ""
        raise InputError(f"nothing was compared: {left[0]}{more}")
    for line in left:
        _note(line)
    for row in rows:
        row["within"] = all(pair.holds(within) for pair in row["figures"])
    _say(rows, within, as_json)
    if not all(row["within"] for row in rows):
        raise typer.Exit(1)


def _data() -> Path | None:
    """The folder that the data sets lie in, if it is said or stands beside the repository."""
    from innerloop.reproduction.tables import checkout

    if "INNERLOOP_DATA" in os.environ:
        return Path(os.environ["INNERLOOP_DATA"])
    home = checkout()
    beside = home.parent / "shared" / "data" if home is not None else None
    return beside if beside is not None and beside.is_dir() else None


def _made(
    how: rerun.How, table: Trained | Printed, wanted: list[str], seeds: list[int] | None, update: bool
) -> list[dict[str, Any]]:
    from innerloop.reproduction import Trained

    if isinstance(table, Trained):
        return _trained(how, table, wanted, seeds, update)
    return _printed(how, table, wanted, seeds, update)


def _trained(
    how: rerun.How, table: Trained, wanted: list[str], seeds: list[int] | None, update: bool
) -> list[dict[str, Any]]:
    """A row that is trained: what was found beside what was recorded."""
    from innerloop.recipes import published
    from innerloop.reproduction import Compared, Figure, write_page

    (row,) = wanted
    one, before = table.rows[row], table.record(row, how.device)
    found = rerun.scored(how, table, row, seeds or (before.seeds if before else [0]))
    # A run that was trained elsewhere and is scored here belongs to where it was trained.
    before = table.record(row, "cpu" if found.device == "CPU" else found.device)
    half = 0.5 * 10.0**-table.digits
    figures = []
    for column, now in found.figures.items():
        was = before.figures.get(column) if before else None
        figure = was.figure(table.scale) if was else None
        figures.append(Compared(column, figure, now.figure(table.scale), half))
    if before and before.calibration is not None and found.calibration is not None:
        a, b = (Figure(100 * value) for value in (before.calibration, found.calibration))
        figures.append(Compared(f"ECE {next(iter(table.columns))}", a, b, half))
    if update:
        table.write(row, found)
        write_page(table)
    paper = published(one.learner)
    facts = {
        "name": f"{table.name}/{row}",
        "device": found.device,
        "seeds": found.seeds,
        "recorded": before and {"device": before.device, "seeds": before.seeds, "date": before.date},
        "published": table.published(row),
        "paper": paper.paper,
        "differs": " ".join(part for part in (paper.differs, one.differs) if part),
    }
    return [{**facts, "figures": figures}]


def _printed(
    how: rerun.How, table: Printed, wanted: list[str], seeds: list[int] | None, update: bool
) -> list[dict[str, Any]]:
    """Rows that a command prints: what it printed now beside what was recorded."""
    from innerloop.core.task import InputError
    from innerloop.reproduction import compared, write_page

    if how.device != "cpu":
        raise InputError(f"{table.name} is recorded on the CPU, by a command that takes no device: leave --device out")
    whole = wanted == table.names_of_rows()
    if update and not whole:
        raise InputError(f"a part of {table.name} cannot be recorded: name the table to --update it")
    now = rerun.printed(how, table, [] if whole else wanted, seeds)
    before, rows = table.record(), []
    for row in wanted or [name for one in table.tables(now) for name in one.rows]:
        columns, cells = table.cells(row, before)
        others = dict(zip(*table.cells(row, now), strict=True))
        pairs = compared(columns, cells, [others.get(column, "") for column in columns])
        facts = {"device": now["device"], "recorded": _known(before)}
        rows.append({"name": f"{table.name}/{row}", **facts, "figures": pairs})
    if update:
        table.keep(now)
        write_page(table)
    return rows


def _known(record: dict[str, Any] | None) -> dict[str, Any] | None:
    return None if record is None else {name: value for name, value in record.items() if name != "parts"}


def _say(rows: list[dict[str, Any]], within: str, as_json: bool) -> None:
    """What was found, figure by figure, and what it is held against."""
    pairs: list[Compared] = [pair for row in rows for pair in row["figures"]]
    judged = [pair for pair in pairs if pair.judged]
    if as_json:
        shown = [{**row, "figures": [pair.json() for pair in row["figures"]]} for row in rows]
        typer.echo(json_of({"within": all(row["within"] for row in rows), "by": within, "rows": shown}))
        return
    lines = [_line(row["name"], pair) for row in rows for pair in row["figures"]]
    if lines:
        show(lines, False)
    for row in rows:
        if row["recorded"] is None:
            _note(f"{row['name']}: nothing is recorded yet; --update records it")
        elif row["recorded"]["device"] != row["device"]:
            _note(f"{row['name']}: found on {row['device']}, recorded on {row['recorded']['device']}")
        if row.get("published"):
            _note(f"{row['name']}: published {row['published']} ({row['paper']}). {row['differs']}")
    held = sum(pair.holds(within) for pair in judged)
    others = len(pairs) - len(judged)
    same = sum(pair.same for pair in pairs)
    typer.echo(
        f"{held} of {len(judged)} figures are within their {within} interval, {same} of {len(pairs)} are the same"
        + (f"; {others} have no interval and are not judged" if others else "")
    )


def _line(name: str, pair: Compared) -> dict[str, str]:
    def verdict(inside: bool | None, half: float | None) -> str:
        if half is None:
            return ""
        more = f" + {pair.recorded.spread:.4g}" if pair.recorded and pair.recorded.spread else ""
        return f"{'within' if inside else 'OUTSIDE'} ± {half:.4g}{more}"

    return {
        "name": name,
        "figure": pair.what,
        "recorded": "" if pair.recorded is None else f"{pair.recorded.value:.6g}",
        "found": "" if pair.found is None else f"{pair.found.value:.6g}",
        "difference": "" if pair.difference is None else f"{pair.difference:+.4g}",
        "closed": verdict(pair.within_closed, pair.recorded and pair.recorded.closed),
        "open": verdict(pair.within_open, pair.recorded and pair.recorded.open),
    }


def _list(tables: Tables, picked: dict[str, list[str]]) -> list[dict[str, Any]]:
    """A line for each row: its name, minutes, what makes it, and where it was recorded."""
    from innerloop.reproduction import Trained

    lines = []
    for name, rows in picked.items():
        table = tables[name]
        for row in rows:
            if isinstance(table, Trained):
                one, kept = table.rows[row], table.records().get(row, [])
                minutes, by = one.minutes, f"innerloop train {one.train}"
                where = "; ".join(f"{record.device}, {record.date}" for record in kept)
            else:
                record = table.record() or {}
                minutes, by, where = table.minutes, table.command, f"{record['device']}, {record['date']}"
            shown = f"{minutes:g}" if minutes else ""
            lines.append({"name": f"{name}/{row}", "minutes": shown, "recorded": where, "what": by})
    return lines


def _note(text: str) -> None:
    runs.console().print(text, highlight=False, soft_wrap=True, markup=False)
