"""Rows shown as a table."""

from __future__ import annotations

from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from innerloop.core.plain import json_of


def show(rows: list[dict[str, Any]], as_json: bool) -> None:
    """Rows as a table that is as wide as the terminal, and in a pipe as wide as it has to be: no name is cut."""
    if as_json:
        typer.echo(json_of(rows))
        return
    console = Console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in rows[0] if rows else ():
        words = name == "what"
        table.add_column(name, no_wrap=not words, overflow="fold", ratio=1 if words and console.is_terminal else None)
    for row in rows:
        # As text: what stands in square brackets is no style.
        table.add_row(*(Text(", ".join(map(str, v)) if isinstance(v, list) else str(v)) for v in row.values()))
    if not console.is_terminal:
        console = Console(width=Console(width=10_000).measure(table).maximum)
    console.print(table, highlight=False)
