"""Several views of one table, each read by the same network: the members of the in-context estimators' ensemble."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from sklearn.preprocessing import QuantileTransformer
from torch import Tensor

from innerloop.core.task import Examples, InputError
from innerloop.estimators.pretrained import pretrained
from innerloop.learners.generative.pfn import Encoded, standardized

Floats = npt.NDArray[np.float64]

#: Most columns of a table, and most rows that a member reads.
MAX_FEATURES, MAX_ROWS = 100, 2000
#: Cells that go through the network at a time: few enough for the cache.
_CELLS = 2**13
#: Numbers of encoded tables that are kept between predictions, 256 MiB.
_KEPT = 2**26


class Member(NamedTuple):
    """How one member of the ensemble sees the table."""

    rows: npt.NDArray[np.intp]
    order: npt.NDArray[np.intp]
    """Which class stands in each column of its targets."""
    warp: QuantileTransformer | None
    """To the quantiles of each standardized column, if it has one."""

    def sees(self, x: Floats, table: Floats) -> Floats:
        """Queries as this member sees them beside the table ``[N, F]``."""
        if self.warp is None:
            return x
        with np.errstate(all="ignore"):
            return np.asarray(self.warp.transform(_standard(x, table[self.rows])))


class Ensemble:
    """A table as every member sees it. It is encoded once, and each prediction reads that.

    Columns that are constant (or have no cell at all) say nothing and are left out. Pickles and copies hold the table
    and not what was encoded, which the table gives again; of a table so large that it would fill the memory none is
    kept.

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
        self.members = tuple(self._member(i % 2 == 1, random) for i in range(members))
        self._encoded: list[Encoded] = []
        self._keep()

    def raw(self, x: Floats) -> Tensor:
        """Each member's raw outputs for queries ``[M, F]``: ``[B, M, P]``, classes in the order of the targets."""
        self._keep()
        learner = pretrained(self.weights, regression=self.regression)
        x, raw = x[:, self.varying], []
        for i, group in enumerate(self._groups()):
            table = self._encoded[i] if self._encoded else self._encode(group)
            query = torch.from_numpy(np.stack([member.sees(x, self.x) for member in group]))
            parts = query.split(max(1, _CELLS // (len(group) * self._columns)), 1)
            outputs = torch.cat([learner.read(table, part)[0] for part in parts], 1)
            if not self.regression:
                outputs = torch.stack([o[:, np.argsort(m.order)] for o, m in zip(outputs, group, strict=True)])
            raw.append(outputs)
        return torch.cat(raw)

    @property
    def _columns(self) -> int:
        return self.x.shape[1] + 1

    def _groups(self) -> list[tuple[Member, ...]]:
        """The members that go through the network together: all for a small table, one by one for a large one."""
        size = max(1, _CELLS // 2 // (len(self.members[0].rows) * self._columns))
        return [self.members[start : start + size] for start in range(0, len(self.members), size)]

    def _keep(self) -> None:
        numbers = pretrained(self.weights, regression=self.regression).net.held(
            len(self.members[0].rows), self._columns - 1
        )
        if not self._encoded and len(self.members) * numbers <= _KEPT:
            self._encoded = [self._encode(group) for group in self._groups()]

    def _encode(self, group: tuple[Member, ...]) -> Encoded:
        x = torch.from_numpy(np.stack([member.sees(self.x[member.rows], self.x) for member in group]))
        y = torch.stack([self.y[member.rows][:, member.order] for member in group])
        learner = pretrained(self.weights, regression=self.regression)
        return learner.encode(Examples(x, y))

    def _member(self, warped: bool, random: np.random.RandomState) -> Member:
        rows = np.arange(len(self.x))
        if len(rows) > MAX_ROWS:
            rows = _sample(random, np.zeros_like(rows) if self.regression else self.y.argmax(1).numpy())
        warp = None
        if warped and self.x.shape[1]:
            warp = QuantileTransformer(n_quantiles=min(len(rows), 200), output_distribution="normal", subsample=None)
            with np.errstate(all="ignore"):
                warp.fit(_standard(self.x[rows], self.x[rows]))
        return Member(rows, random.permutation(self.y.shape[1]), warp)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_encoded": []}


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
