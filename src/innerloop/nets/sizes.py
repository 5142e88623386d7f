"""What the sizes of a network can be."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral

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
    if out is not None and out < 1:
        raise InputError(f"{what} is to have {out} outputs; it must be at least 1")
    if not 0 <= dropout < 1:
        raise InputError(f"the dropout of {what} is {dropout}; it is a share, from 0 to less than 1")
