"""Servers and databases as processes of their own, which can be killed and started again."""

from __future__ import annotations

import multiprocessing
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import httpx

#: A process that has imported everything, of which servers are copies: so that a start takes no seconds.
_copies = multiprocessing.get_context("forkserver")
_copies.set_forkserver_preload(["innerloop.serve.app", "innerloop.serve.logs", "uvicorn"])


def _serve(settings: dict[str, Any], port: int) -> None:
    import torch
    import uvicorn

    from innerloop.serve.app import create_app
    from innerloop.serve.settings import Settings

    torch.set_num_threads(1)
    app = create_app(Settings(**settings))
    uvicorn.run(app, host="127.0.0.1", port=port, access_log=False, log_level="critical")


class Server:
    """A replica in a process of its own, at 127.0.0.1.

    Args:
        settings: of :class:`innerloop.serve.settings.Settings`.
    """

    def __init__(self, **settings: Any) -> None:
        self._settings, self.port = {"rate": 1e9, **settings}, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        """Until it answers."""
        self._process = _copies.Process(target=_serve, args=(self._settings, self.port), daemon=True)
        self._process.start()
        while True:
            if not self._process.is_alive():
                raise RuntimeError(f"the server ended with {self._process.exitcode}")
            try:
                if httpx.get(f"{self.url}/healthz", timeout=60).is_success:
                    return
            except httpx.TransportError:
                time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL: it can finish nothing."""
        self._process.kill()
        self._process.join()

    @property
    def resident(self) -> float:
        """Memory that it holds, MB of 2^20 bytes."""
        lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()


class Postgres:
    """A server of Postgres in a folder of its own, durable as it is by default.

    Args:
        folder: an empty one.
    """

    def __init__(self, folder: str) -> None:
        found = shutil.which("initdb")
        if found is None:
            raise SystemExit("no initdb on the path: install postgresql, or give --store sqlite")
        self._programs, self._port = Path(found).resolve().parent, free_port()
        self._quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
        if os.geteuid() == 0:
            other = pwd.getpwnam("postgres")
            os.chown(folder, other.pw_uid, other.pw_gid)
            self._quiet |= {"user": other.pw_uid, "group": other.pw_gid, "extra_groups": []}
        self._folder = folder
        self.address = f"postgresql://me@127.0.0.1:{self._port}/postgres"
        make = ["initdb", "-D", f"{folder}/data", "-U", "me", "-A", "trust", "--locale=C", "-E", "UTF8"]
        subprocess.run([str(self._programs / make[0]), *make[1:]], check=True, **self._quiet)
        self.start()

    def start(self) -> None:
        """Until it takes connections."""
        run = [str(self._programs / "postgres"), "-D", f"{self._folder}/data", "-p", str(self._port)]
        run += ["-k", self._folder, "-c", "listen_addresses=127.0.0.1", "-c", "max_connections=200"]
        self._process = subprocess.Popen(run, **self._quiet)
        ask = [str(self._programs / "pg_isready"), "-h", "127.0.0.1", "-p", str(self._port)]
        while subprocess.run(ask, check=False, **self._quiet).returncode:
            time.sleep(0.05)

    def stop(self, how: int = signal.SIGQUIT) -> None:
        """By default at once, as in a crash: what it has to do on its next start is to recover."""
        self._process.send_signal(how)
        self._process.wait()


@contextmanager
def database(store: str) -> Iterator[tuple[str, Postgres | None]]:
    """The address of a new database, and its server where it has one.

    Args:
        store: ``"sqlite"`` or ``"postgres"``.
    """
    folder = tempfile.mkdtemp(prefix="serve")
    if store == "sqlite":
        try:
            yield f"sqlite:///{folder}/tasks.db", None
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return
    server = Postgres(folder)
    try:
        yield server.address, server
    finally:
        server.stop(signal.SIGINT)
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """A port of this machine that nobody has."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
