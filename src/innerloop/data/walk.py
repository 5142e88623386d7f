"""The files below a folder, however it is linked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from innerloop.core.task import InputError

#: What systems leave in folders.
_IGNORED = frozenset({"__MACOSX", "Thumbs.db"})


def files_below(folder: Path) -> Iterator[Path]:
    """All files below a folder in the order of their paths, each folder above itself at most once.

    Linked folders count, and links to nothing; what begins with a dot, ``__MACOSX`` and ``Thumbs.db`` do not, nor pipes
    and devices, which may be waited for in vain.

    Raises:
        InputError: for a folder that is not there or cannot be read.
    """
    return _below(folder, frozenset())


def _below(folder: Path, above: frozenset[str]) -> Iterator[Path]:
    real = os.path.realpath(folder)
    if real in above:
        return
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f"the folder {folder} cannot be read ({error.strerror}): check its path and rights") from error
    for entry in entries:
        if entry.name.startswith(".") or entry.name in _IGNORED:
            continue
        if os.path.isdir(entry.path):
            yield from _below(folder / entry.name, above | {real})
        elif os.path.isfile(entry.path) or not os.path.exists(entry.path):
            yield folder / entry.name
