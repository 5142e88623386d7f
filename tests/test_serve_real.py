"""Servers and databases as processes of their own: killed, under load, and asked for the impossible.

Each runs ``benchmarks/serve.py`` with small numbers; it ends with 0 only where every promise was kept.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "serve.py"


def run(*words: str) -> str:
    """What it prints."""
    done = subprocess.run([sys.executable, str(SCRIPT), *words], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def needs(store: str) -> None:
    if store == "postgres" and shutil.which("initdb") is None:
        pytest.skip("no initdb on the path: install postgresql for these tests")


@pytest.mark.slow
@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_what_was_acknowledged_outlives_a_kill(store: str) -> None:
    needs(store)
    said = run("kill", "--store", store, "--kills", "4")
    assert f"| the server, on {store} | 4 |" in said
    assert ("| Postgres, under its server | 1 |" in said) == (store == "postgres")


@pytest.mark.slow
def test_two_replicas_answer_as_one_and_one_may_die() -> None:
    needs("postgres")
    said = run("replicas", "--kills", "2")
    assert "to the bit: yes" in said
    assert "| one of two replicas, on postgres | 2 |" in said


@pytest.mark.slow
def test_hostile_requests_find_no_fault() -> None:
    said = run("hostile", "--store", "sqlite", "--requests", "300")
    assert "faults 0; ready afterwards: True; answers afterwards: True" in said


@pytest.mark.slow
@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_fifty_clients_lose_and_double_nothing(store: str) -> None:
    needs(store)
    said = run("load", "--store", store, "--seconds", "5")
    assert [line.split("|")[-4:-1] for line in said.splitlines() if line.startswith(f"| {store}")] == [
        [" 0 ", " 0 ", " 0 "]
    ] * 2
