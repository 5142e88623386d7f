"""Tables whose rows belong to tasks: many small related regressions (or classifications) in one CSV file or frame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, get_args

import numpy as np
import torch
from torch import Generator, Tensor

from innerloop.core.facts import Facts
from innerloop.core.random import seeded
from innerloop.core.task import Examples, InputError, Task
from innerloop.data.columns import Column, Decimal, read_frame, texts_of, understood
from innerloop.data.digest import digest_of
from innerloop.data.known import KnownTasks
from innerloop.data.sizes import Size, Sized
from innerloop.data.source import Description, Maker
from innerloop.data.splits import SPLITS, shared

if TYPE_CHECKING:
    import pandas


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
    """A name for each task: the values of the task columns, joined by ``/`` (one within a value is ``\\/``)."""
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
    missing: dict[str, dict[str, int]]
    """What was taken for a missing value in each column that is used, and how often."""
    notes: tuple[str, ...]
    """What was found out about its columns, a sentence each: words for missing, how numbers are written."""
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
        decimal: Decimal | None = None,
        missing: Sequence[str] = (),
        encoding: str | None = None,
    ) -> TableTasks:
        """Read a CSV file with a header, gzipped or not. Needs pandas.

        A column is of numbers if all its values are; a few words among numbers stand for a missing value (``-``,
        ``n/a``, ``NULL``, an empty cell, ...: see :attr:`missing`), other ones are refused.

        Args:
            path: the file.
            task: the column (or columns) whose value says which task a row belongs to.
            inputs: input columns: numbers, or categories, which become one-hot columns.
            targets: target columns: numbers, or a single column of categories.
            categorical: columns that are to be taken for categories in any case.
            shares: of the tasks for training, validation and test.
            seed: of the shuffle that splits the tasks.
            delimiter: between the columns.
            decimal: ``"."`` or ``","``, before the decimals of numbers; ``None``: a comma where only that makes
                numbers of a whole column.
            missing: further words that stand for a missing value.
            encoding: of the text; ``None``: as its mark says, or UTF-8.

        Raises:
            InputError: for a file that is not there, cannot be read or is no table, a column that it lacks, has twice
                or that is used twice, words among numbers, shares that do not sum to 1, or a split that leaves training
                without a task.
        """
        path = Path(path).expanduser()
        return cls._made(
            read_frame(path, delimiter, encoding),
            path.name,
            (task, inputs, targets),
            categorical=categorical,
            shares=shares,
            seed=seed,
            decimal=decimal,
            missing=missing,
        )

    @classmethod
    def of(
        cls,
        frame: pandas.DataFrame,
        *,
        task: str | Sequence[str],
        inputs: str | Sequence[str],
        targets: str | Sequence[str],
        categorical: Sequence[str] = (),
        shares: tuple[float, float, float] = (0.6, 0.2, 0.2),
        seed: int = 0,
        missing: Sequence[str] = (),
    ) -> TableTasks:
        """The tasks of a pandas frame; arguments, and what is refused, are those of :meth:`read`.

        Example:
            >>> import pandas
            >>> frame = pandas.DataFrame({"boy": [0, 1, 2] * 4, "age": range(12), "height": range(12)})
            >>> TableTasks.of(frame, task="boy", inputs="age", targets="height").names
            ('0', '1', '2')
        """
        if not hasattr(frame, "columns"):
            raise InputError(f"a {type(frame).__name__} is no pandas frame: give one, or a file to TableTasks.read")
        return cls._made(
            frame,
            "the frame",
            (task, inputs, targets),
            categorical=categorical,
            shares=shares,
            seed=seed,
            decimal=".",
            missing=missing,
        )

    @classmethod
    def _made(
        cls,
        frame: pandas.DataFrame,
        file: str,
        wanted: Sequence[str | Sequence[str]],
        *,
        categorical: Sequence[str],
        shares: Sequence[float],
        seed: int,
        decimal: Decimal | None,
        missing: Sequence[str],
    ) -> TableTasks:
        groups = [[part] if isinstance(part, str) else list(part) for part in wanted]
        used = [name for group in groups for name in group]
        if not all(groups) or len(set(used)) != len(used):
            raise InputError(
                f"task {groups[0]}, inputs {groups[1]} and targets {groups[2]} must name at least one column each, and "
                f"none twice"
            )
        categorical = [categorical] if isinstance(categorical, str) else list(categorical)
        for name in categorical:
            if name not in groups[1] + groups[2]:
                raise InputError(f"categorical={tuple(categorical)}: {name!r} is no input or target")
        if decimal not in (None, *get_args(Decimal)):
            raise InputError(f"decimal={decimal!r}: it must be '.' or ','")
        shared(0, shares)
        words = [missing] if isinstance(missing, str) else missing
        texts = {name: texts_of(frame, name, file) for name in used}
        columns = {
            name: understood(
                name, texts[name], categorical=name in groups[0] + categorical, decimal=decimal, missing=words
            )
            for name in used
        }
        kept = ~np.any([column.missing for column in columns.values()], axis=0)
        dropped = int((~kept).sum())
        if not kept.any():
            raise InputError(f"{file} has no row with a value in each of {', '.join(used)} ({dropped} lack one)")
        columns = {name: _kept(column, kept) for name, column in columns.items()}
        keys = _keys([columns[name].texts for name in groups[0]])
        names = tuple(sorted(set(keys)))
        position = {name: i for i, name in enumerate(names)}
        member = torch.tensor([position[key] for key in keys])
        order = torch.argsort(member, stable=True)
        tasks = torch.randperm(len(names), generator=seeded(seed)).split(shared(len(names), shares))
        splits = dict(zip(SPLITS, tasks, strict=True))
        if not len(splits["train"]):
            raise InputError(f"{len(names)} tasks leave none for training with shares {shares}: raise the first share")
        train = torch.isin(member, splits["train"])
        x = [_encode(columns[name], train) for name in groups[1]]
        y = [_encode(columns[name], train) for name in groups[2]]
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
            missing={name: column.words for name, column in columns.items() if column.words},
            notes=tuple(_notes(columns, dropped)),
            classifies=classifies,
        )

    @property
    def facts(self) -> Facts:
        """What its tasks are made of."""
        inputs, targets = self.x.shape[1], self.y.shape[1]
        if self.classifies:
            return Facts("table", (inputs,), targets, "classification", self.targets)
        return Facts("table", (inputs,), targets, "regression")

    @cached_property
    def digest(self) -> str:
        """Of the rows, the tasks and their splits: another table has another one."""
        return digest_of(self.x, self.y, self.sizes, self.names, self.splits, self.inputs, self.targets)

    def original(self, y: Tensor) -> Tensor:
        """Standardized targets (or predicted means) ``[..., D]`` in the units of the table."""
        return self.center.to(y) + self.scale.to(y) * y

    def makers(self, split: str) -> Mapping[str, Maker]:
        """Few-shot tasks, and the known ones."""
        return {"episodes": partial(TableSampler, self, split), "known": partial(_known, self, split)}

    def part(self, split: str) -> tuple[TableTasks, str]:
        """The table and the split."""
        return self, split

    def describe(self) -> Description:
        """Tasks and rows of each split."""
        rows = [
            {
                "split": split,
                "tasks": len(members),
                "rows": int(self.sizes[members].sum()),
                "per task": _range(self.sizes[members]),
                "inputs": len(self.inputs),
                "targets": list(self.targets),
            }
            for split, members in self.splits.items()
        ]
        return Description(self.facts, rows, self.digest, list(self.notes))

    def sampler(self, split: str, *, shots: Size, queries: Size, together: int = 16) -> TableSampler:
        """Draws tasks of ``split`` (``"train"``, ``"val"`` or ``"test"``); see :class:`TableSampler`."""
        return TableSampler(self, split, shots=shots, queries=queries, together=together)


class TableSampler(Sized):
    """Tasks of one split of a table: support and query are different rows of one task. Made by ``TableTasks.sampler``.

    Where the target is a category, the support set has a row of each class of its task, as far as its shots allow.

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
        place = torch.arange(row - 1)
        absent = place >= self._sizes[task].unsqueeze(1)
        rank, starts = u[:, 1:].masked_fill(absent, -1), self._starts[task].unsqueeze(1)
        if self.classifies and shots:
            support = self._stratified(rank, (starts + place).clamp(max=len(self.table.y) - 1)).topk(shots, 1).indices
            query = rank.scatter(1, support, -1).topk(queries, 1).indices
        else:
            support, query = rank.topk(shots + queries, 1).indices.split((shots, queries), 1)

        def part(index: Tensor) -> Examples:
            index = index + starts
            return Examples(self.table.x[index], self.table.y[index])

        return Task(part(support), part(query))

    def _stratified(self, rank: Tensor, rows: Tensor) -> Tensor:
        """Ranks in which the first row of each class of a task comes before all others."""
        classes = self.table.y.argmax(1)[rows]
        best = rank.new_full((len(rank), self.table.y.shape[1]), -1).scatter_reduce(1, classes, rank, "amax")
        first = (rank >= 0) & (rank == best.gather(1, classes))
        return rank + first.to(rank)


