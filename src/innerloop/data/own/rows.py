"""Rows of a table as examples: sentences, pictures whose files are named, or columns of numbers and categories."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from innerloop.core.labels import listed
from innerloop.core.task import InputError
from innerloop.data.columns import pandas_module, text_of, texts_of, understood
from innerloop.data.own.files import kind_of, split_of, walk
from innerloop.data.own.frames import Frame, is_number
from innerloop.data.own.labels import labels_from
from innerloop.data.own.record import OwnData
from innerloop.data.own.roles import TEXTS, Asked, Roles, coarser, find_roles, is_free_text, plain

Absent = Literal["refuse", "drop"]
#: The share of a column that must be files for it to name them.
_FILES = 0.5


class Files:
    """Pictures and texts below a folder, found by the path, the name, or the name without its ending.

    Args:
        folder: where they are.
        paths: of these, from there.
    """

    def __init__(self, folder: Path, paths: Sequence[str]) -> None:
        self.folder = folder
        self._found: dict[str, str | None] = {}
        for path in paths:
            for key in {path, path.rpartition("/")[2], path.rpartition("/")[2].rpartition(".")[0]}:
                # Two files of one name are told apart by their paths alone.
                self._found[key] = None if key in self._found and key != path else path

    def __call__(self, text: str) -> Path | None:
        """The file that a cell names."""
        clean = text.replace("\\", "/").removeprefix("./")
        path = self._found.get(clean)
        if path is not None:
            return self.folder / path
        if (
            kind_of(clean) == "picture"
            and (Path(text).is_absolute() or "/" in clean)
            and (self.folder / text).is_file()
        ):
            return self.folder / text
        return None


def paths_column(columns: Mapping[str, Sequence[str]], files: Callable[[str], Path | None]) -> str | None:
    """The column that names files, if there is one.

    Raises:
        InputError: where several do.
    """
    shares = {}
    for name, texts in columns.items():
        there = [text for text in texts if text]
        if there and (share := sum(files(text) is not None for text in there) / len(there)) > _FILES:
            shares[name] = share
        elif there and all(kind_of(text) == "picture" for text in there):
            shares[name] = 0.0
    best = [name for name, share in shares.items() if share == max(shares.values())]
    if len(best) > 1:
        raise InputError(f"columns {listed(best)} all name files: say inputs=, which of them is to be read")
    return best[0] if best else None


def own_rows(
    frame: Frame, asked: Asked, *, files: Files | None = None, absent: Absent = "refuse", decimal: Any = None
) -> OwnData:
    """The rows of a table as examples.

    Args:
        frame: the table.
        asked: what a person says of its columns.
        files: pictures that its cells may name; by default those below the folder of the table.
        absent: whether rows without an input are refused or left out.
        decimal: see :meth:`innerloop.data.TableTasks.read`.

    Raises:
        InputError: as :func:`innerloop.data.read_own`.
    """
    rows, file = frame.rows, frame.file
    objects = {name: _pictures(rows[name]) for name in rows.columns}
    columns = {name: texts_of(rows, name, file) for name in rows.columns if objects[name] is None}
    embedded = [name for name, found in objects.items() if found is not None]
    paths = _paths(frame, columns, asked, files) if not embedded else None
    roles = find_roles(columns, asked, file, paths)
    y = labels_from([None if text in asked.missing else text for text in columns[roles.label]])
    notes = [*frame.notes, *roles.notes]
    X: Any
    kind: Any
    read = [*embedded, paths]
    if embedded:
        kind, X = "images", objects[embedded[0]]
    elif paths is not None:
        resolve = files or _below(frame)
        X = [resolve(text) for text in columns[paths]]
        texts = [path is not None and kind_of(path.name) == "text" for path in X]
        kind = "text" if any(texts) else "images"
        if any(texts):
            if not all(text or path is None for text, path in zip(texts, X, strict=True)):
                raise InputError(f"column {paths!r} of {file} names pictures and texts: give one kind")
            X = [None if path is None else text_of(path, None).strip() or None for path in X]
        notes.append(f"column {paths!r} names the files of the inputs")
    else:
        kind, X, read = _inputs(rows, columns, roles, asked, file, notes, decimal)
    beside = [name for name in roles.rest if name not in read and name in columns]
    coarse = [*roles.coarse, *(n for n in beside if asked.inputs is None and coarser(columns[n], columns[roles.label]))]
    if unread := [name for name in beside if name not in coarse and name not in asked.coarse]:
        notes.append(f"columns beside the inputs are not read: {listed(unread)}")
    names = columns[paths] if paths is not None else [f"row {number}" for number in range(1, len(rows) + 1)]
    splits = _splits(frame, columns, roles)
    own = OwnData(
        kind, X, y, tuple(names), file, roles.label, splits, _column(columns, roles.task),
        _column(columns, roles.group), _hierarchy(columns, roles.label, coarse), (), tuple(notes),
    )  # fmt: skip
    return without_absent(own, absent)


def without_absent(own: OwnData, absent: Absent) -> OwnData:
    """The examples that have an input.

    Raises:
        InputError: where one has none and these are to be refused.
    """
    if own.kind not in ("images", "text"):
        return own
    there = np.array([item is not None and item != "" for item in own.X], dtype=bool)
    if there.all():
        return own
    gone = tuple(name for name, is_there in zip(own.names, there, strict=True) if not is_there)
    what = "name files that are not there" if own.kind == "images" else "have no text"
    said = f"{len(gone)} of {len(own)} rows of {own.origin} {what} (the first: {gone[0]})"
    if absent == "refuse" or not there.any():
        raise InputError(f"{said}: mend or remove them, or give absent='drop'")
    return replace(own.take(there), absent=(*own.absent, *gone), notes=(*own.notes, f"{said}, which are left out"))


def _below(frame: Frame) -> Files:
    folder = frame.folder or Path()
    return Files(folder, [path for path in walk(folder) if kind_of(path) in ("picture", "text")])


def _paths(frame: Frame, columns: Mapping[str, Sequence[str]], asked: Asked, files: Files | None) -> str | None:
    """The column of file names; the folder is walked only where a cell looks like a file's."""
    looked = {name: texts for name, texts in columns.items() if asked.inputs is None or name in asked.inputs}
    if files is not None:
        return paths_column(looked, files)
    named = {n: t for n, t in looked.items() if any(t) and all(kind_of(v) in ("picture", "text") for v in t if v)}
    if not named:
        return None
    if frame.folder is None:
        return paths_column(named, lambda text: Path(text) if Path(text).is_file() else None)
    return paths_column(named, _below(frame))


