"""Files of rows as pandas frames: CSV, TSV, Parquet, Excel, JSON, and lines of a label and a sentence."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from innerloop.core.labels import listed
from innerloop.core.task import InputError
from innerloop.data.columns import pandas_module, read_frame, text_of
from innerloop.data.own.files import ending, split_of

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Frame:
    """Rows of a file.

    Args:
        rows: a pandas frame with one text as the name of each column.
        file: what messages call it.
        folder: what paths in it start from.
        notes: what was inferred.
        splits: the split of each row, where the file says it beside its columns.
    """

    rows: pandas.DataFrame
    file: str
    folder: Path | None = None
    notes: list[str] = field(default_factory=list)
    splits: tuple[str, ...] | None = None


#: Reads a table, with the options that were given.
ReadRows = Callable[[Path], Frame]


def read_rows(
    path: Path,
    *,
    delimiter: str | None = None,
    encoding: str | None = None,
    sheet: str | None = None,
    header: bool | None = None,
) -> Frame:
    """The rows of a file, by what it is and not by its ending alone.

    Raises:
        InputError: for a file that is missing, empty, damaged, ragged, of another encoding, or of none of these kinds.
    """
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is a pipe or a device: write its content into a file first")
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except FileNotFoundError:
        raise InputError(f"there is no file {path}: check the path") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check the path and its rights") from None
    if not head.strip():
        raise InputError(f"{path} is empty: give a file with rows, or take it out")
    kind = ending(path.name)
    if head.startswith(b"PAR1") or kind in (".parquet", ".pq"):
        frame = Frame(_parquet(path), path.name, path.parent)
    elif head.startswith(b"PK\x03\x04") or kind in (".xlsx", ".xlsm"):
        frame = _excel(path, sheet, header)
    elif head.startswith(b"\xd0\xcf\x11\xe0"):
        raise InputError(f"{path} is an Excel file of before 2007: save it as .xlsx or CSV")
    elif picture := _picture(head):
        raise InputError(f"{path} is a {picture} picture, whatever its name says: give it its own ending")
    elif kind in (".json", ".jsonl", ".ndjson"):
        frame = _json(path, encoding)
    elif kind in (".txt", ".text"):
        frame = _lines(path, encoding)
    else:
        frame = _csv(path, delimiter, encoding, header)
    if sheet is not None and not (head.startswith(b"PK\x03\x04") or kind in (".xlsx", ".xlsm")):
        raise InputError(f"{path.name} is no Excel file and has no sheet {sheet!r}: leave sheet= out")
    _check(frame)
    return frame


def _check(frame: Frame) -> None:
    """One name a column, and rows."""
    names = [str(name) for name in frame.rows.columns]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{frame.file} has {names.count(twice)} columns {twice!r}: rename all but one in its header")
    if not len(frame.rows):
        raise InputError(f"{frame.file} has a header and no row: give a file with rows")
    frame.rows.columns = names


def _csv(path: Path, delimiter: str | None, encoding: str | None, header: bool | None) -> Frame:
    notes = []
    text = text_of(path, encoding)
    if delimiter is None:
        first = next((line for line in text.splitlines() if line.strip()), "")
        counts = {mark: len(next(csv.reader([first], delimiter=mark))) for mark in (",", "\t", ";", "|")}
        delimiter = "\t" if ending(path.name) == ".tsv" else max(counts, key=lambda mark: counts[mark])
        if delimiter not in (",", "\t"):
            notes.append(f"{path.name}: columns are separated by {delimiter!r}")
    rows = read_frame(path, delimiter, encoding)
    return _headed(rows, path, header, notes)


def _headed(rows: pandas.DataFrame, path: Path, header: bool | None, notes: list[str]) -> Frame:
    """With the first line as the names of the columns, or as a row where it holds numbers or stands for nothing."""
    names = [str(name) for name in rows.columns]
    numbers = any(is_number(name) for name in names)
    if header is None:
        header = not numbers
        if numbers:
            notes.append(
                f"{path.name}: its first line holds numbers, so it is a row and the columns are called column 1 to "
                f"column {len(names)} (header=True takes it for their names)"
            )
    if header:
        return Frame(rows, path.name, path.parent, notes)
    pandas = pandas_module()
    columns = [f"column {number}" for number in range(1, len(names) + 1)]
    first = pandas.DataFrame([names], columns=columns, dtype=object)
    rows = rows.set_axis(columns, axis=1).astype(object)
    return Frame(pandas.concat([first, rows], ignore_index=True), path.name, path.parent, notes)


def _lines(path: Path, encoding: str | None) -> Frame:
    """Lines of a label and a sentence with a tab between them."""
    rows = []
    for number, line in enumerate(text_of(path, encoding).splitlines(), 1):
        if not line.strip():
            continue
        parts = line.split("\t")
        if len(parts) != 2:
            raise InputError(
                f"line {number} of {path.name} has {len(parts) - 1} tabs: a text file holds lines LABEL<TAB>SENTENCE; "
                f"of sentences alone give a folder with a text file for each class"
            )
        rows.append([part.strip() for part in parts])
    return Frame(
        pandas_module().DataFrame(rows, columns=["column 1", "column 2"], dtype=object),
        path.name, path.parent,
    )  # fmt: skip


def _json(path: Path, encoding: str | None) -> Frame:
    """An object a line, a list of objects, or an object of lists: rows by their split, or sentences by their class."""
    text = text_of(path, encoding)
    try:
        value = json.loads(text)
    except RecursionError:
        raise InputError(f"{path.name} is nested too deep: give a list of objects, or an object a line") from None
    except ValueError as error:
        value = _json_lines(path, text, error)
    if isinstance(value, list):
        return Frame(_records(path, value), path.name, path.parent)
    if not isinstance(value, dict):
        raise InputError(f"{path.name} holds {type(value).__name__}: give a list of objects, or an object a line")
    if not value or not all(isinstance(part, list) for part in value.values()):
        return Frame(_records(path, [value]), path.name, path.parent)
    if all(isinstance(item, str) for part in value.values() for item in part):
        if split_of(next(iter(value))):
            raise InputError(f"{path.name} holds sentences without labels: give [sentence, label], or objects")
        rows = [{"text": item, "label": name} for name, part in value.items() for item in part]
        return Frame(_records(path, rows), path.name, path.parent)
    parts = {name: _records(path, part) for name, part in value.items() if part}
    splits = tuple(split_of(name) or name for name, part in parts.items() for _ in range(len(part)))
    rows = pandas_module().concat(parts.values(), ignore_index=True)
    return Frame(rows, path.name, path.parent, [f"{path.name}: its lists are splits: {listed(parts)}"], splits)


def _json_lines(path: Path, text: str, whole: ValueError) -> list[Any]:
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                found.append(json.loads(line))
            except (ValueError, RecursionError) as error:
                said = whole if number == 1 else f"line {number}: {error}"
                raise InputError(f"{path.name} is no JSON ({said}): mend it, or copy it again") from None
    return found


def _records(path: Path, rows: list[Any]) -> pandas.DataFrame:
    pandas = pandas_module()
    if rows and all(isinstance(row, list) and len(row) == 2 and all(isinstance(v, str) for v in row) for row in rows):
        return pandas.DataFrame(rows, columns=["text", "label"], dtype=object)
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise InputError(f"row {number} of {path.name} is {str(row)[:40]!r}: give an object, or [sentence, label]")
        nested = next((name for name, value in row.items() if isinstance(value, (dict, list))), None)
        if nested is not None:
            raise InputError(f"{nested!r} in row {number} of {path.name} is nested: give one value for each name")
    return pandas.DataFrame(rows, dtype=object)


def _parquet(path: Path) -> pandas.DataFrame:
    pandas = pandas_module()
    try:
        return pandas.read_parquet(path)
    except ImportError:
        raise InputError("Parquet files are read with pyarrow: pip install 'innerloop[tables]'") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no Parquet file, or damaged ({_first(error)}): copy it again") from None


def _excel(path: Path, sheet: str | None, header: bool | None) -> Frame:
    pandas = pandas_module()
    try:
        sheets = pandas.read_excel(path, sheet_name=None, header=None, dtype=object, engine="openpyxl")
    except ImportError:
        raise InputError("Excel files are read with openpyxl: pip install 'innerloop[tables]'") from None
    except Exception as error:
        # openpyxl raises whatever the archive within makes it raise.
        raise InputError(f"{path} is no Excel file, or damaged ({_first(error)}): save it again, or as CSV") from None
    full = {str(name): rows for name, rows in sheets.items() if rows.shape[0] and rows.shape[1]}
    if sheet is None and len(full) > 1:
        raise InputError(
            f"{path.name} has {len(full)} sheets ({listed(full)}): say sheet={next(iter(full))!r}, or which"
        )
    name = sheet if sheet is not None else next(iter(full), "")
    if name not in full:
        raise InputError(f"{path.name} has no sheet {name!r} with rows; it has {listed(full) or 'none'}")
    # Sheets hold rows and columns without a cell.
    rows = full[name].dropna(how="all").dropna(how="all", axis=1)
    if not len(rows):
        raise InputError(f"sheet {name!r} of {path.name} is empty: give one with rows")
    names = ["" if value is None or value != value else str(value).strip() for value in rows.iloc[0]]
    body = rows.iloc[1:].set_axis(names, axis=1).reset_index(drop=True)
    return _headed(body, path, header, [])


def is_number(text: str) -> bool:
    """Whether a text is a finite number."""
    try:
        float(text)
    except ValueError:
        return False
    return text.strip().lower() not in ("nan", "inf", "-inf", "infinity")


def _picture(head: bytes) -> str:
    marks = {b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG", b"GIF8": "GIF", b"BM": "", b"II*\0": "TIFF", b"MM\0*": "TIFF"}
    return next((name for mark, name in marks.items() if head.startswith(mark)), "")


def _first(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
