"""What clients may not do: others' tasks, too much, too large, broken, and what they are told of it."""

from __future__ import annotations

import base64
import io
import json
import logging
import struct
import threading
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from serving import drawing, service, task, vectors
from starlette.testclient import TestClient
from typer.testing import CliRunner

from innerloop.cli.app import app as commands
from innerloop.core.task import InputError
from innerloop.serve.batching import Batcher
from innerloop.serve.database import opened
from innerloop.serve.inputs import Reader
from innerloop.serve.keys import Keys
from innerloop.serve.limits import Rate
from innerloop.serve.problems import Problem
from innerloop.serve.settings import Settings

NOBODY = "0" * 32


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    limits = {"body": 200_000, "pixels": 10_000, "all_pixels": 15_000, "items": 10, "examples": 20, "classes": 4}
    with service(tmp_path_factory.mktemp("serve"), **limits, numbers=50, text=100) as made:
        yield made


def refused(answer: Any, status: int, words: str = "") -> None:
    """It is a problem with an id, and says nothing of our insides."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    said = answer.json()
    assert {"type", "title", "status", "detail", "request"} <= said.keys()
    assert (said["status"], said["request"]) == (status, answer.headers["x-request-id"])
    assert words in said["detail"]
    assert not any(word in answer.text for word in ("Traceback", ".py", "sqlalchemy", "site-packages"))


def png(width: int, height: int, data: bytes = b"") -> bytes:
    """A PNG file that says it has so many pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_another_tenants_tasks_do_not_exist(tmp_path: Path) -> None:
    with service(tmp_path) as client:
        keys = Keys(opened(f"sqlite:///{tmp_path}/tasks.db"))
        anna, ben = ({"Authorization": f"Bearer {keys.make(name)}"} for name in ("anna", "ben"))
        made = client.post("/v1/tasks", json={"kind": "vectors"}, headers=anna).json()["id"]
        body = {"examples": vectors()}
        added = client.post(f"/v1/tasks/{made}/examples", json=body, headers=anna).json()["added"][0]["id"]
        asked = {"items": [{"vector": [1.0, 0.0, 0.0]}]}
        routes: list[tuple[str, str, Any]] = [
            ("GET", "", None),
            ("DELETE", "", None),
            ("GET", "/examples", None),
            ("POST", "/examples", body),
            ("GET", f"/examples/{added}/content", None),
            ("PATCH", f"/examples/{added}", {"label": "x"}),
            ("DELETE", f"/examples/{added}", None),
            ("POST", "/predict", asked),
            ("GET", "/insights", None),
            ("GET", "/export?format=bundle", None),
        ]
        for method, path, sent in routes:
            there, nowhere = (
                client.request(method, f"/v1/tasks/{one}{path}", json=sent, headers=ben) for one in (made, NOBODY)
            )
            refused(there, 404)
            assert there.json()["detail"] == nowhere.json()["detail"]
            for malformed in ("x", "Z" * 32, NOBODY + "0", "%00", "\u00e9"):
                none = client.request(method, f"/v1/tasks/{malformed}{path}", json=sent, headers=ben)
                refused(none, 404)
                assert none.json()["detail"] == nowhere.json()["detail"]
        infer = {"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]}
        others = [client.post(f"/v2/models/{one}/infer", json=infer, headers=ben) for one in (made, NOBODY, "x")]
        assert [one.status_code for one in others] == [404] * 3
        assert len({one.json()["error"] for one in others}) == 1
        assert client.get("/v1/tasks", headers=ben).json()["tasks"] == []
        assert client.get(f"/v1/tasks/{made}", headers=anna).json()["examples"] == 12
        # An Idempotency-Key is the tenant's too.
        twice = [
            client.post("/v1/tasks", json={"kind": "text"}, headers={**who, "Idempotency-Key": "k"}).json()["id"]
            for who in (anna, ben)
        ]
        assert twice[0] != twice[1]


def test_keys(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/tasks.db"
    with service(tmp_path) as client:
        run = CliRunner().invoke(commands, ["serve", "keys", "--database", database, "--tenant", "anna"])
        key = run.stdout.strip()
        keys = Keys(opened(database))
        (listed,) = keys.listed()
        assert (listed.tenant, listed.revoked, key.startswith(f"il_{listed.id}_")) == ("anna", False, True)
        assert key.rpartition("_")[2].encode() not in (tmp_path / "tasks.db").read_bytes()
        assert keys.tenant(key) == "anna"
        for wrong in ("", "Basic x", "Bearer", f"Bearer {key}x", f"Bearer il_{listed.id}_x", "Bearer il_\xff_x"):
            answer = client.get("/v1/tasks", headers={"Authorization": wrong.encode("latin-1")} if wrong else {})
            refused(answer, 401)
            assert answer.headers["www-authenticate"] == "Bearer"
        assert client.get("/v1/tasks", headers={"Authorization": f"bearer {key}"}).status_code == 200
        assert client.get("/healthz").status_code == 200
        keys.revoke(listed.id)
        assert keys.tenant(key) is None
        with pytest.raises(InputError, match="no key in use"):
            keys.revoke(listed.id)
        # A revoked key leaves the door shut.
        assert Keys(opened(database)).any()
        refused(TestClient(client.app).get("/v1/tasks"), 401)


def test_it_is_open_to_others_only_with_a_key(tmp_path: Path) -> None:
    words = ["serve", "--database", f"sqlite:///{tmp_path}/tasks.db", "--host", "0.0.0.0"]
    found = CliRunner().invoke(commands, words).exception
    assert isinstance(found, InputError)
    assert "there is no key" in str(found)


def test_pages_of_other_addresses_are_refused(client: TestClient, tmp_path: Path) -> None:
    refused(client.post("/v1/tasks", json={"kind": "text"}, headers={"Origin": "http://evil.example"}), 403)
    own = client.post("/v1/tasks", json={"kind": "text"}, headers={"Origin": "http://testserver"})
    assert own.status_code == 201
    assert "access-control-allow-origin" not in own.headers
    asked = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in client.options("/v1/tasks", headers=asked).headers
    with service(tmp_path, hosts=("localhost",)) as local:
        assert local.get("/healthz", headers={"Host": "evil.example"}).status_code == 400
        assert local.get("/healthz", headers={"Host": "localhost:8080"}).status_code == 200


def test_bodies_are_limited(client: TestClient) -> None:
    made = task(client)
    path = f"/v1/tasks/{made}/examples"
    refused(client.post(path, content=b"x" * 200_001), 413, "200000")

    def parts() -> Iterator[bytes]:
        for _ in range(30):
            yield b" " * 10_000

    refused(client.post(path, content=parts(), headers={"content-type": "application/json"}), 413)
    refused(client.post(path, content=b"x", headers={"content-type": "text/xml"}), 415)
    one = {"label": "a", "vector": [1.0]}
    refused(client.post(path, json={"examples": [one] * 11}), 422, "10 are the limit")
    for _ in range(2):
        assert client.post(path, json={"examples": [one] * 10}).status_code == 201
    refused(client.post(path, json={"examples": [one]}), 422, "20 are the limit")
    wide = task(client)
    many = [{"label": f"c{number}", "vector": [1.0]} for number in range(5)]
    refused(client.post(f"/v1/tasks/{wide}/examples", json={"examples": many}), 422, "4 are the limit")
    assert client.get(f"/v1/tasks/{wide}").json()["version"] == 1


IMAGES = {
    "not base64": "###",
    "nothing": "",
    "no image": base64.b64encode(b"hello").decode(),
    "a bomb": base64.b64encode(png(60_000, 60_000, zlib.compress(b"\0" * 100_000))).decode(),
    "no pixels": base64.b64encode(png(0, 5)).decode(),
    "cut off": base64.b64encode(drawing(0, 0)[:200]).decode(),
    "a header alone": base64.b64encode(b"\x89PNG\r\n\x1a\n").decode(),
    "postscript": base64.b64encode(b"%!PS-Adobe-3.0 EPSF-3.0\n").decode(),
    "nothing drawn": base64.b64encode(png(8, 8, zlib.compress((b"\0" + b"\xff" * 8) * 8))).decode(),
}


@pytest.mark.parametrize("name", IMAGES)
def test_images_that_are_none(client: TestClient, name: str) -> None:
    made = task(client, "drawings")
    sent = {"examples": [{"label": "a", "image": IMAGES[name]}]}
    refused(client.post(f"/v1/tasks/{made}/examples", json=sent), 422)
    assert client.get(f"/v1/tasks/{made}").json()["examples"] == 0


def test_images_are_measured_before_they_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """By their headers, each and all of a request together."""
    monkeypatch.setattr(Image.Image, "load", lambda image: pytest.fail("it was decoded"))
    reader = Reader("drawings", Settings(pixels=10_000, all_pixels=15_000))
    with pytest.raises(InputError, match="very many pixels: 10000 are the limit"):
        reader.read(png(60_000, 60_000), "image")
    with pytest.raises(InputError, match="200x51 pixels: 10000 are the limit"):
        reader.read(png(200, 51), "image")
    reader.read(png(100, 100), "image")
    with pytest.raises(InputError, match="more than 15000 pixels together"):
        reader.read(png(100, 100), "image")


BODIES = [
    b"",
    b"[]",
    b"null",
    b"{",
    b'{"examples": []}',
    b'{"examples": [{"label": "a"}]}',
    b'{"examples": [{"label": "a", "vector": [NaN]}]}',
    b'{"examples": [{"label": "a", "vector": [1e999]}]}',
    b'{"examples": [{"label": "a", "vector": [true]}]}',
    b'{"examples": [{"label": "a", "vector": []}]}',
    b'{"examples": [{"label": "a", "vector": [' + b"9" * 5000 + b"]}]}",
    b'{"examples": [{"label": "", "vector": [1]}]}',
    b'{"examples": [{"label": "\\u0000", "vector": [1]}]}',
    b'{"examples": [{"label": "\\ud800", "vector": [1]}]}',
    b'{"examples": [{"label": 5, "vector": [1]}]}',
    b'{"examples": [{"label": "a", "text": "words"}]}',
    b'{"examples": [{"label": "a", "vector": [1], "more": 1}]}',
    b'{"examples": ' + b"[" * 50_000,
    b"\xff\xfe",
]


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_broken_bodies_are_refused(client: TestClient, body: bytes) -> None:
    made = task(client)
    refused(client.post(f"/v1/tasks/{made}/examples", content=body, headers={"content-type": "application/json"}), 422)


def test_texts_and_cells_that_are_none(client: TestClient) -> None:
    for kind, value in (
        ("text", " "),
        ("text", "a" * 101),
        ("text", "\ud800"),
        ("rows", [1e300]),
        ("rows", {"\ud800": 1}),
        ("rows", ["a" * 101]),
        ("rows", list(range(51))),
    ):
        made = task(client, kind)
        sent = json.dumps({"examples": [{"label": "a", "text" if kind == "text" else "row": value}]})
        refused(client.post(f"/v1/tasks/{made}/examples", content=sent), 422)


def test_inputs_that_do_not_go_together(client: TestClient) -> None:
    made = task(client, examples=[{"label": "a", "vector": [1.0, 2.0]}, {"label": "b", "vector": [1.0]}])
    refused(client.post(f"/v1/tasks/{made}/predict", json={"items": [{"vector": [1.0]}]}), 422, "of one length")
    rows = task(client, "rows", [{"label": "a", "row": [1]}, {"label": "b", "row": {"x": 1}}])
    refused(client.post(f"/v1/tasks/{rows}/predict", json={"items": [{"row": [1]}]}), 422, "give all rows alike")
    good = task(client, examples=vectors(10))
    refused(client.post(f"/v1/tasks/{good}/predict", json={"items": [{"vector": [1.0]}]}), 422, "have 1 numbers")


def test_numbers_of_any_size_are_no_fault(client: TestClient) -> None:
    for label, far in (("all alike", [0.0]), ("far", [1e30]), ("near nothing", [1e-320, 1e30])):
        examples = [{"label": f"c{n % 2}", "vector": [far[n % len(far)], 0.0]} for n in range(6)]
        for head in ("ridge", "nearest-euclidean"):
            made = task(client, examples=examples, options={"head": head})
            for query in ([0.0, 0.0], [1e30, -1e30]):
                asked = {"items": [{"vector": query}], "evidence": True}
                found = client.post(f"/v1/tasks/{made}/predict", json=asked)
                assert found.status_code in (200, 422), (label, head, found.text)
            assert client.get(f"/v1/tasks/{made}/insights").status_code in (200, 422), (label, head)


def packed(**parts: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in parts.items():
            made.writestr(name, content)
    return file.getvalue()


DAMAGED = packed(**{"bundle.json": b"{}"})
#: Where the packed data begin, behind the name.
START = DAMAGED.index(b"bundle.json") + len(b"bundle.json")
FILES = {
    "nothing": b"",
    "no zip": b"PK" + b"x" * 100,
    "empty": packed(),
    "out of its folder": packed(**{"../../evil": b"x", "bundle.json": b"{}"}),
    "no bundle": packed(**{"bundle.json": b"{}"}),
    "a bomb": packed(**{"bundle.json": b"0" * 20_000_000}),
    "damaged": DAMAGED[:START] + b"\xff" + DAMAGED[START + 1 :],
    "no task": packed(**{"task.json": b"[]"}),
    "another kind": packed(**{"task.json": b'{"name": "a", "kind": "os:system", "options": {}, "examples": []}'}),
    "no content": packed(
        **{
            "task.json": json.dumps(
                {
                    "name": "a",
                    "kind": "text",
                    "options": {},
                    "examples": [{"label": "a", "content": "../../../etc/passwd"}],
                }
            ).encode()
        }
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_files_that_are_no_tasks(client: TestClient, name: str) -> None:
    before = len(client.get("/v1/tasks", params={"limit": 1000}).json()["tasks"])
    refused(client.post("/v1/tasks/import", content=FILES[name], headers={"content-type": "application/zip"}), 422)
    assert len(client.get("/v1/tasks", params={"limit": 1000}).json()["tasks"]) == before


def test_a_rate_is_kept(tmp_path: Path) -> None:
    rate = Rate(10.0)
    assert [rate.wait("a", now=0.0) for _ in range(20)] == [0.0] * 20
    assert rate.wait("a", now=0.0) == pytest.approx(0.1)
    assert rate.wait("b", now=0.0) == 0.0
    assert [rate.wait("a", now=0.2) > 0 for _ in range(3)] == [False, False, True]
    with service(tmp_path, rate=0.5) as client:
        assert client.get("/v1/tasks").status_code == 200
        late = client.get("/v1/tasks")
        refused(late, 429)
        assert int(late.headers["retry-after"]) >= 1


def test_late_is_503(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with service(tmp_path, deadline=0.5) as client:
        go = threading.Event()
        store = client.app.state.replica.store  # type: ignore[attr-defined]
        monkeypatch.setattr(store, "tasks", lambda *given: go.wait(30))
        late = client.get("/v1/tasks")
        go.set()
        refused(late, 503, "more than 0.5 s")
        assert late.headers["retry-after"]


def test_busy_and_without_its_database_are_503(tmp_path: Path) -> None:
    with service(tmp_path, slow=1) as client:
        replica = client.app.state.replica  # type: ignore[attr-defined]
        with replica.patience():
            refused(client.get(f"/v1/tasks/{NOBODY}/insights"), 503, "others are being made")
        replica.store.engine.dispose()
        for file in tmp_path.glob("tasks.db*"):
            file.unlink()
        (tmp_path / "tasks.db").mkdir()
        for path in ("/readyz", "/v1/tasks"):
            gone = client.get(path)
            refused(gone, 503, "database")
            assert gone.headers["retry-after"]
    with service(tmp_path / "full", in_flight=0) as client:
        assert client.get("/healthz").status_code == 200
        refused(client.get("/readyz"), 503, "too much to do")


def test_a_fault_of_ours_says_nothing(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*given: Any) -> None:
        raise RuntimeError("secret of anna")

    monkeypatch.setattr(client.app.state.replica.store, "tasks", broken)  # type: ignore[attr-defined]
    answer = client.get("/v1/tasks", headers={"X-Request-ID": "mine-7"})
    refused(answer, 500, "mine-7")
    assert "secret" not in answer.text


def test_logs_have_no_data(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="innerloop.serve"):
        made = task(client, examples=[{"label": "zebra", "vector": [0.123456]}])
        client.get(f"/v1/tasks/{made}", headers={"X-Request-ID": "bad id\r\n"})
    lines = [json.loads(record.getMessage()) for record in caplog.records]
    assert [line["status"] for line in lines] == [201, 201, 200]
    assert lines[1]["route"] == "/v1/tasks/{task}/examples"
    assert all(line["request"] and line["ms"] >= 0 for line in lines)
    assert not any(word in caplog.text for word in ("zebra", "0.123456", "bad id"))


def test_one_bad_input_does_not_spoil_the_batch() -> None:
    """Two requests that were encoded together: one is refused, the other has its features."""
    from innerloop.encoders.letters import Letters

    encoder, started, go = Letters(), threading.Event(), threading.Event()
    sizes: list[int] = []

    def seen(count: int) -> None:
        sizes.append(count)
        started.set()
        go.wait(30)

    batcher = Batcher(encoder, 8, 30.0, seen)
    good, blank = (Image.open(io.BytesIO(one)) for one in (drawing(0, 1), png(8, 8, zlib.compress(b"\0" * 72))))
    found: dict[str, Any] = {}

    def ask(name: str, items: list[Any]) -> None:
        try:
            found[name] = batcher.encode(items)
        except (InputError, Problem) as error:
            found[name] = error

    first = threading.Thread(target=ask, args=("first", [good]))
    first.start()
    assert started.wait(30)
    others = [threading.Thread(target=ask, args=one) for one in (("good", [good]), ("bad", [blank]))]
    for one in others:
        one.start()
    while len(batcher.line.waiting) < 2:
        pass
    go.set()
    for one in (first, *others):
        one.join()
    batcher.close()
    assert sizes == [1, 2, 1, 1]
    assert isinstance(found["bad"], InputError)
    assert (found["good"] == found["first"]).all()
    with pytest.raises(Problem):
        batcher.encode([good])
