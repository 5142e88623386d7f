"""What the sizes of a network can be."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral

from innerloop.core.numbers import check_count, check_number
from innerloop.core.task import InputError


def check_sizes(what: str, widths: Sequence[int], dropout: float = 0.0, out: int | None = None) -> None:
    """Refuse widths, outputs or a share of dropout that no network has.

    Raises:
        InputError: naming the value and the limit.

    Example:
        >>> check_sizes("conv4", (64, 64))
    """
    if not widths or any(isinstance(width, bool) or not isinstance(width, Integral) or width < 1 for width in widths):
        raise InputError(f"the widths of {what} are {list(widths)}; they must be whole numbers of at least 1")
    check_count(f"the number of outputs of {what}", out, 1, optional=True)
    check_number(f"the dropout of {what}", dropout, "[0, 1)")
