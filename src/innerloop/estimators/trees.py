"""Extremely randomized trees on many tables at once, as cheap to grow anew as refits on subsets of rows need.

A node draws some columns among those that vary in it, for each a threshold between the least and the largest cell, and
splits at the one that separates the classes best by Gini's impurity, until its rows are of one class or equal in every
column. No row is drawn and no cut is searched for, so that trees differ much and each takes little time. All trees of
all tables grow together, a level at a time.

What is drawn is a hash of the seed, the tree, the path to the node and the column's place among those that vary: a
table has the same trees among others as alone. Neither names of classes, nor the order of rows, nor constant columns
change a split.

References:
    Geurts, Ernst, Wehenkel, *Extremely randomized trees*, Machine Learning 2006,
    https://doi.org/10.1007/s10994-006-6226-1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]
Hashes = npt.NDArray[np.uint64]

#: Cells that grow at a time, and shares of leaves that are read at a time: bounds of memory.
_CELLS = 2**21


class Grown(NamedTuple):
    """Some trees of every table; the roots come first, table by table."""

    trees: int
    column: Ints
    """That a node asks for, -1 in a leaf."""
    threshold: Floats
    """Up to which a cell goes left."""
    child: Ints
    """The left one, before the right one; in a leaf its row of ``shares``."""
    shares: npt.NDArray[np.float32]
    """Of the classes among the rows of a leaf, ``[L, D]``."""


class Forest:
    """Extra trees of some tables of one size. Pickles hold the tables and not the trees, which grow again to the bit.

    Missing cells are the mean of their column in the table.

    Args:
        x: numbers ``[B, N, F]``, NaN where a cell is missing.
        labels: class of each row, ``0 .. D - 1``, ``[B, N]``.
        classes: D.
        trees: of each table.
        seed: of all that is drawn.

    Example:
        >>> x, labels = np.array([[[0.0], [1.0], [8.0], [9.0]]]), np.array([[0, 0, 1, 1]])
        >>> Forest(x, labels, 2, trees=10).probabilities(np.array([[-5.0], [8.5]])).tolist()
        [[[1.0, 0.0], [0.0, 1.0]]]
    """

    def __init__(self, x: Floats, labels: Ints, classes: int, *, trees: int = 100, seed: int = 0) -> None:
        self.labels, self.classes, self.trees, self.seed = labels, classes, trees, seed
        # A power of two as the unit of a column: exact, and no difference overflows.
        largest = np.where(np.isnan(x), 0.0, np.abs(x)).max(1, keepdims=True, initial=0.0)
        self._exponent = np.frexp(largest)[1] + 1
        scaled = np.ldexp(x, -self._exponent)
        # Added one by one in the order of their size: the same in any order of rows, and among other tables.
        known = np.cumsum(np.sort(np.where(np.isnan(x), 0.0, scaled), 1), 1)[:, -1:]
        self._mean = known / np.maximum((~np.isnan(x)).sum(1, keepdims=True), 1)
        self.x = np.where(np.isnan(x), self._mean, scaled)
        self._grown: list[Grown] = []

    def probabilities(self, x: Floats) -> Floats:
        """Shares of the classes, the mean over trees, for queries ``[M, F]`` at every table: ``[B, M, D]``.

        Tables may have queries of their own, ``[B, M, F]``.
        """
        if not self._grown:
            self._grown = list(self._grow())
        with np.errstate(over="ignore", under="ignore"):
            scaled = np.ldexp(x, -self._exponent)
        asked = np.where(np.isnan(x), self._mean, scaled)
        return sum(self._read(grown, asked) for grown in self._grown) / self.trees  # type: ignore[return-value]

    def _grow(self) -> Iterator[Grown]:
        tables, rows, columns = self.x.shape
        drawn = max(1, int(columns**0.5))
        at_once = max(1, _CELLS // max(1, tables * rows * max(columns, drawn * self.classes)))
        for first in range(0, self.trees, at_once):
            yield self._level_by_level(np.arange(first, min(first + at_once, self.trees), dtype=np.uint64))

    def _level_by_level(self, trees: Hashes) -> Grown:
        tables, count, columns = self.x.shape
        cells, labels, classes = self.x.reshape(-1, columns), self.labels.reshape(-1), self.classes
        varies = self.x.min(1, initial=np.inf) < self.x.max(1, initial=-np.inf)
        names = _mixed(np.cumsum(varies, 1).astype(np.uint64))
        drawn = np.maximum(1, np.sqrt(varies.sum(1)).astype(np.intp))
        # Of each node of a level: its table, its random key and its number of rows; the rows of all, node by node.
        table = np.repeat(np.arange(tables), len(trees))
        key = np.tile(_mixed(_mixed(np.uint64(self.seed)) + trees), tables)
        rows = (table[:, None] * count + np.arange(count)).reshape(-1)
        sizes = np.full(len(table), count)
        told: list[tuple[Ints, Floats, Ints]] = []
        leaves: list[npt.NDArray[np.float32]] = []
        nodes = found = 0
        while len(sizes):
            counts = _counted(np.repeat(np.arange(len(sizes)), sizes) * classes + labels[rows], (len(sizes), classes))
            column, threshold = np.full(len(sizes), -1), np.zeros(len(sizes))
            inner = np.flatnonzero(counts.max(1) < sizes)
            rows = rows[np.repeat(counts.max(1) < sizes, sizes)]
            low, high = _bounds(cells[rows], sizes[inner])
            wide = (low < high).any(1)
            rows, inner = rows[np.repeat(wide, sizes[inner])], inner[wide]
            candidate, at = _candidates(low[wide], high[wide], key[inner], names[table[inner]], drawn[table[inner]])
            node = np.repeat(np.arange(len(inner)), sizes[inner])
            right = cells[rows[:, None], candidate[node]] > at[node]
            best = _best(right, node, labels[rows], counts[inner], at)
            chosen = np.arange(len(inner)), best
            column[inner], threshold[inner] = candidate[chosen], at[chosen]
            right = right[np.arange(len(rows)), best[node]]
            rows = rows[np.argsort(2 * node + right, kind="stable")]
            leaf = column < 0
            child = np.empty(len(sizes), dtype=np.intp)
            nodes += len(sizes)
            child[inner] = nodes + 2 * np.arange(len(inner))
            child[leaf] = found + np.arange(leaf.sum())
            found += int(leaf.sum())
            leaves.append((counts[leaf] / sizes[leaf, None]).astype(np.float32))
            told.append((column, threshold, child))
            sizes = np.bincount(2 * node + right, minlength=2 * len(inner))
            table = np.repeat(table[inner], 2)
            key = _mixed(key[inner][:, None] + np.array([1, 2], dtype=np.uint64)).reshape(-1)
        asked, up_to, children = (np.concatenate(part) for part in zip(*told, strict=True))
        return Grown(len(trees), asked, up_to, children, np.concatenate(leaves))

    def _read(self, grown: Grown, asked: Floats) -> Floats:
        """The sum over the trees, ``[B, M, D]``."""
        tables, queries, _ = asked.shape
        found = np.empty((tables, queries, self.classes))
        step = max(1, _CELLS // max(1, tables * grown.trees * self.classes))
        roots = np.arange(tables * grown.trees).reshape(tables, 1, grown.trees)
        for start in range(0, queries, step):
            part = asked[:, start : start + step]
            cells, at = part.reshape(-1, part.shape[2]), np.repeat(roots, part.shape[1], 1).reshape(-1)
            query = np.repeat(np.arange(len(cells)), grown.trees)
            going = np.arange(len(at))
            while len(going := going[grown.column[at[going]] >= 0]):
                here = at[going]
                right = cells[query[going], grown.column[here]] > grown.threshold[here]
                at[going] = grown.child[here] + right
            shares = grown.shares[grown.child[at]].reshape(*part.shape[:2], grown.trees, self.classes)
            found[:, start : start + step] = shares.sum(2, dtype=np.float64)
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_grown": []}


def _mixed(value: Any) -> Any:
    """Steele, Lea and Flood's SplitMix64 (OOPSLA 2014): each of some whole numbers as 64 bits that look random."""
    with np.errstate(over="ignore"):
        value = value + np.uint64(0x9E3779B97F4A7C15)
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return value ^ (value >> np.uint64(31))


