"""The database: opened, brought to the tables of this version, and how SQLite is made to keep its word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from innerloop.core.task import InputError

#: Any number, the same for all replicas: one of them migrates at a time.
_LOCK = 7_411_082
_SQLITE, _POSTGRES = "sqlite", "postgresql"


def opened(address: str, revision: str = "head") -> Engine:
    """A database, with the tables of this version.

    Args:
        address: ``sqlite:///FILE``, or ``postgresql://USER:PASSWORD@HOST/NAME``.
        revision: of the tables.

    Raises:
        InputError: for another kind of database.
    """
    engine = _engine(address)
    with engine.connect().execution_options(write=True) as connection, connection.begin():
        if engine.dialect.name == _POSTGRES:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        migrated(connection, revision)
    return engine


def migrated(connection: Connection, revision: str = "head") -> None:
    """Bring the tables to a revision."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def _engine(address: str) -> Engine:
    try:
        url = make_url(address)
    except ArgumentError:
        raise InputError("the database has no address: give sqlite:///FILE or postgresql://USER@HOST/NAME") from None
    kind = url.get_backend_name()
    if kind == _POSTGRES:
        url = url.set(drivername="postgresql+psycopg")
        return create_engine(url, pool_size=10, max_overflow=30, pool_timeout=10, pool_pre_ping=True)
    if kind != _SQLITE or not url.database:
        raise InputError(f"a database of {kind} is not known: give sqlite:///FILE or postgresql://USER@HOST/NAME")
    Path(url.database).expanduser().parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, pool_size=10, max_overflow=30, pool_timeout=10)
    event.listen(engine, "connect", _prepared)
    event.listen(engine, "begin", _begun)
    return engine


def _prepared(connection: Any, _: Any) -> None:
    # Transactions begin where SQLAlchemy says so, and not where the driver of Python guesses.
    connection.isolation_level = None
    for setting in ("busy_timeout = 20000", "journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {setting}")


def _begun(connection: Connection) -> None:
    # A reader that becomes a writer fails where another one has written meanwhile: writers say so at once.
    writes = connection.get_execution_options().get("write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
