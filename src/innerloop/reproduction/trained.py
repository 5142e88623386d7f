"""Tables whose rows are trained by a recipe and scored: what trains a row, and the figures that were found."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from innerloop.core.files import write_text_atomically
from innerloop.recipes import published
from innerloop.reproduction.blocks import markdown
from innerloop.reproduction.figures import Figure


@dataclass(frozen=True)
class Row:
    """One trained learner, and where it is judged.

    Args:
        title: what it is called on the page.
        train: arguments of ``innerloop train``: the learner, then options; the data set is the table's.
        minutes: that it takes on two cores, with validation and the run that it starts from; 0 if unknown.
        columns: those of the table that it is judged on; default all.
        evaluate: arguments of its evaluation in place of the columns': ``norm``, ``inner_steps``, ``views``.
        tasks: test tasks of a column, in place of the table's.
        run: the row whose run this one judges, in place of one of its own.
        init: the row whose network the training starts from.
        published: the figures that it stands beside; default those of the learner's recipe.
        differs: where it differs from the published experiment, beyond what the recipe says.
    """

    title: str
    train: str
    minutes: float = 0
    columns: list[str] = field(default_factory=list)
    evaluate: dict[str, Any] = field(default_factory=dict)
    tasks: dict[str, int] = field(default_factory=dict)
    run: str = ""
    init: str = ""
    published: str | None = None
    differs: str = ""

    @property
    def learner(self) -> str:
        """The name of the learner."""
        return self.train.split()[0]


@dataclass(frozen=True)
class Found:
    """A mean over the seeds, as a report gives it: an accuracy is a share.

    Args:
        value: the mean.
        closed: half the closed 95 % interval, the mean over seeds.
        open: half the open one.
        tasks: test tasks.
        each: the value of each seed.
    """

    value: float
    closed: float
    open: float | None
    tasks: int
    each: list[float]

    @property
    def spread(self) -> float:
        """The largest distance of a seed from the mean."""
        return max((abs(one - self.value) for one in self.each), default=0.0) if len(self.each) > 1 else 0.0

    def figure(self, scale: float) -> Figure:
        """In the units of the page."""
        wide = None if self.open is None else scale * self.open
        return Figure(scale * self.value, scale * self.closed, wide, scale * self.spread)


@dataclass(frozen=True)
class Record:
    """What was found for a row on one device.

    Args:
        device: as :func:`innerloop.core.device.device_name` calls it.
        seeds: of the trainings.
        date: of the evaluation, ``YYYY-MM-DD``.
        minutes: of a training on that device, with validation; ``None`` if not kept.
        steps: outer steps of a training.
        figures: by column.
        calibration: expected calibration error in the first column, a share: the mean over seeds.
        norm: normalization policy of the evaluation.
        transductive: whether predictions look at other queries.
        versions: of what it was trained with; empty if not kept.
    """

    device: str
    seeds: list[int]
    date: str
    minutes: float | None
    steps: int
    figures: dict[str, Found]
    calibration: float | None = None
    norm: str = ""
    transductive: bool = False
    versions: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Record:
        """A record from plain values."""
        found = {column: Found(**one) for column, one in values["figures"].items()}
        return cls(**{**values, "figures": found})


@dataclass(frozen=True)
class Trained:
    """A table whose rows are trained by ``innerloop train`` and scored by ``innerloop evaluate``.

    Args:
        name: of the table: between its marks on the page, and before the names of its rows.
        folder: of the records.
        data: the data set.
        columns: arguments of the evaluation of each column.
        rows: by name.
        tasks: test tasks of a column.
        scale: what a value is multiplied by on the page.
        digits: after the point.
        page: that it stands on.
    """

    name: str
    folder: Path
    data: str
    columns: dict[str, dict[str, Any]]
    rows: dict[str, Row]
    tasks: int = 1000
    scale: float = 100
    digits: int = 2
    page: str = "docs/results.md"

    @property
    def file(self) -> Path:
        """Where its records are."""
        return self.folder / f"{self.name}.json"

    def names_of_rows(self) -> list[str]:
        """The names of its rows."""
        return list(self.rows)

    def judged_on(self, row: str) -> dict[str, dict[str, Any]]:
        """The arguments of each evaluation of a row, by column."""
        one = self.rows[row]
        return {
            column: {**self.columns[column], **one.evaluate, "tasks": one.tasks.get(column, self.tasks)}
            for column in one.columns or self.columns
        }

    def published(self, row: str) -> str:
        """The figures that a row stands beside."""
        one = self.rows[row]
        return published(one.learner).figures.get(self.name, "") if one.published is None else one.published

    def records(self) -> dict[str, list[Record]]:
        """What was found, by row: one record a device."""
        if not self.file.exists():
            return {}
        values = json.loads(self.file.read_text(encoding="utf-8"))
        return {row: [Record.read(one) for one in found] for row, found in values.items()}

    def record(self, row: str, device: str) -> Record | None:
        """What was found for a row on a device, on another one of its kind, or on whichever there is.

        Args:
            row: its name.
            device: ``"cpu"``, another kind such as ``"cuda"``, or the name of a card.
        """
        found = self.records().get(row, [])
        same = [one for one in found if one.device == device]
        kind = [one for one in found if (one.device == "CPU") == (device == "cpu")]
        return next(iter(same or kind or found), None)

    def write(self, row: str, record: Record) -> None:
        """Keep what was found for a row, in place of what was found on the same device before."""
        found = self.records()
        found[row] = [*(one for one in found.get(row, []) if one.device != record.device), record]
        inorder = {name: [asdict(one) for one in found[name]] for name in self.rows if name in found}
        write_text_atomically(self.file, json.dumps(inorder, indent=1, ensure_ascii=False) + "\n")

    def block(self) -> str:
        """The block of the page."""
        found = self.records()
        rated = any(one.calibration is not None for records in found.values() for one in records)
        first = next(iter(self.columns))
        head = ["learner", *self.columns, *([f"ECE {first}", "norm", "transductive"] if rated else [])]
        head += ["seeds, tasks", "minutes, steps", "device, date", "published"]
        lines = [self._line(row, one, rated) for row in self.rows for one in found.get(row, [])]
        return f"*`innerloop reproduce {self.name}`*\n\n{markdown(head, lines)}"

    def _line(self, row: str, record: Record, rated: bool) -> tuple[str, list[str]]:
        cells = [self.rows[row].title]
        cells += [self._cell(record.figures[name]) if name in record.figures else "" for name in self.columns]
        if rated:
            error = "" if record.calibration is None else f"{100 * record.calibration:.2f}"
            cells += [error, record.norm, "yes" if record.transductive else "no"]
        tasks = " / ".join(dict.fromkeys(str(found.tasks) for found in record.figures.values()))
        minutes = "" if record.minutes is None else f"{record.minutes:.{1 if record.minutes % 1 else 0}f}, "
        cells += [f"{len(record.seeds)}, {tasks}", f"{minutes}{record.steps}"]
        cells += [f"{record.device}, {record.date}", self.published(row)]
        return row, cells

    def _cell(self, found: Found) -> str:
        value, closed, wide, _ = found.figure(self.scale)
        text = f"{value:.{self.digits}f} ± {closed:.{self.digits}f}"
        text += f" ({wide:.{self.digits}f})" if wide is not None else ""
        if len(found.each) > 1:
            low, high = (self.scale * end for end in (min(found.each), max(found.each)))
            text += f" [{low:.{self.digits}f} to {high:.{self.digits}f}]"
        return text
