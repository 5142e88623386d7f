"""What a service of so many tasks needs: time of the encoders, memory of learned tasks, room on the disk, writes."""

from __future__ import annotations

import base64
import io
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image
from serve_load import drawn
from serve_processes import Server, database

from innerloop.core.task import InputError
from innerloop.encoders.find import class_of

ITEMS, STATES, EXAMPLES, WRITES = 64, 100, 25, 200


def size(stores: Sequence[str]) -> None:
    """Print the tables."""
    print("| encoder | items at a time | ms of processor an item |", "|---|---:|---:|", sep="\n")
    for name, items in _items().items():
        try:
            encoder = class_of(name)()
            encoder.transform(items[:2])
        except (InputError, ModuleNotFoundError) as error:
            print(f"| {name} | not measured: {error} | |")
            continue
        for together in (1, 32):
            fresh = items[2:34] if together == 1 else items[34:]
            begun = time.process_time()
            for start in range(0, len(fresh), together):
                encoder.transform(fresh[start : start + together])
            print(f"| {name} | {together} | {1000 * (time.process_time() - begun) / len(fresh):.1f} |", flush=True)
    print()
    print(
        "| store | MB at start | KB a learned task (25 drawings) | bytes on disk an example | writes/s, 1 client | 8 |"
    )
    print("|---|---:|---:|---:|---:|---:|")
    for store in stores:
        with database(store) as (address, _), Server(database=address, states=4 * STATES) as server:
            _line(store, address, server)
    print(f"load of the machine over the last minute: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def _line(store: str, address: str, server: Server) -> None:
    images = [{"label": f"sign {n % 5}", "image": drawn(n)} for n in range(EXAMPLES)]
    query = {"items": [{"image": drawn(10**6)}]}

    def learned(count: int) -> None:
        for number in range(count):
            body = {"kind": "drawings", "options": {"head": "ridge", "class_names": False}}
            task = http.post("/v1/tasks", json=body).raise_for_status().json()["id"]
            # The first label makes a task of its own of it.
            own = [{**images[0], "label": f"task {number}"}, *images[1:]]
            http.post(f"/v1/tasks/{task}/examples", json={"examples": own}).raise_for_status()
            http.post(f"/v1/tasks/{task}/predict", json=query).raise_for_status()

    with httpx.Client(base_url=server.url, timeout=120) as http:
        start = server.resident
        learned(STATES)
        warm = server.resident
        disk = _disk(address)
        learned(STATES)
        room, each = (_disk(address) - disk) / (STATES * EXAMPLES), 1024 * (server.resident - warm) / STATES
        rates = []
        for clients in (1, 8):
            tasks = [
                http.post("/v1/tasks", json={"kind": "vectors"}).raise_for_status().json()["id"] for _ in range(clients)
            ]

            def write(number: int, tasks: list[str] = tasks) -> None:
                one = {"label": f"c{number % 2}", "vector": [number, 1, 2]}
                path = f"/v1/tasks/{tasks[number % len(tasks)]}/examples"
                http.post(path, json={"examples": [one]}).raise_for_status()

            begun = time.perf_counter()
            with ThreadPoolExecutor(clients) as pool:
                list(pool.map(write, range(WRITES)))
            rates.append(WRITES / (time.perf_counter() - begun))
    print(f"| {store} | {start:.0f} | {each:.0f} | {room:.0f} | {rates[0]:.0f} | {rates[1]:.0f} |", flush=True)


def _disk(address: str) -> float:
    """Bytes of the database's tables."""
    if address.startswith("sqlite"):
        path = Path(address.removeprefix("sqlite:///"))
        return float(sum(one.stat().st_size for one in path.parent.glob("tasks.db*")))
    from innerloop.serve.database import opened

    engine = opened(address)
    with engine.connect() as connection:
        found = connection.exec_driver_sql("SELECT pg_total_relation_size('examples')").scalar()
    engine.dispose()
    return float(found)


def _items() -> dict[str, list[Any]]:
    random = np.random.default_rng(0)
    drawings = [np.asarray(Image.open(io.BytesIO(base64.b64decode(drawn(n))))) for n in range(ITEMS + 2)]
    photographs = [random.integers(0, 256, (240, 320, 3), dtype=np.uint8) for _ in range(ITEMS + 2)]
    sentences = [f"please send {n} dollars from my account to Anna, and tell her of it" for n in range(ITEMS + 2)]
    return {"letters": drawings, "photographs": photographs, "sentences": sentences}
