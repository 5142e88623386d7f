"""The service over HTTP: tasks, examples, answers, files, and the protocol of KServe beside it."""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from serving import drawing, service, task, vectors
from sqlalchemy import update
from starlette.testclient import TestClient

import innerloop as il
from innerloop.serve.start import brought
from innerloop.serve.tables import requests

CORNER = [4.0, 0.0, 0.0]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with service(tmp_path_factory.mktemp("serve")) as made:
        yield made


def asked(client: TestClient, made: str, *items: dict[str, Any], **more: Any) -> dict[str, Any]:
    answer = client.post(f"/v1/tasks/{made}/predict", json={"items": list(items), **more})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def canonical(examples: list[dict[str, Any]], client: TestClient, made: str) -> list[dict[str, Any]]:
    """The examples in the order in which the service learns them."""
    listed = client.get(f"/v1/tasks/{made}/examples").json()["examples"]
    contents = [client.get(f"/v1/tasks/{made}/examples/{one['id']}/content").json() for one in listed]
    return [{"label": one["label"], "vector": content} for one, content in zip(listed, contents, strict=True)]


def test_answers_are_those_of_the_estimator(client: TestClient) -> None:
    examples = vectors()
    made = task(client, examples=examples)
    learned = canonical(examples, client, made)
    assert sorted(map(str, learned)) == sorted(map(str, examples))
    few = il.FewShotClassifier("features").fit(
        [one["vector"] for one in learned], np.array([one["label"] for one in learned])
    )
    query = [[4.0, 0.5, 0.0], [0.0, 0.0, 0.1], [1.0, 3.0, 0.0]]
    found = asked(client, made, *({"vector": one} for one in query), evidence=True, coverage=0.8)
    items = found["items"]
    assert [list(one["probabilities"].values()) for one in items] == few.predict_proba(query).tolist()
    assert [one["label"] for one in items] == few.predict(query).tolist()
    assert [one["set"] for one in items] == [one.tolist() for one in few.predict_set(query, 0.8)]
    assert [one["unknown"] for one in items] == few.unknown_score(query).tolist()
    assert [one["none_of_these"] for one in items] == [one is None for one in few.predict(query, "reject", 0.1)]
    ids = [one["id"] for one in client.get(f"/v1/tasks/{made}/examples").json()["examples"]]
    for item, reason in zip(items, few.explain(query), strict=True):
        amounts = {one["example"]: one["amount"] for one in item["evidence"]}
        assert len(amounts) == 10
        assert all(amounts[one] == reason.evidence[place] for place, one in enumerate(ids) if one in amounts)


def test_the_same_examples_give_the_same_bits_in_any_replica(client: TestClient, tmp_path: Path) -> None:
    """Whatever their order, and in how many writes they came."""
    examples = vectors(15)
    made = task(client, examples=examples)
    with service(tmp_path) as other:
        again = task(other)
        for one in reversed(examples):
            other.post(f"/v1/tasks/{again}/examples", json={"examples": [one]})
        queries = [{"vector": np.random.default_rng(seed).normal(size=3).tolist()} for seed in range(5)]
        assert other.get(f"/v1/tasks/{again}").json()["digest"] == client.get(f"/v1/tasks/{made}").json()["digest"]
        assert asked(other, again, *queries)["items"] == asked(client, made, *queries)["items"]


def test_drawings_as_a_form_and_as_base64(client: TestClient) -> None:
    made = task(client, "drawings", name="signs")
    for kind, label in enumerate(("cross", "circle", "corner")):
        files = [("file", (f"{seed}.png", drawing(kind, seed), "image/png")) for seed in range(4)]
        added = client.post(f"/v1/tasks/{made}/examples", files=files, data={"label": label})
        assert added.status_code == 201, added.text
    shown = client.get(f"/v1/tasks/{made}").json()
    assert (shown["classes"], shown["version"], shown["name"]) == ({"circle": 4, "corner": 4, "cross": 4}, 4, "signs")
    queries = [{"image": base64.b64encode(drawing(kind, 9)).decode()} for kind in range(3)]
    queries[0]["image"] = "data:image/png;base64," + queries[0]["image"]
    assert [one["label"] for one in asked(client, made, *queries)["items"]] == ["cross", "circle", "corner"]
    sent = client.post(f"/v1/tasks/{made}/predict", files=[("file", drawing(1, 8))], data={"evidence": "true"}).json()
    best = sent["items"][0]["evidence"][0]["example"]
    content = client.get(f"/v1/tasks/{made}/examples/{best}/content")
    assert content.headers["content-type"] == "image/png"
    assert content.content in [drawing(kind, seed) for kind in range(3) for seed in range(4)]


