"""How long the service takes: to learn a task of 5 classes with 5 drawings each and to answer for one more.

    python benchmarks/serve.py latency --rounds 200

    python benchmarks/serve.py throughput --kind text

Latency: each round gives an example another label and asks the task about a drawing that was never seen, so that the
task is learned anew. In process it is the replica's own function; over HTTP a server of its own process, asked by a
client that keeps its connection. Features of the 25 examples lie in the database, as they do in service.

Throughput: 32 clients in threads ask one task about inputs that were never seen, encoded one by one and together;
and how far the features of an input then differ.
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch
from PIL import Image
from serve_processes import free_port
from sklearn.datasets import load_digits

from innerloop.encoders.base import Each
from innerloop.encoders.find import class_of
from innerloop.serve.inputs import decoded
from innerloop.serve.kinds import KINDS
from innerloop.serve.replica import Replica
from innerloop.serve.settings import Settings

WAYS, SHOTS, SIDE = 5, 5, 105
#: Rounds before the clock runs.
WARM = 5
#: That ask at the same time.
CLIENTS = 32
LIMITS = {"in process": 15.0, "over HTTP": 30.0}


def drawings() -> Iterator[tuple[str, bytes]]:
    """Digits 0 to 4 as PNG files, all classes in turn."""
    images, labels = load_digits(return_X_y=True)
    places = [np.flatnonzero(labels == label) for label in range(WAYS)]
    for row in zip(*places, strict=False):
        for place in row:
            image = Image.fromarray((255 - images[place].reshape(8, 8) * 15.9).astype(np.uint8))
            file = io.BytesIO()
            image.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(file, "PNG")
            yield f"digit {labels[place]}", file.getvalue()


def timed(
    rounds: int, relabel: Callable[[Any], Any], predict: Callable[[Any], Any], queries: Iterator[tuple[str, bytes]]
) -> dict[str, list[tuple[float, float]]]:
    """Milliseconds of a change, of an answer that has to learn first, and of one that has not.

    Of the clock, and of this process's processor time.
    """
    found: dict[str, list[tuple[float, float]]] = {"change": [], "adapt + predict": [], "predict": []}
    for number in range(rounds + WARM):
        label = f"odd {number}" if number % 2 else "digit 0"
        steps = [("change", relabel, label)]
        steps += [(name, predict, next(queries)[1]) for name in ("adapt + predict", "predict")]
        for name, act, given in steps:
            begun, used = time.perf_counter(), time.process_time()
            act(given)
            if number >= WARM:
                found[name].append((1000 * (time.perf_counter() - begun), 1000 * (time.process_time() - used)))
    return found


def said(where: str, found: dict[str, list[tuple[float, float]]]) -> None:
    for name, times in found.items():
        (p50, own), (p99, _) = np.percentile(times, (50, 99), axis=0)
        limit = f", limit {LIMITS[where]:g}" if name == "adapt + predict" else ""
        processor = f", processor p50 {own:.1f} ms" if where == "in process" else ""
        print(f"{where:10}  {name:16} p50 {p50:5.1f} ms  p99 {p99:5.1f} ms  {p99 / p50:.1f} x{limit}{processor}")


def in_process(folder: Path, rounds: int, head: str) -> None:
    replica = Replica(Settings(database=f"sqlite:///{folder}/in.db"))
    queries = drawings()
    reader = replica.reader("drawings")
    made = replica.store.create("local", "digits", "drawings", replica.options("drawings", head, False))
    task = made.answer["id"]
    examples = [next(queries) for _ in range(WAYS * SHOTS)]
    inputs = [reader.read(content, "image") for _, content in examples]
    added = replica.store.add("local", task, replica.news("drawings", inputs, [label for label, _ in examples]))
    first = added.answer["added"][0]["id"]

    def predict(content: bytes) -> Any:
        query = [replica.reader("drawings").read(content, "image")]
        return replica.predict("local", task, query, coverage=None, evidence=False)

    said(
        "in process", timed(rounds, lambda label: replica.store.relabel("local", task, first, label), predict, queries)
    )
    replica.close()


def over_http(folder: Path, rounds: int, head: str) -> None:
    port = free_port()
    command = [sys.executable, "-m", "innerloop", "serve", "--database", f"sqlite:///{folder}/http.db"]
    command += ["--port", str(port), "--rate", "10000"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=os.environ) as server:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            while True:
                try:
                    client.get("/readyz").raise_for_status()
                    break
                except httpx.TransportError:
                    time.sleep(0.1)
            queries = drawings()
            made = client.post("/v1/tasks", json={"kind": "drawings", "options": {"head": head}})
            task = made.raise_for_status().json()["id"]
            examples = [
                {"label": label, "image": base64.b64encode(content).decode()}
                for label, content in (next(queries) for _ in range(WAYS * SHOTS))
            ]
            added = client.post(f"/v1/tasks/{task}/examples", json={"examples": examples}).raise_for_status().json()
            example = f"/v1/tasks/{task}/examples/{added['added'][0]['id']}"

            def predict(content: bytes) -> Any:
                body = {"items": [{"image": base64.b64encode(content).decode()}]}
                return client.post(f"/v1/tasks/{task}/predict", json=body).raise_for_status()

            def relabel(label: str) -> Any:
                return client.patch(example, json={"label": label}).raise_for_status()

            said("over HTTP", timed(rounds, relabel, predict, queries))
        server.terminate()


def asked_of(kind: str, count: int) -> list[tuple[str, bytes]]:
    """Labelled inputs, none of them twice."""
    if kind == "drawings":
        drawn = drawings()
        return [next(drawn) for _ in range(count)]
    words = ("my card was lost", "send money to Anna", "what is my balance", "close the account", "change my address")
    return [(words[n % 5], f"{words[n % 5]}, please, it is number {n}".encode()) for n in range(count)]


def throughput(folder: Path, kind: str, queries: int) -> None:
    given = asked_of(kind, 25 + 2 * queries)
    seconds = {}
    for batch in (1, 32):
        replica = Replica(Settings(database=f"sqlite:///{folder}/{batch}.db", batch=batch, deadline=600))
        task = replica.store.create("local", kind, kind, replica.options(kind, "ridge", False)).answer["id"]
        reader = replica.reader(kind)
        inputs = [reader.read(reader.parsed(content), "input") for _, content in given]
        new = replica.news(kind, inputs[:25], [label for label, _ in given[:25]])
        replica.store.add("local", task, new)
        # Of each input the features are kept: every way has inputs of its own.
        own = inputs[25 : 25 + queries] if batch == 1 else inputs[25 + queries :]

        def ask(one: Any, replica: Replica = replica, task: str = task) -> None:
            replica.predict("local", task, [one], coverage=None, evidence=False)

        ask(inputs[0])
        with ThreadPoolExecutor(CLIENTS) as pool:
            begun = time.perf_counter()
            list(pool.map(ask, own))
            seconds[batch] = time.perf_counter() - begun
        print(f"{kind}, batch {batch:2}: {queries / seconds[batch]:6.1f} answers a second")
        replica.close()
    print(f"together {seconds[1] / seconds[32]:.2f} times as many; wanted 3")
    most = moved(kind, [content for _, content in given])
    print(f"features of one by one and 32 together differ by {most:.0e} at most")


def moved(kind: str, contents: list[bytes]) -> float:
    """By how much a feature differs at most, where its input is encoded alone and with 31 others."""
    encoder = class_of(KINDS[kind].encoder)()
    assert isinstance(encoder, Each)
    # Not by transform, which keeps what it has made.
    items = encoder._items([decoded(kind, one, "input", Settings.pixels) for one in contents[: 4 * CLIENTS]])
    alone = np.stack([encoder._rows([one])[0] for one in items])
    parts = [encoder._rows(items[start : start + CLIENTS]) for start in range(0, len(items), CLIENTS)]
    return float(np.abs(alone - np.concatenate(parts)).max())


def real(asked: argparse.Namespace, stores: list[str]) -> bool:
    """What needs servers of their own; whether all went well."""
    if asked.what == "load":
        from serve_load import load

        return load(stores, asked.seconds)
    if asked.what == "hostile":
        from serve_hostile import hostile

        return min([hostile(store, asked.requests, asked.seed) for store in stores])
    if asked.what == "size":
        from serve_size import size

        size(stores)
        return True
    from serve_kill import kill, replicas

    return kill(stores, asked.kills, asked.seed) if asked.what == "kill" else replicas(asked.kills, asked.seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["latency", "throughput", "load", "kill", "replicas", "hostile", "size"])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--head", default="ridge")
    parser.add_argument("--kind", choices=["text", "drawings"], default="text")
    parser.add_argument("--queries", type=int, default=400)
    parser.add_argument("--store", choices=["sqlite", "postgres", "both"], default="both")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    stores = ["sqlite", "postgres"] if asked.store == "both" else [asked.store]
    if asked.what not in ("latency", "throughput"):
        sys.exit(not real(asked, stores))
    with tempfile.TemporaryDirectory() as place:
        if asked.what == "throughput":
            throughput(Path(place), asked.kind, asked.queries)
            return
        print(f"{WAYS} classes of {SHOTS} drawings, letters, head {asked.head}, {asked.rounds} rounds, one thread")
        in_process(Path(place), asked.rounds, asked.head)
        over_http(Path(place), asked.rounds, asked.head)


if __name__ == "__main__":
    main()
