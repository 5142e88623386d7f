"""A figure with its intervals, and the figures of a table's cell."""

from __future__ import annotations

import re
from typing import NamedTuple

_NUMBER = r"\d+(?:,\d{3})*(?:\.\d+)?"
_SIGNED = rf"[+-]?{_NUMBER}"
_FIGURE = re.compile(
    rf"(?<![\w.])(?P<value>{_SIGNED})"
    rf"(?: ± (?P<half>{_NUMBER}))?"
    rf"(?: \((?P<open>{_NUMBER})\))?"
    rf"(?: [(\[](?P<low>{_SIGNED})(?: to |, )(?P<high>{_SIGNED})[)\]])?"
)


class Figure(NamedTuple):
    """A mean, and how far another estimate of it may lie from it."""

    value: float
    closed: float | None = None
    """Half the 95 % interval over the tasks of this test set; ``None`` where none was recorded."""
    open: float | None = None
    """Half the 95 % interval with the classes as random draws."""
    spread: float = 0.0
    """The largest distance of a recorded training seed from the mean; 0 where one seed was recorded."""


def figures(cell: str) -> list[Figure]:
    """The figures of a cell, in their order.

    Args:
        cell: ``"98.92 ± 0.15 (0.23)"``: closed and open; ``"2.93 ± 0.11 (2.87 to 2.97)"``: closed, and the range over
            seeds; ``"+1.2 (+0.6 to +1.8)"`` or ``"+1.2 [+0.6, +1.8]"``: an interval; a number alone has none.

    Example:
        >>> figures("98.92 ± 0.15 (0.23)")
        [Figure(value=98.92, closed=0.15, open=0.23, spread=0.0)]
        >>> figures("88.4; +1.25 (+0.5 to +2), 1 of 1")[1].closed
        0.75
    """
    found = []
    for match in _FIGURE.finditer(cell):
        value, half, wide, low, high = (
            None if part is None else float(part.replace(",", "")) for part in match.group(*_FIGURE.groupindex)
        )
        assert value is not None
        within = max(value - low, high - value) if low is not None and high is not None else None
        if half is not None:
            found.append(Figure(value, half, wide, within or 0.0))
        elif within is not None and within >= 0:
            found.append(Figure(value, within))
        else:
            # A number, and what stands in brackets after it is another one.
            found += [Figure(one) for one in (value, wide, low, high) if one is not None]
    return found
