"""One replica of the service: the store, the encoders, and the adapted tasks that are at hand."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import Row

from innerloop.core.task import InputError, did_you_mean
from innerloop.encoders.base import Encoder
from innerloop.encoders.find import class_of
from innerloop.estimators.choice import named_heads
from innerloop.serve.batching import Batcher, Together
from innerloop.serve.database import opened
from innerloop.serve.given import Given, packed, unpacked
from innerloop.serve.inputs import Input, Reader, decoded
from innerloop.serve.keys import Keys
from innerloop.serve.kinds import KINDS
from innerloop.serve.learning import Adapted, Promises, adapted, answers, check_ready, promises
from innerloop.serve.metrics import Metrics
from innerloop.serve.problems import busy
from innerloop.serve.reading import Snapshot
from innerloop.serve.settings import Settings
from innerloop.serve.states import Latest
from innerloop.serve.store import Limits, New, Store

_TRIES = 5


class _Moved(Exception):  # noqa: N818
    """A task was changed while it was read."""


class Ready(NamedTuple):
    """A task that can be asked."""

    row: Row[Any]
    """Of the database."""
    state: Adapted
    ids: tuple[str, ...]
    """Of the examples, in the order in which it learned them, where they were asked for."""


class Replica:
    """All that the routes stand on.

    Args:
        settings: of the replica.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings, self.metrics = settings, Metrics()
        self._engine = opened(settings.database)
        self.store = Store(self._engine, Limits(settings.examples, settings.classes, settings.tasks))
        self.store.forget()
        self.keys = Keys(self._engine)
        self._states: Latest[Adapted] = Latest(settings.states)
        self._batchers: Latest[Batcher] = Latest(len(KINDS))
        self._answers = Together("the task", _answered, settings.batch, settings.deadline)
        self._slow = threading.Semaphore(settings.slow)

    def close(self) -> None:
        """Finish what was begun, and let go of the database."""
        self._answers.close()
        for batcher in self._batchers.made():
            batcher.close()
        self._engine.dispose()

    def batcher(self, name: str) -> Batcher:
        """The encoder of a name.

        Raises:
            InputError: where it is not installed.
        """

        def make() -> Batcher:
            encoder = class_of(name)()
            encoder.fingerprint()
            seen = self.metrics.batches.labels(name).observe
            return Batcher(encoder, self.settings.batch, self.settings.deadline, seen)

        return self._batchers.get(name, make)

    def options(self, kind: str, head: str | None, class_names: bool | str) -> dict[str, Any]:
        """The options of a new task.

        Raises:
            InputError: for a head that there is not, or an encoder that is not installed.
        """
        found = KINDS[kind]
        encoder: Encoder | None = None
        if found.alone:
            encoder = self.batcher(found.encoder).encoder
        elif found.encoder == "table":
            encoder = class_of("table")().fit([[0.0], [1.0]])
        names = ("auto", *(name for name in named_heads(encoder) if name != "soft-means"))
        head = found.head if head is None else head
        if head not in names:
            raise InputError(f"head {head[:40]!r} is unknown{did_you_mean(head, names)}: choose of {', '.join(names)}")
        return {"head": head, "class_names": class_names}

    def news(self, kind: str, inputs: Sequence[Input], labels: Sequence[str]) -> list[New]:
        """Examples as they are kept, with their features."""
        features: list[bytes | None] = [None] * len(inputs)
        encoder = None
        if KINDS[kind].alone:
            batcher = self.batcher(KINDS[kind].encoder)
            rows = batcher.encode(self._decoded(kind, [one.content for one in inputs]))
            features = [*map(packed, rows)]
            encoder = batcher.encoder.fingerprint()
        return [
            New(label, one.digest, one.content, one.media, row, encoder)
            for one, label, row in zip(inputs, labels, features, strict=True)
        ]

    def ready(self, tenant: str, task: str, *, named: bool = False) -> Ready:
        """A task as the database has it now, learned.

        Args:
            tenant: whose it is.
            task: its id.
            named: whether the ids of its examples are wanted, which are read for it.

        Raises:
            Problem: 404, or 409 where there is nothing to tell apart.
            InputError: for examples that do not go together.
        """
        for _ in range(_TRIES):
            row, rows = self.store.snapshot(tenant, task) if named else (self.store.task(tenant, task), [])
            try:
                state = self._states.get((tenant, row.digest), partial(self._learned, tenant, row))
            except _Moved:
                continue
            return Ready(row, state, tuple(one.id for one in rows))
        raise busy("the task is being changed faster than it can be learned: try again in a moment")

    def predict(
        self, tenant: str, task: str, inputs: Sequence[Input], *, coverage: float | None, evidence: bool
    ) -> dict[str, Any]:
        """What a task says of queries."""
        ready = self.ready(tenant, task, named=evidence)
        kind = ready.row.kind
        queries = self.queries(kind, inputs)
        promised = promises(ready.state.model, coverage)
        if evidence or not KINDS[kind].alone:
            items: Any = answers(ready.state, queries, promised, ready.ids if evidence else None)
        else:
            # Those of one task that were encoded together are answered together.
            items = self._answers.ask((ready.state, promised), queries)
        self.metrics.predictions.labels(kind).inc(len(inputs))
        return {"id": task, "version": ready.row.version, "items": items, **promised._asdict()}

    def queries(self, kind: str, inputs: Sequence[Input]) -> Any:
        """Queries as a task takes them: features, vectors, or rows."""
        values = self._decoded(kind, [one.content for one in inputs])
        if KINDS[kind].alone:
            return self.batcher(KINDS[kind].encoder).encode(values)
        return _matrix(values) if kind == "vectors" else values

    def reader(self, kind: str) -> Reader:
        """What reads the inputs of one request."""
        return Reader(kind, self.settings)

    def try_encoder(self) -> None:
        """Ask the encoder of drawings, which comes with the package, for features."""
        page = np.full((32, 32), 255, dtype=np.uint8)
        page[8:24, 15:18] = 0
        self.batcher("letters").encode([page])

    @contextmanager
    def patience(self) -> Iterator[None]:
        """For what takes seconds: only so many at a time.

        Raises:
            Problem: 503, where there are too many.
        """
        if not self._slow.acquire(blocking=False):
            raise busy("insights, exports and imports of others are being made: try again in a moment", 2)
        try:
            yield
        finally:
            self._slow.release()

    def _learned(self, tenant: str, row: Row[Any]) -> Adapted:
        kind = KINDS[row.kind]
        begun = time.perf_counter()
        batcher = self.batcher(kind.encoder) if kind.alone else None
        found = self._encoded(tenant, row.id, batcher) if batcher else self.store.snapshot(tenant, row.id, "content")
        if found.row.digest != row.digest:
            raise _Moved
        labels = [one.label for one in found.examples]
        check_ready(labels)
        encoder: Given | str = kind.encoder
        if batcher:
            inputs: Any = np.stack([unpacked(one.features) for one in found.examples])
            encoder = Given(batcher.encoder, batcher.encode)
        else:
            values = self._decoded(row.kind, [one.content for one in found.examples])
            inputs = _matrix(values) if row.kind == "vectors" else values
        state = adapted(inputs, labels, row.options, encoder)
        self.metrics.adaptations.labels(row.kind).observe(time.perf_counter() - begun)
        return state

    def _encoded(self, tenant: str, task: str, batcher: Batcher) -> Snapshot:
        """A task whose examples have features of the encoder: those of an older database are computed here.

        Raises:
            InputError: for features of other weights than those that are here.
        """
        found = self.store.snapshot(tenant, task, "features")
        stamp = batcher.encoder.fingerprint()
        if any(one.features is None for one in found.examples):
            found = self.store.snapshot(tenant, task, "features", "content")
            lacking = [one for one in found.examples if one.features is None]
            rows = batcher.encode(self._decoded(found.row.kind, [one.content for one in lacking]))
            made = {one.id: packed(row) for one, row in zip(lacking, rows, strict=True)}
            self.store.encoded(task, made, stamp)
            found = self.store.snapshot(tenant, task, "features")
        if any(one.features is None for one in found.examples):
            raise _Moved
        if any(one.encoder != stamp for one in found.examples):
            raise InputError(
                f"the task was made with other weights of the encoder {batcher.encoder.name!r} than this replica has: "
                f"install those, or make the task again from its examples"
            )
        return found

    def _decoded(self, kind: str, contents: Sequence[bytes]) -> list[Any]:
        return [decoded(kind, one, f"input {place}", self.settings.pixels) for place, one in enumerate(contents)]


def _answered(key: tuple[Adapted, Promises], queries: list[Any]) -> list[dict[str, Any]]:
    state, promised = key
    return answers(state, np.stack(queries), promised)


def _matrix(vectors: Sequence[Sequence[float]]) -> Any:
    sizes = sorted({len(one) for one in vectors})
    if len(sizes) > 1:
        raise InputError(f"vectors have {sizes[0]} to {sizes[-1]} numbers: give all of one length")
    return np.array(vectors, dtype=np.float64)
