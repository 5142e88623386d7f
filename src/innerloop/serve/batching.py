"""Many requests together: whatever comes while some are worked on is the next batch."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from innerloop.core.task import InputError
from innerloop.encoders.base import Encoder
from innerloop.serve.problems import busy

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class _Asked:
    key: Hashable
    items: Sequence[Any]
    done: Future[Sequence[Any]]


class Together:
    """Works on the items of several requests at once.

    It waits for nobody: a request that comes alone is worked on at once, by its own thread, and those that come
    meanwhile go together, by the thread of one of them.

    Args:
        name: what messages call it.
        work: from a key and items to a result for each.
        size: items at a time, at most; a request with more goes alone.
        patience: seconds that a request waits.
        seen: told the number of items of each batch.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[Any, list[Any]], Any],
        size: int,
        patience: float,
        seen: Callable[[int], None] = lambda count: None,
    ) -> None:
        self._name, self._work, self._size, self._patience, self._seen = name, work, size, patience, seen
        self.waiting: deque[_Asked] = deque()
        self._changed = threading.Condition()
        self._working = self._closed = False

    def ask(self, key: Hashable, items: Sequence[Any]) -> Sequence[Any]:
        """The results of items, those of one request in one piece.

        Args:
            key: only requests of the same one go together.
            items: of the request.

        Raises:
            InputError: for an item that is refused; other requests do not notice.
            Problem: 503, where it takes too long.
        """
        asked = _Asked(key, items, Future())
        end = time.monotonic() + self._patience
        with self._changed:
            if self._closed:
                raise busy("the service is stopping")
            self.waiting.append(asked)
        while (batch := self._turn(asked, end)) is not None:
            try:
                self._do(batch)
            finally:
                with self._changed:
                    self._working = False
                    self._changed.notify_all()
        return asked.done.result()

    def close(self) -> None:
        """Take no more requests."""
        with self._changed:
            self._closed = True

    def _turn(self, asked: _Asked, end: float) -> list[_Asked] | None:
        """The batch that the thread of a request is to work on; ``None`` where the request is done."""
        with self._changed:
            left = max(0.0, end - time.monotonic())
            if not self._changed.wait_for(lambda: asked.done.done() or not self._working, left):
                if asked in self.waiting:
                    self.waiting.remove(asked)
                raise busy(f"{self._name} has not come to the request within {self._patience:g} s: try again")
            if asked.done.done():
                return None
            self._working = True
            return self._next()

    def _next(self) -> list[_Asked]:
        """The first request, and those behind it that may go with it."""
        found: list[_Asked] = []
        left: deque[_Asked] = deque()
        count = 0
        for one in self.waiting:
            count += len(one.items)
            goes = not found or (one.key == found[0].key and count <= self._size)
            (found if goes else left).append(one)
        self.waiting = left
        return found

    def _do(self, batch: Sequence[_Asked]) -> None:
        self._seen(sum(len(one.items) for one in batch))
        try:
            found = self._work(batch[0].key, [item for one in batch for item in one.items])
        except InputError as error:
            if len(batch) == 1:
                batch[0].done.set_exception(error)
            # One request's items must not spoil the others'.
            for one in batch if len(batch) > 1 else ():
                self._do([one])
        except BaseException as error:
            for one in batch:
                one.done.set_exception(error)
        else:
            start = 0
            for one in batch:
                one.done.set_result(found[start : start + len(one.items)])
                start += len(one.items)


class Batcher:
    """An encoder of inputs for many requests.

    Args:
        encoder: of inputs.
        size: inputs at a time.
        patience: seconds that a request waits for its features.
        seen: told the number of inputs of each batch.
    """

    def __init__(
        self, encoder: Encoder, size: int, patience: float, seen: Callable[[int], None] = lambda count: None
    ) -> None:
        self.encoder = encoder
        self.line = Together(f"encoder {encoder.name}", lambda _, items: encoder.transform(items), size, patience, seen)

    def encode(self, items: Sequence[Any]) -> Floats:
        """Features ``[N, H]`` of inputs.

        Raises:
            InputError: for an input that the encoder refuses.
            Problem: 503, where it takes too long.
        """
        return np.asarray(self.line.ask(None, items))

    def close(self) -> None:
        """Take no more requests."""
        self.line.close()
