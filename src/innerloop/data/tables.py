"""Tables whose rows belong to tasks: many small related regressions (or classifications) in one CSV file."""

from __future__ import annotations

import csv
import gzip
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from innerloop.core.facts import Facts
from innerloop.core.task import Examples, InputError, Task, did_you_mean
from innerloop.data.sizes import Size, Sized

_MISSING = frozenset({"", "NA", "N/A", "NaN", "nan", "null", "?"})
SPLITS = ("train", "val", "test")


@dataclass(frozen=True, eq=False)
class TableTasks:
    r"""The rows of a table, task after task, and a split of the tasks. Made by :meth:`read`.

    Numbers are standardized by the mean and standard deviation of the training tasks' rows; one-hot columns are 0 or 1.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "growth.csv"
        >>> _ = path.write_text("boy,age,height\n" + "".join(f"{i % 9},{i},{2 * i}\n" for i in range(90)))
        >>> table = TableTasks.read(path, task="boy", inputs="age", targets="height")
        >>> table.sampler("train", shots=4, queries=6).draw(torch.Generator(), 5).query.x.shape
        torch.Size([5, 6, 1])
    """

    x: Tensor
    """Inputs, ``[N, F]``."""
    y: Tensor
    """Targets, ``[N, D]``."""
    sizes: Tensor
    """Rows of each task, int64; their sum is N."""
    names: tuple[str, ...]
    """A name for each task: the values of the task columns, joined by ``/``."""
    splits: dict[str, Tensor]
    """Which tasks are for ``train``, ``val`` and ``test``, as positions in ``names``."""
    inputs: tuple[str, ...]
    """What each column of x is; a one-hot column is ``column=value``."""
    targets: tuple[str, ...]
    """What each column of y is."""
    center: Tensor
    """What was subtracted from each target, ``[D]``, in its units."""
    scale: Tensor
    """What each target was divided by, ``[D]``, in its units."""
    dropped: int
    """Rows of the file that were left out, because a value that is used was missing."""
    classifies: bool
    """Whether the target is a category: y are one-hot rows."""

    @classmethod
    def read(
        cls,
        path: str | Path,
        *,
        task: str | Sequence[str],
        inputs: str | Sequence[str],
        targets: str | Sequence[str],
        categorical: Sequence[str] = (),
        shares: tuple[float, float, float] = (0.6, 0.2, 0.2),
        seed: int = 0,
        delimiter: str = ",",
    ) -> TableTasks:
        """Read a CSV file with a header; gzipped if its name ends in ``.gz``.

        Args:
            path: the file.
            task: the column (or columns) whose value says which task a row belongs to.
            inputs: input columns: numbers, or categories, which become one-hot columns.
            targets: target columns: numbers, or a single column of categories.
            categorical: columns of numbers that are to be taken for categories.
            shares: of the tasks for training, validation and test.
            seed: of the shuffle that splits the tasks.
            delimiter: between the columns.

        Raises:
            InputError: for a file that is not there or is no table, a column that it lacks or that is used twice,
                shares that do not sum to 1, or a split that leaves training without a task.
        """
        groups = [[part] if isinstance(part, str) else list(part) for part in (task, inputs, targets)]
        used = [name for group in groups for name in group]
        if not all(groups) or len(set(used)) != len(used):
            raise InputError(
                f"task {groups[0]}, inputs {groups[1]} and targets {groups[2]} must name at least one column each, and "
                f"none twice"
            )
        if min(shares) < 0 or not math.isclose(sum(shares), 1):
            raise InputError(f"the shares {shares} must not be negative and must sum to 1")
        columns, dropped = _columns(Path(path), used, delimiter)
        keys = ["/".join(row) for row in zip(*(columns[name] for name in groups[0]), strict=True)]
        names = tuple(sorted(set(keys)))
        position = {name: i for i, name in enumerate(names)}
        member = torch.tensor([position[key] for key in keys])
        order = torch.argsort(member, stable=True)
        splits = _split(len(names), shares, seed)
        if not len(splits["train"]):
            raise InputError(f"{len(names)} tasks leave none for training with shares {shares}: raise the first share")
        train = torch.isin(member, splits["train"])
        x = [_encode(name, columns[name], name in categorical, train) for name in groups[1]]
        y = [_encode(name, columns[name], name in categorical, train) for name in groups[2]]
        classifies = any(column.category for column in y)
        if classifies and len(y) > 1:
            named = [name for name, column in zip(groups[2], y, strict=True) if column.category]
            raise InputError(f"target column {named[0]!r} holds categories: it must be the only target, or numbers")
        return cls(
            x=torch.cat([column.values for column in x], 1)[order],
            y=torch.cat([column.values for column in y], 1)[order],
            sizes=torch.bincount(member, minlength=len(names)),
            names=names,
            splits=splits,
            inputs=tuple(name for column in x for name in column.names),
            targets=tuple(name for column in y for name in column.names),
            center=torch.tensor([column.center for column in y for _ in column.names]),
            scale=torch.tensor([column.scale for column in y for _ in column.names]),
            dropped=dropped,
            classifies=classifies,
        )

    @property
    def facts(self) -> Facts:
        """What its tasks are made of."""
        inputs, targets = self.x.shape[1], self.y.shape[1]
        if self.classifies:
            return Facts("table", (inputs,), targets, "classification", self.targets)
        return Facts("table", (inputs,), targets, "regression")

    def original(self, y: Tensor) -> Tensor:
        """Standardized targets (or predicted means) ``[..., D]`` in the units of the table."""
        return self.center.to(y) + self.scale.to(y) * y

    def sampler(self, split: str, *, shots: Size, queries: Size, together: int = 16) -> TableSampler:
        """Draws tasks of ``split`` (``"train"``, ``"val"`` or ``"test"``); see :class:`TableSampler`."""
        return TableSampler(self, split, shots=shots, queries=queries, together=together)


