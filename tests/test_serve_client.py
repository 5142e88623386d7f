"""The client: the estimator's answers over HTTP, and writes that are done once however often they are sent."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from serving import drawing, running, service, vectors
from starlette.testclient import TestClient

import innerloop as il
from innerloop.core.plain import json_of
from innerloop.serve.calls import Refused, Unavailable
from innerloop.serve.sending import kind_of

URL = "http://testserver"
Fault = Callable[[httpx.Request, int], Any]


class Wire(httpx.BaseTransport):
    """Brings requests to an application in this process, and loses or delays what ``fault`` says.

    Args:
        app: a client of the application.
        fault: from a request and its number to ``"before"`` or ``"after"``: an answer that is lost, with the request
            or alone; or to an answer that another one gives.
    """

    def __init__(self, app: TestClient, fault: Fault = lambda request, number: None) -> None:
        self.app, self.fault, self.sent = app, fault, []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        fault = self.fault(request, len(self.sent))
        if isinstance(fault, httpx.Response):
            return fault
        if fault == "before":
            raise httpx.ConnectError("no way there", request=request)
        found = self.app.request(
            request.method, str(request.url), content=request.read(), headers=dict(request.headers)
        )
        if fault == "after":
            raise httpx.ReadError("no way back", request=request)
        return httpx.Response(found.status_code, headers=dict(found.headers), content=found.content)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with service(tmp_path_factory.mktemp("serve"), items=5, rate=1e6) as made:
        yield made


def client_of(app: TestClient, **given: Any) -> il.Client:
    return il.Client(URL, transport=Wire(app), **given)


def table(count: int = 12) -> tuple[np.ndarray, np.ndarray]:
    examples = vectors(count)
    return np.array([one["vector"] for one in examples]), np.array([int(one["label"][1:]) for one in examples])


def assert_same(client: Any, X: np.ndarray, y: np.ndarray, queries: np.ndarray) -> None:
    """Its answers are those of the estimator that learned the same examples in the same order, to the bit."""
    turn = order(client, X)
    few = il.FewShotClassifier("features").fit(X[turn], y[turn])
    # The service of these tests takes five inputs a request.
    parts = [few.predict_proba(queries[start : start + 5]) for start in range(0, len(queries), 5)]
    np.testing.assert_array_equal(client.predict_proba(queries), np.vstack(parts))
    np.testing.assert_array_equal(client.predict(queries), few.predict(queries))
    np.testing.assert_array_equal(client.unknown_score(queries), few.unknown_score(queries))
    for found, expected in zip(client.predict_set(queries, 0.8), few.predict_set(queries, 0.8), strict=True):
        np.testing.assert_array_equal(found, expected)


def order(client: Any, X: np.ndarray) -> list[int]:
    """The places in X of the task's examples, by what the service has of each."""
    known = {hashlib.sha256(json_of(row.tolist()).encode()).hexdigest(): place for place, row in enumerate(X)}
    return [known[one["digest"]] for one in client.examples()]


def test_it_answers_as_the_estimator(app: TestClient) -> None:
    """In parts of five inputs, which is the service's limit here; labels come back as the numbers that they were."""
    X, y = table()
    queries = np.vstack([X[:4] + 0.25, [[9.0, 9.0, 9.0]], [[0.0, 0.0, 1.0]]])
    with client_of(app) as client:
        assert client.fit(X, y) is client
        assert_same(client, X, y, queries)
        assert client.classes_.tolist() == [0, 1, 2]
        assert (client.kind_, len(set(client.ids_)), client.version_) == ("vectors", 12, 4)
        rejected = client.predict(queries, "reject")
        assert rejected.dtype == object
        assert [one is None for one in rejected] == [not inside for inside in client_known(client, queries)]
        reasons = client.explain(queries[:1])[0]
        assert {one.example for one in reasons} <= set(client.ids_)
        assert [abs(one.probability) for one in reasons] == sorted(abs(one.probability) for one in reasons)[::-1]
        client.delete()
        with pytest.raises(il.InputError, match="there is no task yet"):
            client.predict(queries)


def client_known(client: Any, queries: np.ndarray) -> list[bool]:
    """Which queries the estimator knows at the same error."""
    X, y = table()
    few = il.FewShotClassifier("features").fit(X[turn := order(client, X)], y[turn])
    return [one is not None for one in few.predict(queries, "reject", 0.1)]


def test_changes(app: TestClient) -> None:
    X, y = table()
    with client_of(app) as client:
        client.fit(X[:8], y[:8])
        new = client.add(X[8:], y[8:])
        assert_same(client, X, y, X)
        client.relabel(new[0], 7)
        assert client.classes_.tolist() == [0, 1, 2, 7]
        assert client.predict_proba(X).shape == (12, 4)
        client.remove(new[0])
        assert client.classes_.tolist() == [0, 1, 2]
        keep = np.arange(12) != 8
        assert_same(client, X[keep], y[keep], X)
        # Another client opens the task by its id; it knows the labels as words.
        with client_of(app, task=client.task_) as other:
            assert (other.version_, other.classes_.tolist()) == (client.version_, ["0", "1", "2"])
            assert other.predict(X[:2]).tolist() == [str(one) for one in client.predict(X[:2])]


