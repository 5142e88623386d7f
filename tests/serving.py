"""A service for tests: in process, on a database of its own; a server of Postgres where there is one."""

from __future__ import annotations

import io
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image, ImageDraw
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError
from starlette.testclient import TestClient

from innerloop.serve.app import create_app
from innerloop.serve.settings import Settings


@contextmanager
def service(folder: Path, **settings: Any) -> Iterator[TestClient]:
    """A client of a service whose database is a file in a folder, or another one."""
    given = {"database": f"sqlite:///{folder}/tasks.db", **settings}
    with TestClient(create_app(Settings(**given)), raise_server_exceptions=False) as client:
        yield client


def vectors(count: int = 12, ways: int = 3, seed: int = 0) -> list[dict[str, Any]]:
    """Examples of classes that lie apart."""
    random = np.random.default_rng(seed)
    return [
        {"label": f"c{n % ways}", "vector": (4 * np.eye(ways)[n % ways] + random.normal(size=ways)).tolist()}
        for n in range(count)
    ]


def task(client: TestClient, kind: str = "vectors", examples: list[dict[str, Any]] | None = None, **more: Any) -> str:
    """The id of a new task."""
    made = client.post("/v1/tasks", json={"kind": kind, **more})
    assert made.status_code == 201, made.text
    if examples:
        added = client.post(f"/v1/tasks/{made.json()['id']}/examples", json={"examples": examples})
        assert added.status_code == 201, added.text
    return str(made.json()["id"])


def drawing(kind: int, seed: int) -> bytes:
    """A PNG file of a drawing: a cross, a circle or a corner, a little moved."""
    x, y = np.random.default_rng(seed).integers(0, 12, 2).tolist()
    page = Image.new("L", (64, 64), 255)
    pen = ImageDraw.Draw(page)
    if kind == 0:
        pen.line([(10 + x, 10 + y), (45 + x, 45 + y)], 0, 3)
        pen.line([(45 + x, 10 + y), (10 + x, 45 + y)], 0, 3)
    elif kind == 1:
        pen.ellipse([(10 + x, 10 + y), (45 + x, 45 + y)], outline=0, width=3)
    else:
        pen.line([(10 + x, 10 + y), (10 + x, 45 + y), (45 + x, 45 + y)], 0, 3)
    file = io.BytesIO()
    page.save(file, "PNG")
    return file.getvalue()


def free_port() -> int:
    """A port of this machine that nobody has."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Server(subprocess.Popen[bytes]):
    """A replica in a process of its own.

    Args:
        database: its address.
        options: of ``innerloop serve``.
    """

    def __init__(self, database: str, *options: str) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "innerloop", "serve", "--database", database, "--port", str(port)]
        super().__init__([*command, "--rate", "1e6", *options], stderr=subprocess.DEVNULL)

    def wait_ready(self) -> None:
        """Until it answers."""
        while self.poll() is None:
            try:
                if httpx.get(f"{self.url}/healthz").is_success:
                    return
            except httpx.TransportError:
                continue
        raise AssertionError(f"the server ended with {self.returncode}")


@contextmanager
def running(database: str, *options: str) -> Iterator[Server]:
    """A replica in a process of its own, which answers."""
    with Server(database, *options) as server:
        try:
            server.wait_ready()
            yield server
        finally:
            server.kill()


@contextmanager
def postgres() -> Iterator[str]:
    """The address of a new database of Postgres, in a folder of its own."""
    found = shutil.which("initdb")
    if found is None:
        pytest.skip("no initdb on the path: install postgresql for these tests")
    programs = Path(found).resolve().parent
    user: dict[str, Any] = {}
    folder = tempfile.mkdtemp(prefix="postgres")
    if os.geteuid() == 0:
        try:
            other = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("Postgres does not run as root, and there is no user postgres: run the tests as another user")
        os.chown(folder, other.pw_uid, other.pw_gid)
        user = {"user": other.pw_uid, "group": other.pw_gid, "extra_groups": []}
    port = free_port()
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder, **user}
    make = [programs / "initdb", "-D", f"{folder}/data", "-U", "me", "-A", "trust", "-N", "--locale=C", "-E", "UTF8"]
    subprocess.run(list(map(str, make)), check=True, **quiet)
    run = [str(programs / "postgres"), "-D", f"{folder}/data", "-p", str(port), "-k", folder]
    run += ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "max_connections=200"]
    address = f"postgresql://me@127.0.0.1:{port}/postgres"
    with subprocess.Popen(run, **quiet) as server:
        try:
            engine = create_engine(address.replace("postgresql:", "postgresql+psycopg:"))
            while server.poll() is None:
                try:
                    with engine.connect() as connection:
                        connection.execute(text("SELECT 1"))
                    break
                except OperationalError:
                    continue
            engine.dispose()
            yield address
        finally:
            # SIGINT: it lets nobody finish, and closes its files.
            server.send_signal(2)
            server.wait()
            shutil.rmtree(folder, ignore_errors=True)
