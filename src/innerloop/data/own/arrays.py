"""NumPy files as examples: features or pictures and their labels in one ``.npz``, or in two ``.npy``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from innerloop.core.labels import LabelArray, coded, label_array, listed
from innerloop.core.task import InputError
from innerloop.data.own.files import split_of
from innerloop.data.own.record import OwnData

_INPUTS = ("x", "features", "embeddings", "data", "inputs", "images")
_LABELS = ("y", "labels", "label", "targets", "target", "classes")


def own_arrays(path: Path, label: str | None = None) -> OwnData:
    """Arrays of inputs ``[N, H]`` (or pictures) and labels ``[N]``.

    Raises:
        InputError: as :func:`innerloop.data.read_own`.
    """
    if path.is_dir():
        archives = sorted(path.glob("*.npz"))
        if len(archives) > 1:
            raise InputError(f"{path} holds {len(archives)} archives ({listed(a.name for a in archives)}): give one")
        if archives:
            return own_arrays(archives[0], label)
        arrays = {file.stem: _array(file) for file in sorted(path.glob("*.npy"))}
    elif path.suffix.lower() == ".npy":
        siblings = {file.stem: file for file in sorted(path.parent.glob("*.npy"))}
        arrays = {path.stem: _array(path)}
        arrays |= {name: _array(siblings[name]) for name in siblings if _role(name)[0] == "y" and name != path.stem}
        if len(arrays) == 1:
            raise InputError(
                f"{path} is one array: put its labels beside it as y.npy, or both into one .npz as X and y"
            )
    else:
        arrays = dict(_archive(path))
    found: dict[tuple[str, str], str] = {}
    for name in arrays:
        role, split = ("y", "") if name == label else _role(name)
        if role and (role, split) not in found:
            found[role, split] = name
    splits = sorted({split for role, split in found if role == "x" and ("y", split) in found})
    if label is not None and label not in arrays:
        raise InputError(f"{path} has no array {label!r}; it has {listed(arrays)}")
    if not splits:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in list(arrays.items())[:8])
        raise InputError(f"{path} has no arrays X and y (nor X_train, y_train, ...); it has {shapes}: call them so")
    parts = [_part(path, arrays[found["x", s]], arrays[found["y", s]], found["x", s], found["y", s]) for s in splits]
    X, y = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    given = None if splits == [""] else tuple(s for s, part in zip(splits, parts, strict=True) for _ in part[1])
    kind: Any = "images" if X.ndim > 2 else "vectors"
    names = tuple(f"row {number}" for number in range(1, len(X) + 1))
    inputs: Any = list(X) if kind == "images" else X
    return OwnData(kind, inputs, y, names, str(path), found["y", splits[0]], given)


def _role(name: str) -> tuple[str, str]:
    """Whether an array is of inputs (``"x"``) or labels (``"y"``), and of which split."""
    words = name.lower().split("_")
    split = next((s for s in (split_of(word) for word in words) if s), "")
    rest = "_".join(word for word in words if not split_of(word))
    return "x" if rest in _INPUTS else "y" if rest in _LABELS else "", split


def _part(path: Path, x: Any, y: Any, x_name: str, y_name: str) -> tuple[Any, Any]:
    if x.ndim < 2 or x.ndim > 4 or x.dtype.kind not in "biuf":
        raise InputError(
            f"{path}: {x_name} is {x.dtype} {x.shape}: features are numbers [N, H], pictures [N, H, W], [N, H, W, C] "
            f"or [N, C, H, W]"
        )
    if y.ndim not in (1, 2) or len(x) != len(y):
        raise InputError(f"{path}: {x_name} has {len(x)} rows and {y_name} the shape {y.shape}: give each row a label")
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        bad = np.flatnonzero(~np.isfinite(x).reshape(len(x), -1).all(1))
        raise InputError(f"{path}: row {bad[0]} of {x_name} (and {len(bad) - 1} more) is not finite: mend or remove it")
    try:
        return x, _labels(y)
    except InputError as error:
        raise InputError(f"{path}: {y_name}: {error}") from None


def _labels(y: Any) -> Any:
    """Labels as they are, one-hot rows as numbers, unlabelled ones (NaN) as ``None``."""
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    if y.ndim == 1 and y.dtype.kind == "f" and np.isnan(y).any():
        gone = np.isnan(y)
        found = np.empty(len(y), dtype=object)
        whole = (y[~gone] == np.floor(y[~gone])).all()
        found[~gone] = [int(v) if whole else float(v) for v in y[~gone]]
        return found
    if y.ndim == 1 and y.dtype.kind == "f" and np.isfinite(y).all() and (y != np.floor(y)).any():
        return y.astype(np.float64)
    values: LabelArray = label_array(y)
    if values.values.ndim == 2 or values.values.dtype.kind == "f":
        return coded(values).codes
    return values.values


def _array(path: Path) -> Any:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} is no NumPy file of plain numbers, or cut ({error}): save it again") from None


def _archive(path: Path) -> Mapping[str, Any]:
    try:
        # Opened here, as NumPy leaves the file of a damaged archive open.
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (AttributeError, TypeError):
        raise InputError(f"{path} is a single array, whatever its name says: call it .npy") from None
    except Exception as error:
        # A damaged archive raises whatever zipfile, zlib and NumPy have for it.
        raise InputError(f"{path} is no NumPy archive of plain numbers, or cut ({error}): save it again") from None
