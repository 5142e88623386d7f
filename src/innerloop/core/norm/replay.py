"""Support statistics, written down while a support set runs through a network and used for what comes after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor

from innerloop.core.task import InputError

Statistics = list[tuple[Tensor, Tensor]]

_RECORDED: ContextVar[Statistics | None] = ContextVar("recorded", default=None)
_REPLAYED: ContextVar[Iterator[tuple[Tensor, Tensor]] | None] = ContextVar("replayed", default=None)
_FUSED: ContextVar[bool] = ContextVar("fused", default=False)


@contextmanager
def recording() -> Iterator[Statistics]:
    """Collect the support statistics of every support norm that runs within, in order."""
    statistics: Statistics = []
    token = _RECORDED.set(statistics)
    try:
        yield statistics
    finally:
        _RECORDED.reset(token)


@contextmanager
def replaying(statistics: Statistics) -> Iterator[None]:
    """Use recorded statistics, in the order in which they were recorded."""
    token = _REPLAYED.set(iter(statistics))
    try:
        yield
    finally:
        _REPLAYED.reset(token)


@contextmanager
def fused() -> Iterator[None]:
    """Allow the kernels that are faster, and whose second-order gradient ``vmap`` alone gets wrong."""
    token = _FUSED.set(True)
    try:
        yield
    finally:
        _FUSED.reset(token)


def may_fuse() -> bool:
    """Whether this runs within :func:`fused`."""
    return _FUSED.get()


def replayed() -> tuple[Tensor, Tensor] | None:
    """The next layer's mean and variance within :func:`replaying`, else None."""
    statistics = _REPLAYED.get()
    return None if statistics is None else next(statistics)


def record(examples: int) -> Statistics | None:
    """Where the statistics of a support set of so many examples are to be written down, within :func:`recording`.

    Raises:
        InputError: for a support set without examples.
    """
    recorded = _RECORDED.get()
    if recorded is not None and not examples and _REPLAYED.get() is None:
        raise InputError(
            "the norm policy 'support' normalizes by the support set, and these tasks have 0 support examples: use the "
            "policy 'running' (or 'group')"
        )
    return recorded
