"""Shares of classes, tasks or molecules for training, validation and test."""

from __future__ import annotations

import math
from collections.abc import Sequence

from innerloop.core.task import InputError

SPLITS = ("train", "val", "test")


def shared(total: int, shares: Sequence[float]) -> list[int]:
    """How many of ``total`` each split gets.

    Raises:
        InputError: for shares that are not three, negative, or do not sum to 1.

    Example:
        >>> shared(10, (0.64, 0.16, 0.2))
        [6, 2, 2]
    """
    if len(shares) != 3 or not min(shares) >= 0 or not math.isclose(sum(shares), 1):
        raise InputError(f"the shares {tuple(shares)} must be three, none negative, and must sum to 1")
    first, second = round(total * shares[0]), round(total * (shares[0] + shares[1]))
    return [first, second - first, total - second]
