"""Labels as files have them, as text, and what they are: whole numbers, reals or words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


def labels_from(texts: Sequence[str | None], *, words: bool = False) -> npt.NDArray[Any]:
    """Labels from text: whole numbers where all are, reals where all are numbers, or words.

    Args:
        texts: one an example; ``None`` or empty where there is no label. ``007`` is a word: as a number it would be
            another.
        words: take numbers for words too, as those of folders are.

    Returns:
        int64, float64 or words ``[N]``; with unlabelled examples among them objects, with ``None`` for these.

    Example:
        >>> labels_from(["3", "1"]), labels_from(["owl", ""]).tolist()
        (array([3, 1]), ['owl', None])
    """
    known = [text for text in texts if text]
    values: list[Any] = [*known]
    numbers = [_number(text) for text in known]
    if known and not words and all(number is not None for number in numbers):
        whole = all(number == int(number) and abs(number) < 2**53 for number in numbers if number is not None)
        values = [int(number) if whole else number for number in numbers if number is not None]
    if len(known) == len(texts):
        return np.array(values) if values else np.array([], dtype=str)
    found = np.empty(len(texts), dtype=object)
    found[[bool(text) for text in texts]] = values
    return found


def _number(text: str) -> float | None:
    digits = text.lstrip("+-")
    if "_" in text or (len(digits) > 1 and digits[0] == "0" and digits[1].isdigit()):
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if np.isfinite(number) else None
