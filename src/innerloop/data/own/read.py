"""One's own data of any kind by one function."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from innerloop.core.task import InputError
from innerloop.data.own.arrays import own_arrays
from innerloop.data.own.datasets import own_object
from innerloop.data.own.files import ending, kind_of
from innerloop.data.own.folders import own_folder
from innerloop.data.own.frames import read_rows
from innerloop.data.own.record import OwnData
from innerloop.data.own.roles import Asked
from innerloop.data.own.rows import Absent, own_rows


def read_own(
    data: Any,
    *,
    label: str | None = None,
    inputs: str | Sequence[str] | None = None,
    task: str | None = None,
    group: str | None = None,
    coarse: str | Sequence[str] = (),
    categorical: str | Sequence[str] = (),
    missing: str | Sequence[str] = (),
    absent: Absent = "refuse",
    delimiter: str | None = None,
    decimal: str | None = None,
    encoding: str | None = None,
    sheet: str | None = None,
    header: bool | None = None,
) -> OwnData:
    r"""Read one's own data of any kind: pictures, sentences, tables, features, with their labels.

    What it is follows from its content: a folder for each class (of pictures or texts); pictures beside a table of
    their labels; a text file for each class, an example a line; a CSV, TSV, Parquet, Excel or JSON file, or a data
    frame, with a label column and sentences, names of picture files, or numbers and categories; NumPy arrays ``X`` and
    ``y``; a data set of PyTorch or Hugging Face. Pictures are not decoded yet. What is not clear is refused with what
    to say; what was inferred is in ``notes``.

    Args:
        data: a path, a data frame, or a data set.
        label: the label column; default the one that is called so (label, class, category, target, intent, y, ...).
            Empty cells are unlabelled examples.
        inputs: the input columns; default all others, less those that only name the rows.
        task: the column that says which of many tasks a row belongs to.
        group: the column that says which rows belong together, so that splits do not tear them apart.
        coarse: columns of coarser classes.
        categorical: columns that are to be taken for categories in any case.
        missing: further words that stand for a missing value.
        absent: whether examples without an input (a file that is not there, an empty sentence) are refused or left out,
            ``"refuse"`` or ``"drop"``.
        delimiter: between the columns of a CSV file; default the one of ``, ; | \t`` that makes most columns.
        decimal: ``"."`` or ``","``, see :meth:`innerloop.data.TableTasks.read`.
        encoding: of texts and CSV files; default as their mark says, or UTF-8.
        sheet: of an Excel file.
        header: whether the first line names the columns; default unless it holds numbers.

    Returns:
        the examples: ``X``, ``y`` and what is known beside them.

    Raises:
        InputError: naming the file and the remedy: for what is none of these, is missing, damaged or empty, where the
            label is not clear, and for inputs of several kinds.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "questions.csv"
        >>> _ = path.write_text("text,intent\nwhere is my card,card\nis it open today,hours\n")
        >>> own = read_own(path)
        >>> own.kind, own.X, own.y.tolist()
        ('text', ['where is my card', 'is it open today'], ['card', 'hours'])
    """
    if absent not in ("refuse", "drop"):
        raise InputError(f"absent={absent!r}: give 'refuse' or 'drop'")
    if decimal not in (None, ".", ","):
        raise InputError(f"decimal={decimal!r}: it must be '.' or ','")
    if header not in (None, True, False):
        raise InputError(f"header={header!r}: give True or False")
    asked = Asked(
        label, None if inputs is None else _list(inputs), task, group, _list(coarse), _list(categorical), _list(missing)
    )
    if not isinstance(data, (str, os.PathLike)):
        return own_object(data, asked, absent, decimal)
    if "\0" in str(data):
        raise InputError(f"{str(data)!r} is no path: it holds a zero byte")
    path = Path(data).expanduser()
    read = partial(read_rows, delimiter=delimiter, encoding=encoding, sheet=sheet, header=header)
    if path.is_dir():
        return own_folder(path, asked, read, absent, decimal, encoding)
    if ending(path.name) in (".npz", ".npy") and path.is_file():
        return own_arrays(path, label)
    if kind_of(path.name) == "picture" and path.is_file():
        raise InputError(f"{path} is one picture: give a folder with a folder for each class, or a table of labels")
    return own_rows(read(path), asked, absent=absent, decimal=decimal)


def _list(names: str | Sequence[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)
