"""The package's in-context network as a head on the columns of a table."""

from __future__ import annotations

import copy
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from innerloop.core.likelihood import Categorical
from innerloop.core.task import Examples, InputError, join
from innerloop.encoders.pretrained import pretrained, shipped
from innerloop.learners.generative.pfn import InContext
from innerloop.learners.head import Head

#: Cells that go through the network at a time.
_CELLS = 2**14
#: Averaging over orders of the classes blunts probabilities; this sharpens them again.
_TEMPERATURE = 0.9


@lru_cache(maxsize=2)
def _plain(path: Path) -> InContext:
    """A network that can be lifted: the kernel that attends fastest cannot."""
    network = copy.deepcopy(pretrained(path, regression=False))
    network.net.fuse(False)
    return network


class InContextHead(Head):
    """Reads the examples beside the query with a network that was trained on synthetic tables; nothing is fitted.

    The order of the classes matters to the network a little, so it reads them in several, each shifted around, and the
    log probabilities are averaged. The network is the package's, so it is no part of what is kept of the head.

    Args:
        stop: the columns that are read are those before it; default all.
        orders: of the classes.
        weights: the bundle of an :class:`~innerloop.learners.InContext`; default the one of the package.

    Raises:
        InputError: at ``adapt`` for more classes than the network reads.

    Example:
        >>> head = InContextHead()
        >>> support = Examples(torch.tensor([[0.0], [1.0], [8.0], [9.0]]), torch.eye(2)[[0, 0, 1, 1]])
        >>> head.predict(head.adapt(support), torch.tensor([[0.5]])).argmax(2)
        tensor([[0]])
    """

    def __init__(self, *, stop: int | None = None, orders: int = 4, weights: str | Path | None = None) -> None:
        super().__init__(Categorical())
        if orders < 1:
            raise InputError(f"orders is {orders}; the network reads the classes in one at least")
        self.stop, self.orders, self.weights = stop, orders, weights

    @property
    def classes(self) -> int:
        """The most that it reads."""
        return self._network().targets

    def adapt(self, support: Examples, state: Examples | None = None) -> Examples:  # noqa: D102
        support = Examples(support.x.flatten(1)[:, : self.stop], support.y)
        state = join(state, support)
        self._network().adapt(state)
        return state

    def predict(self, state: Examples, x: Tensor) -> Tensor:  # noqa: D102
        x = x.flatten(1)[:, : self.stop]
        parts = x.split(max(1, _CELLS // (len(state.x) * (x.shape[1] + 1))))
        return torch.cat([self._log_p(state, part) for part in parts]).unsqueeze(0)

    def numbers(self, examples: int, classes: int, features: int) -> int:
        """Keys and values of every cell."""
        columns = features if self.stop is None else min(self.stop, features)
        return self._network().net.held(examples, columns)

    def _log_p(self, state: Examples, x: Tensor) -> Tensor:
        """Of queries ``[..., M, F]`` beside tables ``[..., N, F]``: ``[..., M, D]``."""
        network, ways = self._network(), state.y.shape[-1]
        total: Tensor | float = 0.0
        shifts = range(0, ways, max(1, -(-ways // self.orders)))
        for shift in shifts:
            table = network.encode(Examples(state.x, state.y.roll(shift, -1)))
            total = total + network.read(table, x)[0].log_softmax(-1).roll(-shift, -1)
        assert isinstance(total, Tensor)
        logits = (total / len(shifts) / _TEMPERATURE).to(state.y.dtype)
        # A class that has no support example cannot be the answer.
        return logits.masked_fill(state.y.sum(-2, keepdim=True) == 0, -torch.inf)

    def _network(self) -> InContext:
        return _plain(Path(self.weights) if self.weights is not None else shipped(regression=False))

    def extra_repr(self) -> str:  # noqa: D102
        return f"stop={self.stop}, orders={self.orders}"
