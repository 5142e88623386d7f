"""Files below a folder, by what they are for: pictures, texts, tables, arrays."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from innerloop.data.images import FOREIGN, picture_endings
from innerloop.data.walk import files_below

#: What people call the parts of their data.
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
TABLES = frozenset({".csv", ".tsv", ".parquet", ".pq", ".xlsx", ".xlsm", ".json", ".jsonl", ".ndjson"})
TEXTS = frozenset({".txt", ".text"})
ARRAYS = frozenset({".npz", ".npy"})
#: Files that tell of the data and are none.
_TELLING = frozenset({"readme", "license", "licence", "source", "notice", "citation", "changelog", "copying", "notes"})


def ending(name: str) -> str:
    """The last ending in lower case; of ``a.csv.gz`` it is ``.csv``."""
    path = PurePosixPath(name.lower())
    return path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix


def stem(name: str) -> str:
    """The name of a file without its endings."""
    path = PurePosixPath(name)
    return (path.with_suffix("") if path.suffix.lower() == ".gz" else path).stem


def kind_of(name: str) -> str:
    """``"picture"``, ``"foreign"`` (one that Pillow does not read), ``"table"``, ``"text"``, ``"array"`` or ``""``.

    Example:
        >>> kind_of("a/B.JPG"), kind_of("labels.csv.gz"), kind_of("README.txt")
        ('picture', 'table', '')
    """
    found = ending(name)
    if stem(PurePosixPath(name).name).lower() in _TELLING:
        return ""
    if found in picture_endings():
        return "picture"
    kinds = {"foreign": FOREIGN, "table": TABLES, "text": TEXTS, "array": ARRAYS}
    return next((kind for kind, endings in kinds.items() if found in endings), "")


def split_of(name: str) -> str | None:
    """The split that a name stands for, if any."""
    return SPLIT_NAMES.get(name.lower())


def walk(root: Path) -> list[str]:
    """All files below a folder (:func:`files_below`) as paths from there.

    Raises:
        InputError: for a folder that is not there or cannot be read.
    """
    return [path.relative_to(root).as_posix() for path in files_below(root)]
