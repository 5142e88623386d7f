"""The data sets by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any, NamedTuple

from innerloop.data.cifar_fs import cifar_fs
from innerloop.data.glyphs import glyphs
from innerloop.data.omniglot import omniglot
from innerloop.data.pool import Pools
from innerloop.task import InputError


class DataSet(NamedTuple):
    """A data set that the command line knows."""

    read: Callable[..., Pools]
    needs_root: bool
    what: str


SETS = {
    "glyphs": DataSet(glyphs, False, "letters of many scripts, drawn here from fonts: embedded, no download"),
    "omniglot": DataSet(omniglot, True, "1,623 handwritten characters of 50 alphabets (--root, or --download)"),
    "cifar_fs": DataSet(cifar_fs, True, "CIFAR-100 split for few-shot learning: 100 classes of photographs (--root)"),
}


def check_name(name: str) -> None:
    """Refuse an unknown data set.

    Raises:
        InputError: with the nearest known name.
    """
    known = [*SETS, "sinusoid"]
    if name not in known:
        close = difflib.get_close_matches(name, known, 1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise InputError(f"data set {name!r} is unknown{hint}; choose one of {', '.join(known)}")


def read(name: str, root: str | None, **options: Any) -> Pools:
    """The pools of a data set.

    Args:
        name: one of ``SETS``.
        root: its folder, where it is not embedded.
        options: of its reader.

    Raises:
        InputError: for an unknown name, a missing root, or options that the reader does not know.
    """
    check_name(name)
    data = SETS[name]
    if data.needs_root and root is None:
        raise InputError(f"data set {name} needs its folder: give --root DIR (in Python: data.{name}(root))")
    try:
        return data.read(root, **options) if data.needs_root else data.read(**options)
    except TypeError as error:
        raise InputError(f"options {options} do not fit the data set {name} ({error})") from None
