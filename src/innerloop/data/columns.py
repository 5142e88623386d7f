"""Columns of CSV files: read with pandas as text, then taken for numbers or for categories.

What a column is follows from all its values: numbers, where all that are there read as such, and otherwise categories.
A column of mostly numbers with words among them is neither, and refused.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from innerloop.core.task import InputError, did_you_mean

if TYPE_CHECKING:
    import pandas

#: What separates the decimals of a number.
Decimal = Literal[".", ","]

#: Words that stand for a missing value in any column, whatever their case.
MISSING = frozenset({"", "na", "n/a", "<na>", "#na", "#n/a", "#n/a n/a", "nan", "-nan", "null", "none", "?"})
#: Words that do so among numbers.
MISSING_NUMBER = frozenset(
    {"-", "--", "---", ".", "..", "...", "\u2013", "\u2014", "*", "n.a.", "n.d.", "nd", "nil", "missing", "unknown",
     "undefined", "not available", "#value!", "#div/0!", "#ref!", "#num!", "1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan"}
)  # fmt: skip
#: More levels than these, and than half of the rows, are no categories: dates, amounts with a unit, names.
_LEVELS = 20
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+")
_COMMA = re.compile(r"[+-]?(\d+|\d{1,3}(\.\d{3})+)?(,\d+)?([eE][+-]?\d+)?")
_POINT = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?")


class Column(NamedTuple):
    """A column of text, understood."""

    name: str
    texts: list[str]
    numbers: np.ndarray | None
    """float64, NaN where missing; ``None`` for categories."""
    missing: np.ndarray
    """Where there is no value, bool."""
    words: dict[str, int]
    """What was taken for missing, and how often."""
    note: str
    """How its numbers are written, where that had to be found out."""


def read_frame(path: Path, delimiter: str, encoding: str | None) -> pandas.DataFrame:
    """A CSV file with a header as text, without blanks around names and values.

    Raises:
        InputError: naming the file, if it is missing, not to be read, cut, of another encoding, or no table.
    """
    if not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in '\n\r"':
        raise InputError(f"delimiter={delimiter!r}: give one character, such as ',', ';' or '\\t'")
    text = text_of(path, encoding)
    pandas = pandas_module()
    options = {"sep": delimiter, "header": None, "dtype": str, "na_filter": False, "skip_blank_lines": True}
    try:
        frame = pandas.read_csv(io.StringIO(text), **options)
    except pandas.errors.EmptyDataError:
        return pandas.DataFrame()
    except (pandas.errors.ParserError, csv.Error) as error:
        if found := re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error)):
            raise _ragged(path, *map(int, found.group(2, 3, 1))) from None
        raise InputError(f"{path.name} is no table ({error}): mend it, or give the right delimiter") from None
    frame = frame.apply(lambda column: column.str.strip())
    if (frame.iloc[:, -1] == "").any():
        # pandas fills up short lines without a word.
        reader = csv.reader(io.StringIO(text), delimiter=delimiter)
        for row in reader:
            if row and len(row) < frame.shape[1]:
                raise _ragged(path, reader.line_num, len(row), frame.shape[1])
    header = frame.iloc[0].tolist()
    return frame.iloc[1:].set_axis(header, axis=1).reset_index(drop=True)


def texts_of(frame: pandas.DataFrame, name: str, file: str) -> list[str]:
    """A column as text, empty where a value is missing.

    Raises:
        InputError: if there is no such column, or more than one.
    """
    header = [str(column) for column in frame.columns]
    if name not in header:
        hint = did_you_mean(name, header)
        raise InputError(f"{file} has no column {name!r}{hint}; it has {', '.join(header) or 'no header'}")
    if header.count(name) > 1:
        raise InputError(f"{file} has {header.count(name)} columns {name!r}: rename all but one in its header")
    column = frame.iloc[:, header.index(name)]
    return ["" if gone else str(value).strip() for value, gone in zip(column, column.isna(), strict=True)]


def understood(
    name: str, texts: list[str], *, categorical: bool, decimal: Decimal | None, missing: Iterable[str]
) -> Column:
    """Take a column for numbers or for categories.

    Args:
        name: of the column.
        texts: its values.
        categorical: take it for categories in any case.
        decimal: what separates decimals; ``None``: a point, or a comma where only that makes numbers of all.
        missing: further words that stand for a missing value.

    Raises:
        InputError: for numbers among which there are words, or that can be read in two ways.
    """
    own = frozenset(missing)
    counts = Counter(texts)
    gone = {text for text in counts if text in own or text.casefold() in MISSING}
    rest = [text for text in counts if text not in gone]
    if not categorical:
        wide = {text for text in rest if text.casefold() in MISSING_NUMBER}
        candidates = [text for text in rest if text not in wide]
        found, note = _numbers(name, candidates, decimal)
        if candidates and len(found) == len(candidates):
            gone |= wide
            numbers = np.array([found.get(text, np.nan) for text in texts])
            return _column(name, texts, numbers, gone, counts, note)
        if sum(counts[text] for text in found) > sum(counts[text] for text in candidates) / 2:
            odd = [text for text in candidates if text not in found]
            raise InputError(
                f"column {name!r} holds {sum(counts[text] for text in found)} numbers and "
                f"{sum(counts[text] for text in odd)} words (the first is {odd[0]!r}): mend these, give them as "
                f"missing=({odd[0]!r},), or the column as categorical=({name!r},)"
            )
        if len(rest) > max(_LEVELS, sum(counts[text] for text in rest) / 2):
            raise InputError(
                f"column {name!r} holds {len(rest)} different words (the first is {rest[0]!r}): make numbers of them, "
                f"leave the column out, or give it as categorical=({name!r},)"
            )
    return _column(name, texts, None, gone, counts, "")


def _column(
    name: str, texts: list[str], numbers: np.ndarray | None, gone: set[str], counts: Counter[str], note: str
) -> Column:
    missing = np.array([text in gone for text in texts], dtype=bool)
    return Column(name, texts, numbers, missing, {text: counts[text] for text in sorted(gone)}, note)


def _numbers(name: str, texts: Sequence[str], decimal: Decimal | None) -> tuple[dict[str, float], str]:
    """The texts that are numbers, and a word about how they are written."""
    found = {text: value for text in texts if (value := _float(text)) is not None}
    if decimal == "," or (decimal is None and len(found) < len(texts)):
        commas = {text: value for text in texts if (value := _float_with_comma(text)) is not None}
        if len(commas) == len(texts):
            if decimal is None and all(_THOUSANDS.fullmatch(text) for text in texts if "," in text):
                first = next(text for text in texts if "," in text)
                raise InputError(
                    f"column {name!r} holds {first!r}, which is {first.replace(',', '')} or {first.replace(',', '.')}: "
                    f"give decimal='.' or decimal=','"
                )
            return commas, "its decimals stand after a comma"
        if decimal == ",":
            return commas, ""
    points = {
        text: value if value is not None else float(text.replace(",", ""))
        for text in texts
        if (value := _float(text)) is not None or _POINT.fullmatch(text)
    }
    if len(points) == len(texts) > len(found):
        return points, "its thousands are separated by commas"
    return found, ""


def _float(text: str) -> float | None:
    try:
        return float(text) if "_" not in text else None
    except ValueError:
        return None


def _float_with_comma(text: str) -> float | None:
    if not any(character.isdigit() for character in text) or not _COMMA.fullmatch(text):
        return None
    return float(text.replace(".", "").replace(",", "."))


def text_of(path: Path, encoding: str | None) -> str:
    """The text of a file, gzipped or not.

    Raises:
        InputError: naming the file, if it is missing, not to be read, cut, of another encoding, or no text.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"there is no file {path}: check the path") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check the path and its rights") from None
    if data.startswith(b"\x1f\x8b"):
        try:
            data = gzip.decompress(data)
        except (EOFError, OSError, zlib.error) as error:
            raise InputError(f"{path} is a gzip file that is cut or damaged ({error}): copy it again") from None
    if data.startswith(b"PK\x03\x04"):
        raise InputError(f"{path} is a zip archive or a spreadsheet: save the table as CSV")
    encoding = encoding or next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except LookupError:
        raise InputError(f"encoding={encoding!r} is unknown: give utf-8, latin-1 or utf-16, say") from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path} is not {encoding} (byte {data[error.start]:#04x} on line {line}): give its encoding, such as "
            f"encoding='latin-1'"
        ) from None
    if "\0" in text:
        raise InputError(f"{path} holds zero bytes: it is no text, or give its encoding, such as encoding='utf-16-le'")
    return text


def _ragged(path: Path, line: int, fields: int, wanted: int) -> InputError:
    return InputError(
        f"line {line} of {path.name} has {fields} fields, its header has {wanted}: mend the line, or give the right "
        f"delimiter"
    )


def pandas_module() -> pandas:
    """pandas, which is imported when a table is read.

    Raises:
        InputError: with the command that installs it.
    """
    try:
        import pandas
    except ImportError:
        raise InputError("tables are read with pandas: install it by pip install 'innerloop[tables]'") from None
    return pandas
