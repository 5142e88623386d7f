"""Tasks and their examples in the database: written once, durably, and never over somebody else's change."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, Row, and_, bindparam, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from innerloop.serve.problems import Problem, missing, stale
from innerloop.serve.reading import Plain, Reading, digest_of, found, is_example, own, plain_of
from innerloop.serve.tables import examples, requests, tasks

#: Days for which a write is known by its key.
_KNOWN = 7
#: Begins the key of a write that is known for good; clients' keys have no blank.
LASTING = "start "


class Once(NamedTuple):
    """A client's word for a write, by which it is done once however often it is sent."""

    key: str
    digest: str
    """sha256 of what is asked for."""


class Written(NamedTuple):
    """What a write came to."""

    answer: Plain
    again: bool
    """Whether it had been done before."""


class New(NamedTuple):
    """An example that is to be kept."""

    label: str
    digest: str
    content: bytes | None
    media: str
    features: bytes | None
    encoder: str | None


class Limits(NamedTuple):
    """How large things may become."""

    examples: int
    classes: int
    tasks: int


class Store(Reading):
    """Tasks in a database. Any number of replicas may have it open.

    Args:
        engine: of :func:`innerloop.serve.database.opened`.
        limits: of what is kept.
    """

    def __init__(self, engine: Engine, limits: Limits) -> None:
        super().__init__(engine)
        self._limits = limits

    def forget(self) -> None:
        """Let go of the keys of writes that were done long ago."""
        old = and_(requests.c.created < _now() - timedelta(days=_KNOWN), requests.c.key.not_like(f"{LASTING}%"))
        with self.engine.connect().execution_options(write=True) as connection, connection.begin():
            connection.execute(delete(requests).where(old))

    def create(self, tenant: str, name: str, kind: str, options: Plain, once: Once | None = None) -> Written:
        """A new task without examples."""

        def work(connection: Connection) -> Plain:
            return plain_of(self._created(connection, tenant, name, kind, options), {})

        return self._write(tenant, once, work)

    def filled(
        self, tenant: str, name: str, kind: str, options: Plain, new: Sequence[New], once: Once | None = None
    ) -> Written:
        """A new task with its examples."""

        def work(connection: Connection) -> Plain:
            row = self._created(connection, tenant, name, kind, options)
            self._insert(connection, row.id, new, 0)
            return self._changed(connection, row)

        return self._write(tenant, once, work)

    def add(
        self, tenant: str, task: str, new: Sequence[New], version: int | None = None, once: Once | None = None
    ) -> Written:
        """Add examples to a task."""

        def work(connection: Connection) -> Plain:
            row = self._locked(connection, tenant, task, version)
            last = connection.scalar(select(func.max(examples.c.place)).where(examples.c.task == task))
            ids = self._insert(connection, task, new, 0 if last is None else last + 1)
            added = [{"id": i, "label": one.label, "digest": one.digest} for i, one in zip(ids, new, strict=True)]
            return {**self._changed(connection, row), "added": added}

        return self._write(tenant, once, work)

    def relabel(
        self, tenant: str, task: str, example: str, label: str, version: int | None = None, once: Once | None = None
    ) -> Written:
        """Give an example another label."""

        def work(connection: Connection) -> Plain:
            row = self._locked(connection, tenant, task, version)
            done = connection.execute(update(examples).where(is_example(task, example)).values(label=label))
            if not done.rowcount:
                raise missing("example")
            return self._changed(connection, row)

        return self._write(tenant, once, work)

    def remove(
        self, tenant: str, task: str, example: str, version: int | None = None, once: Once | None = None
    ) -> Written:
        """Take an example away."""

        def work(connection: Connection) -> Plain:
            row = self._locked(connection, tenant, task, version)
            if not connection.execute(delete(examples).where(is_example(task, example))).rowcount:
                raise missing("example")
            return self._changed(connection, row, fewer=True)

        return self._write(tenant, once, work)

    def delete(self, tenant: str, task: str, version: int | None = None, once: Once | None = None) -> Written:
        """Take a task away, with its examples."""

        def work(connection: Connection) -> Plain:
            self._locked(connection, tenant, task, version)
            connection.execute(delete(examples).where(examples.c.task == task))
            connection.execute(delete(tasks).where(tasks.c.id == task))
            return {"id": task, "deleted": True}

        return self._write(tenant, once, work)

    def encoded(self, task: str, features: dict[str, bytes], encoder: str) -> None:
        """Keep features of examples that had none, for all replicas; where another one was first, its stay."""
        with self.engine.connect().execution_options(write=True) as connection, connection.begin():
            rows = [{"example": one, "features": row, "encoder": encoder} for one, row in features.items()]
            none = and_(is_example(task, bindparam("example")), examples.c.features.is_(None))
            connection.execute(update(examples).where(none), rows)

    def _write(self, tenant: str, once: Once | None, work: Callable[[Connection], Plain]) -> Written:
        """Do a write, or give the answer that it had. It is durable when this returns."""
        for attempt in range(3):
            try:
                with self.engine.connect().execution_options(write=True) as connection, connection.begin():
                    if once is not None and (known := _known(connection, tenant, once)) is not None:
                        return Written(known, again=True)
                    answer = work(connection)
                    if once is not None:
                        row = {"tenant": tenant, "key": once.key, "digest": once.digest, "status": 200}
                        connection.execute(insert(requests).values(**row, answer=answer, created=_now()))
                return Written(answer, again=False)
            except IntegrityError:
                # Another replica does the same write at this moment: its answer is there now.
                if attempt == 2:
                    raise
        raise AssertionError

    def _created(self, connection: Connection, tenant: str, name: str, kind: str, options: Plain) -> Row[Any]:
        count = connection.scalar(select(func.count()).select_from(tasks).where(tasks.c.tenant == tenant)) or 0
        if count >= self._limits.tasks:
            raise Problem(422, f"there are {count} tasks, which is the limit: delete some")
        now, made = _now(), uuid.uuid4().hex
        row = {"id": made, "tenant": tenant, "name": name, "kind": kind, "options": options, "version": 1}
        row |= {"digest": digest_of(kind, options, []), "created": now, "updated": now}
        return connection.execute(insert(tasks).values(**row).returning(tasks)).one()

    def _insert(self, connection: Connection, task: str, new: Sequence[New], place: int) -> list[str]:
        ids = [uuid.uuid4().hex for _ in new]
        rows = [
            {"task": task, "id": made, "place": place + number, **one._asdict()}
            for number, (made, one) in enumerate(zip(ids, new, strict=True))
        ]
        if rows:
            connection.execute(insert(examples), rows)
        return ids

    def _locked(self, connection: Connection, tenant: str, task: str, version: int | None) -> Row[Any]:
        """A task that nobody else changes before this transaction ends, at the version that a client expects."""
        row = found(connection, own(tenant, task).with_for_update())
        if version is not None and row.version != version:
            raise stale(row.version)
        return row

    def _changed(self, connection: Connection, row: Row[Any], *, fewer: bool = False) -> Plain:
        """The task at its next version.

        Args:
            connection: which has the task to itself.
            row: of the task as it was.
            fewer: whether it can only have become smaller, so that no limit stands against it.

        Raises:
            Problem: 422, where it became too large.
        """
        asked = select(examples.c.digest, examples.c.label).where(examples.c.task == row.id)
        pairs = [(one.digest, one.label) for one in connection.execute(asked)]
        counts = Counter(label for _, label in pairs)
        if not fewer and len(pairs) > self._limits.examples:
            raise Problem(422, f"the task would have {len(pairs)} examples: {self._limits.examples} are the limit")
        if not fewer and len(counts) > self._limits.classes:
            raise Problem(422, f"the task would have {len(counts)} classes: {self._limits.classes} are the limit")
        values = {"version": row.version + 1, "digest": digest_of(row.kind, row.options, pairs), "updated": _now()}
        changed = update(tasks).where(tasks.c.id == row.id).values(**values).returning(tasks)
        return plain_of(connection.execute(changed).one(), counts)


def _known(connection: Connection, tenant: str, once: Once) -> Plain | None:
    asked = select(requests).where(requests.c.tenant == tenant, requests.c.key == once.key)
    row = connection.execute(asked).one_or_none()
    if row is None:
        return None
    if row.digest != once.digest:
        raise Problem(422, "the Idempotency-Key belongs to another request: give each request a key of its own")
    return dict(row.answer)


def _now() -> datetime:
    return datetime.now(UTC)