def test_rows_by_name_and_texts(client: TestClient) -> None:
    rows = [{"label": "hot" if n % 2 else "cold", "row": {"t": 30.0 * (n % 2) + n, "sky": "blue"}} for n in range(8)]
    made = task(client, "rows", rows)
    assert [one["label"] for one in asked(client, made, {"row": {"t": 33}}, {"row": {"t": 1}})["items"]] == [
        "hot",
        "cold",
    ]
    refused = client.post(f"/v1/tasks/{made}/predict", json={"items": [{"row": {"wind": 1}}]})
    assert refused.status_code == 422
    assert "'wind'" in refused.json()["detail"]


def test_changes_are_learned(client: TestClient) -> None:
    made = task(client, examples=vectors(8, 2))
    first = next(one for one in client.get(f"/v1/tasks/{made}/examples").json()["examples"] if one["label"] == "c0")
    changed = client.patch(f"/v1/tasks/{made}/examples/{first['id']}", json={"label": "other"})
    assert changed.json()["classes"] == {"c0": 3, "c1": 4, "other": 1}
    assert list(asked(client, made, {"vector": [4.0, 0.0]})["items"][0]["probabilities"]) == ["c0", "c1", "other"]
    gone = client.delete(f"/v1/tasks/{made}/examples/{first['id']}")
    assert (gone.json()["classes"], gone.json()["version"]) == ({"c0": 3, "c1": 4}, 4)
    assert client.delete(f"/v1/tasks/{made}/examples/{first['id']}").status_code == 404
    assert client.delete(f"/v1/tasks/{made}").json() == {"id": made, "deleted": True}
    assert client.get(f"/v1/tasks/{made}").status_code == 404


def test_too_few_examples_are_kept_and_said(client: TestClient) -> None:
    made = task(client)
    for count, words in ((0, "no example"), (1, "one class ('a')")):
        if count:
            client.post(f"/v1/tasks/{made}/examples", json={"examples": [{"label": "a", "vector": [1.0, 0.0]}]})
        refused = client.post(f"/v1/tasks/{made}/predict", json={"items": [{"vector": [1.0, 0.0]}]})
        assert refused.status_code == 409
        assert words in refused.json()["detail"]
    client.post(f"/v1/tasks/{made}/examples", json={"examples": [{"label": "b", "vector": [0.0, 1.0]}]})
    item = asked(client, made, {"vector": [0.1, 1.0]})["items"][0]
    assert (item["label"], item["set"], item["none_of_these"]) == ("b", ["a", "b"], None)
    promised = client.post(f"/v1/tasks/{made}/predict", json={"items": [{"vector": [0.1, 1.0]}], "coverage": 0.9})
    assert promised.status_code == 422
    assert "coverage" in promised.json()["detail"]


def test_versions_and_keys_of_writes(client: TestClient) -> None:
    made = task(client)
    body = {"examples": vectors(3)}
    path = f"/v1/tasks/{made}/examples"
    first = client.post(path, json=body, headers={"Idempotency-Key": "k1", "If-Match": "1"})
    again = client.post(path, json=body, headers={"Idempotency-Key": "k1", "If-Match": "1"})
    assert again.json() == first.json()
    assert (again.headers["idempotent-replayed"], again.headers["etag"]) == ("true", '"2"')
    assert client.get(f"/v1/tasks/{made}").json()["examples"] == 3
    other = client.post(path, json={"examples": vectors(4)}, headers={"Idempotency-Key": "k1"})
    assert other.status_code == 422
    stale = client.post(path, json=body, headers={"If-Match": '"1"'})
    assert (stale.status_code, stale.json()["version"]) == (409, 2)
    # The boundary of a form is another one each time, and the request the same.
    signs = task(client, "drawings")
    for _ in range(2):
        files = [("file", ("a.png", drawing(0, 1), "image/png"))]
        sent = client.post(
            f"/v1/tasks/{signs}/examples", files=files, data={"label": "a"}, headers={"Idempotency-Key": "k2"}
        )
        assert sent.status_code == 201
    assert client.get(f"/v1/tasks/{signs}").json()["examples"] == 1
    twice = [client.post("/v1/tasks", json={"kind": "text"}, headers={"Idempotency-Key": "k3"}) for _ in range(2)]
    assert twice[0].json()["id"] == twice[1].json()["id"]


