"""What the service keeps: by many clients at once, on SQLite and Postgres, and in databases of its first schema."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from serving import drawing, postgres, task, vectors
from sqlalchemy import create_engine, insert, inspect, text
from starlette.testclient import TestClient

from innerloop.core.task import InputError
from innerloop.serve import tables
from innerloop.serve.app import create_app
from innerloop.serve.database import opened
from innerloop.serve.reading import digest_of
from innerloop.serve.settings import Settings
from innerloop.serve.states import Latest

CLIENTS = 50


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres() as found:
        yield found


@pytest.fixture(params=["sqlite", "postgres"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/tasks.db"
    found: str = request.getfixturevalue("server")
    name = f"tasks{abs(hash(request.node.name))}"
    engine = create_engine(found.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return found.replace("/postgres", f"/{name}")


def test_many_clients_of_two_replicas_lose_and_double_nothing(address: str) -> None:
    """Each adds an example twice with one key, takes one back, and asks meanwhile; the replicas take turns."""
    apps = [create_app(Settings(database=address, rate=1e6)) for _ in range(2)]
    made = task(TestClient(apps[0]), examples=vectors(), options={"head": "ridge"})
    path = f"/v1/tasks/{made}"

    async def client(number: int, ways: list[httpx.AsyncClient]) -> list[int]:
        one, other = ways[number % 2], ways[(number + 1) % 2]
        body = {"examples": [{"label": f"c{number % 3}", "vector": [float(number), 1.0, 0.0]}]}
        key = {"Idempotency-Key": f"client {number}".replace(" ", "-")}
        first, second = await asyncio.gather(
            one.post(f"{path}/examples", json=body, headers=key), other.post(f"{path}/examples", json=body, headers=key)
        )
        assert first.json() == second.json()
        found = [first, second]
        if number % 5 == 0:
            found.append(await other.post(f"{path}/predict", json={"items": [{"vector": [4.0, 0.0, 0.0]}]}))
        if number % 10 == 0:
            found.append(await other.delete(f"{path}/examples/{first.json()['added'][0]['id']}"))
        return [answer.status_code for answer in found]

    async def all_of_them() -> list[list[int]]:
        ways = [httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") for app in apps]
        return list(await asyncio.gather(*(client(number, ways) for number in range(CLIENTS))))

    codes = asyncio.run(all_of_them())
    assert {code for found in codes for code in found} == {200, 201}
    store = apps[0].state.replica.store
    kept = store.snapshot("local", made, "content")
    expected = [[float(number), 1.0, 0.0] for number in range(CLIENTS) if number % 10]
    expected += [one["vector"] for one in vectors()]
    assert sorted(one.content.decode() for one in kept.examples) == sorted(map(str, expected))
    assert kept.row.version == 2 + CLIENTS + CLIENTS // 10
    pairs = [(one.digest, one.label) for one in kept.examples]
    assert kept.row.digest == digest_of(kept.row.kind, kept.row.options, pairs)
    answers = [
        TestClient(app).post(f"{path}/predict", json={"items": [{"vector": [1.0, 2.0, 3.0]}]}).json() for app in apps
    ]
    assert answers[0] == answers[1]
    for app in apps:
        app.state.replica.close()


def test_a_version_is_taken_by_one_of_two(address: str) -> None:
    apps = [create_app(Settings(database=address)) for _ in range(2)]
    made = task(TestClient(apps[0]))
    body = {"examples": vectors(1)}

    async def both() -> list[httpx.Response]:
        ways = [httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") for app in apps]
        sent = [way.post(f"/v1/tasks/{made}/examples", json=body, headers={"If-Match": "1"}) for way in ways]
        return list(await asyncio.gather(*sent))

    found = sorted(asyncio.run(both()), key=lambda answer: answer.status_code)
    assert [answer.status_code for answer in found] == [201, 409]
    assert found[1].json()["version"] == 2
    for app in apps:
        app.state.replica.close()


def test_a_database_of_the_first_schema_opens(address: str) -> None:
    """Its tasks answer as before, with features that are computed and then kept."""
    engine = opened(address, "0001")
    first = [column["name"] for column in inspect(engine).get_columns("examples")]
    assert "features" not in first
    rows = []
    for number in range(6):
        one = {"task": "a" * 32, "id": f"{number:032x}", "place": number, "label": f"sign {number % 2}"}
        rows.append({**one, "digest": f"{number:064x}", "content": drawing(number % 2, number), "media": "image/png"})
    moment = np.datetime64("2026-01-02T03:04:05").item()
    old = {"id": "a" * 32, "tenant": "local", "name": "old", "kind": "drawings", "version": 7, "digest": "0" * 64}
    old |= {"options": {"head": "ridge", "class_names": "auto"}, "created": moment, "updated": moment}
    with engine.begin() as connection:
        connection.execute(insert(tables.tasks).values(**old))
        for row in rows:
            connection.execute(insert(tables.examples).values(**row))
    engine.dispose()
    app = create_app(Settings(database=address))
    client = TestClient(app)
    shown = client.get(f"/v1/tasks/{'a' * 32}").json()
    assert (shown["name"], shown["version"], shown["examples"]) == ("old", 7, 6)
    files = [("file", drawing(1, 9))]
    answer = client.post(f"/v1/tasks/{'a' * 32}/predict", files=files).json()
    assert answer["items"][0]["label"] == "sign 1"
    kept = app.state.replica.store.snapshot("local", "a" * 32, "features")
    assert all(len(one.features) == 4 * 256 for one in kept.examples)
    app.state.replica.close()
    # A second start finds nothing to do.
    opened(address).dispose()


def test_the_tables_are_those_of_the_steps(tmp_path: Path) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    engine = opened(f"sqlite:///{tmp_path}/tasks.db")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []


@pytest.mark.parametrize("address", ["", "mysql://me@here/tasks", "sqlite://", "tasks.db"], indirect=False)
def test_other_databases_are_refused(address: str) -> None:
    with pytest.raises(InputError, match="give sqlite:///FILE or postgresql"):
        opened(address)


def test_states_are_made_once_and_the_oldest_goes() -> None:
    made: list[Any] = []
    latest = Latest[int](2)
    for key in ("a", "b", "a", "c", "a", "b"):
        latest.get(key, lambda key=key: made.append(key) or len(made))  # type: ignore[misc]
    assert made == ["a", "b", "c", "b"]

    def fail() -> int:
        raise InputError("no")

    for _ in range(2):
        with pytest.raises(InputError):
            latest.get("d", fail)
    assert latest.get("d", lambda: 5) == 5
