"""Labels of any kind as class numbers and names: integers, words, booleans, pandas columns, one-hot rows.

The one place where labels are looked at. What is no label (a missing value, half a class, a ragged list) is refused
here, with its row, and never reaches a learner.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from innerloop.core.task import InputError

_SHOWN = 5


class Labels(NamedTuple):
    """Classes by number and by name."""

    classes: Tensor
    """The class of each example, int64 ``[N]``."""
    names: tuple[str, ...]
    """The name of each class that occurs."""


def labels_of(values: Any) -> Labels:
    """Class numbers and names from labels of any kind.

    Args:
        values: N labels: integers, words, booleans or whole floats, as a list, a NumPy array, a tensor or a pandas
            column; a column ``[N, 1]`` of these; or one-hot rows ``[N, D]``.

    Returns:
        The classes that occur, in the order of their labels: numbers by size, words by the alphabet, a pandas
        categorical by its categories, one-hot rows by their columns.

    Raises:
        InputError: for a missing value (naming the row), a number that is not whole, rows of several lengths, a matrix
            that is not one-hot, labels of several kinds or of none of these.

    Example:
        >>> labels_of(["owl", "cat", "owl"])
        Labels(classes=tensor([1, 0, 1]), names=('cat', 'owl'))
        >>> labels_of([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]).names
        ('1', '2')
    """
    given = coded(label_array(values))
    used, classes = np.unique(given.codes, return_inverse=True)
    names = tuple(str(code) if given.names is None else given.names[code] for code in used.tolist())
    return Labels(torch.from_numpy(classes.reshape(-1)), names)


class LabelArray(NamedTuple):
    """Labels as NumPy has them: ``[N]``, or ``[N, D]`` with more than one column."""

    values: np.ndarray
    names: tuple[str, ...] | None = None
    """Of a categorical's codes, or of a frame's columns."""


class Coded(NamedTuple):
    """Labels as whole numbers."""

    codes: np.ndarray
    names: tuple[str, ...] | None
    """What the codes 0, 1, ... mean; ``None``: themselves."""
    columns: int | None
    """How many classes there are, where the labels say it."""


def label_array(values: Any) -> LabelArray:
    """Any labels as an array without a missing value; a single column is taken out of its matrix."""
    if isinstance(values, (str, bytes, Mapping, Set)) or not (
        isinstance(values, Iterable) or hasattr(values, "__array__")
    ):
        raise InputError(f"{_short(values)} are no labels: give a list, an array, a tensor or a column of them")
    if isinstance(values, Tensor):
        if values.is_complex():
            raise InputError("labels are complex numbers: give whole ones, or names")
        values = values.detach().cpu()
        array = (values.float() if values.dtype in (torch.float16, torch.bfloat16) else values).numpy()
    elif type(getattr(values, "dtype", None)).__name__ == "CategoricalDtype":
        codes = np.asarray(getattr(values, "cat", values).codes).astype(np.int64)
        refuse_rows(codes < 0, "is missing")
        return LabelArray(codes, tuple(map(str, values.dtype.categories)))
    else:
        array = np.asarray(values) if hasattr(values, "__array__") else _from_list(list(values))
    names = tuple(map(str, values.columns)) if hasattr(values, "columns") else None
    if array.ndim == 2 and array.shape[1] == 1:
        array, names = array[:, 0], None
    if array.ndim not in (1, 2) or array.dtype.kind not in "biufUSO":
        what = f"shape {array.shape}" if array.dtype.kind in "biufUSO" else f"type {array.dtype}"
        raise InputError(
            f"labels have {what}: give N whole numbers or names, a column [N, 1] of them, or one-hot rows [N, D]"
        )
    if array.dtype.kind in "OS":
        array = _from_list(array.tolist())
    if array.dtype.kind == "f":
        refuse_rows(~np.isfinite(array), "is missing or not finite")
    return LabelArray(array, names)


def _from_list(values: list[Any]) -> np.ndarray:
    """A list of labels, or of rows of numbers."""
    items = [value.tolist() if isinstance(value, (np.ndarray, np.generic, Tensor)) else value for value in values]
    rows = [isinstance(value, (list, tuple)) for value in items]
    if any(rows):
        lengths = {len(value) if row else None for value, row in zip(items, rows, strict=True)}
        if len(lengths) > 1:
            raise InputError(f"labels are rows of several lengths ({listed(map(str, lengths))}): give each one label")
        flat = _from_list([entry for value in items for entry in value])
        if flat.ndim > 1:
            raise InputError("labels are nested more than twice: give N labels, or one-hot rows [N, D]")
        return flat.reshape(len(items), -1)
    missing = [value is None or type(value).__name__ in ("NAType", "NaTType") or value != value for value in items]
    refuse_rows(np.array(missing, dtype=bool), "is missing")
    kinds = {_kind(value): i for i, value in reversed(list(enumerate(items)))}
    if len(kinds) > 1:
        first, second = sorted(kinds.values())[:2]
        raise InputError(
            f"labels are of several kinds (row {first} is {_short(items[first])}, row {second} is "
            f"{_short(items[second])}): give names only, or whole numbers only"
        )
    kind = next(iter(kinds), "number")
    if kind == "other":
        raise InputError(f"label {_short(items[0])} is no whole number, name or boolean: give one of these")
    if kind == "name":
        words = (value.decode(errors="replace") if isinstance(value, bytes) else value for value in items)
        return np.array(list(words), dtype=str)
    if kind == "number" and not all(isinstance(value, Integral) for value in items):
        return np.array(items, dtype=np.float64)
    return np.array(items, dtype=bool if kind == "boolean" else None if items else np.int64)


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "number" if isinstance(value, Real) else "name" if isinstance(value, (str, bytes)) else "other"


def coded(array: LabelArray) -> Coded:
    """Labels as whole numbers, and what these mean."""
    values, names = array
    if values.ndim == 2:
        if values.dtype.kind == "U" or not (np.isin(values, (0, 1)).all() and (values.sum(1) == 1).all()):
            raise InputError(
                f"labels are a matrix {values.shape} whose rows are not one-hot: give N labels (for shares of several "
                f"classes the largest, argmax(1)), or rows with a single 1"
            )
        return Coded(values.argmax(1), names, values.shape[1])
    if names is not None:
        return Coded(values, names, len(names))
    if values.dtype.kind == "U":
        found, codes = np.unique(values, return_inverse=True)
        return Coded(codes, tuple(found.tolist()), len(found))
    if values.dtype.kind == "b":
        return Coded(values.astype(np.int64), ("False", "True"), None)
    if values.dtype.kind == "f":
        refuse_rows(values != np.floor(values), "is no whole number", values)
    if values.size and not (int(values.min()) >= -(2**63) and int(values.max()) < 2**63):
        raise InputError(f"label {int(values[np.abs(values).argmax()])} is beyond 64 bits: give names instead")
    return Coded(values.astype(np.int64), None, None)


def refuse_rows(bad: np.ndarray, what: str, values: np.ndarray | None = None) -> None:
    """Refuse labels of which some are bad, naming the first row.

    Raises:
        InputError: where any entry of ``bad [N]`` or ``[N, D]`` is true.
    """
    rows = np.flatnonzero(bad if bad.ndim == 1 else bad.any(1))
    if len(rows):
        value = "" if values is None else f" ({values[rows[0]]})"
        more = f" (and {len(rows) - 1} more)" if len(rows) > 1 else ""
        raise InputError(f"the label of row {rows[0]}{value} {what}{more}: mend these rows or leave them out")


def listed(names: Iterable[str]) -> str:
    """The first few names, for a message."""
    names = list(names)
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def _short(value: Any) -> str:
    text = f"{type(value).__name__} {value!r}"
    return text if len(text) < 60 else f"{text[:57]}..."
