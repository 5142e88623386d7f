"""Requests that mean harm: drawn from the service's own description, and a list of known tricks; to a real server.

Well: no answer is a fault of the server (a 5xx other than 503 with ``Retry-After``), the server lives, and its memory
is back within ``BOUND`` of what it was after a first pass of the same kinds of requests, which fills what it keeps.
"""

from __future__ import annotations

import base64
import io
import json
import random
import socket
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import httpx
from hypothesis import HealthCheck, Phase, given, seed, settings
from serve_processes import Server, database

#: MB of resident memory more than before, at most.
BOUND = 64.0
_LIMITS = {"body": 2 * 2**20, "pixels": 10**6, "all_pixels": 2 * 10**6, "in_flight": 64, "deadline": 10.0}


def hostile(store: str, requests: int, start: int) -> bool:
    """Send them, and print what came back."""
    with database(store) as (address, _), Server(database=address, **_LIMITS) as server:
        tasks = _tasks(server.url)
        tally = _Tally()
        _round(server, tasks, 200, start + 1, tally)
        before, tally = server.resident, _Tally()
        _round(server, tasks, requests, start, tally)
        after = server.resident
        alive = httpx.get(f"{server.url}/readyz", timeout=60).status_code == 200
        asked = {"items": [{"vector": [1.0, 0.0]}]}
        answers = httpx.post(f"{server.url}/v1/tasks/{tasks[0]}/predict", json=asked, timeout=60).status_code == 200
    print(f"{tally.drawn} requests drawn from the schema, {tally.listed} of the list, on {store}")
    print("| " + " | ".join(["answer", *map(str, sorted(tally.codes))]) + " |")
    print("|---|" + "---:|" * len(tally.codes))
    print("| requests | " + " | ".join(str(tally.codes[code]) for code in sorted(tally.codes)) + " |")
    print(f"memory {before:.0f} MB before, {after:.0f} MB after; bound {BOUND:g} MB more")
    print(f"faults {len(tally.faults)}; ready afterwards: {alive}; answers afterwards: {answers}")
    for words in tally.faults[:5]:
        print(f"fault: {words}")
    return not tally.faults and alive and answers and after - before <= BOUND


class _Tally:
    """What was answered."""

    def __init__(self) -> None:
        self.codes: Counter[str] = Counter()
        self.faults: list[str] = []
        self.drawn = self.listed = 0

    def add(self, status: int, headers: Any, what: str) -> None:
        self.codes[str(status)] += 1
        if status >= 500 and not (status == 503 and "retry-after" in headers):
            self.faults.append(f"{status} to {what[:200]}")


def _tasks(url: str) -> list[str]:
    kinds = ("vectors", "rows", "text", "drawings")
    answers = [httpx.post(f"{url}/v1/tasks", json={"kind": kind}, timeout=60) for kind in kinds]
    made = [one.raise_for_status().json()["id"] for one in answers]
    examples = [{"label": f"c{n % 2}", "vector": [n % 2 + n / 9, n / 7]} for n in range(8)]
    path = f"{url}/v1/tasks/{made[0]}/examples"
    httpx.post(path, json={"examples": examples}, timeout=60).raise_for_status()
    return made


def _round(server: Server, tasks: list[str], requests: int, start: int, tally: _Tally) -> None:
    drawn = requests * 3 // 4
    _from_schema(server.url, tasks, drawn, start, tally)
    tricks, moments = list(_tricks()), random.Random(start)
    with httpx.Client(base_url=server.url, timeout=60) as http:
        while tally.drawn + tally.listed < requests:
            name, send = tricks[tally.listed % len(tricks)]
            tally.listed += 1
            try:
                answer = send(http, moments.choice(tasks))
            except httpx.TransportError as error:
                # The server may hang up on what is no HTTP.
                tally.codes[type(error).__name__] += 1
                continue
            if isinstance(answer, httpx.Response):
                tally.add(answer.status_code, answer.headers, name)
            else:
                tally.codes[answer] += 1


