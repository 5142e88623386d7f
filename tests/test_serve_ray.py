"""The service on Ray Serve."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from serving import postgres

from innerloop.core.task import InputError
from innerloop.serve.ray import ByTask, application

HERE = Path(__file__).resolve().parent


def test_ray_is_told_of_tasks() -> None:
    """Of those that requests name, before these are answered."""
    seen: list[str] = []
    named = iter(["a", "", "b"])

    async def load(task: str) -> None:
        seen.append(task)

    async def app(scope: object, receive: object, send: object) -> None:
        seen.append("answer")

    by_task = ByTask(app, load, lambda: next(named))

    async def asked() -> None:
        for kind in ("http", "lifespan", "http", "http"):
            await by_task({"type": kind}, None, None)  # type: ignore[arg-type]

    asyncio.run(asked())
    assert seen == ["a", "answer", "answer", "answer", "b", "answer"]


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed")
def test_without_ray_it_says_what_to_install() -> None:
    with pytest.raises(InputError, match=r"pip install 'innerloop\[serve,ray\]'"):
        application({})


@pytest.mark.slow
def test_two_replicas_on_ray(tmp_path: Path) -> None:
    """They answer as one without Ray, to the bit; of two replicas one is killed, and no acknowledged write is lost."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'innerloop[ray]'")
    with postgres() as address:
        words = [sys.executable, str(HERE / "ray_replicas.py"), address, f"sqlite:///{tmp_path}/alone.db"]
        done = subprocess.run(words, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["told"] >= 25
    assert found == {
        "replicas": 2,
        "same": True,
        "plain": True,
        "told": found["told"],
        "lost": 0,
        "examples": found["told"],
        "answers": 3,
    }
