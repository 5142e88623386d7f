"""The command that shows which models are at hand, and the card of each."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from innerloop.cli.options import Json
from innerloop.cli.show import show

if TYPE_CHECKING:
    from innerloop.bundle import Card


# Columns of a card in a file or a pipe.
_PAGE = 100


def models(
    name: Annotated[str | None, typer.Argument(help="a model, to read its card")] = None,
    as_json: Json = False,
) -> None:
    """The models that are shipped or installed, and how to install the others; with a name, its card.

    Examples: `innerloop models`, `innerloop models letters`, `innerloop models --json`.
    """
    from innerloop.bundle import card, cards
    from innerloop.core.plain import json_of

    if name is not None:
        found = card(name)
        if as_json:
            typer.echo(json_of(_facts(found)))
        else:
            _print(found)
        return
    every = list(cards().values())
    if as_json:
        show([_facts(one) for one in every], True)
        return
    show(
        [
            {
                "model": one.name,
                "kind": one.kind,
                "for": one.takes,
                "MB": f"{one.bytes / 1e6:.1f}",
                "license": one.license.split(" ")[0],
                "at hand": _where(one),
            }
            for one in every
        ],
        False,
    )


def _facts(card: Card) -> dict[str, Any]:
    return {**asdict(card), "installed": card.installed}


def _where(card: Card) -> str:
    if card.version is None:
        return f"no: {card.install}"
    return "in the package" if card.install is None else f"installed, {card.package} {card.version}"


def _print(card: Card) -> None:
    rows = {
        "model": f"{card.name}, {card.kind} for {card.takes}",
        "what": card.what,
        "trained on": card.data,
        "license": card.license,
        "figures": "\n".join(map(str, card.figures)) or "docs/results.md",
        "measured by": card.measured,
        "limits": card.limits,
        "size": f"{card.bytes / 1e6:.2f} MB of weights, sha256 {card.digest[:16]}",
        "at hand": _where(card),
        "use": card.use,
    }
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for label, text in rows.items():
        table.add_row(label, Text(text))
    console = Console()
    if not console.is_terminal:
        console = Console(width=_PAGE)
    console.print(table, highlight=False)
