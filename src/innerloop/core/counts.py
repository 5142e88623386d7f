"""Whole numbers: how many steps, tasks, shots."""

from __future__ import annotations

from numbers import Integral
from typing import Any

from innerloop.core.task import InputError


def check_count(name: str, value: Any, least: int, optional: bool = False) -> None:
    """Refuse what is no whole number, or too small a one.

    Args:
        name: of the value.
        value: what was given.
        least: the smallest that it may be.
        optional: whether ``None`` is fine too.

    Raises:
        InputError: naming the value and the limit.

    Example:
        >>> check_count("ways", 2.5, 1)
        Traceback (most recent call last):
        innerloop.core.task.InputError: ways is 2.5; it must be a whole number, at least 1
    """
    if optional and value is None:
        return
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise InputError(f"{name} is {value!r}; it must be a whole number, at least {least}")
    if int(value) < least:
        raise InputError(f"{name} is {value}; it must be at least {least}")
