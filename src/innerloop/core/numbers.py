"""Numbers that a user gives: how many steps, tasks, shots; how large a rate, a share, a scale."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any

from torch import Tensor

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


def check_number(name: str, value: Any, interval: str, optional: bool = False) -> None:
    """Refuse what is no number, or lies outside an interval.

    Args:
        name: of the value.
        value: what was given; a tensor of one element is a number too.
        interval: of what it may be, as mathematics writes it: ``"(0, inf)"``, ``"[0, 1)"``.
        optional: whether ``None`` is fine too.

    Raises:
        InputError: naming the value and the limits.

    Example:
        >>> check_number("the temperature", 0.0, "(0, inf)")
        Traceback (most recent call last):
        innerloop.core.task.InputError: the temperature is 0.0; it must be above 0 and finite
        >>> check_number("decay", "0.9", "[0, 1)")
        Traceback (most recent call last):
        innerloop.core.task.InputError: decay is '0.9'; it must be a number, at least 0 and below 1
    """
    if optional and value is None:
        return
    low, high = (float(end) for end in interval[1:-1].split(","))
    words = f"{'at least' if interval[0] == '[' else 'above'} {low:g}"
    if high < math.inf:
        words += f" and {'at most' if interval[-1] == ']' else 'below'} {high:g}"
    elif interval[-1] == ")":
        words += " and finite"
    one = value.numel() == 1 if isinstance(value, Tensor) else isinstance(value, Real) and not isinstance(value, bool)
    if not one:
        raise InputError(f"{name} is {value!r}; it must be a number, {words}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    above = low <= number if interval[0] == "[" else low < number
    below = number <= high if interval[-1] == "]" else number < high
    if not (above and below):
        raise InputError(f"{name} is {value!r}; it must be {words}")
