"""What the examples of an estimator are called, and which of them stay."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt

from innerloop.core.task import InputError
from innerloop.encoders.base import Encoder
from innerloop.encoders.items import column


def names_of(X: Any, count: int, encoder: Encoder | None) -> npt.NDArray[Any]:
    """What N examples are called: paths and sentences; else numbers. ``[N]``."""
    items = column(X) if encoder is not None and encoder.kind in ("images", "text") else []
    words = [str(item) if isinstance(item, (str, os.PathLike)) else str(row) for row, item in enumerate(items)]
    return np.array(words or list(map(str, range(count))))


def all_but(index: Any, count: int) -> npt.NDArray[np.bool_]:
    """Which of N examples stay where those at some places go, bool ``[N]``.

    Raises:
        InputError: for a place that there is not.

    Example:
        >>> all_but([0, 2], 4).tolist()
        [False, True, False, True]
    """
    places = np.atleast_1d(np.asarray(index))
    if places.dtype.kind not in "iu" or not ((places >= 0) & (places < count)).all():
        raise InputError(f"index={index!r}: the examples are 0 to {count - 1}")
    keep = np.ones(count, dtype=bool)
    keep[places] = False
    return keep