def test_insights(client: TestClient) -> None:
    examples = vectors(15)
    examples.append({"label": "c1", "vector": [4.1, 0.1, 0.0]})
    made = task(client, examples=examples)
    found = client.get(f"/v1/tasks/{made}/insights").json()
    listed = {one["id"]: one for one in client.get(f"/v1/tasks/{made}/examples").json()["examples"]}
    assert {one["example"] for one in found["map"]["points"]} == set(listed)
    suspect = found["suspects"][0]
    content = client.get(f"/v1/tasks/{made}/examples/{suspect['example']}/content").json()
    assert (content, suspect["label"], suspect["likelier"]) == ([4.1, 0.1, 0.0], "c1", "c0")
    told = {one["example"]: one["answer"] for one in found["left_out"]}
    for cell in found["confusion"]:
        assert all((listed[one]["label"], told[one]) == (cell["label"], cell["answer"]) for one in cell["examples"])
    assert sum(len(cell["examples"]) for cell in found["confusion"]) == 16
    assert [one["shots"] for one in found["accuracy_by_shots"]] == [1, 2, 3]


def test_a_task_leaves_and_comes_back(client: TestClient, tmp_path: Path) -> None:
    made = task(client, examples=vectors())
    file = client.get(f"/v1/tasks/{made}/export", params={"format": "bundle"})
    sent = {"content-type": "application/zip", "Idempotency-Key": "bring"}
    back = [client.post("/v1/tasks/import", content=file.content, headers=sent).json() for _ in range(2)]
    assert back[0] == back[1]
    shown = client.get(f"/v1/tasks/{made}").json()
    assert (back[0]["digest"], back[0]["classes"]) == (shown["digest"], shown["classes"])
    with zipfile.ZipFile(io.BytesIO(file.content)) as packed:
        packed.extractall(tmp_path / "task")
    query = {"vector": CORNER}
    probabilities = list(asked(client, made, query)["items"][0]["probabilities"].values())
    assert il.load(tmp_path / "task").predict_proba([CORNER]).tolist() == [probabilities]


@pytest.mark.slow
def test_a_task_leaves_as_a_graph(client: TestClient) -> None:
    made = task(client, examples=vectors())
    probabilities = list(asked(client, made, {"vector": CORNER})["items"][0]["probabilities"].values())
    graph = client.get(f"/v1/tasks/{made}/export", params={"format": "onnx"})
    session = onnxruntime.InferenceSession(graph.content)
    (found,) = session.run(None, {"features": np.array([CORNER], np.float32)})
    assert found[0] == pytest.approx(probabilities, abs=1e-5)


def test_a_bundle_without_contents(client: TestClient, tmp_path: Path) -> None:
    """What `save` wrote anywhere: its features are what the service learns from."""
    pictures = [drawing(kind, seed) for seed in range(3) for kind in range(3)]
    paths = []
    for number, picture in enumerate(pictures):
        paths.append(tmp_path / f"{number}.png")
        paths[-1].write_bytes(picture)
    few = il.FewShotClassifier("letters", "ridge").fit(paths, ["cross", "circle", "corner"] * 3)
    folder = few.save(tmp_path / "signs")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        for part in folder.iterdir():
            file.write(part, part.name)
    back = client.post("/v1/tasks/import", content=packed.getvalue(), headers={"content-type": "application/zip"})
    assert back.status_code == 201, back.text
    made = back.json()["id"]
    item = asked(client, made, {"image": base64.b64encode(drawing(1, 7)).decode()})["items"][0]
    query = tmp_path / "query.png"
    query.write_bytes(drawing(1, 7))
    assert list(item["probabilities"].values()) == pytest.approx(few.predict_proba([query])[0].tolist(), abs=1e-6)
    example = client.get(f"/v1/tasks/{made}/examples").json()["examples"][0]["id"]
    assert client.get(f"/v1/tasks/{made}/examples/{example}/content").status_code == 404


