"""Which encoder belongs to what a person has: by name, by object, or by a look at the data."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor, nn

from innerloop.core.task import InputError, did_you_mean
from innerloop.encoders.base import Encoder
from innerloop.encoders.items import Picture, check_column, column, kinds, pictures

#: Encoders by name: the module and the class, which are imported when they are asked for.
ENCODERS: dict[str, tuple[str, str]] = {
    "letters": ("innerloop.encoders.letters", "Letters"),
    "photographs": ("innerloop.encoders.photographs", "Photographs"),
    "sentences": ("innerloop.encoders.sentences", "Sentences"),
    "table": ("innerloop.encoders.table", "Table"),
}
#: Encoders of anybody's networks, whose first argument is the network: ``name:NETWORK``.
OPENED: dict[str, tuple[str, str]] = {
    "hf": ("innerloop.encoders.huggingface", "HuggingFace"),
    "timm": ("innerloop.encoders.timm", "Timm"),
    "onnx": ("innerloop.encoders.onnx", "ONNX"),
}
#: What is no encoder but goes by a name beside them: numbers as they are.
PLAIN = "features"
#: Pictures that are looked at.
_LOOK = 16


class Found(NamedTuple):
    """What X was taken for: an encoder, or a plain name where it stays as it is."""

    name: str
    encoder: Encoder | None


def names() -> tuple[str, ...]:
    """The names of all encoders.

    Example:
        >>> names()
        ('letters', 'photographs', 'sentences', 'table')
    """
    return tuple(ENCODERS)


def find(spec: str | os.PathLike[str] | Encoder | nn.Module, X: Any) -> Found:
    """The encoder for inputs.

    Args:
        spec: ``"auto"``, a name, an encoder, or a torch module for pictures; ``"hf:NAME"`` and ``"timm:NAME"`` for
            networks of these libraries (of the first a folder too), or the path of an ``.onnx`` file.
        X: what it is to encode, for ``"auto"``: strings are sentences, or paths where they end like pictures; of
            pictures drawings go to ``"letters"``, all others to ``"photographs"``; a data frame of several columns is a
            ``"table"``, unless it is numbers whose columns have no names; numbers are ``"features"``.

    Raises:
        InputError: for an unknown name, or inputs of several kinds.

    Example:
        >>> find("auto", [[0.5, 1.0], [0.1, 0.2]])
        Found(name='features', encoder=None)
    """
    if isinstance(spec, Encoder):
        return Found(spec.name, spec)
    if isinstance(spec, nn.Module):
        from innerloop.encoders.own import Module

        return Found(Module.name, Module(spec))
    if isinstance(spec, os.PathLike) and os.fspath(spec).lower().endswith(".onnx"):
        spec = os.fspath(spec)
    if not isinstance(spec, str):
        raise InputError(f"encoder={spec!r}: give 'auto', a name, an innerloop.encoders.Encoder or a torch module")
    name = looked(X) if spec == "auto" else spec
    if name == PLAIN:
        return Found(name, None)
    prefix, _, network = name.partition(":")
    if network and prefix in OPENED:
        return Found(name, class_of(prefix)(network))
    if name.lower().endswith(".onnx"):
        return Found(name, class_of("onnx")(name))
    if name not in ENCODERS:
        known = ("auto", PLAIN, *ENCODERS)
        raise InputError(
            f"encoder {name!r} is unknown{did_you_mean(name, known)}: choose of {', '.join(known)}, hf:NAME, "
            f"timm:NAME, the path of an .onnx file, or give an encoder"
        )
    return Found(name, class_of(name)())


def class_of(name: str) -> Callable[..., Encoder]:
    """The class of an encoder of the library, by the name that it has there."""
    module, kind = {**ENCODERS, **OPENED}[name]
    made: Callable[..., Encoder] = getattr(import_module(module), kind)
    return made


def looked(X: Any) -> str:
    """The name of the encoder that ``"auto"`` takes for inputs; it need not be installed.

    Raises:
        InputError: for inputs of several kinds, or no column of them.
    """
    check_column(X)
    if hasattr(X, "columns") and hasattr(X, "shape") and len(X.shape) == 2 and X.shape[1] != 1:
        return "features" if _matrix(X) else "table"
    if isinstance(X, (np.ndarray, Tensor)) and not (isinstance(X, np.ndarray) and X.dtype.kind in "OU" and X.ndim == 1):
        return _pictured(pictures(X)) if X.ndim in (3, 4) else "features"
    if hasattr(X, "columns") and X.shape[1] == 1 and np.asarray(X).dtype.kind not in "OU":
        return "table"
    if not isinstance(X, (list, tuple)) and not hasattr(X, "to_list") and not isinstance(X, np.ndarray):
        return "features"
    items = column(X)
    if not items:
        raise InputError("X is empty: give one input at least")
    found = kinds(items)
    if found <= {"row", "number"}:
        return "features"
    if found == {"text"}:
        return "sentences"
    if found <= {"path", "picture"}:
        return _pictured(pictures(items))
    first = {kind: next(place for place, item in enumerate(items) if kinds([item]) == {kind}) for kind in found}
    rows = ", ".join(f"row {place} is a {kind}" for kind, place in sorted(first.items(), key=lambda pair: pair[1]))
    raise InputError(f"X has inputs of several kinds ({rows}): give one kind, or name the encoder")


def _matrix(X: Any) -> bool:
    """Whether a data frame is an array of numbers in other clothes: its columns have no names, and no gaps."""
    if any(isinstance(name, str) for name in X.columns):
        return False
    cells = np.asarray(X)
    return cells.dtype.kind in "biuf" and bool(np.isfinite(cells).all())


def _pictured(given: Sequence[Picture]) -> str:
    """Whether pictures are drawings or photographs, by a look at some of them, spread over all."""
    if not given:
        raise InputError("X is empty: give one input at least")
    places = np.unique(np.linspace(0, len(given) - 1, _LOOK).round().astype(int))
    drawn = [is_drawing(given[place]) for place in places]
    return "letters" if np.mean(drawn) > 0.5 else "photographs"


def is_drawing(picture: Picture) -> bool:
    """Whether a picture is of ink on a plain ground: gray, and of few tones beside the ground's and the ink's."""
    pixels = picture.pixels(channels=3).numpy().astype(np.int16)
    if float((pixels.max(0) - pixels.min(0)).mean()) > 12:
        return False
    gray = pixels.mean(0)
    ground = float(np.median(gray))
    low, high = np.percentile(gray, (0.5, 99.5))
    ink = low if ground - low > high - ground else high
    if abs(ground - ink) < 48:
        return False
    near = np.minimum(abs(gray - ground), abs(gray - ink)) < 0.2 * abs(ground - ink)
    return bool(near.mean() > 0.8 and (abs(gray - ground) < 0.2 * abs(ground - ink)).mean() > 0.5)
