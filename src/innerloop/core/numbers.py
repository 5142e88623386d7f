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
    limits = [f"{'at least' if interval[0] == '[' else 'above'} {low:g}"] * math.isfinite(low)
    if math.isfinite(high):
        limits.append(f"{'at most' if interval[-1] == ']' else 'below'} {high:g}")
    elif interval[-1] == ")":
        limits.append("finite")
    words = " and ".join(limits)
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


def ends(name: str, value: Any, limit: int | str) -> tuple[Any, Any]:
    """The smallest and the largest value of a range, both checked.

    Args:
        name: of the range.
        value: a number, which is both, or two.
        limit: the smallest whole number, or the interval of numbers, that they may be.

    Raises:
        InputError: naming the value, for what is no range either.

    Example:
        >>> ends("shots", 5, 0), ends("noise", (0.1, 0.2), "[0, inf)")
        ((5, 5), (0.1, 0.2))
        >>> ends("shots", (5, 1), 0)
        Traceback (most recent call last):
        innerloop.core.task.InputError: shots is (5, 1); give a number, or the smallest and the largest one
    """
    if not isinstance(value, tuple | list):
        _check(name, value, limit)
        return value, value
    if len(value) == 2:
        for which, end in zip(("the smallest", "the largest"), value, strict=True):
            _check(f"{which} of {name}", end, limit)
        if value[0] <= value[1]:
            return value[0], value[1]
    raise InputError(f"{name} is {value!r}; give a number, or the smallest and the largest one")


def _check(name: str, value: Any, limit: int | str) -> None:
    if isinstance(limit, str):
        check_number(name, value, limit)
    else:
        check_count(name, value, limit)