def test_a_bundle_is_brought_once(tmp_path: Path) -> None:
    """However often the service is started, also after the keys of old writes are forgotten; changes stay."""
    rows, labels = [[0.9, 0.1], [0.8, 0.3], [0.1, 0.8], [0.2, 0.9]], ["cat", "cat", "dog", "dog"]
    folder = il.FewShotClassifier("features").fit(rows, labels).save(tmp_path / "pets")
    with service(tmp_path) as client:
        made = brought(client.app.state.replica, folder)  # type: ignore[attr-defined]
        shown = client.get(f"/v1/tasks/{made}").json()
        assert (shown["name"], shown["classes"]) == ("pets", {"cat": 2, "dog": 2})
        client.post(f"/v1/tasks/{made}/examples", json={"examples": [{"label": "bird", "vector": [0.5, 0.5]}]})
        client.post("/v1/tasks", json={"kind": "text"}, headers={"Idempotency-Key": "old"})
        with client.app.state.replica.store.engine.begin() as connection:  # type: ignore[attr-defined]
            connection.execute(update(requests).values(created=datetime(2020, 1, 1, tzinfo=UTC)))
    with service(tmp_path) as client:
        assert brought(client.app.state.replica, folder) == made  # type: ignore[attr-defined]
        assert client.get(f"/v1/tasks/{made}").json()["examples"] == 5
        again = client.post("/v1/tasks", json={"kind": "text"}, headers={"Idempotency-Key": "old"})
        assert "idempotent-replayed" not in again.headers


def test_the_open_inference_protocol(client: TestClient) -> None:
    made = task(client, examples=vectors())
    assert client.get("/v2").json()["name"] == "innerloop"
    assert client.get("/v2/health/ready").json() == {"ready": True}
    said = client.get(f"/v2/models/{made}").json()
    assert (said["name"], said["versions"], said["inputs"][0]["name"]) == (made, ["2"], "vector")
    assert client.get(f"/v2/models/{made}/versions/2/ready").json()["ready"]
    items = asked(client, made, {"vector": CORNER}, {"vector": [0.0, 4.0, 0.0]})["items"]
    flat = {"name": "vector", "shape": [2, 3], "datatype": "FP32", "data": [*CORNER, 0, 4, 0]}
    nested = {**flat, "data": [CORNER, [0, 4, 0]]}
    for given in (flat, nested):
        found = client.post(f"/v2/models/{made}/versions/2/infer", json={"id": "7", "inputs": [given]}).json()
        outputs = {one["name"]: one for one in found["outputs"]}
        assert (found["model_name"], found["model_version"], found["id"]) == (made, "2", "7")
        assert outputs["label"]["data"] == ["c0", "c1"]
        assert outputs["probabilities"]["shape"] == [2, 3]
        assert outputs["probabilities"]["data"] == [p for one in items for p in one["probabilities"].values()]
    only = {"inputs": [flat], "outputs": [{"name": "label"}]}
    assert [one["name"] for one in client.post(f"/v2/models/{made}/infer", json=only).json()["outputs"]] == ["label"]
    for change in ({"shape": [2, 4]}, {"datatype": "BYTES"}, {"data": []}):
        refused = client.post(f"/v2/models/{made}/infer", json={"inputs": [{**flat, **change}]})
        assert refused.status_code == 400
        assert refused.json()["error"]
    assert client.get(f"/v2/models/{made}/versions/1").status_code == 404


def test_operation(client: TestClient) -> None:
    assert client.get("/healthz").json()["status"] == "alive"
    assert client.get("/readyz").json() == {"status": "ready"}
    kinds = {one["kind"]: one for one in client.get("/v1/models").json()["kinds"]}
    assert (kinds["drawings"]["encoder"], kinds["drawings"]["installed"]) == ("letters", True)
    counted = client.get("/metrics").text
    assert 'innerloop_requests_total{method="GET",route="/healthz",status="200"}' in counted
    assert "innerloop_batch_inputs_count" in counted


def test_lists_go_on(client: TestClient) -> None:
    made = {task(client) for _ in range(3)}
    found: list[str] = []
    after = None
    while True:
        page = client.get("/v1/tasks", params={"limit": 2, **({"after": after} if after else {})}).json()
        found += [one["id"] for one in page["tasks"]]
        after = page["next"]
        if after is None:
            break
    assert made <= set(found)
    assert len(found) == len(set(found))
