"""Tables that a benchmark of the repository prints: the command, and what it printed."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from innerloop.core.files import write_text_atomically
from innerloop.core.task import InputError
from innerloop.reproduction.blocks import Table, parts_of, plain, text_of, unplain


@dataclass(frozen=True)
class Printed:
    """A table that a command of the repository prints.

    Args:
        name: of the table: between its marks on the page, and before the names of its rows.
        folder: of the records.
        command: that prints it, from the repository's folder.
        minutes: that it takes, on two cores; 0 if nobody has measured.
        labels: how many cells of a row say which one it is.
        names: names for some of these words.
        select: words of the command for the parts of the table: all of them, or those that a row's name begins with.
        check: word of the command that prints from what is kept, without computing; empty if it has none.
        seed: word of the command before a seed, ``--seed``, or several, ``--seeds``; empty if it has none.
        page: that it stands on.
    """

    name: str
    folder: Path
    command: str
    minutes: float = 0
    labels: int = 1
    names: dict[str, str] = field(default_factory=dict)
    select: list[str] = field(default_factory=list)
    check: str = ""
    seed: str = ""
    page: str = "docs/results.md"

    @property
    def file(self) -> Path:
        """Where its record is."""
        return self.folder / f"{self.name}.json"

    def record(self, folder: Path | None = None) -> dict[str, Any] | None:
        """What was printed, and when; ``None`` if nothing was yet.

        Args:
            folder: with a record of the same table, in place of its own.
        """
        file = (folder or self.folder) / f"{self.name}.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None

    def tables(self, record: dict[str, Any] | None) -> list[Table]:
        """The tables of a record."""
        return [part for part in unplain(record["parts"] if record else []) if isinstance(part, Table)]

    def names_of_rows(self) -> list[str]:
        """The names of its rows."""
        return [name for table in self.tables(self.record()) for name in table.rows]

    def cells(self, row: str, record: dict[str, Any] | None) -> tuple[list[str], list[str]]:
        """The columns of a row and its cells, without those that say which row it is; none where it is not there."""
        for table in self.tables(record):
            if row in table.rows:
                return table.columns[self.labels :], table.rows[row][self.labels :]
        return [], []

    def words(self, rows: list[str], *, seeds: list[int] | None, check: bool) -> list[str]:
        """The command for some rows, by default for all.

        Raises:
            InputError: for a seed or a check that the command does not have.
        """
        words = self.command.split()
        asked = [max((one for one in self.select if row.startswith(one)), key=len, default="") for row in rows]
        # What is of no part, such as a ceiling that is computed, comes with any.
        words += list(dict.fromkeys(filter(None, asked))) or self.select
        if seeds is not None:
            if not self.seed:
                raise InputError(f"{self.name} has no other seed than the recorded one: leave --seed out")
            if len(seeds) > 1 and not self.seed.endswith("s"):
                raise InputError(f"`{self.command}` takes one seed, not {len(seeds)}: give one --seed")
            words += [self.seed, *map(str, seeds)]
        if check:
            if not self.check:
                raise InputError(f"{self.name} is computed anew each time (`{self.command}`): leave --check out")
            words.append(self.check)
        return words

    def keep(self, record: dict[str, Any], folder: Path | None = None) -> None:
        """Keep a record.

        Args:
            record: as :meth:`made` makes it.
            folder: to write it into, in place of its own.
        """
        file = (folder or self.folder) / f"{self.name}.json"
        write_text_atomically(file, json.dumps(record, indent=1, ensure_ascii=False) + "\n")

    def made(self, text: str, facts: dict[str, Any]) -> dict[str, Any]:
        """The record of a text that was printed, its rows named.

        Args:
            text: Markdown.
            facts: ``date``, ``device``, ``versions``, ...

        Raises:
            InputError: for two rows of the same name.
        """
        return {**facts, "parts": plain(parts_of(text, self.labels, self.names))}

    def block(self) -> str:
        """The block of the page."""
        record = self.record()
        if record is None:
            return ""
        head = f"*{record['date']}, {record['device']}; `innerloop reproduce {self.name}`*"
        return f"{head}\n\n{text_of(unplain(record['parts']))}"
