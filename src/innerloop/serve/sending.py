"""Inputs of a client's own, brought to what a request has of them."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from innerloop.core.task import InputError


def listed(X: Any) -> list[Any]:
    """The inputs, one by one; of a data frame its rows by column.

    Raises:
        InputError: for a single input.
    """
    if hasattr(X, "to_dict") and hasattr(X, "columns"):
        rows = X.to_dict("records") if hasattr(X, "iloc") else X.to_dicts()
        return [{name: plain(cell) for name, cell in row.items()} for row in rows]
    if isinstance(X, str | bytes | Mapping | PathLike):
        raise InputError(f"X is a single {type(X).__name__}: give a list of inputs")
    return list(X)


def plain_labels(y: Any) -> list[Any]:
    """Labels as plain values."""
    return [plain(one) for one in y]


def plain(value: Any) -> Any:
    """A number of NumPy as one of Python; what is missing as ``None``."""
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and np.isnan(value) else value


def kind_of(inputs: Sequence[Any]) -> str:
    """What inputs are taken for, by the first."""
    first: Any = inputs[0] if inputs else None
    if isinstance(first, str):
        # Encoders are slow to import, and of use to strings alone.
        from innerloop.encoders.items import looks_like_image

        return "images" if looks_like_image(first) else "text"
    if isinstance(first, bytes | PathLike) or hasattr(first, "convert") or np.ndim(first) > 1:
        return "images"
    numbers = not isinstance(first, Mapping) and np.asarray(first).dtype.kind in "fiu"
    return "vectors" if numbers else "rows"


def sent(field: str, value: Any) -> Any:
    """An input as JSON has it.

    Args:
        field: of the task's kind.
        value: the input.

    Raises:
        InputError: for a file that cannot be read, or numbers that are not finite.
    """
    if field == "image":
        return base64.b64encode(_file(value)).decode()
    if field == "text":
        return str(value)
    named = isinstance(value, Mapping)
    cells = [plain(one) for one in (value.values() if named else value)]
    if any(isinstance(one, float) and not math.isfinite(one) for one in cells):
        raise InputError("X has a number that is infinite: give finite ones")
    return dict(zip(map(str, value), cells, strict=True)) if named else cells


def _file(value: Any) -> bytes:
    """A picture as a file."""
    from PIL import Image

    if isinstance(value, bytes):
        return value
    if isinstance(value, str | PathLike):
        try:
            return Path(value).read_bytes()
        except OSError as error:
            raise InputError(f"{value} cannot be read ({error.strerror}): check the path and its rights") from None
    image = value if isinstance(value, Image.Image) else Image.fromarray(np.asarray(value))
    made = io.BytesIO()
    image.save(made, "PNG")
    return made.getvalue()