@pytest.mark.parametrize("fault", ["before", "after"])
def test_a_lost_answer_changes_nothing(app: TestClient, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every first try is lost: on its way there, or on its way back, when the write was done already."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    X, y = table()
    lost: set[tuple[str, str, bytes]] = set()

    def once(request: httpx.Request, number: int) -> str | None:
        same = (request.method, str(request.url), request.read())
        if same in lost:
            return None
        lost.add(same)
        return fault

    wire = Wire(app, once)
    with il.Client(URL, transport=wire) as client:
        client.fit(X, y)
        example = client.add(X[:1] + 1, y[:1])[0]
        client.relabel(example, 2).remove(example)
        assert len(client.examples()) == 12
        assert client.version_ == 1 + 3 + 1 + 1 + 1
        keys = [one.headers["idempotency-key"] for one in wire.sent if "idempotency-key" in one.headers]
        assert len(keys) == 2 * len(set(keys)) == 2 * 7


def test_what_the_service_says(app: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = table()
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    with client_of(app) as client:
        with pytest.raises(Refused, match="no such task") as found:
            client_of(app, task="0" * 32)
        assert found.value.status == 404
        before = app.get("/v1/tasks").json()["tasks"]
        with pytest.raises(Refused, match="it is empty, or has blanks") as found:
            client.fit(X, [" a", *y[1:]])
        assert (found.value.status, len(found.value.request or "")) == (422, 32)
        # What was half made is gone.
        assert app.get("/v1/tasks").json()["tasks"] == before
        client.fit(X[:2], ["a", "a"])
        with pytest.raises(Refused, match="add examples of two classes") as found:
            client.predict(X)
        assert found.value.status == 409
        assert waited == []
    busy = httpx.Response(429, headers={"Retry-After": "3"}, json={"detail": "wait a moment", "request": "r"})
    with (
        il.Client(URL, tries=4, transport=Wire(app, lambda request, number: busy)) as client,
        pytest.raises(Unavailable, match=r"in 4 tries.*wait a moment \(status 429"),
    ):
        client.fit(X, y)
    assert waited == [3.0, 3.0, 3.0]
    waited.clear()
    # Of the service a fault, which stays one; of a proxy a replica that died.
    for media, tries in (("application/problem+json", 0), ("text/plain", 3)):
        fault = httpx.Response(500, headers={"content-type": media}, content=b'{"detail": "a fault", "request": "r"}')
        wire = Wire(app, lambda request, number, fault=fault: fault)
        with il.Client(URL, tries=4, transport=wire) as client, pytest.raises((Refused, Unavailable), match="a fault"):
            client.fit(X, y)
        assert len(waited) == tries
    page = httpx.Response(200, text="<html>")
    with (
        il.Client(URL, transport=Wire(app, lambda request, number: page)) as client,
        pytest.raises(Unavailable, match="not as a service of innerloop"),
    ):
        client.fit(X, y)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"url": "127.0.0.1:8080"}, "give http://HOST:PORT"),
        ({"kind": "sounds"}, "choose of images, drawings"),
        ({"timeout": 0}, "timeout, in seconds, is 0"),
        ({"tries": 0}, "tries is 0"),
    ],
)
def test_what_cannot_be(given: dict[str, Any], words: str) -> None:
    with pytest.raises(il.InputError, match=words):
        il.Client(**{"url": URL, **given})


def test_inputs_that_cannot_be(app: TestClient) -> None:
    X, y = table()
    with client_of(app) as client:
        for inputs, labels, words in (
            (X, y[1:], "12 inputs and y 11 labels"),
            ([], [], "X is empty"),
            ("word", ["a"], "X is a single str"),
            ([[np.inf]], [1], "infinite"),
            ([Path("nowhere.png")], [1], "nowhere.png cannot be read"),
        ):
            with pytest.raises(il.InputError, match=words):
                client.fit(inputs, labels)
        with pytest.raises(il.InputError, match="give 'reject'"):
            client.predict(X, "drop")  # type: ignore[arg-type]


def test_kinds(app: TestClient, tmp_path: Path) -> None:
    """Drawings from files and arrays, and rows from lists and frames, are what they are in the estimator."""
    (tmp_path / "one.png").write_bytes(drawing(0, 1))
    pictures: list[Any] = [tmp_path / "one.png", str(tmp_path / "one.png"), drawing(1, 2)]
    pictures.append(np.asarray(Image.open(io.BytesIO(drawing(1, 3)))))
    pictures.append(Image.open(io.BytesIO(drawing(1, 4))))
    with client_of(app, kind="drawings", head="ridge", class_names=False) as client:
        client.fit(pictures, [True, True, False, False, False])
        assert client.predict([drawing(0, 7), drawing(1, 8)]).tolist() == [True, False]
    # Strings as the estimator takes them: those that end as pictures do are their paths.
    assert [kind_of([one]) for one in ("one.png", Path("one.png"), "a word", b"")] == [
        "images",
        "images",
        "text",
        "images",
    ]
    frame = pd.DataFrame({"age": [1.0, 2.0, 30.0, 31.0], "who": ["a", "b", "c", None]})
    with client_of(app) as client:
        client.fit(frame, ["young", "young", "old", "old"])
        assert client.kind_ == "rows"
        assert client.predict(frame[:1]).tolist() == ["young"]


def test_over_a_socket(tmp_path: Path) -> None:
    """A server in a process of its own."""
    X, y = table()
    with running(f"sqlite:///{tmp_path}/tasks.db") as server, il.Client(server.url) as client:
        client.fit(X, y)
        assert_same(client, X, y, X[:5])
    with il.Client(server.url, tries=1) as client, pytest.raises(Unavailable, match="ConnectError"):
        client.fit(X, y)