class TableSampler(Sized):
    """Tasks of one split of a table: support and query are different rows of one task. Made by ``TableTasks.sampler``.

    Args:
        table: the rows.
        split: ``"train"``, ``"val"`` or ``"test"``.
        shots: support rows a task: a number, or the smallest and the largest one (inclusive).
        queries: query rows a task, likewise.
        together: tasks of one draw of :meth:`batches`.

    Raises:
        InputError: for an unknown split, or if none of its tasks has enough rows.
    """

    def __init__(self, table: TableTasks, split: str, *, shots: Size, queries: Size, together: int = 16) -> None:
        super().__init__(shots, queries, None, together)
        if split not in table.splits:
            raise InputError(f"split {split!r} is unknown; choose one of {', '.join(SPLITS)}")
        members = table.splits[split]
        sizes = table.sizes[members]
        #: The tasks that have enough rows, as positions in the table's names.
        self.members = members[sizes >= self.largest]
        if not len(self.members):
            most = int(sizes.max()) if len(sizes) else 0
            raise InputError(
                f"shots={shots!r} and queries={queries!r} need up to {self.largest} rows, the largest of the "
                f"{len(members)} {split} tasks has {most}: lower one of them"
            )
        self.table, self.classifies = table, table.classifies
        self._sizes = table.sizes[self.members]
        self._starts = (table.sizes.cumsum(0) - table.sizes)[self.members]

    @property
    def facts(self) -> Facts:  # noqa: D102
        return self.table.facts

    def draw(self, generator: Generator, tasks: int) -> Task:  # noqa: D102
        shots, queries = self.sizes(generator)
        row = 1 + int(self._sizes.max())
        u = torch.rand(tasks, row, generator=generator, device=generator.device, dtype=torch.float64).cpu()
        task = (u[:, 0] * len(self.members)).long()
        absent = torch.arange(row - 1) >= self._sizes[task].unsqueeze(1)
        chosen = u[:, 1:].masked_fill(absent, -1).topk(shots + queries, 1).indices + self._starts[task].unsqueeze(1)

        def part(index: Tensor) -> Examples:
            return Examples(self.table.x[index], self.table.y[index])

        return Task(part(chosen[:, :shots]), part(chosen[:, shots:]))


class _Column(NamedTuple):
    values: Tensor
    names: list[str]
    center: float
    scale: float
    category: bool


def _columns(path: Path, used: Sequence[str], delimiter: str) -> tuple[dict[str, list[str]], int]:
    """The columns that are used, as text, without the rows in which one is missing; and how many those were."""
    if not path.is_file():
        raise InputError(f"there is no file {path}: check the path")
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter)
        header = [name.strip() for name in next(reader, [])]
        for name in used:
            if name not in header:
                hint = did_you_mean(name, header)
                raise InputError(f"{path.name} has no column {name!r}{hint}; it has {', '.join(header) or 'no header'}")
        where = [header.index(name) for name in used]
        kept: list[list[str]] = []
        dropped = 0
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                raise InputError(
                    f"line {reader.line_num} of {path.name} has {len(row)} fields, its header has {len(header)}: mend "
                    f"the line, or give the right delimiter"
                )
            values = [row[i].strip() for i in where]
            if _MISSING.isdisjoint(values):
                kept.append(values)
            else:
                dropped += 1
    if not kept:
        raise InputError(f"{path.name} has no row with a value in each of {', '.join(used)} ({dropped} lack one)")
    return dict(zip(used, map(list, zip(*kept, strict=True)), strict=True)), dropped


def _encode(name: str, texts: Sequence[str], categorical: bool, train: Tensor) -> _Column:
    """A column of text as standardized numbers ``[N, 1]`` or one-hot columns ``[N, levels]``."""
    numbers = None if categorical else _numbers(texts)
    if numbers is None:
        levels = sorted(set(texts))
        position = {level: i for i, level in enumerate(levels)}
        rows = torch.eye(len(levels))[torch.tensor([position[text] for text in texts])]
        return _Column(rows, [f"{name}={level}" for level in levels], 0.0, 1.0, True)
    if not numbers.isfinite().all():
        raise InputError(f"column {name!r} holds {int((~numbers.isfinite()).sum())} infinite values: remove those rows")
    center, scale = float(numbers[train].mean()), float(numbers[train].std(correction=0))
    # A column that is constant in training stays as it is, about 0.
    scale = scale if scale > 1e-12 * max(1.0, abs(center)) else 1.0
    return _Column(((numbers - center) / scale).float().unsqueeze(1), [name], center, scale, False)


def _numbers(texts: Sequence[str]) -> Tensor | None:
    try:
        return torch.tensor([float(text) for text in texts], dtype=torch.float64)
    except ValueError:
        return None


def _split(tasks: int, shares: tuple[float, float, float], seed: int) -> dict[str, Tensor]:
    order = torch.randperm(tasks, generator=Generator().manual_seed(seed))
    first, second = round(tasks * shares[0]), round(tasks * (shares[0] + shares[1]))
    return dict(zip(SPLITS, order.tensor_split((first, second)), strict=True))
