"""Several views of one table, each read by the same network: the members of the in-context estimators' ensemble."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from sklearn.preprocessing import QuantileTransformer
from torch import Tensor

from innerloop.core.numbers import check_count
from innerloop.core.task import Examples, InputError
from innerloop.encoders.pretrained import pretrained
from innerloop.evidence.reasoned import Shown
from innerloop.evidence.similar import likeness, nearness
from innerloop.learners.generative.pfn import Encoded, InContext, joined, standardized

Floats = npt.NDArray[np.float64]

#: Most columns of a table, and most rows that a member reads.
MAX_FEATURES, MAX_ROWS = 100, 2000
#: Cells that go through the network at a time: few enough for the cache.
_CELLS = 2**13
#: How near the least and the largest quantile a number counts as there.
_BOUND = 1e-7
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
                x = warped(self.warp, _standard(x, table[self.rows]))
        # A copy: what comes from a frame may be read-only.
        return torch.tensor(x).unsqueeze(0)


class Ensemble:
    """A table as every member sees it. It is encoded once, and each prediction reads that.

    By default every other member sees the quantiles of the features. Columns that are constant (or have no cell at
    all) say nothing and are left out. Pickles and copies hold the table and not what was encoded, which the table
    gives again; of a table so large that it would fill the memory none is kept.

    Args:
        weights: the bundle of the network.
        x: numbers ``[N, F]``, NaN where a cell is missing.
        y: ``[N, D]``: one-hot rows, or standardized targets ``[N, 1]``.
        regression: which of the two.
        members: how many.
        random: chooses the members' rows and orders of the classes.
        warped: whether all members see the quantiles of the features; ``None``: every other one.
        keep: whether the table is encoded at once, to be read often; or when it is read.

    Raises:
        InputError: if there are no members, or more columns than the network reads.
    """

    def __init__(
        self,
        weights: Path,
        x: Floats,
        y: Tensor,
        *,
        regression: bool,
        members: int,
        random: np.random.RandomState,
        warped: bool | None = None,
        keep: bool = True,
    ) -> None:
        check_count("n_estimators", members, 1)
        self.varying = varying(x)
        if (count := int(self.varying.sum())) > MAX_FEATURES:
            raise InputError(
                f"the table has {count} features that vary, this estimator reads at most {MAX_FEATURES}: select some "
                f"first, for instance with sklearn.feature_selection.SelectKBest"
            )
        self.weights, self.regression = weights, regression
        self.x, self.y = x[:, self.varying], y
        halves = ((members + 1) // 2, members // 2) if warped is None else (members * (not warped), members * warped)
        if len(x) <= MAX_ROWS:
            rows = np.arange(len(x))
            shifted = _shifted(y.shape[1], members, random)
            views = [self._view(rows, bool(i), half, random, shifted[i::2]) for i, half in enumerate(halves) if half]
        else:
            strata = np.zeros(len(x), dtype=np.intp) if regression else y.argmax(1).numpy()
            sees = [i % 2 == 1 if warped is None else warped for i in range(members)]
            shifted = _shifted(y.shape[1], members, random)
            views = [
                self._view(sample(random, strata), quantiles, 1, random, shifted[i : i + 1])
                for i, quantiles in enumerate(sees)
            ]
        self.views = tuple(views)
        self._encoded: list[Encoded] = []
        if keep:
            self._keep()

    def raw(self, x: Floats) -> Tensor:
        """Each member's raw outputs for queries ``[M, F]``: ``[B, M, P]``, classes in the order of the targets."""
        self._keep()
        x, raw = x[:, self.varying], []
        for i, view in enumerate(self.views):
            tables = [self._encoded[i]] if self._encoded else self._encode(view)
            raw.append(self._in_targets_order(view, self._read(tables, view.sees(x, self.x))))
        return torch.cat(raw)

    def attention(self, x: Floats) -> Tensor:
        """How much queries ``[M, F]`` attend to each row, the mean over blocks, heads and members: ``[M, N]``."""
        x, total = x[:, self.varying], torch.zeros(len(x), len(self.x), dtype=torch.float64)
        members = sum(sum(view.counts) for view in self.views)
        for view in self.views:
            for table, counts in zip(self._encode(view), self._counts(view), strict=True):
                read = self.learner().attention(table, view.sees(x, self.x)).mean((0, 2)).double()
                total[:, view.rows] += (read * (counts / members).view(-1, 1, 1)).sum(0)
        return total

    def _counts(self, view: View) -> tuple[Tensor, ...]:
        """Members of the orders of each table that :meth:`_encode` gives."""
        return torch.tensor(view.counts).split(self._orders_at_once(view))

    def _orders_at_once(self, view: View) -> int:
        return max(1, _CELLS // 2 // (len(view.rows) * (self.x.shape[1] + 1)))

    def _in_targets_order(self, view: View, outputs: Tensor) -> Tensor:
        """Of the orders ``[O, M, P]``, in the order of the targets, once for each member."""
        if not self.regression:
            back = torch.from_numpy(view.orders.argsort(1)).unsqueeze(1)
            outputs = outputs.gather(2, back.expand(-1, outputs.shape[1], -1))
        return outputs.repeat_interleave(torch.tensor(view.counts), 0)

    def seen(self, number: int, x: Floats) -> tuple[Examples, Tensor]:
        """The table by the orders of a view, ``x [1, N, F]``, ``y [O, N, D]``, and queries as it sees them."""
        view = self.views[number]
        y = self.y[view.rows][:, torch.from_numpy(view.orders)].transpose(0, 1)
        table, query = view.sees(np.concatenate((self.x[view.rows], x[:, self.varying])), self.x).split(
            (len(view.rows), len(x)), 1
        )
        return Examples(table, y), query

    def of_members(self, number: int, outputs: Tensor) -> Tensor:
        """What :meth:`raw` gives of a view, from the network's outputs ``[O, M, P]``."""
        return self._in_targets_order(self.views[number], outputs)

    def learner(self) -> InContext:
        """The network."""
        return pretrained(self.weights, regression=self.regression)

    def _read(self, tables: Iterable[Encoded], query: Tensor) -> Tensor:
        learner, raw = self.learner(), []
        for table in tables:
            size = max(1, _CELLS // (len(table.y) * (query.shape[2] + 1)))
            raw.append(torch.cat([learner.read(table, part)[0] for part in query.split(size, 1)], 1))
        return torch.cat(raw)

    def _keep(self) -> None:
        numbers = self.learner().net.held(len(self.views[0].rows), self.x.shape[1])
        if not self._encoded and numbers * sum(len(view.orders) for view in self.views) <= _KEPT:
            self._encoded = [joined(list(self._encode(view))) for view in self.views]

    def _encode(self, view: View) -> Iterator[Encoded]:
        """The table by the view's orders: several at a time if it is small, one by one if it is large."""
        x, learner = view.sees(self.x[view.rows], self.x), self.learner()
        for orders in torch.from_numpy(view.orders).split(self._orders_at_once(view)):
            yield learner.encode(Examples(x, self.y[view.rows][:, orders].transpose(0, 1)))

    def _view(
        self,
        rows: npt.NDArray[np.intp],
        warped: bool,
        members: int,
        random: np.random.RandomState,
        shifted: npt.NDArray[np.intp],
    ) -> View:
        warp = None
        if warped and self.x.shape[1]:
            warp = QuantileTransformer(n_quantiles=min(len(rows), 200), output_distribution="normal", subsample=None)
            with np.errstate(all="ignore"):
                warp.fit(_standard(self.x[rows], self.x[rows]))
        if len(shifted):
            return View(rows, warp, shifted, (1,) * len(shifted))
        orders, counts = _orders(self.y.shape[1], members, random)
        return View(rows, warp, orders, counts)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_encoded": []}


def raw_of_many(ensembles: Sequence[Ensemble], x: Floats) -> list[Tensor]:
    """What each of some ensembles gives for the same queries (:meth:`Ensemble.raw`): tables of one shape in one pass.

    Args:
        ensembles: of the same weights, on tables of any sizes.
        x: queries ``[M, F]``.
    """
    parts: list[list[Tensor]] = [[] for _ in ensembles]
    for number in range(max((len(one.views) for one in ensembles), default=0)):
        alike: dict[tuple[object, ...], list[tuple[int, Examples, Tensor]]] = {}
        for place, one in enumerate(ensembles):
            table, query = one.seen(number, x)
            alike.setdefault((table.x.shape, table.y.shape), []).append((place, table, query))
        for tables in alike.values():
            learner = ensembles[tables[0][0]].learner()
            orders, rows, _ = tables[0][1].y.shape
            size = max(1, _CELLS // (orders * (rows + len(x)) * (tables[0][2].shape[2] + 1)))
            for start in range(0, len(tables), size):
                some = tables[start : start + size]
                known = Examples(torch.stack([t.x for _, t, _ in some]), torch.stack([t.y for _, t, _ in some]))
                read = learner.read(learner.encode(known), torch.stack([query for *_, query in some]))[0]
                for (place, *_), outputs in zip(some, read, strict=True):
                    parts[place].append(ensembles[place].of_members(number, outputs))
    return [torch.cat(part) for part in parts]


def told_of(ensemble: Ensemble, x: Floats, asked: Floats, signs: Floats, shown: int) -> Shown:
    """What reasons are told beside refits: how alike rows and queries are, and how much these attend to those.

    Args:
        ensemble: that has read the table.
        x: its rows ``[N, F]``.
        asked: queries ``[Q, F]``.
        signs: whether, or how far, a row speaks for what a query gets, ``[Q, N]``.
        shown: rows in each list of the text.
    """
    near = likeness(ensemble.learner(), torch.from_numpy(x), torch.from_numpy(asked))
    cheap = {
        "attention": ensemble.attention(asked).numpy() * signs,
        "similarity": nearness(near) * signs,
    }
    return Shown(np.array([str(place) for place in range(len(x))]), near, cheap, shown)


def _shifted(classes: int, members: int, random: np.random.RandomState) -> npt.NDArray[np.intp]:
    """An order of the classes and its shifts, one for each member, as far apart as can be: no class is twice in one
    place. So few orders tell nearly what all of them tell. None where there are more members than classes: ``[0, D]``.
    """
    if not 1 < members <= classes:
        return np.empty((0, classes), dtype=np.intp)
    order = random.permutation(classes)
    return np.array([np.roll(order, member * classes // members) for member in range(members)], dtype=np.intp)


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


def warped(warp: QuantileTransformer, x: Floats) -> Floats:
    """What a fitted transformer to normal quantiles makes of ``x [M, F]``, as its ``transform``, without its checks.

    Of a table of few rows these and the distribution object take far longer than the work; refits read thousands.
    """
    from scipy.special import ndtri

    quantiles, shares = warp.quantiles_, warp.references_
    found = np.empty_like(x)
    for column, (values, known) in enumerate(zip(x.T, quantiles.T, strict=True)):
        # The mean of both ways to rank among equal quantiles.
        share = 0.5 * (np.interp(values, known, shares) - np.interp(-values, -known[::-1], -shares[::-1]))
        share[values + _BOUND > known[-1]] = 1
        share[values - _BOUND < known[0]] = 0
        found[:, column] = np.where(np.isnan(values), np.nan, share)
    least = _BOUND - np.spacing(1)
    return np.asarray(ndtri(found).clip(ndtri(least), ndtri(1 - least)))


def varying(x: Floats) -> npt.NDArray[np.bool_]:
    """Which columns of ``x [N, F]`` tell any two rows apart; a cell that is missing differs from one that is there."""
    return np.array(
        [not ((column == column[0]) | np.isnan(column) & np.isnan(column[0])).all() for column in x.T], bool
    )


def sample(random: np.random.RandomState, strata: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """``MAX_ROWS`` rows, of every stratum its share and at least one."""
    shuffled = random.permutation(len(strata))
    # Rank of each row within its stratum, as a share: the rows with the smallest shares, one of each stratum first.
    order = shuffled[np.argsort(strata[shuffled], kind="stable")]
    sizes = np.bincount(strata)
    rank = np.concatenate([np.arange(size) / size for size in sizes if size])
    return np.sort(order[np.argsort(rank, kind="stable")[:MAX_ROWS]])
