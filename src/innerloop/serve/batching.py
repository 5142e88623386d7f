"""One encoder for many requests: whatever waits while it works is its next batch."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Late
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from innerloop.core.task import InputError
from innerloop.encoders.base import Encoder
from innerloop.serve.problems import busy

Floats = npt.NDArray[np.float32]


class _Asked(NamedTuple):
    items: Sequence[Any]
    done: Future[Floats]


class Batcher:
    """Encodes the inputs of several requests together.

    It waits for nobody: a request that comes alone is encoded at once, and those that come meanwhile go together.

    Args:
        encoder: of inputs.
        size: inputs at a time, at most; a request with more goes alone.
        patience: seconds that a request waits for its features.
        seen: told the number of inputs of each batch.
    """

    def __init__(
        self, encoder: Encoder, size: int, patience: float, seen: Callable[[int], None] = lambda count: None
    ) -> None:
        self.encoder = encoder
        self._size, self._patience, self._seen = size, patience, seen
        self.waiting: deque[_Asked] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"encoder {encoder.name}", daemon=True)
        self._thread.start()

    def encode(self, items: Sequence[Any]) -> Floats:
        """Features ``[N, H]`` of inputs.

        Raises:
            InputError: for an input that the encoder refuses.
            Problem: 503, where it takes too long.
        """
        asked = _Asked(items, Future())
        with self._changed:
            if self._closed:
                raise busy("the service is stopping")
            self.waiting.append(asked)
            self._changed.notify()
        try:
            return asked.done.result(self._patience)
        except Late:
            asked.done.cancel()
            raise busy(f"the encoder has not come to the request within {self._patience:g} s: try again") from None

    def close(self) -> None:
        """Do what waits, and end."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._next():
            batch = [one for one in batch if one.done.set_running_or_notify_cancel()]
            items = [item for one in batch for item in one.items]
            if not items:
                continue
            self._seen(len(items))
            try:
                rows = self.encoder.transform(items)
            except InputError as error:
                # One request's input must not spoil the others'.
                self._alone(batch) if len(batch) > 1 else batch[0].done.set_exception(error)
            except BaseException as error:
                for one in batch:
                    one.done.set_exception(error)
            else:
                start = 0
                for one in batch:
                    one.done.set_result(rows[start : start + len(one.items)])
                    start += len(one.items)

    def _alone(self, batch: Sequence[_Asked]) -> None:
        for one in batch:
            try:
                one.done.set_result(self.encoder.transform(list(one.items)))
            except BaseException as error:
                one.done.set_exception(error)

    def _next(self) -> list[_Asked]:
        with self._changed:
            self._changed.wait_for(lambda: self.waiting or self._closed)
            found: list[_Asked] = []
            count = 0
            while self.waiting and (not found or count + len(self.waiting[0].items) <= self._size):
                found.append(self.waiting.popleft())
                count += len(found[-1].items)
            return found
