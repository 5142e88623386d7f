"""Tasks and examples as the database has them, read."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, Row, Select, and_, func, select, text

from innerloop.core.plain import json_of
from innerloop.serve.problems import Problem, missing
from innerloop.serve.tables import examples, tasks

Plain = dict[str, Any]


class Snapshot(NamedTuple):
    """A task and its examples."""

    row: Row[Any]
    examples: list[Row[Any]]
    """In an order that follows from what they are and not from when they came."""


class Reading:
    """What is read of a database.

    Args:
        engine: of :func:`innerloop.serve.database.opened`.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def alive(self) -> None:
        """Ask the database for an answer."""
        with self.engine.connect() as connection:
            connection.execute(text("SELECT 1"))

    def task(self, tenant: str, task: str) -> Row[Any]:
        """A task.

        Raises:
            Problem: 404, where there is none, or it is somebody else's.
        """
        with self.engine.connect() as connection:
            return found(connection, own(tenant, task))

    def described(self, tenant: str, task: str) -> Plain:
        """A task with the number of examples of each class."""
        with self.engine.connect() as connection:
            row = found(connection, own(tenant, task))
            return plain_of(row, _counts(connection, [task])[task])

    def tasks(self, tenant: str, limit: int, after: str | None = None) -> list[Plain]:
        """The tasks of a tenant, in the order of their ids."""
        asked = select(tasks).where(tasks.c.tenant == tenant).order_by(tasks.c.id).limit(limit)
        with self.engine.connect() as connection:
            rows = connection.execute(asked if after is None else asked.where(tasks.c.id > after)).all()
            counts = _counts(connection, [row.id for row in rows])
        return [plain_of(row, counts[row.id]) for row in rows]

    def snapshot(self, tenant: str, task: str, *whole: str) -> Snapshot:
        """A task with its examples, as they were at one moment.

        Args:
            tenant: whose it is.
            task: its id.
            whole: the large columns of the examples that are wanted: ``content``, ``features``.
        """
        columns = [examples.c.id, examples.c.label, examples.c.digest, examples.c.media, examples.c.encoder]
        asked = select(*columns, *(examples.c[name] for name in whole)).where(examples.c.task == task)
        with self._still().connect() as connection:
            row = found(connection, own(tenant, task))
            ordered = asked.order_by(examples.c.digest, examples.c.label, examples.c.place)
            return Snapshot(row, list(connection.execute(ordered)))

    def content(self, tenant: str, task: str, example: str) -> Any:
        """What was sent as an example: ``content`` and ``media``."""
        with self.engine.connect() as connection:
            found(connection, own(tenant, task))
            asked = select(examples.c.content, examples.c.media).where(is_example(task, example))
            row = connection.execute(asked).one_or_none()
        if row is None:
            raise missing("example")
        if row.content is None:
            raise Problem(404, "the example came as features alone, so that there is nothing to show")
        return row

    def _still(self) -> Engine:
        """The database as it is at one moment, whatever is written meanwhile: SQLite is so by itself."""
        if self.engine.dialect.name != "postgresql":
            return self.engine
        return self.engine.execution_options(isolation_level="REPEATABLE READ")


def digest_of(kind: str, options: Plain, pairs: Sequence[tuple[str, str]]) -> str:
    """sha256 of what a task learns from.

    Args:
        kind: of the task.
        options: of the task.
        pairs: digest and label of each example, in any order.
    """
    return hashlib.sha256(json_of([kind, options, sorted(map(list, pairs))]).encode()).hexdigest()


def own(tenant: str, task: str) -> Select[Any]:
    """The question for a task that is a tenant's."""
    return select(tasks).where(tasks.c.id == task, tasks.c.tenant == tenant)


def is_example(task: str, example: Any) -> Any:
    """That a row is an example of a task."""
    return and_(examples.c.task == task, examples.c.id == example)


def found(connection: Connection, asked: Select[Any]) -> Row[Any]:
    """The one row that is asked for.

    Raises:
        Problem: 404, where there is none.
    """
    row = connection.execute(asked).one_or_none()
    if row is None:
        raise missing()
    return row


def plain_of(row: Row[Any], counts: Mapping[str, int]) -> Plain:
    """A task as clients see it.

    Args:
        row: of the task.
        counts: examples of each class.
    """
    return {
        "id": row.id,
        "name": row.name,
        "kind": row.kind,
        "options": row.options,
        "version": row.version,
        "digest": row.digest,
        "examples": sum(counts.values()),
        "classes": dict(sorted(counts.items())),
        "created": _iso(row.created),
        "updated": _iso(row.updated),
    }


def _counts(connection: Connection, ids: Sequence[str]) -> defaultdict[str, dict[str, int]]:
    """Examples of each class, by task."""
    columns = (examples.c.task, examples.c.label)
    counts: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for task, label, count in connection.execute(
        select(*columns, func.count()).where(examples.c.task.in_(ids)).group_by(*columns)
    ):
        counts[task][label] = count
    return counts


def _iso(moment: datetime) -> str:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
