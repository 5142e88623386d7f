"""Two replicas on Ray Serve against a database: run by ``test_serve_ray.py`` in a process of its own.

    python tests/ray_replicas.py DATABASE ALONE

ALONE is a database for a replica without Ray. It prints what was seen as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import httpx
import ray
from ray import serve
from serving import free_port, running, vectors

import innerloop as il
from innerloop.serve.ray import application

#: Of this run alone, whatever other Ray there is on the machine.
APPLICATION = f"run{os.getpid()}"
NAME = f"ray::ServeReplica:{APPLICATION}:".encode()
QUERIES = [[1.0, 2.0, 3.0], [4.0, 0.5, 0.0], [0.0, 0.0, 0.1]]


def replicas() -> list[int]:
    """Process ids of the replicas that this process's Ray started, by what Ray calls them."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes()
        except OSError:
            continue
        if words.startswith(NAME):
            found.append(int(place.name))
    return sorted(found)


def main(database: str, alone: str) -> dict[str, Any]:
    """What was seen."""
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    port = free_port()
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(application({"replicas": 2, "database": database, "rate": 1e6}), name=APPLICATION)
    url = f"http://127.0.0.1:{port}"
    X, y = [one["vector"] for one in vectors()], [one["label"] for one in vectors()]
    with il.Client(url) as client:
        client.fit(X, y)
        answers = [client.predict_proba(QUERIES).tolist() for _ in range(12)]
        # Without the header a request comes to any replica.
        body = {"items": [{"vector": one} for one in QUERIES]}
        path = f"{url}/v1/tasks/{client.task_}/predict"
        plain = [httpx.post(path, json=body, timeout=60).json()["items"] for _ in range(12)]
        with running(alone) as server, il.Client(server.url) as other:
            expected = other.fit(X, y).predict_proba(QUERIES).tolist()
        before = replicas()
        told: list[str] = []
        done = threading.Event()

        def write() -> None:
            number = 0
            with il.Client(url, task=client.task_, tries=60) as own:
                while not done.is_set():
                    told.extend(own.add([[float(number), 5.0, 5.0]], ["c0"]))
                    number += 1

        writer = threading.Thread(target=write)
        writer.start()
        while len(told) < 5:
            done.wait(0.01)
        os.kill(before[0], signal.SIGKILL)
        count = len(told)
        while len(told) < count + 20 and writer.is_alive():
            done.wait(0.01)
        done.set()
        writer.join()
        kept = {one["id"] for one in client.examples()}
        after = client.predict_proba(QUERIES).tolist()
    serve.shutdown()
    ray.shutdown()
    return {
        "replicas": len(before),
        "same": all(one == expected for one in answers),
        "plain": all([list(item["probabilities"].values()) for item in items] == expected for items in plain),
        "told": len(told),
        "lost": len(set(told) - kept),
        "examples": len(kept) - len(vectors()),
        "answers": len(after),
    }


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
