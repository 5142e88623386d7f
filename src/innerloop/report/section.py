"""A section of a report: its words, its plots, and the facts in both as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from innerloop.report.plots import Plot, figures


@dataclass(frozen=True)
class Section:
    """A section of a report."""

    key: str
    """Its name in a link and among the facts."""
    heading: str
    body: str
    """HTML that its plots follow."""
    facts: Any = None
    """What it shows, as values that JSON takes."""
    plots: tuple[Plot, ...] = ()
    """Which may be kept as files too."""

    def html(self) -> str:
        """As a part of a page."""
        key, heading = escape(self.key), escape(self.heading)
        drawn = figures(self.plots) if self.plots else ""
        return f'<section aria-labelledby="{key}">\n<h2 id="{key}">{heading}</h2>\n{self.body}{drawn}</section>'


def table(heading: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table that scrolls by itself where the page is narrow.

    Args:
        heading: the id of the heading that names it.
        columns: HTML of the column heads.
        rows: HTML of whole cells, ``<td>`` or ``<th scope="row">``.
    """
    head = "".join(f'<th scope="col">{column}</th>' for column in columns)
    body = "".join(f"<tr>{''.join(row)}</tr>\n" for row in rows)
    found = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table>"
    return f'<div class="scroll" role="region" aria-labelledby="{heading}" tabindex="0">{found}</div>\n'


def row_name(text: str, about: str = "") -> str:
    """The head of a row, with small words below it."""
    small = f"<small>{escape(about)}</small>" if about else ""
    return f'<th scope="row">{escape(text)}{small}</th>'


def cell(text: str, *more: str) -> str:
    """A cell whose first line is the figure, with small lines below it."""
    return f"<td><strong>{escape(text)}</strong>{''.join(f'<small>{escape(line)}</small>' for line in more)}</td>"


def plain_cell(text: object) -> str:
    """A cell of one line."""
    return f"<td>{escape(str(text))}</td>"