def _counted(places: Ints, shape: tuple[int, ...]) -> Ints:
    return np.bincount(places, minlength=int(np.prod(shape))).reshape(shape)


def _bounds(cells: Floats, sizes: Ints) -> tuple[Floats, Floats]:
    """The least and the largest cell of each column in each node, ``[K, F]``, from the rows node by node."""
    if not len(sizes):
        return np.empty((0, cells.shape[1])), np.empty((0, cells.shape[1]))
    starts = np.cumsum(sizes) - sizes
    return np.minimum.reduceat(cells, starts), np.maximum.reduceat(cells, starts)


def _candidates(low: Floats, high: Floats, key: Hashes, names: Hashes, drawn: Ints) -> tuple[Ints, Floats]:
    """The columns that each node draws, ``[K, C]``, and a threshold for each; one that is not to be taken has NaN."""
    hashed = _mixed(key[:, None] ^ names)
    turn = np.where(low < high, hashed >> np.uint64(32), np.uint64(2**32))
    column = turn.argsort(1, kind="stable")[:, : int(drawn.max(initial=1))]
    low, high, hashed = (np.take_along_axis(part, column, 1) for part in (low, high, hashed))
    at = low + (hashed & np.uint64(2**32 - 1)) * 2.0**-32 * (high - low)
    at = np.where(at < high, at, low)
    return column, np.where((low < high) & (np.arange(column.shape[1]) < drawn[:, None]), at, np.nan)


def _best(right: npt.NDArray[np.bool_], node: Ints, labels: Ints, counts: Ints, at: Floats) -> Ints:
    """Which candidate separates the classes best in each node: the first of those of the least mean Gini impurity."""
    nodes, candidates, classes = *at.shape, counts.shape[1]
    places = (node[:, None] * candidates + np.arange(candidates)) * classes + labels[:, None]
    other = _counted(places[right], (nodes, candidates, classes))
    one = counts[:, None] - other
    # Whole numbers but for one division: the same in any order of the classes.
    pure = sum((part**2).sum(2) / np.maximum(part.sum(2), 1) for part in (one, other))
    return np.where(np.isnan(at), -1.0, pure).argmax(1)
