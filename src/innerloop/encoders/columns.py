"""A person's table as numbers: what kind each column is, decided once at ``fit``, and every cell by that kind.

Numbers stay as they are, in float64. Dates (``datetime64`` of NumPy, pandas or polars, or objects that are dates)
become days since 1970 in UTC, lengths of time days, times of day a share of a day. Everything else is a category and
becomes its place among the sorted ones, or in the order that a categorical column brings. Strings are dates only in a
column that held dates at ``fit``, since a table that comes as JSON has no other dates.
"""

from __future__ import annotations

import datetime
import math
import numbers
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data

from innerloop.core.task import InputError

Floats = npt.NDArray[np.floating[Any]]
Kind = Literal["numbers", "dates", "lengths of time", "times of day", "categories"]

_DAY = np.timedelta64(1, "D").astype("timedelta64[us]").astype(np.int64)


@dataclass(frozen=True)
class Cells:
    """One column as it came: its name, and its cells as floats or objects."""

    name: str
    cells: npt.NDArray[Any]
    levels: tuple[Any, ...] | None = None
    """The values of a categorical column, in its order."""


@dataclass(frozen=True)
class Column:
    """What ``fit`` has learned of a column.

    Args:
        name: for messages.
        kind: how its cells become numbers.
        codes: of each known category.
    """

    name: str
    kind: Kind
    codes: dict[str, int] | None = None

    @classmethod
    def of(cls, column: Cells) -> Column:
        """The kind of a column, from its cells."""
        if column.levels is None:
            kind = _kind(column.cells)
            if kind != "categories":
                return cls(column.name, kind)
        present = {_word(cell) for cell in column.cells if not _missing(cell)}
        ordered = sorted(present) if column.levels is None else [_word(level) for level in column.levels]
        return cls(column.name, "categories", {word: i for i, word in enumerate(w for w in ordered if w in present)})

    def numbers(self, column: Cells) -> npt.NDArray[np.float64]:
        """Each cell as a number ``[N]``; NaN where it is missing, or a category that ``fit`` has not seen."""
        cells = column.cells
        if self.kind == "numbers" and cells.dtype.kind in "biuf":
            number = cells.astype(np.float64)
        else:
            number = np.array([self._number(cell, i) for i, cell in enumerate(cells)])
        if np.isinf(number).any():
            row = int(np.isinf(number).argmax())
            raise InputError(
                f"column {self.name} holds {_shown(cells[row])} in row {row}, and infinity is no number to learn from: "
                f"mark it as missing (NaN), or clip it"
            )
        return number

    def _number(self, cell: Any, row: int) -> float:
        if _missing(cell):
            return math.nan
        if self.codes is not None:
            return self.codes.get(_word(cell), math.nan)
        number = _READ[self.kind](cell)
        if number is None and self.kind == "dates" and isinstance(cell, str):
            number = _iso(cell)
        if number is None:
            raise InputError(
                f"column {self.name} held {self.kind} at fit and holds {_shown(cell)} in row {row}: "
                f"mark the cell as missing (None or NaN), or fit again with such cells in the table"
            )
        return number


def cells(X: Any, estimator: BaseEstimator, *, reset: bool) -> list[Cells]:
    """The columns of a table ``[N, F]``, checked as scikit-learn does.

    Args:
        X: a data frame of pandas or polars, an array, or rows in lists.
        estimator: whose number and names of features are set or compared.
        reset: set them (``fit``), or compare them (all else).

    Raises:
        ValueError: if there are no rows, no columns, other columns than at ``fit``, or infinite numbers.
    """
    if _is_frame(X):
        validate_data(estimator, X, reset=reset, skip_check_array=True)
        for size, what in zip(X.shape, ("sample", "feature"), strict=True):
            if size < 1:
                raise InputError(f"the data frame has 0 {what}(s) (shape={tuple(X.shape)}), at least 1 is needed")
        return [_series(repr(name), series) for name, series in zip(X.columns, _columns(X), strict=True)]
    if isinstance(X, Sequence) and not isinstance(X, str) and np.asarray(X).dtype.kind in "USMm":
        # As one array of strings, numbers beside words would be words.
        X = np.array(X, dtype=object)
    # Sums of the largest numbers overflow, which says nothing.
    with np.errstate(all="ignore"):
        X = validate_data(estimator, X, dtype=None, ensure_all_finite="allow-nan", reset=reset)
    return [Cells(str(i), column) for i, column in enumerate(np.asarray(X).T)]


def _is_frame(X: Any) -> bool:
    """A data frame of pandas or polars; neither is imported for it."""
    return len(getattr(X, "shape", ())) == 2 and (hasattr(X, "iloc") or hasattr(X, "to_series"))


