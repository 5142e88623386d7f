"""The tables of the service's database."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
)

metadata = MetaData()

#: Keys of clients. Of a key only its hash is kept.
keys = Table(
    "keys",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("hash", String(256), nullable=False),
    Column("created", DateTime(timezone=True), nullable=False),
    Column("revoked", DateTime(timezone=True)),
)

tasks = Table(
    "tasks",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("name", String(200), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("options", JSON, nullable=False),
    Column("version", Integer, nullable=False),
    # Of kind, options and examples: tasks of the same content have the same.
    Column("digest", String(64), nullable=False),
    Column("created", DateTime(timezone=True), nullable=False),
    Column("updated", DateTime(timezone=True), nullable=False),
    Index("tasks_of_tenant", "tenant", "created"),
)

examples = Table(
    "examples",
    metadata,
    Column("task", String(32), ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True),
    Column("id", String(32), primary_key=True),
    # The order in which they came.
    Column("place", Integer, nullable=False),
    Column("label", String(200), nullable=False),
    # sha256 of the content.
    Column("digest", String(64), nullable=False),
    # What was sent; none where a task came as a bundle that has features alone.
    Column("content", LargeBinary),
    Column("media", String(64), nullable=False),
    # What the encoder made of it, float32, and which encoder.
    Column("features", LargeBinary),
    Column("encoder", String(64)),
)

#: Writes that were done, by the client's key.
requests = Table(
    "requests",
    metadata,
    Column("tenant", String(64), primary_key=True),
    Column("key", String(128), primary_key=True),
    # sha256 of what was asked for.
    Column("digest", String(64), nullable=False),
    Column("status", Integer, nullable=False),
    Column("answer", JSON, nullable=False),
    Column("created", DateTime(timezone=True), nullable=False),
)