def _known(table: TableTasks, split: str, *, batch: int = 10) -> KnownTasks:
    """All tasks of the split that have enough rows, known by their names, ``batch`` rows a draw."""
    return KnownTasks.table(table, split, queries=batch, named=True)


def _range(sizes: Tensor) -> str:
    return f"{int(sizes.min())} to {int(sizes.max())}" if len(sizes) else "none"


class _Encoded(NamedTuple):
    values: Tensor
    names: list[str]
    center: float
    scale: float
    category: bool


def _notes(columns: Mapping[str, Column], dropped: int) -> Iterator[str]:
    for name, column in columns.items():
        if column.words:
            words = ", ".join(f"{word!r} ({count})" for word, count in column.words.items())
            yield f"column {name!r}: taken for missing: {words}"
        if column.note:
            yield f"column {name!r}: {column.note}"
    if dropped:
        yield f"rows that lack a value, left out: {dropped}"


def _kept(column: Column, kept: np.ndarray) -> Column:
    """The column of the rows that are kept."""
    numbers = None if column.numbers is None else column.numbers[kept]
    texts = [text for text, keep in zip(column.texts, kept, strict=True) if keep]
    return column._replace(texts=texts, numbers=numbers, missing=column.missing[kept])


def _keys(columns: Sequence[Sequence[str]]) -> list[str]:
    """A name for the task of each row; of two columns no two tasks share one."""
    if len(columns) == 1:
        return list(columns[0])
    safe = [[text.replace("\\", "\\\\").replace("/", "\\/") for text in column] for column in columns]
    return ["/".join(row) for row in zip(*safe, strict=True)]


def _encode(column: Column, train: Tensor) -> _Encoded:
    """A column as standardized numbers ``[N, 1]`` or one-hot columns ``[N, levels]``."""
    name = column.name
    if column.numbers is None:
        levels, rows = np.unique(column.texts, return_inverse=True)
        names = [f"{name}={level}" for level in levels.tolist()]
        return _Encoded(torch.eye(len(levels))[torch.from_numpy(rows.reshape(-1))], names, 0.0, 1.0, True)
    numbers = torch.from_numpy(column.numbers)
    if not numbers.isfinite().all():
        raise InputError(f"column {name!r} holds {int((~numbers.isfinite()).sum())} infinite values: remove those rows")
    center, scale = float(numbers[train].mean()), float(numbers[train].std(correction=0))
    # A column that is constant in training stays as it is, about 0.
    scale = scale if scale > 1e-12 * max(1.0, abs(center)) else 1.0
    return _Encoded(((numbers - center) / scale).float().unsqueeze(1), [name], center, scale, False)
