"""Blocks of a page, between marks: text and tables whose rows have names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from innerloop.core.files import write_text_atomically
from innerloop.core.task import InputError

_MARK = "<!-- {}: {} -->"


@dataclass(frozen=True)
class Table:
    """A table in Markdown whose rows have names, which stand in its last column."""

    columns: list[str]
    rows: dict[str, list[str]]
    """The cells of each row, by its name, without the column of names."""

    def __str__(self) -> str:
        """The table in Markdown."""
        return markdown(self.columns, self.rows.items())


def markdown(columns: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]]) -> str:
    """A table in Markdown, the names of its rows in the last column.

    Args:
        columns: what stands above the cells.
        rows: name and cells of each.
    """
    lines = [[*columns, "name"], *([*cells, f"`{name}`"] for name, cells in rows)]
    first, *others = (f"| {' | '.join(line)} |" for line in lines)
    return "\n".join([first, "|---" * (len(columns) + 1) + "|", *others])


def parts_of(text: str, labels: int = 1, names: Mapping[str, str] | None = None) -> list[str | Table]:
    r"""Markdown as text and tables, the rows named by what stands in their first cells.

    Args:
        text: as a benchmark prints it, without a column of names.
        labels: how many cells say which row it is; an empty one means what stands above it.
        names: names for some of these words, in place of the words themselves.

    Returns:
        text and tables, in their order. Where several tables have rows of the same name, the line above a table is
        the first part of its rows' names.

    Raises:
        InputError: for two rows of the same name.

    Example:
        >>> text = "| data | head | % |\n|---|---|---|\n| far | ridge, C=1 | 3 |\n| | mean | 4 |"
        >>> [table] = parts_of(text, labels=2)
        >>> list(table.rows)
        ['far/ridge-c-1', 'far/mean']
    """
    found: list[str | Table] = []
    names = names or {}
    for group in _groups(text):
        if not group[0].startswith("|"):
            found.append("\n".join(group))
            continue
        columns, _, *rows = (_cells(line) for line in group)
        found.append(_named(columns, rows, labels, names))
    tables = [part for part in found if isinstance(part, Table)]
    both = [name for table in tables for name in table.rows]
    if len(set(both)) < len(both):
        found = [_under(part, found[place - 1] if place else "", names) for place, part in enumerate(found)]
        both = [name for table in found if isinstance(table, Table) for name in table.rows]
    double = sorted({name for name in both if both.count(name) > 1})
    if double:
        raise InputError(f"rows have the same name ({', '.join(double[:3])}): say more labels, or names, of the table")
    return found


def text_of(parts: Sequence[str | Table]) -> str:
    """The block of parts, an empty line between two."""
    return "\n\n".join(str(part) for part in parts)


def plain(parts: Sequence[str | Table]) -> list[Any]:
    """Parts as plain values."""
    return [part if isinstance(part, str) else {"columns": part.columns, "rows": part.rows} for part in parts]


def unplain(values: Sequence[Any]) -> list[str | Table]:
    """Parts from plain values."""
    return [part if isinstance(part, str) else Table(part["columns"], part["rows"]) for part in values]


def block(page: str, name: str) -> str | None:
    """What stands between the marks of a name; ``None`` where a page does not have them."""
    begin, end = _MARK.format(name, "begin"), _MARK.format(name, "end")
    if begin not in page or end not in page:
        return None
    return page.partition(begin)[2].partition(end)[0].strip("\n")


def put(page: Path, name: str, text: str) -> bool:
    """Put a text between the marks of a name; whether the page has them."""
    words = page.read_text(encoding="utf-8")
    if block(words, name) is None:
        return False
    begin, end = _MARK.format(name, "begin"), _MARK.format(name, "end")
    before, _, rest = words.partition(begin)
    write_text_atomically(page, f"{before}{begin}\n{text}\n{end}{rest.partition(end)[2]}")
    return True


def slug(text: str) -> str:
    """Words as a part of a name: lower case, and a hyphen for whatever is no letter or digit.

    Example:
        >>> slug("CNP, recalibrated")
        'cnp-recalibrated'
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _groups(text: str) -> list[list[str]]:
    """Lines that belong together: a table, or a paragraph."""
    groups: list[list[str]] = []
    kind = ""
    for line in text.splitlines():
        now = "" if not line.strip() else "table" if line.startswith("|") else "text"
        if now and now == kind:
            groups[-1].append(line)
        elif now:
            groups.append([line])
        kind = now
    return groups


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|")]


def _named(columns: list[str], rows: list[list[str]], labels: int, names: Mapping[str, str]) -> Table:
    found: dict[str, list[str]] = {}
    last = [""] * labels
    for cells in rows:
        last = [cell or before for cell, before in zip(cells[:labels], last, strict=True)]
        words = [names.get(word, slug(word)) for word in last]
        # A number alone says too little.
        words = [
            f"{slug(column)}-{word}" if word.isdigit() else word
            for column, word in zip(columns[:labels], words, strict=True)
        ]
        name = "/".join(word for word in words if word)
        if name in found:
            raise InputError(f"two rows of a table are called {name}: say more labels, or names, of the table")
        found[name] = cells
    return Table(columns, found)


def _under(part: str | Table, above: str | Table, names: Mapping[str, str]) -> str | Table:
    if isinstance(part, str) or not isinstance(above, str):
        return part
    lead = names.get(above, slug(above))
    return Table(part.columns, {f"{lead}/{name}": cells for name, cells in part.rows.items()})