def _from_schema(url: str, tasks: list[str], count: int, start: int, tally: _Tally) -> None:
    import schemathesis

    schemathesis.serializer.alias("application/zip", "application/octet-stream")
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    moments = random.Random(start)
    for place, operation in enumerate(operations):
        each = count // len(operations) + (place < count % len(operations))

        @seed(start)
        @settings(
            max_examples=max(1, each),
            phases=[Phase.generate],
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def ask(case: Any) -> None:
            known = {name: moments.choice(tasks) for name in ("task", "model") if name in case.path_parameters}
            if case.method == "DELETE":
                # The tasks stay for the others.
                known = dict.fromkeys(known, "0" * 32)
            case.path_parameters.update(known)
            if case.query.get("format") == "onnx":
                case.query["format"] = "bundle"
            tally.drawn += 1
            try:
                answer = case.call(timeout=60)
            except OSError as error:
                tally.codes[type(error).__name__] += 1
                return
            tally.add(answer.status_code, answer.headers, f"{case.method} {case.path}")

        ask()


Trick = Callable[[httpx.Client, str], httpx.Response | str]


def _tricks() -> Iterator[tuple[str, Trick]]:
    """Each by a name: what is sent to a task."""
    for name, body in _bodies().items():
        for path in ("examples", "predict"):
            yield (
                f"{name} to {path}",
                lambda http, task, body=body, path=path: http.post(
                    f"/v1/tasks/{task}/{path}", content=body, headers={"content-type": "application/json"}
                ),
            )
    for name, file in _files().items():
        yield f"file: {name}", lambda http, task, file=file: http.post("/v1/tasks/import", content=file)
        yield (
            f"form: {name}",
            lambda http, task, file=file: http.post(
                f"/v1/tasks/{task}/examples", files=[("file", file)] * 3, data={"label": "a"}
            ),
        )
    for name in ("../../etc/passwd", "%2e%2e%2f", "%00", "a" * 4000, "é", "' OR 1=1 --", "{task}", "%ff%fe"):
        yield f"path {name[:20]}", lambda http, task, name=name: http.get(f"/v1/tasks/{name}")
    for name, headers in _headers().items():
        yield f"header {name}", lambda http, task, headers=headers: http.get("/v1/tasks", headers=headers)
    for name, raw in _raw().items():
        yield f"raw {name}", lambda http, task, raw=raw: _hung_up(http, raw)


def _bodies() -> dict[str, bytes]:
    def sent(value: str) -> bytes:
        return f'{{"examples": [{{"label": "a", {value}}}], "items": [{{{value}}}]}}'.encode()

    def items(value: str) -> bytes:
        return f'{{"items": [{{{value}}}]}}'.encode()

    bomb = base64.b64encode(_png(60_000, 60_000, zlib.compress(b"\0" * 10**6))).decode()
    wide = base64.b64encode(_png(1000, 1000, zlib.compress(b"\xff" * 1001 * 1000))).decode()
    return {
        "nothing": b"",
        "deep lists": b"[" * 10**6,
        "deep objects": b'{"a":' * 10**5,
        "a long number": sent('"vector": [' + "9" * 10**5 + "]"),
        "far numbers": items('"vector": [1e308, -1e308]'),
        "no number": items('"vector": [NaN, Infinity]'),
        "many numbers": items('"vector": [' + ",".join("1" * 10**5) + "]"),
        "many items": b'{"items": [' + b",".join([b'{"vector": [1, 2]}'] * 20_000) + b"]}",
        "the same key often": b'{"items": [' + b'{"text": "a"}' + b'], "items": 1' * 1000 + b"}",
        "half a character": items('"text": "\\ud800"'),
        "a NUL": items('"text": "a\\u0000b"'),
        "a long text": items('"text": "' + "a" * 10**6 + '"'),
        "a long column": items('"row": {"' + "c" * 10**5 + '": 1}'),
        "many columns": items('"row": {' + ",".join(f'"{n}": 1' for n in range(20_000)) + "}"),
        "a bomb": items(f'"image": "{bomb}"'),
        "nothing drawn": items(f'"image": "{wide}"'),
        "cut off": items(f'"image": "{wide[:400]}"'),
        "a page": items('"image": "data:text/html;base64,PHNjcmlwdD4="'),
        "too large": b" " * (_LIMITS["body"] + 1),  # type: ignore[operator]
        "other bytes": bytes(range(256)) * 100,
    }


def _files() -> dict[str, bytes]:
    def packed(**parts: bytes) -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
            for name, content in parts.items():
                made.writestr(name, content)
        return file.getvalue()

    task = {"name": "a", "kind": "text", "options": {}, "examples": [{"label": "a", "content": "../../etc/passwd"}]}
    return {
        "no zip": b"PK" + b"x" * 1000,
        "a bomb": packed(**{"bundle.json": b"0" * 10**8}),
        "out of its folder": packed(**{"../../evil": b"x", "bundle.json": b"{}"}),
        "a path": packed(**{"task.json": json.dumps(task).encode()}),
        "deep": packed(**{"task.json": b"[" * 10**6}),
        "a picture that is none": _png(10, 10, b"no data"),
    }


def _headers() -> dict[str, dict[str, str]]:
    return {
        "a long one": {"X-Request-ID": "a" * 30_000},
        "a key": {"Authorization": "Bearer " + "il_0_" + "a" * 5000},
        "a page of elsewhere": {"Origin": "http://evil.example"},
        "no length": {"Content-Length": "-1"},
        "a version": {"If-Match": "9" * 400},
        "many": {f"X-{n}": "1" for n in range(90)},
    }


def _raw() -> dict[str, bytes]:
    head = b"POST /v1/tasks HTTP/1.1\r\nHost: here\r\n"
    return {
        "no HTTP": b"\x16\x03\x01" + b"\0" * 500,
        "two lengths": head + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        "length and parts": head
        + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        "a body that ends": head + b"Content-Type: application/json\r\nContent-Length: 500\r\n\r\n{",
        "a head that ends": b"GET /v1/tasks HTTP/1.1\r\nHost: he",
        "a line without end": b"GET /" + b"a" * 200_000,
    }


def _hung_up(http: httpx.Client, raw: bytes) -> str:
    """Send bytes, read what comes at once, and leave."""
    with socket.create_connection((http.base_url.host, http.base_url.port or 80), timeout=0.5) as line:
        try:
            line.sendall(raw)
            said = line.recv(4096)
        except OSError:
            said = b""
    return said.split(b" ")[1].decode() if said.startswith(b"HTTP/1.1 ") else "hung up"


def _png(width: int, height: int, data: bytes) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
