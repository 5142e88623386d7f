"""A folder of pictures or texts for each class, the splits above these, and the coarser classes of a file beside."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from innerloop.core.labels import listed
from innerloop.core.task import InputError
from innerloop.data.columns import text_of
from innerloop.data.own.files import ending, kind_of, split_of
from innerloop.data.own.frames import ReadRows
from innerloop.data.own.labels import labels_from
from innerloop.data.own.record import OwnData
from innerloop.data.own.roles import Asked, coarser
from innerloop.data.own.rows import Absent, without_absent


def own_class_folders(
    root: Path,
    paths: Sequence[str],
    texts: Sequence[str],
    tables: Sequence[str],
    asked: Asked,
    read: ReadRows,
    absent: Absent,
    encoding: str | None,
) -> OwnData:
    """A folder for each class, named by its path below all that they have in common, or below its split."""
    what = "pictures" if kind_of(paths[0]) == "picture" else "texts"
    stray = [path for path in paths if "/" not in path]
    if stray:
        lonely = len(stray) == len(paths)
        raise InputError(
            f"{root / stray[0]} lies in no folder of a class{f' (and {len(stray) - 1} more)' if stray[1:] else ''}: "
            + ("give a folder for each class, or a labels.csv with the columns file and label" if lonely
               else "move it into one of them, or away")
        )  # fmt: skip
    folders = [tuple(path.split("/")[:-1]) for path in paths]
    common = 0
    while min(map(len, folders)) > common + 1 and len({folder[common] for folder in folders}) == 1:
        common += 1
    below = [folder[common:] for folder in folders]
    splits, below = _given_splits(root, below, what)
    classes = ["/".join(folder) or None for folder in below]
    named = {name for name in classes if name}
    hierarchy: Mapping[str, tuple[str, ...]] = {name: tuple(name.split("/")[:-1]) for name in named if "/" in name}
    notes = [f"each folder of {what} is a class"]
    if texts and what == "pictures":
        # A text above the folders of the pictures, or beside pictures, is about them.
        bare = sorted(
            place for place in {path.rpartition("/")[0] for path in texts}
            if place and not any(path.startswith(f"{place}/") for path in paths)
        )  # fmt: skip
        if bare:
            raise InputError(f"{root / bare[0]} holds texts and other folders pictures: give one kind")
        notes.append(f"{len(texts)} texts beside the pictures are not read")
    if not hierarchy and tables:
        hierarchy = _table_of_classes(root, tables, named, read, notes)
    X: list[Any] = [root / path for path in paths]
    if what == "texts":
        X = [text_of(path, encoding).strip() or None for path in X]
    own = OwnData(
        "images" if what == "pictures" else "text", X, labels_from(classes, words=True), tuple(paths), str(root),
        "folders", splits, None, None, hierarchy, (), tuple(notes),
    )  # fmt: skip
    if asked.label is not None:
        raise InputError(
            f"{root} holds a folder for each class, and no table with a column {asked.label!r}: leave it out"
        )
    return without_absent(own, absent)


def _given_splits(
    root: Path, folders: list[tuple[str, ...]], what: str
) -> tuple[tuple[str, ...] | None, list[tuple[str, ...]]]:
    """The split of each file, and its folders below that; what lies in a split's own folder has no class.

    Raises:
        InputError: where splits stand beside other folders, or none of them has classes.
    """
    first = {folder[0] for folder in folders}
    splits = sorted(name for name in first if split_of(name))
    deep = max(map(len, folders)) > 1
    if len(splits) < 2 or (len(splits) < len(first) and not deep):
        return None, folders
    if len(splits) < len(first):
        other = sorted(first - set(splits))
        raise InputError(f"{root} holds {listed(splits)} beside {listed(other)}: move these away, or give one of them")
    if not deep:
        raise InputError(
            f"{root} holds {listed(splits)} with {what} and without classes: put them into a folder for each class, or "
            f"a labels.csv beside"
        )
    return tuple(str(split_of(folder[0])) for folder in folders), [folder[1:] for folder in folders]


def _table_of_classes(
    root: Path, tables: Sequence[str], classes: set[str], read: ReadRows, notes: list[str]
) -> dict[str, tuple[str, ...]]:
    """The coarser classes that a table beside the folders gives: one column names the classes, each once."""
    for path in tables:
        if ending(path) == ".json":
            continue
        rows = read(root / path).rows
        columns = {str(name): [cell_text(cell) for cell in rows[name]] for name in rows.columns}
        key = next((n for n, c in columns.items() if len(set(c)) == len(c) and classes <= set(c)), None)
        if key is None:
            continue
        levels = [
            name for name, texts in columns.items()
            if name != key and coarser(texts, columns[key]) and not all(_whole(text) for text in texts)
        ]  # fmt: skip
        if levels:
            levels.sort(key=lambda name: len(set(columns[name])))
            notes.append(f"coarser classes are in {listed(levels)} of {path}")
            at = {name: row for row, name in enumerate(columns[key])}
            return {name: tuple(columns[level][at[name]] for level in levels) for name in sorted(classes)}
    return {}


def class_lists(path: Path) -> dict[str, str]:
    """Of each name in the lists of a JSON object that of its list; nothing where it is none, or a name stands twice."""
    try:
        value = json.loads(text_of(path, None))
    except (ValueError, RecursionError):
        return {}
    if not isinstance(value, dict) or not all(isinstance(part, list) for part in value.values()):
        return {}
    names = [name for part in value.values() for name in part]
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        return {}
    return {name: above for above, part in value.items() for name in part}


def with_coarser(own: OwnData, named: Mapping[str, Mapping[str, str]]) -> OwnData:
    """With the coarser classes of the first file that has them for most classes."""
    for path, above in named.items():
        known = [label for label in own.classes if label in above]
        if 2 * len(known) > len(own.classes):
            hierarchy = {label: (above[label],) for label in known}
            return replace(own, hierarchy=hierarchy, notes=(*own.notes, f"coarser classes are in {path}"))
    return own


def _whole(text: str) -> bool:
    return text.lstrip("-").isdigit()


def cell_text(value: Any) -> str:
    """A cell as text, empty where it is missing."""
    return "" if value is None or value != value else str(value)
