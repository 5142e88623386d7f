"""Values of many tasks as means and intervals, and tables of these as text and HTML."""

from __future__ import annotations

from abc import ABC, abstractmethod
from html import escape

import numpy as np
import numpy.typing as npt

from innerloop.evaluation.stats import interval

Floats = npt.NDArray[np.float64]


def mean_of(values: Floats) -> Floats:
    """Of each column of ``[T, K]``, over the tasks that have a value: ``[K]``, NaN where none has.

    Example:
        >>> mean_of(np.array([[1.0, np.nan], [3.0, np.nan]]))
        array([ 2., nan])
    """
    there = np.isfinite(values)
    with np.errstate(all="ignore"):
        found: Floats = np.where(there, values, 0).sum(0) / there.sum(0)
    return found


def intervals_of(values: Floats, bounds: tuple[float, float] | None = None) -> Floats:
    """Of 95 %, of the mean of each column of ``[T, K]``: ``[K, 2]``.

    Args:
        values: one row a task.
        bounds: between which every value lies.

    Example:
        >>> intervals_of(np.array([[1.0], [3.0], [2.0]])).round(2)
        array([[-0.48,  4.48]])
    """
    return np.array([interval(column[np.isfinite(column)], bounds=bounds) for column in values.T]).reshape(-1, 2)


class Tabled(ABC):
    """A result that is looked at as a table, in a terminal and in a notebook."""

    @abstractmethod
    def table(self) -> list[list[str]]:
        """Rows of cells, the titles first."""

    def __str__(self) -> str:
        return as_text(self.table())

    def _repr_html_(self) -> str:
        return as_html(self.table())


def as_text(table: list[list[str]]) -> str:
    """Rows of cells under a row of titles, in columns.

    Example:
        >>> print(as_text([["layer", "CKA"], ["out", "0.5"]]))
        layer  CKA
        out    0.5
    """
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in table)
    return "\n".join(line.rstrip() for line in lines)


def as_html(table: list[list[str]]) -> str:
    """The same as a table of HTML.

    Example:
        >>> as_html([["layer"], ["a<b"]])
        '<table><tr><th>layer</th></tr><tr><td>a&lt;b</td></tr></table>'
    """
    tags = ["th", *["td"] * (len(table) - 1)]
    rows = ("".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row) for tag, row in zip(tags, table, strict=True))
    return f"<table>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"
