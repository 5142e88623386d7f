"""Several views of one table, each read by the same network: the members of the in-context estimators' ensemble."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from sklearn.preprocessing import QuantileTransformer
from torch import Tensor

from innerloop.core.task import Examples, InputError
from innerloop.encoders.pretrained import pretrained
from innerloop.learners.generative.pfn import Encoded, InContext, joined, standardized

Floats = npt.NDArray[np.float64]

#: Most columns of a table, and most rows that a member reads.
MAX_FEATURES, MAX_ROWS = 100, 2000
#: Cells that go through the network at a time: few enough for the cache.
_CELLS = 2**13
#: Numbers of encoded tables that are kept between predictions, 256 MiB.
_KEPT = 2**26


class View(NamedTuple):
    """How some members of the ensemble see the table: alike, but for the order of the classes."""

    rows: npt.NDArray[np.intp]
    warp: QuantileTransformer | None
    """To the quantiles of each standardized column, if it has one."""
    orders: npt.NDArray[np.intp]
    """Which class stands in each column of a member's targets, ``[O, D]``, no two alike."""
    counts: tuple[int, ...]
    """How many members have each order."""

    def sees(self, x: Floats, table: Floats) -> Tensor:
        """Queries ``[M, F]`` as these members see them beside the table ``[N, F]``: ``[1, M, F]``."""
        if self.warp is not None:
            with np.errstate(all="ignore"):
                x = np.asarray(self.warp.transform(_standard(x, table[self.rows])))
        # A copy: what comes from a frame may be read-only.
        return torch.tensor(x).unsqueeze(0)


class Ensemble:
    """A table as every member sees it. It is encoded once, and each prediction reads that.

    Every other member sees the quantiles of the features. Columns that are constant (or have no cell at all) say
    nothing and are left out. Pickles and copies hold the table and not what was encoded, which the table gives again;
    of a table so large that it would fill the memory none is kept.

    Args:
        weights: the bundle of the network.
        x: numbers ``[N, F]``, NaN where a cell is missing.
        y: ``[N, D]``: one-hot rows, or standardized targets ``[N, 1]``.
        regression: which of the two.
        members: how many.
        random: chooses the members' rows and orders of the classes.

    Raises:
        InputError: if there are no members, or more columns than the network reads.
    """

    def __init__(
        self, weights: Path, x: Floats, y: Tensor, *, regression: bool, members: int, random: np.random.RandomState
    ) -> None:
        if members < 1:
            raise InputError(f"n_estimators is {members}; the ensemble needs at least 1 member")
        self.varying = varying(x)
        if (count := int(self.varying.sum())) > MAX_FEATURES:
            raise InputError(
                f"the table has {count} features that vary, this estimator reads at most {MAX_FEATURES}: select some "
                f"first, for instance with sklearn.feature_selection.SelectKBest"
            )
        self.weights, self.regression = weights, regression
        self.x, self.y = x[:, self.varying], y
        halves = (members + 1) // 2, members // 2
        if len(x) <= MAX_ROWS:
            rows = np.arange(len(x))
            views = [self._view(rows, bool(i), half, random) for i, half in enumerate(halves) if half]
        else:
            strata = np.zeros(len(x), dtype=np.intp) if regression else y.argmax(1).numpy()
            views = [self._view(_sample(random, strata), i % 2 == 1, 1, random) for i in range(members)]
        self.views = tuple(views)
        self._encoded: list[Encoded] = []
        self._keep()

    def raw(self, x: Floats) -> Tensor:
        """Each member's raw outputs for queries ``[M, F]``: ``[B, M, P]``, classes in the order of the targets."""
        self._keep()
        x, raw = x[:, self.varying], []
        for i, view in enumerate(self.views):
            tables = [self._encoded[i]] if self._encoded else self._encode(view)
            outputs = self._read(tables, view.sees(x, self.x))
            if not self.regression:
                back = torch.from_numpy(view.orders.argsort(1)).unsqueeze(1)
                outputs = outputs.gather(2, back.expand(-1, outputs.shape[1], -1))
            raw.append(outputs.repeat_interleave(torch.tensor(view.counts), 0))
        return torch.cat(raw)

    def _learner(self) -> InContext:
        return pretrained(self.weights, regression=self.regression)

    def _read(self, tables: Iterable[Encoded], query: Tensor) -> Tensor:
        learner, raw = self._learner(), []
        for table in tables:
            size = max(1, _CELLS // (len(table.y) * (query.shape[2] + 1)))
            raw.append(torch.cat([learner.read(table, part)[0] for part in query.split(size, 1)], 1))
        return torch.cat(raw)

    def _keep(self) -> None:
        numbers = self._learner().net.held(len(self.views[0].rows), self.x.shape[1])
        if not self._encoded and numbers * sum(len(view.orders) for view in self.views) <= _KEPT:
            self._encoded = [joined(list(self._encode(view))) for view in self.views]

    def _encode(self, view: View) -> Iterator[Encoded]:
        """The table by the view's orders: several at a time if it is small, one by one if it is large."""
        x, learner = view.sees(self.x[view.rows], self.x), self._learner()
        size = max(1, _CELLS // 2 // (len(view.rows) * (x.shape[2] + 1)))
        for orders in torch.from_numpy(view.orders).split(size):
            yield learner.encode(Examples(x, self.y[view.rows][:, orders].transpose(0, 1)))

    def _view(self, rows: npt.NDArray[np.intp], warped: bool, members: int, random: np.random.RandomState) -> View:
        warp = None
        if warped and self.x.shape[1]:
            warp = QuantileTransformer(n_quantiles=min(len(rows), 200), output_distribution="normal", subsample=None)
            with np.errstate(all="ignore"):
                warp.fit(_standard(self.x[rows], self.x[rows]))
        orders, counts = _orders(self.y.shape[1], members, random)
        return View(rows, warp, orders, counts)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_encoded": []}


def _orders(classes: int, members: int, random: np.random.RandomState) -> tuple[npt.NDArray[np.intp], tuple[int, ...]]:
    """Different orders of the classes, and how many members take each: as evenly as there are orders enough."""
    known: dict[tuple[int, ...], int] = {}
    enough = min(members, math.factorial(classes))
    while len(known) < enough:
        known.setdefault(tuple(random.permutation(classes).tolist()), 0)
    share, rest = divmod(members, enough)
    return np.array(list(known), dtype=np.intp), tuple(share + (i < rest) for i in range(enough))


def _standard(x: Floats, table: Floats) -> Floats:
    # The transformer compares with 1e-7, whatever the unit, and takes no infinity.
    return standardized(torch.from_numpy(x), torch.from_numpy(table)).clamp(-1e300, 1e300).numpy()


def varying(x: Floats) -> npt.NDArray[np.bool_]:
    """Which columns of ``x [N, F]`` tell any two rows apart; a cell that is missing differs from one that is there."""
    return np.array(
        [not ((column == column[0]) | np.isnan(column) & np.isnan(column[0])).all() for column in x.T], bool
    )


def _sample(random: np.random.RandomState, strata: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """``MAX_ROWS`` rows, of every stratum its share and at least one."""
    shuffled = random.permutation(len(strata))
    # Rank of each row within its stratum, as a share: the rows with the smallest shares, one of each stratum first.
    order = shuffled[np.argsort(strata[shuffled], kind="stable")]
    sizes = np.bincount(strata)
    rank = np.concatenate([np.arange(size) / size for size in sizes if size])
    return np.sort(order[np.argsort(rank, kind="stable")[:MAX_ROWS]])
