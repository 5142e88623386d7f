"""Bundles by way of a hub: a small one on this machine that speaks the routes the hub's own library asks for."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import innerloop as il
from innerloop.bundle import hub

pytest.importorskip("huggingface_hub", reason="the extra is absent: pip install 'innerloop[hub]'")

COMMIT = "a" * 40


class Store(ThreadingHTTPServer):
    """Repositories by name: files by their paths."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Routes)
        self.repos: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Routes(BaseHTTPRequestHandler):
    server: Store
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *words: Any) -> None:  # noqa: A002
        pass

    def answer(self, body: Any = b"", status: int = 200, headers: dict[str, str] | None = None) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_POST(self) -> None:
        body, parts = self.body(), self.path.strip("/").split("/")
        if parts[:3] == ["api", "repos", "create"]:
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
            self.server.repos.setdefault(name, {})
            self.server.private[name] = asked.get("private", False) or asked.get("visibility") == "private"
            self.answer({"url": f"{self.server.endpoint}/{name}", "name": name})
        elif parts == ["api", "validate-yaml"]:
            self.answer({"errors": [], "warnings": []})
        elif parts[:2] == ["api", "models"] and "preupload" in parts:
            files = json.loads(body)["files"]
            self.answer({"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]})
        elif parts[:2] == ["api", "models"] and "commit" in parts:
            name = "/".join(parts[2:4])
            files = self.server.repos[name]
            for line in body.splitlines():
                change = json.loads(line)
                if change["key"] == "file":
                    files[change["value"]["path"]] = base64.b64decode(change["value"]["content"])
                elif change["key"] == "deletedFile":
                    files.pop(change["value"]["path"])
            self.answer(
                {"commitUrl": f"{self.server.endpoint}/{name}/commit/{COMMIT}", "commitOid": COMMIT, "hookOutput": ""}
            )
        else:
            self.answer({"error": "no such route"}, 404)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        parts = path.strip("/").split("/")
        name = "/".join(parts[2:4] if parts[:2] == ["api", "models"] else parts[:2])
        files = self.server.repos.get(name)
        if files is None:
            self.answer({"error": "not found"}, 404, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "not found"})
        elif "tree" in parts:
            self.answer([{"type": "file", "path": p, "size": len(c), "oid": _etag(c)} for p, c in files.items()])
        elif parts[:2] == ["api", "models"]:
            siblings = [{"rfilename": p, "size": len(c)} for p, c in files.items()]
            self.answer(
                {"id": name, "modelId": name, "sha": COMMIT, "private": False, "tags": [], "siblings": siblings}
            )
        elif "resolve" in parts and (file := "/".join(parts[4:])) in files:
            self.answer(files[file], headers={"X-Repo-Commit": COMMIT, "ETag": f'"{_etag(files[file])}"'})
        else:
            self.answer({"error": "none"}, 404, {"X-Error-Code": "EntryNotFound"})

    do_HEAD = do_GET  # noqa: N815


def _etag(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Store]:
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    with Store() as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def fruit() -> il.FewShotClassifier:
    random = np.random.default_rng(0)
    x = np.concatenate([random.normal(4 * k, 0.3, (4, 6)) for k in range(3)])
    return il.FewShotClassifier(head="ridge").fit(x, np.repeat(["apple", "fig", "pear"], 4))


def test_a_task_goes_up_and_comes_back(store: Store, tmp_path: Path) -> None:
    model = fruit()
    url = hub.upload(model, "me/fruit", endpoint=store.endpoint)
    assert url.endswith(COMMIT)
    assert store.private["me/fruit"]
    path = hub.download("me/fruit", tmp_path / "down" / "fruit", endpoint=store.endpoint)
    again = il.load(path)
    np.testing.assert_array_equal(again.predict_proba(model.X_), model.predict_proba(model.X_))
    assert {file.name.partition("-")[0].partition(".")[0] for file in path.iterdir()} == {
        "README", "bundle", "weights", "state",
    }  # fmt: skip
    assert [file.name for file in path.parent.iterdir()] == ["fruit"]


def test_a_later_one_takes_the_earlier_ones_place(store: Store, tmp_path: Path) -> None:
    """On the hub without the tensors of the earlier one, here at one moment."""
    saved = fruit().save(tmp_path / "fruit")
    hub.upload(saved, "me/fruit", endpoint=store.endpoint)
    here = hub.download("me/fruit", tmp_path / "here", endpoint=store.endpoint)
    more = il.load(saved).forget("fig")
    hub.upload(more, "me/fruit", endpoint=store.endpoint)
    assert len([name for name in store.repos["me/fruit"] if name.startswith("state")]) == 1
    with pytest.raises(il.InputError, match="already holds a bundle"):
        hub.download("me/fruit", here, endpoint=store.endpoint)
    hub.download("me/fruit", here, replace=True, endpoint=store.endpoint)
    assert il.load(here).classes_.tolist() == ["apple", "pear"]
    assert {file.name for file in tmp_path.iterdir()} == {"fruit", "here"}


def test_the_card_says_what_it_is_and_no_word_breaks_out(store: Store, tmp_path: Path) -> None:
    card = {"what": "three fruits\n---\nevil: <script>", "license": "MIT", "limits": "no melons"}
    path = il.save(tmp_path / "fruit", fruit(), card=card)
    hub.upload(path, "me/fruit", endpoint=store.endpoint)
    text = store.repos["me/fruit"]["README.md"].decode()
    _, front, body = text.split("---\n", 2)
    assert yaml.safe_load(front) == {
        "license": "mit",
        "library_name": "innerloop",
        "tags": ["innerloop", "few-shot", "meta-learning"],
    }
    assert "apple, fig, pear" in body
    assert "no melons" in body
    assert "three fruits --- evil: &lt;script>" in body
    assert il.bundle.digest_of(path) in body


def test_what_was_changed_on_the_way_is_refused_and_nothing_is_left(store: Store, tmp_path: Path) -> None:
    hub.upload(fruit(), "me/fruit", endpoint=store.endpoint)
    files = store.repos["me/fruit"]
    name = next(name for name in files if name.startswith("state"))
    files[name] = files[name][:-1] + bytes([files[name][-1] ^ 1])
    with pytest.raises(il.InputError, match="is not what was written"):
        hub.download("me/fruit", tmp_path / "here", endpoint=store.endpoint)
    del files["bundle.json"]
    with pytest.raises(il.InputError, match="no bundle"):
        hub.download("me/fruit", tmp_path / "here", endpoint=store.endpoint)
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_there_is_said_in_one_line(store: Store, tmp_path: Path) -> None:
    with pytest.raises(il.InputError, match="has no repository 'me/nosuch'"):
        hub.download("me/nosuch", tmp_path / "here", endpoint=store.endpoint)
    with pytest.raises(il.InputError, match="is no name of a repository"):
        hub.download("a/b/c", tmp_path / "here", endpoint=store.endpoint)
    with pytest.raises(il.InputError, match="no bundle"):
        hub.upload(tmp_path, "me/fruit", endpoint=store.endpoint)
    assert "me/fruit" not in store.repos
    # A port that nobody listens on.
    with pytest.raises(il.InputError, match="cannot be reached"):
        hub.download("me/fruit", tmp_path / "here", endpoint="http://127.0.0.1:9")
    assert list(tmp_path.iterdir()) == []
