"""Data sets of PyTorch and of Hugging Face, and data frames, as examples. None of these libraries is imported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from innerloop.core.labels import label_array
from innerloop.core.task import InputError
from innerloop.data.columns import pandas_module
from innerloop.data.own.files import split_of
from innerloop.data.own.frames import Frame
from innerloop.data.own.record import OwnData
from innerloop.data.own.roles import Asked
from innerloop.data.own.rows import Absent, own_rows


def own_object(data: Any, asked: Asked, absent: Absent, decimal: Any) -> OwnData:
    """A data frame, a Hugging Face data set (or several, by split), or a map-style data set of pairs.

    Raises:
        InputError: as :func:`innerloop.data.read_own`.
    """
    if hasattr(data, "column_names") and isinstance(data.column_names, Mapping):
        return _splits(data, asked, absent, decimal)
    if hasattr(data, "column_names") and hasattr(data, "features"):
        return own_rows(Frame(_frame(data), "the data set"), asked, absent=absent, decimal=decimal)
    if hasattr(data, "columns") and hasattr(data, "shape"):
        frame = data.copy() if hasattr(data, "iloc") else pandas_module().DataFrame(data.to_dict(as_series=False))
        names = [str(name) for name in frame.columns]
        if len(set(names)) != len(names):
            raise InputError(f"the frame has a column twice ({', '.join(names)}): rename one")
        frame.columns = names
        if not len(frame):
            raise InputError("the frame has no row: give a frame with rows")
        return own_rows(Frame(frame.reset_index(drop=True), "the frame"), asked, absent=absent, decimal=decimal)
    if hasattr(data, "__len__") and hasattr(data, "__getitem__") and not isinstance(data, (str, bytes, Mapping)):
        return _pairs(data)
    raise InputError(
        f"a {type(data).__name__} is no data: give a path, a data frame, or a data set with a length and numbered items"
    )


def _splits(data: Any, asked: Asked, absent: Absent, decimal: Any) -> OwnData:
    pandas = pandas_module()
    parts = {str(name): _frame(part) for name, part in data.items()}
    if not parts:
        raise InputError("the data sets are none: give one split at least")
    splits = tuple(split_of(name) or name for name, part in parts.items() for _ in range(len(part)))
    rows = pandas.concat(parts.values(), ignore_index=True)
    return own_rows(Frame(rows, "the data sets", None, [], splits), asked, absent=absent, decimal=decimal)


def _frame(data: Any) -> Any:
    """A Hugging Face data set as a frame, its class labels by their names."""
    if not len(data):
        raise InputError("the data set has no row: give one with rows")
    columns = {}
    for name in data.column_names:
        values, names = list(data[name]), getattr(data.features[name], "names", None)
        if names:
            # -1 is what unlabelled rows have there.
            values = [None if value is None or value < 0 else names[value] for value in values]
        column = np.empty(len(values), dtype=object)
        column[:] = values
        columns[str(name)] = column
    return pandas_module().DataFrame(columns)


def _pairs(data: Any) -> OwnData:
    """A map-style data set of pairs (x, label)."""
    if not len(data):
        raise InputError(f"the {type(data).__name__} holds no item: give one with items")
    items = []
    for number in range(len(data)):
        item = data[number]
        if not isinstance(item, (tuple, list)) or len(item) < 2:
            raise InputError(f"item {number} of the data set is a {type(item).__name__}: it must be a pair (x, label)")
        items.append(item)
    X: list[Any] = [item[0] for item in items]
    kinds = [_kind(x) for x in X]
    for number, kind in enumerate(kinds):
        if kind is None or kind != kinds[0]:
            raise InputError(
                f"item {number} of the data set is {kind or type(X[number]).__name__}, the first "
                f"{kinds[0] or type(X[0]).__name__}: give pictures, strings, or vectors of one length, one kind in all"
            )
    kind = kinds[0]
    labels = [item[1] for item in items]
    known = [label is not None and label == label for label in labels]
    values = label_array([label for label, there in zip(labels, known, strict=True) if there]).values
    names = getattr(data, "classes", None)
    if (
        isinstance(names, (list, tuple))
        and values.dtype.kind in "iu"
        and set(values.tolist()) <= set(range(len(names)))
    ):
        values = np.array([str(names[value]) for value in values])
    y = values
    if not all(known):
        y = np.empty(len(labels), dtype=object)
        y[known] = values.tolist()
    if kind == "vectors":
        rows = [np.asarray(x, dtype=np.float64).reshape(-1) for x in X]
        if len({len(row) for row in rows}) > 1:
            raise InputError(f"vectors of the data set have several lengths ({sorted({len(r) for r in rows})[:5]})")
        return OwnData("vectors", np.stack(rows), y, _numbered(len(rows)), type(data).__name__)
    own: Any = kind
    return OwnData(own, X, y, _numbered(len(X)), type(data).__name__)


def _numbered(count: int) -> tuple[str, ...]:
    return tuple(f"item {number}" for number in range(count))


def _kind(x: Any) -> str | None:
    if isinstance(x, str):
        return "text"
    if hasattr(x, "getbands") or (hasattr(x, "ndim") and x.ndim in (2, 3)):
        return "images"
    if isinstance(x, (int, float, list, tuple)) or (hasattr(x, "ndim") and x.ndim < 2):
        return "vectors"
    return None
