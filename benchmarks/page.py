"""What the benchmarks share: where data, runs and pages are, the command line, and the tables of the pages.

A table's rows have names. What is printed is kept as a record (src/innerloop/reproduction/results), and the page is
made from that; benchmarks.toml there says which command prints a table and how its rows are called. `innerloop
reproduce` runs the command again: it gives INNERLOOP_RUNS and INNERLOOP_RECORDS, other folders for runs and records,
and the page is then left alone.
"""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
from pathlib import Path

from innerloop.core.version import versions
from innerloop.reproduction import Printed, read_tables, write_page

HOME = Path(__file__).resolve().parent.parent
RUNS = Path(os.environ.get("INNERLOOP_RUNS", HOME / "runs" / "results"))
DATA = Path(os.environ.get("INNERLOOP_DATA", HOME.parent / "shared" / "data"))


def run(arguments: list[str]) -> str:
    """Run the command line and give its standard output."""
    command = [sys.executable, "-m", "innerloop", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def steps_done(folder: Path) -> int:
    """Outer steps of a run so far, -1 where there is none."""
    metrics = folder / "metrics.jsonl"
    return len(metrics.read_text().splitlines()) if (folder / "best").exists() else -1


def today() -> str:
    """The date, ``YYYY-MM-DD``."""
    return datetime.datetime.now(tz=datetime.UTC).date().isoformat()


def record(name: str, text: str, *, device: str = "CPU") -> None:
    """Keep a table that was printed as its record, and put it into its page.

    Args:
        name: of the table, in src/innerloop/reproduction/results/benchmarks.toml and between its marks on the page.
        text: Markdown, without a column of names.
        device: that it was measured on.
    """
    table = read_tables()[name]
    assert isinstance(table, Printed)
    elsewhere = os.environ.get("INNERLOOP_RECORDS")
    table.keep(
        table.made(text, {"date": today(), "device": device, "versions": versions()}),
        Path(elsewhere) if elsewhere else None,
    )
    if not elsewhere:
        write_page(table)


def record_rows(name: str, lines: list[str], *, labels: int = 1) -> None:
    """As :func:`record`, where the other rows that were recorded stay.

    Args:
        name: of the table.
        lines: its head, and the rows that are new or take the place of those of the same labels.
        labels: how many cells say which row it is.
    """
    table = read_tables()[name]
    assert isinstance(table, Printed)
    known = [cells for one in table.tables(table.record()) for cells in one.rows.values()]
    rows = {"|".join(row.split("|")[: labels + 1]): row for row in (f"| {' | '.join(cells)} |" for cells in known)}
    rows |= {"|".join(row.split("|")[: labels + 1]): row for row in lines[2:]}
    record(name, "\n".join([*lines[:2], *rows.values()]))


def put(page: str, name: str, text: str) -> str:
    """A page with ``text`` between the marks of ``name``: for tables of this machine's speed, which have no record."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, rest = page.split(begin)
    _, after = rest.split(end)
    return f"{before}{begin}\n*{today()}*\n\n{text}\n{end}{after}"
