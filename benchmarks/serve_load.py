"""Many clients at once, reading and writing: what a replica does in a second, and whether it keeps its word."""

from __future__ import annotations

import base64
import io
import os
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Sequence

import httpx
import numpy as np
from PIL import Image, ImageDraw
from serve_processes import Server, database

from innerloop.serve.database import opened
from innerloop.serve.reading import Reading

CLIENTS, TASKS, WAYS = 50, 10, 5
#: Of ten requests so many are writes.
WRITES = 2


def drawn(number: int) -> str:
    """A drawing of one of five signs, unlike any other number's: base64 of a PNG file."""
    random_ = np.random.default_rng(number)
    page = Image.new("L", (64, 64), 255)
    pen = ImageDraw.Draw(page)
    corners = [
        tuple(xy) for xy in (32 + 26 * np.array(_SIGNS[number % WAYS]) + random_.normal(0, 2.5, (4, 2))).tolist()
    ]
    pen.line(corners, 0, 3)
    file = io.BytesIO()
    page.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


_SIGNS = [
    [(-1, -1), (1, 1), (1, -1), (-1, 1)],
    [(-1, -1), (-1, 1), (1, 1), (1, -1)],
    [(0, -1), (0, 1), (0.5, 0), (1, 0)],
    [(-1, 0), (1, 0), (0, 1), (0, -1)],
    [(-1, 1), (0, -1), (1, 1), (-1, 1)],
]


class Client(threading.Thread):
    """Asks and writes until a moment, and remembers what it was told.

    Args:
        url: of the service.
        tasks: of all clients.
        number: of the client.
        end: the moment, by :func:`time.monotonic`.
    """

    def __init__(self, url: str, tasks: Sequence[str], number: int, end: float) -> None:
        super().__init__(daemon=True)
        self._url, self._tasks, self._number, self._end = url, tasks, number, end
        self.added: list[tuple[str, str]] = []
        self.removed: list[tuple[str, str]] = []
        self.times: dict[str, list[float]] = {"read": [], "write": []}
        self.errors: Counter[str] = Counter()

    def run(self) -> None:
        """Work."""
        moments = random.Random(self._number)
        with httpx.Client(base_url=self._url, timeout=60) as http:
            count = 0
            while time.monotonic() < self._end:
                task, query = moments.choice(self._tasks), drawn(10**6 * (self._number + 1) + count)
                count += 1
                if moments.random() * 10 >= WRITES:
                    self._sent(http, "read", "POST", f"/v1/tasks/{task}/predict", {"items": [{"image": query}]})
                elif len(self.added) > len(self.removed) + 2:
                    task, example = self.added[len(self.removed)]
                    if self._sent(http, "write", "DELETE", f"/v1/tasks/{task}/examples/{example}", None) is not None:
                        self.removed.append((task, example))
                else:
                    body = {"examples": [{"label": f"sign {count % WAYS}", "image": query}]}
                    answer = self._sent(http, "write", "POST", f"/v1/tasks/{task}/examples", body)
                    if answer is not None:
                        self.added.append((task, answer.json()["added"][0]["id"]))

    def _sent(
        self, http: httpx.Client, what: str, method: str, path: str, body: dict[str, object] | None
    ) -> httpx.Response | None:
        headers = {"Idempotency-Key": uuid.uuid4().hex} if what == "write" else {}
        begun = time.perf_counter()
        try:
            answer = http.request(method, path, json=body, headers=headers)
        except httpx.TransportError as error:
            self.errors[type(error).__name__] += 1
            return None
        if not answer.is_success:
            self.errors[f"{answer.status_code}"] += 1
            return None
        self.times[what].append(time.perf_counter() - begun)
        return answer


def load(stores: Sequence[str], seconds: float) -> bool:
    """Print a line for each store, with batches and without; whether nothing went wrong."""
    print(f"{CLIENTS} clients, {TASKS} tasks of drawings, {WRITES} of 10 requests are writes, {seconds:g} s each")
    print("| store | batch | answers/s | writes/s | read p50, p99 ms | write p50, p99 ms | errors | lost | doubled |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    well = True
    for store in stores:
        for batch in (1, 32):
            with database(store) as (address, _), Server(database=address, batch=batch) as server:
                well &= _line(store, batch, address, server, seconds)
    print(f"load of the machine over the last minute: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    return well


def _line(store: str, batch: int, address: str, server: Server, seconds: float) -> bool:
    tasks, begun = [], {}
    for number in range(TASKS):
        body = {"kind": "drawings", "options": {"head": "ridge", "class_names": False}}
        task = httpx.post(f"{server.url}/v1/tasks", json=body, timeout=60).raise_for_status().json()["id"]
        examples = [{"label": f"sign {n % WAYS}", "image": drawn(100 * number + n)} for n in range(25)]
        path = f"{server.url}/v1/tasks/{task}/examples"
        added = httpx.post(path, json={"examples": examples}, timeout=60).raise_for_status().json()["added"]
        begun[task] = {one["id"] for one in added}
        tasks.append(task)
    end = time.monotonic() + seconds
    clients = [Client(server.url, tasks, number, end) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    engine = opened(address)
    reading, lost, doubled = Reading(engine), 0, 0
    for task in tasks:
        expected = begun[task] | {e for c in clients for t, e in c.added if t == task}
        expected -= {e for c in clients for t, e in c.removed if t == task}
        found = [one.id for one in reading.snapshot("local", task).examples]
        lost, doubled = lost + len(expected - set(found)), doubled + len(found) - len(expected & set(found))
    engine.dispose()
    times = {what: [t for c in clients for t in c.times[what]] for what in ("read", "write")}
    errors: Counter[str] = sum((c.errors for c in clients), Counter())
    rates = {what: len(found) / seconds for what, found in times.items()}
    spread = {
        what: "{:.0f}, {:.0f}".format(*1000 * np.percentile(t or [np.nan], (50, 99))) for what, t in times.items()
    }
    said = [store, batch, f"{rates['read']:.0f}", f"{rates['write']:.1f}", spread["read"], spread["write"]]
    print(f"| {' | '.join(map(str, [*said, dict(errors) or 0, lost, doubled]))} |", flush=True)
    return not errors and not lost and not doubled
