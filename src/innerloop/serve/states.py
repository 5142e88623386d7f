"""Adapted tasks that are at hand: the latest ones, each adapted once however many requests want it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


class Latest(Generic[T]):
    """The things that were asked for last, up to so many.

    Args:
        limit: of things.

    Example:
        >>> latest = Latest[int](2)
        >>> latest.get("a", lambda: 1), latest.get("a", lambda: 2)
        (1, 1)
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._made: OrderedDict[Hashable, Future[T]] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """A thing, made if it is not there; who asks for it meanwhile waits for the one that is being made."""
        with self._lock:
            found = self._made.get(key)
            first = found is None
            if found is None:
                found = self._made[key] = Future()
                while len(self._made) > self._limit:
                    self._made.popitem(last=False)
            else:
                self._made.move_to_end(key)
        if not first:
            return found.result()
        try:
            found.set_result(make())
        except BaseException as error:
            # What failed is tried again by whoever asks next.
            with self._lock:
                if self._made.get(key) is found:
                    del self._made[key]
            found.set_exception(error)
        return found.result()

    def made(self) -> list[T]:
        """The things that are there, without those that are being made."""
        with self._lock:
            found = [one for one in self._made.values() if one.done()]
        return [one.result() for one in found if one.exception() is None]
