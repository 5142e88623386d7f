"""Clients that write what they can find again, and what became of all that was acknowledged."""

from __future__ import annotations

import json
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import httpx

from innerloop.serve.database import opened
from innerloop.serve.reading import Reading, digest_of

#: Seconds for which a client tries the same write.
PATIENCE = 120.0


@dataclass
class Ledger:
    """What clients sent and what they were told."""

    sent: dict[str, set[int]] = field(default_factory=dict)
    """Numbers of writes, by task."""
    told: dict[str, set[int]] = field(default_factory=dict)
    """The acknowledged ones."""
    again: int = 0
    """Tries that had to be repeated."""
    refused: list[str] = field(default_factory=list)
    """What was answered that should not be."""


class Writer(threading.Thread):
    """A client that adds pairs of examples to tasks, each write until it is acknowledged, with one key.

    Args:
        urls: of replicas; after a failure it goes to the next.
        tasks: that it writes to, in turn.
        first: its writes have the numbers ``first, first + 1, ...``
        ledger: that it keeps.
    """

    def __init__(self, urls: Sequence[str], tasks: Sequence[str], first: int, ledger: Ledger) -> None:
        super().__init__(daemon=True)
        self._urls, self._tasks, self._first, self._ledger = list(urls), tasks, first, ledger
        self._done = threading.Event()

    def run(self) -> None:
        """Write until it is told to stop."""
        number = self._first
        with httpx.Client(timeout=30) as http:
            while not self._done.is_set():
                self._write(http, self._tasks[number % len(self._tasks)], number)
                number += 1

    def finish(self) -> None:
        """Stop after the write that it is at."""
        self._done.set()
        self.join()

    def _write(self, http: httpx.Client, task: str, number: int) -> None:
        pair = [{"label": f"c{side}", "vector": [number, side]} for side in (0, 1)]
        key, end = {"Idempotency-Key": uuid.uuid4().hex}, time.monotonic() + PATIENCE
        self._ledger.sent[task].add(number)
        while time.monotonic() < end:
            try:
                url = f"{self._urls[0]}/v1/tasks/{task}/examples"
                answer = http.post(url, json={"examples": pair}, headers=key)
            except httpx.TransportError:
                self._urls.append(self._urls.pop(0))
            else:
                if answer.status_code == 201:
                    self._ledger.told[task].add(number)
                    return
                if answer.status_code != 503 or "retry-after" not in answer.headers:
                    self._ledger.refused.append(f"{answer.status_code} {answer.text[:200]}")
                    return
            self._ledger.again += 1
            time.sleep(0.05)
        self._ledger.refused.append(f"write {number} was not done in {PATIENCE:g} s")


def tasks_of(url: str, count: int, ledger: Ledger) -> list[str]:
    """New tasks, without examples."""
    made = []
    for number in range(count):
        body = {"kind": "vectors", "name": f"task {number}", "options": {"head": "nearest-euclidean"}}
        task = httpx.post(f"{url}/v1/tasks", json=body, timeout=60).raise_for_status().json()["id"]
        ledger.sent[task], ledger.told[task] = set(), set()
        made.append(task)
    return made


class Found(NamedTuple):
    """What a database holds of what was promised."""

    told: int
    """Acknowledged writes."""
    lost: int
    """Of them those whose examples are not there."""
    doubled: int
    """Examples that are there more than once."""
    halves: int
    """Writes of which one example of two is there."""
    crooked: int
    """Tasks whose version or digest does not go with their examples."""
    unread: int
    """Tasks that do not answer."""

    @property
    def well(self) -> bool:
        """Whether every promise was kept."""
        return self.told > 0 and not any(self[1:])


def found_in(address: str, url: str, ledger: Ledger) -> Found:
    """Look at every task, in the database and over HTTP."""
    engine = opened(address)
    reading = Reading(engine)
    lost = doubled = halves = crooked = unread = 0
    for task, told in ledger.told.items():
        kept = reading.snapshot("local", task, "content")
        pairs = [(one.digest, one.label) for one in kept.examples]
        counts = Counter(tuple(json.loads(one.content)) for one in kept.examples)
        there = [{int(number) for number, at in counts if at == side} for side in (0.0, 1.0)]
        lost += len(told - (there[0] & there[1]))
        doubled += sum(count > 1 for count in counts.values())
        halves += len(there[0] ^ there[1])
        # Each write raises the version by one, and the task begins with the first.
        whole = kept.row.version == 1 + len(there[0]) and (there[0] | there[1]) <= ledger.sent[task]
        crooked += not whole or kept.row.digest != digest_of(kept.row.kind, kept.row.options, pairs)
        asked = httpx.post(f"{url}/v1/tasks/{task}/predict", json={"items": [{"vector": [1, 1]}]}, timeout=60)
        unread += asked.status_code != 200 and bool(kept.examples)
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            crooked += connection.exec_driver_sql("PRAGMA integrity_check").scalar() != "ok"
    engine.dispose()
    return Found(sum(map(len, ledger.told.values())), lost, doubled, halves, crooked, unread)


def killed(
    urls: Sequence[str], ledger: Ledger, tasks: Sequence[str], times: int, strike: Callable[[int], Any], seed: int
) -> None:
    """Let eight clients write, and strike again and again in the midst of it.

    Args:
        urls: of replicas.
        ledger: that they keep.
        tasks: that they write to.
        times: of strikes.
        strike: kills something and starts it again.
        seed: of the moments.
    """
    moments = random.Random(seed)
    writers = [Writer(urls[n % len(urls) :] + urls[: n % len(urls)], tasks, n * 10**6, ledger) for n in range(8)]
    for writer in writers:
        writer.start()
    for number in range(times):
        wanted = sum(map(len, ledger.told.values())) + moments.randint(2, 20)
        while sum(map(len, list(ledger.told.values()))) < wanted and any(one.is_alive() for one in writers):
            time.sleep(moments.random() * 0.01)
        strike(number)
    for writer in writers:
        writer.finish()
