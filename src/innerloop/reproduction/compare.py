"""A recorded figure and the one that was found, compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from innerloop.reproduction.figures import Figure, figures


class Compared(NamedTuple):
    """A recorded figure beside the one that was found.

    The same command on the same machine, with the same versions, finds the same figure to the last bit. Elsewhere sums
    are rounded otherwise, and a training goes another way, as with another seed. The test tasks are the same. So the
    difference is held against half the recorded interval, and the largest distance of a recorded seed from the mean
    on top of it where there are several.
    """

    what: str
    recorded: Figure | None
    """``None`` where nothing was recorded yet."""
    found: Figure | None
    """``None`` where the cell holds something else now."""
    rounding: float = 0.0
    """How far the record may lie from what was found for its digits alone."""

    @property
    def difference(self) -> float | None:
        """Found less recorded."""
        if self.found is None or self.recorded is None:
            return None
        return self.found.value - self.recorded.value

    @property
    def judged(self) -> bool:
        """Whether there is an interval to hold it against."""
        return self.recorded is not None and self.recorded.closed is not None

    @property
    def within_closed(self) -> bool | None:
        """Within the interval over tasks; ``None`` where none was recorded."""
        return self._within(self.recorded.closed if self.recorded else None)

    @property
    def within_open(self) -> bool | None:
        """Within the interval with classes as random draws; ``None`` where none was recorded."""
        return self._within(self.recorded.open if self.recorded else None)

    @property
    def same(self) -> bool:
        """Equal, as far as the record has digits."""
        size = max(1.0, abs(self.recorded.value)) if self.recorded else 1.0
        return self.difference is not None and abs(self.difference) <= self.rounding + 1e-9 * size

    def holds(self, within: str) -> bool:
        """Whether it is found again: within the interval asked for, or the closed one where there is no other.

        Args:
            within: ``"closed"`` or ``"open"``.
        """
        if not self.judged:
            return self.found is not None
        return bool(self.within_open if within == "open" and self.within_open is not None else self.within_closed)

    def json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "figure": self.what,
            "recorded": self.recorded and self.recorded.value,
            "found": self.found and self.found.value,
            "difference": self.difference,
            "closed": self.recorded and self.recorded.closed,
            "open": self.recorded and self.recorded.open,
            "seeds_add": self.recorded and self.recorded.spread,
            "within_closed": self.within_closed,
            "within_open": self.within_open,
        }

    def _within(self, half: float | None) -> bool | None:
        if half is None or self.recorded is None:
            return None
        # A hair of room for figures that were rounded to be printed.
        return self.difference is not None and abs(self.difference) <= half + self.recorded.spread + 1e-9


def compared(columns: Sequence[str], recorded: Sequence[str], found: Sequence[str]) -> list[Compared]:
    """The figures of a row's cells, each beside the one that stands in its place now.

    Args:
        columns: what the cells are, without those that say which row it is.
        recorded: the cells of the record.
        found: those that were printed now.

    Example:
        >>> [one] = compared(["accuracy"], ["84.5 ± 1.3"], ["85.0 ± 1.2"])
        >>> one.within_closed, one.within_open
        (True, None)
    """
    pairs = []
    for column, before, now in zip(columns, recorded, found, strict=True):
        a, b = figures(before), figures(now)
        for number, figure in enumerate(a):
            what = column if len(a) == 1 else f"{column}, {number + 1}"
            pairs.append(Compared(what, figure, b[number] if len(a) == len(b) else None))
    return pairs