def _inputs(
    rows: Any,
    columns: Mapping[str, Sequence[str]],
    roles: Roles,
    asked: Asked,
    file: str,
    notes: list[str],
    decimal: Any,
) -> tuple[str, Any, list[str | None]]:
    rest = [name for name in roles.rest if any(columns[name])]
    if empty := [name for name in roles.rest if name not in rest]:
        notes.append(f"columns without a value are left out: {listed(empty)}")
    if not rest:
        raise InputError(f"{file} has no column beside the label {roles.label!r}: there is nothing to tell it by")
    texts = [n for n in rest if n not in asked.categorical and (is_free_text(columns[n]) or plain(n) in TEXTS)]
    if len(rest) == 1 and (texts or _is_words(columns[rest[0]], asked, rest[0])):
        return "text", [text or None for text in columns[rest[0]]], [*roles.rest]
    if texts:
        others = [name for name in rest if name not in texts]
        if not others:
            raise InputError(f"{file} has {len(texts)} columns of sentences ({listed(texts)}): say inputs=, which")
        if asked.inputs is None and not all(coarser(columns[n], columns[roles.label]) for n in others):
            raise InputError(
                f"{file} has sentences in {texts[0]!r} beside {listed(map(repr, others))}: say inputs={texts[0]!r} for "
                f"the sentences, or inputs={others} for a table"
            )
        if asked.inputs is not None:
            raise InputError(f"inputs name sentences ({texts[0]!r}) and other columns: give one or the other")
        return "text", [text or None for text in columns[texts[0]]], [texts[0]]
    frame: dict[str, Any] = {}
    for name in rest:
        if rows[name].dtype.kind in "M":
            frame[name] = rows[name]
            continue
        column = understood(
            name, list(columns[name]), categorical=name in asked.categorical, decimal=decimal, missing=asked.missing
        )
        if column.numbers is not None:
            frame[name] = column.numbers
        else:
            cells = [None if gone else text for text, gone in zip(column.texts, column.missing, strict=True)]
            frame[name] = pandas_module().Series(cells, dtype=object)
        notes.extend(f"column {name!r}: {column.note}" for _ in range(bool(column.note)))
        if words := [word for word in column.words if word]:
            notes.append(f"column {name!r}: taken for missing: {listed(words)}")
    return "table", pandas_module().DataFrame(frame), [*roles.rest]


def _is_words(texts: Sequence[str], asked: Asked, name: str) -> bool:
    """Whether a single column of inputs is of texts: not of numbers, and mostly different ones."""
    there = [text for text in texts if text]
    numbers = sum(is_number(text) for text in there)
    return name not in asked.categorical and numbers < len(there) / 2 and len(set(there)) > len(there) / 2


def _pictures(column: Any) -> list[Any] | None:
    """Pictures that lie in the cells: as Pillow images, or as the bytes of files as Parquet has them."""
    first = next((cell for cell in column if cell is not None), None)
    if hasattr(first, "getbands"):
        return list(column)
    if isinstance(first, dict) and isinstance(first.get("bytes"), bytes):
        from PIL import Image

        try:
            return [None if cell is None else Image.open(io.BytesIO(cell["bytes"])) for cell in column]
        except (OSError, SyntaxError, KeyError, TypeError) as error:
            raise InputError(f"column {column.name!r} holds bytes that are no picture ({error})") from None
    return None


def _splits(frame: Frame, columns: Mapping[str, Sequence[str]], roles: Roles) -> tuple[str, ...] | None:
    if frame.splits is not None or roles.split is None:
        return frame.splits
    return tuple(split_of(text) or text for text in columns[roles.split])


def _column(columns: Mapping[str, Sequence[str]], name: str | None) -> tuple[str, ...] | None:
    return None if name is None else tuple(columns[name])


def _hierarchy(columns: Mapping[str, Sequence[str]], label: str, coarse: Sequence[str]) -> dict[Any, tuple[str, ...]]:
    """The coarser classes of each class, those of which there are fewest first."""
    if not coarse:
        return {}
    levels = sorted(coarse, key=lambda name: len(set(columns[name])))
    found: dict[str, tuple[str, ...]] = {}
    for row, text in enumerate(columns[label]):
        if text:
            above = tuple(columns[name][row] for name in levels)
            if found.setdefault(text, above) != above:
                raise InputError(f"class {text!r} has two coarser classes ({found[text]} and {above}): mend one")
    keys = labels_from(list(found)).tolist()
    return dict(zip(keys, found.values(), strict=True))
