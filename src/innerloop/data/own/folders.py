"""A folder as examples: a folder or a text file for each class, pictures beside a table of their labels, arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from innerloop.core.labels import listed
from innerloop.core.task import InputError
from innerloop.data.columns import pandas_module, text_of
from innerloop.data.own.arrays import own_arrays
from innerloop.data.own.classes import cell_text, class_lists, own_class_folders, with_coarser
from innerloop.data.own.files import ending, kind_of, split_of, stem, walk
from innerloop.data.own.frames import Frame, ReadRows
from innerloop.data.own.record import OwnData
from innerloop.data.own.roles import Asked
from innerloop.data.own.rows import Absent, Files, own_rows, paths_column


def own_folder(
    root: Path, asked: Asked, read: ReadRows, absent: Absent, decimal: Any, encoding: str | None = None
) -> OwnData:
    """What a folder holds.

    Raises:
        InputError: as :func:`innerloop.data.read_own`.
    """
    paths = walk(root)
    kinds = {path: kind_of(path) for path in paths}
    pictures = [path for path, kind in kinds.items() if kind == "picture"]
    texts = [path for path, kind in kinds.items() if kind == "text"]
    top = [path for path in paths if "/" not in path]
    tables = [path for path in top if kinds[path] == "table"]
    if foreign := [path for path, kind in kinds.items() if kind == "foreign"]:
        raise InputError(
            f"{root / foreign[0]} is in a format that Pillow does not read: save it as PNG or JPEG"
            f"{f' (and {len(foreign) - 1} more)' if len(foreign) > 1 else ''}"
        )
    if pictures or any("/" in path for path in texts):
        labeled = _tables_of_labels(root, tables, Files(root, pictures or texts), read)
        if labeled:
            return _with_table(root, labeled, pictures or texts, asked, absent, decimal)
        if pictures or not tables:
            return own_class_folders(
                root, pictures or texts, texts if pictures else [], tables, asked, read, absent, encoding
            )
    splits = {path: split for path in tables if (split := split_of(stem(path)))}
    if len(splits) > 1 or (splits and len(tables) == 1):
        return _joined(root, [(split, own_rows(read(root / path), asked, absent=absent, decimal=decimal))
                              for path, split in splits.items()])  # fmt: skip
    if len(tables) == 1:
        return own_rows(read(root / tables[0]), asked, absent=absent, decimal=decimal)
    named = {path: classes for path in tables if ending(path) == ".json" and (classes := class_lists(root / path))}
    if named and len(tables) - len(named) == 1:
        data = next(path for path in tables if path not in named)
        return with_coarser(own_rows(read(root / data), asked, absent=absent, decimal=decimal), named)
    if tables:
        raise InputError(f"{root} holds {len(tables)} tables ({listed(tables)}): give one of them")
    top_texts = [path for path in top if kinds[path] == "text"]
    if top_texts:
        return _text_files(root, top_texts, asked, read, absent, decimal, encoding)
    if any(kinds[path] == "array" for path in top):
        return own_arrays(root, asked.label)
    raise InputError(
        f"{root} holds nothing to learn from: a folder for each class with pictures or texts, a text file for each "
        f"class, or a table (CSV, TSV, Parquet, Excel, JSON lines) is read"
    )


def _tables_of_labels(root: Path, tables: Sequence[str], files: Files, read: ReadRows) -> list[tuple[str, Frame]]:
    """The tables of which a column names files of the folder."""
    found = []
    for path in tables:
        if ending(path) == ".json":
            # What is no list of rows lies beside pictures often, and names none of them.
            continue
        frame = read(root / path)
        columns = {str(name): [cell_text(cell) for cell in frame.rows[name]] for name in frame.rows.columns}
        name = paths_column(columns, files)
        if name is not None and any(files(text) is not None for text in columns[name] if text):
            found.append((path, frame))
    named = [(path, frame) for path, frame in found if stem(path).lower() == "labels"]
    return named or found


def _with_table(
    root: Path,
    tables: Sequence[tuple[str, Frame]],
    paths: Sequence[str],
    asked: Asked,
    absent: Absent,
    decimal: Any,
) -> OwnData:
    splits = [split_of(stem(path)) for path, _ in tables]
    if len(tables) > 1 and not (all(splits) and len(set(splits)) == len(splits)):
        raise InputError(
            f"{root} holds {len(tables)} tables that name its files ({listed(path for path, _ in tables)}): give one "
            f"of them, or call one labels.csv"
        )
    files = Files(root, paths)
    parts = [own_rows(frame, asked, files=files, absent=absent, decimal=decimal) for _, frame in tables]
    if len(parts) == 1:
        return _of(root, parts[0], len(paths))
    return _of(root, _joined(root, list(zip([str(split) for split in splits], parts, strict=True))), len(paths))


def _of(root: Path, own: OwnData, files: int) -> OwnData:
    unnamed = files - len({str(item) for item in own.X}) if own.kind == "images" else 0
    more = (f"{unnamed} files of the folder are in no row of the table, and left out",) if unnamed > 0 else ()
    return replace(own, origin=str(root), notes=(*own.notes, *more))


def _text_files(
    root: Path,
    paths: Sequence[str],
    asked: Asked,
    read: ReadRows,
    absent: Absent,
    decimal: Any,
    encoding: str | None,
) -> OwnData:
    """A text file for each class, an example a line; or files of labels and sentences, one for each split."""
    if all(split_of(stem(path)) for path in paths) or len(paths) == 1:
        parts = [own_rows(read(root / path), asked, absent=absent, decimal=decimal) for path in paths]
        if len(parts) == 1:
            return parts[0]
        return _joined(root, [(str(split_of(stem(p))), part) for p, part in zip(paths, parts, strict=True)])
    X, y, names = [], [], []
    for path in paths:
        lines = [
            (n, line.strip()) for n, line in enumerate(text_of(root / path, encoding).splitlines(), 1) if line.strip()
        ]
        if not lines:
            raise InputError(f"{root / path} is empty: give it a line for each example, or take it out")
        for number, line in lines:
            X.append(line)
            y.append(stem(path))
            names.append(f"{path}:{number}")
    note = "each text file is a class, and each of its lines an example"
    return OwnData("text", X, np.array(y), tuple(names), str(root), "files", notes=(note,))


def _joined(root: Path, parts: Sequence[tuple[str, OwnData]]) -> OwnData:
    """Examples of several files, each of which is a split.

    Raises:
        InputError: where they are of several kinds.
    """
    first = parts[0][1]
    kinds = {own.kind for _, own in parts}
    labels = {own.y.dtype.kind for _, own in parts} - {"O"}
    if len(kinds) > 1 or len(labels) > 1:
        raise InputError(f"the files of {root} differ in what they hold ({listed(sorted(kinds))}): give one of them")
    X: Any
    if first.kind == "table":
        columns = [set(own.X.columns) for _, own in parts]
        if any(names != columns[0] for names in columns):
            other = sorted(set.union(*columns) - set.intersection(*columns))
            raise InputError(f"the files of {root} differ in their columns ({listed(other)}): give all the same")
        X = pandas_module().concat([own.X for _, own in parts], ignore_index=True)
    else:
        X = [item for _, own in parts for item in own.X]

    def both(name: str) -> tuple[str, ...] | None:
        values = [getattr(own, name) for _, own in parts]
        return None if any(value is None for value in values) else tuple(v for value in values for v in value)

    names = tuple(f"{own.origin}: {name}" for _, own in parts for name in own.names)
    return OwnData(
        first.kind, X, np.concatenate([own.y for _, own in parts]), names, str(root), first.label,
        tuple(split for split, own in parts for _ in range(len(own))), both("tasks"), both("groups"),
        {k: v for _, own in parts for k, v in own.hierarchy.items()}, tuple(n for _, own in parts for n in own.absent),
        tuple(dict.fromkeys(note for _, own in parts for note in own.notes)),
    )  # fmt: skip