def _columns(X: Any) -> list[Any]:
    # By position: names may repeat.
    return [X.iloc[:, i] if hasattr(X, "iloc") else X.to_series(i) for i in range(X.shape[1])]


def _series(name: str, series: Any) -> Cells:
    dtype = series.dtype
    kind = getattr(dtype, "kind", None)
    if type(dtype).__name__ in ("CategoricalDtype", "Enum"):
        return Cells(name, np.array([*series, None], dtype=object)[:-1], tuple(dtype.categories))
    if kind is not None and kind in "biuf":
        return Cells(name, series.to_numpy(dtype=np.float64, na_value=math.nan))
    if kind is not None and kind in "Mm":
        return Cells(name, series.to_numpy(dtype=f"{'datetime64' if kind == 'M' else 'timedelta64'}[us]"))
    # One cell more keeps NumPy from making anything but objects of equally long lists.
    values = np.array([*series, None], dtype=object)[:-1]
    if kind is None and hasattr(dtype, "is_numeric") and dtype.is_numeric():
        values = np.array([math.nan if value is None else value for value in values], dtype=np.float64)
    return Cells(name, values)


def _kind(column: npt.NDArray[Any]) -> Kind:
    if column.dtype.kind in "biuf" and not np.isnan(column).all():
        return "numbers"
    present = [cell for cell in column if not _missing(cell)]
    # Nothing is known of a column without a cell: no category, so that whatever comes later counts as missing.
    for kind, read in _READ.items() if present else ():
        if all(read(cell) is not None for cell in present):
            return kind
    return "categories"


def _missing(cell: Any) -> bool:
    """None, NaN, the missing values of pandas, an empty string, and NaN in an array of strings."""
    if isinstance(cell, str | bytes):
        return cell.strip().lower() in ("", "nan", b"", b"nan")
    if cell is None or type(cell).__name__ in ("NAType", "NaTType"):
        return True
    return bool(np.isnat(cell)) if isinstance(cell, np.datetime64 | np.timedelta64) else _is_nan(cell)


def _is_nan(cell: Any) -> bool:
    return isinstance(cell, numbers.Number) and bool(cell != cell)


def _shown(cell: Any) -> str:
    return repr(cell.item() if isinstance(cell, np.generic) else cell)


def _word(cell: Any) -> str:
    """The name of a category: the same for 1, 1.0 and "1"."""
    if isinstance(cell, complex | list | tuple | dict | set | np.ndarray):
        raise InputError(f"a cell holds {cell!r}, a {type(cell).__name__}: numbers, dates and strings can be read")
    if isinstance(cell, bytes):
        return cell.decode(errors="replace")
    if isinstance(cell, float | np.floating) and float(cell).is_integer():
        return str(int(cell))
    return str(cell)


def _float(cell: Any) -> float | None:
    # NumPy counts its lengths of time among the integers.
    if isinstance(cell, np.timedelta64) or not isinstance(cell, numbers.Real | Decimal | np.bool_ | str | bytes):
        return None
    try:
        return float(cell)
    except (ValueError, OverflowError):
        return None


def _days(cell: Any) -> float | None:
    """Days since 1970, UTC; a date without a time zone is taken to be there."""
    if hasattr(cell, "to_timestamp"):
        cell = cell.to_timestamp()
    if isinstance(cell, datetime.datetime) and cell.tzinfo is not None:
        cell = cell.astimezone(datetime.UTC).replace(tzinfo=None)
    if not isinstance(cell, datetime.date | np.datetime64):
        return None
    moment = cell if isinstance(cell, np.datetime64) else np.datetime64(cell)
    return float(moment.astype("datetime64[us]").astype(np.int64)) / _DAY


def _length(cell: Any) -> float | None:
    if not isinstance(cell, datetime.timedelta | np.timedelta64):
        return None
    length = cell if isinstance(cell, np.timedelta64) else np.timedelta64(cell)
    return float(length.astype("timedelta64[us]").astype(np.int64)) / _DAY


def _time(cell: Any) -> float | None:
    if not isinstance(cell, datetime.time):
        return None
    return (cell.hour * 3600 + cell.minute * 60 + cell.second + cell.microsecond / 1e6) / 86400


def _iso(cell: str) -> float | None:
    try:
        return _days(datetime.datetime.fromisoformat(cell.strip()))
    except ValueError:
        return None


#: How a cell of each kind is read; ``None``: it is not of that kind.
_READ: dict[Kind, Callable[[Any], float | None]] = {
    "numbers": _float,
    "dates": _days,
    "lengths of time": _length,
    "times of day": _time,
}
