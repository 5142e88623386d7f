"""The report page, and the demo that ends with one."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import innerloop as il
from innerloop.data import FewShot, Pool, Pools
from innerloop.demo import make_recipe, run_demo
from innerloop.report.page import write_report
from innerloop.report.picture import Picture, picture
from innerloop.report.plots import curves
from innerloop.report.tables import pairs

VOID = {"meta", "link", "img", "wbr", "br"}
HOSTILE = ('<script>alert("1")</script>', "a&b<i>'", "$title ${body} $", "caf\udce9", "</title></style>")


class Page(HTMLParser):
    """A page taken apart: tags with attributes, tables as rows of cell texts, and the text of the whole."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        self._write("\n" if tag == "small" else "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> without a start"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self._write(data)

    def _write(self, data: str) -> None:
        self.text += data
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def pool(classes: int, prefix: str, side: int = 16, each: int = 6) -> Pool:
    """Classes that are noisy copies of a random picture."""
    generator = torch.Generator().manual_seed(classes)
    center = torch.rand(classes, 1, 1, side, side, generator=generator).expand(-1, each, -1, -1, -1)
    x = 255 * (center + 0.1 * torch.randn(center.shape, generator=generator)).clamp(0, 1)
    names = tuple(f"{prefix}{i}" for i in range(classes))
    return Pool(x.flatten(0, 1).to(torch.uint8), torch.full((classes,), each), names)


@pytest.fixture(scope="module")
def pools() -> Pools:
    return Pools(pool(8, "train"), pool(9, "val"), pool(21, "test"), "noise")


def encoder() -> torch.nn.Module:
    return il.nets.conv4((1, 16, 16), width=8, norm="group")


@pytest.fixture(scope="module")
def sampler(pools: Pools) -> FewShot:
    return FewShot(pools.test.only(pools.test.names[:7]), ways=3, shots=2, queries=4)


@pytest.fixture(scope="module")
def learner(pools: Pools) -> il.Learner:
    torch.manual_seed(0)
    return il.ProtoNet(encoder())


@pytest.fixture(scope="module")
def results(learner: il.Learner, sampler: FewShot) -> dict[str, dict[str, il.Report]]:
    baseline = il.FineTune(encoder(), classes=4, steps=3)
    return {
        name: {"3-way 2-shot": il.evaluate(each, sampler, tasks=30, how="loop")}
        for name, each in (("ProtoNet", learner), ("FineTune", baseline))
    }


def test_page_is_self_contained(tmp_path, results, learner, sampler):
    trained = il.ProtoNet(encoder())
    history = il.fit(trained, sampler, steps=3, validate=sampler, validate_every=1, validate_tasks=5, progress=False)
    shown = picture(learner, sampler, results["ProtoNet"]["3-way 2-shot"])
    path = write_report(
        tmp_path / "new" / "report.html",
        title="T",
        results=results,
        histories={"ProtoNet": history, "never trained": il.training.History()},
        episode=shown,
        recipe={"lr": 0.1, "paper": "https://arxiv.org/abs/1703.05175"},
        seeds=[3],
        command="innerloop demo --seed 3",
    )
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    for _, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href", "xlink:href", "srcset", "action", "data"):
                assert value.startswith(("data:", "#"))
    assert "url(" not in re.sub(r"url\(#", "", text)
    assert "@import" not in text
    assert not page.all("script")
    assert not page.all("iframe")
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("h1")) == 1
    assert len(page.all("h2")) == 4
    assert len(page.all("svg")) == 2
    assert all(image["alt"] for image in page.all("img"))
    assert all(drawing["aria-label"] for drawing in page.all("svg"))
    assert all(cell["scope"] in ("row", "col") for cell in page.all("th"))
    names = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(names) == len(set(names))
    assert {value[1:] for _, a in page.tags if (value := a.get("xlink:href"))} <= set(names)
    assert "prefers-color-scheme: dark" in text
    for part in (
        "innerloop demo --seed 3",
        "https://arxiv.org/abs/1703.05175",
        torch.__version__,
        "3 steps",
        '"lr": 0.1',
    ):
        assert part in page.text


def test_tables_show_the_reports_numbers(tmp_path, results):
    page = Page(write_report(tmp_path / "r.html", title="T", results=results).read_text(encoding="utf-8"))
    scores, pairs = page.tables
    assert scores[0] == ["Learner", "3-way 2-shot"]
    for row, (name, reports) in zip(scores[1:], results.items(), strict=True):
        report = reports["3-way 2-shot"]
        values = report.per_task["accuracy"].astype(np.float64)
        low, high = report.open_interval
        assert row[0] == f"{name}\nnorm group, not transductive"
        assert row[1].split("\n") == [
            report.metric.text(values.mean(), report.interval),
            f"open {100 * low:.2f} to {100 * high:.2f} %",
            f"ECE {report.calibration_error:.3f}",
        ]
    first, second = (reports["3-way 2-shot"].per_task["accuracy"].astype(np.float64) for reports in results.values())
    gap = il.paired(first, second)
    assert pairs[1][0] == "FineTune\n3-way 2-shot"
    mean, ends = pairs[1][1].replace("\N{MINUS SIGN}", "-").split("\n")
    assert mean == f"{100 * (first - second).mean():+.2f} points"
    assert ends == f"{100 * gap.interval[0]:+.2f} to {100 * gap.interval[1]:+.2f}"
    assert pairs[1][2] == (f"{gap.p_value:.3f}" if gap.p_value >= 0.001 else "<0.001")
    assert pairs[1][3] == f"{gap.wins}/{30 - gap.wins - gap.losses}/{gap.losses}"
    for name, reports in results.items():
        assert f"{100 * reports['3-way 2-shot'].value:.2f} " in page.text.partition("Results")[0], name


def test_regression_is_signed_so_that_less_error_wins(tmp_path):
    sines = il.data.Sinusoid(shots=5, queries=5)
    learners = {name: il.MAML(il.nets.mlp(1, 8, 1), lr=0.01, likelihood=il.Gaussian(scale=1.0)) for name in "ab"}
    results = {name: {"5-shot": il.evaluate(each, sines, tasks=20)} for name, each in learners.items()}
    a, b = (reports["5-shot"].per_task["mse"] for reports in results.values())
    found = pairs(results)[0].comparison
    assert len(pairs(results)) == 1
    assert found.difference.mean == pytest.approx(float((b - a).mean()), rel=1e-5)
    assert found.difference.wins == int((a < b).sum())
    page = Page(write_report(tmp_path / "r.html", title="Sines", results=results).read_text(encoding="utf-8"))
    assert page.tables[0][1][1].split("\n")[0].startswith(f"{results['a']['5-shot'].value:.4f} ")
    assert "Mean squared error" in page.text
    assert "ECE" not in page.text


def test_hostile_names_are_text(tmp_path, results):
    n = len(HOSTILE)
    examples = il.Examples(torch.rand(n, 1, 4, 4), torch.eye(n))
    shown = Picture(HOSTILE, il.Task(examples, examples), torch.eye(n))
    renamed = {HOSTILE[i]: {HOSTILE[-1]: report} for i, r in enumerate(results.values()) for report in r.values()}
    history = il.training.History(
        rows=[{"step": 1, "loss": 1.0, "lr": 0.1}], scores=[(1, 0.5)], how=HOSTILE[0], why=HOSTILE[1]
    )
    path = write_report(
        tmp_path / "r.html",
        title=HOSTILE[2],
        results=renamed,
        histories={name: history for name in HOSTILE if "\udce9" not in name},
        episode=shown,
        recipe={name: name for name in HOSTILE},
        command=HOSTILE[0],
    )
    page = Page(path.read_text(encoding="utf-8"))
    assert not page.all("script")
    assert not page.all("i")
    headings = page.text[page.text.index("One test episode") :]
    for name in HOSTILE:
        # HTML has no place for a lone surrogate: a reader shows the replacement character.
        assert name.replace("\udce9", "\N{REPLACEMENT CHARACTER}") in headings
    assert page.text.count(HOSTILE[2]) >= 3


def test_picture_is_the_episode_that_was_scored(tmp_path, learner, sampler, results):
    report = results["ProtoNet"]["3-way 2-shot"]
    for number in (0, 7):
        shown = picture(learner, sampler, report, number)
        right = shown.probabilities.argmax(1) == shown.task.query.y.argmax(1)
        assert float(right.float().mean()) == pytest.approx(float(report.per_task["accuracy"][number]))
        assert shown.probabilities.sum(1).allclose(torch.ones(12))
        assert shown.names == tuple(sampler.pool.names[c] for c in report.indices.classes[number])
    page = Page(
        write_report(tmp_path / "r.html", title="T", results=results, episode=shown).read_text(encoding="utf-8")
    )
    tiles = [attributes["class"] for attributes in page.all("li")]
    assert tiles.count("tile support") == 6
    assert tiles.count("tile right") == int(right.sum())
    assert tiles.count("tile wrong") == int((~right).sum())
    assert page.text.count("✓") - 1 == int(right.sum())
    assert page.text.count("✗") - 1 == int((~right).sum())
    for probability in shown.probabilities.max(1).values.tolist():
        assert f" {100 * probability:.0f} %" in page.text
    found = {
        Image.open(io.BytesIO(base64.b64decode(image["src"].partition(",")[2]))).tobytes() for image in page.all("img")
    }
    asked = torch.cat((shown.task.support.x, shown.task.query.x))
    assert found == {(255 * x).round().byte().numpy().tobytes() for x in asked}


def test_color_images_and_long_episodes(tmp_path, results):
    examples = il.Examples(torch.rand(60, 3, 8, 9), torch.eye(30).repeat(2, 1))
    query = il.Examples(torch.rand(240, 3, 8, 9), torch.eye(30).repeat(8, 1))
    shown = Picture(tuple(map(str, range(30))), il.Task(examples, query), query.y)
    page = Page(
        write_report(tmp_path / "r.html", title="T", results=results, episode=shown).read_text(encoding="utf-8")
    )
    assert len(page.all("img")) == 60 + 30 * 6
    assert "the first 6 of 8 queries" in page.text
    assert "Of all 240 queries of this episode 240 are right" in page.text
    assert "AD \n29" in page.text
    image = page.all("img")[0]
    assert (image["width"], image["height"]) == ("9", "8")


def test_pictures_are_refused_where_there_is_none(learner, sampler, results):
    report = results["ProtoNet"]["3-way 2-shot"]
    with pytest.raises(il.InputError, match="episode number 30"):
        picture(learner, sampler, report, 30)
    flat = FewShot(Pool.of(torch.rand(20, 4), [i % 4 for i in range(20)]), ways=3, shots=2, queries=3)
    with pytest.raises(il.InputError, match=r"images \[1 or 3, H, W\].*\(4,\)"):
        picture(learner, flat, report)


def test_an_existing_report_survives_failures(tmp_path, learner, sampler, results):
    path = tmp_path / "report.html"
    path.write_text("old")
    other = {"ProtoNet": results["ProtoNet"], "b": {"3-way 2-shot": il.evaluate(learner, sampler, tasks=30, seed=1)}}
    with pytest.raises(il.InputError, match="'ProtoNet' and 'b' were not evaluated on the same '3-way 2-shot' tasks"):
        write_report(path, title="T", results=other)
    with pytest.raises(il.InputError, match="at least one learner"):
        write_report(path, title="T", results={})
    with pytest.raises(TypeError):
        write_report(path, title="T", results=results, recipe={"net": encoder()})
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The disk is full after the first kilobyte.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1]))
    try:
        with pytest.raises(il.InputError, match="File too large"):
            write_report(path, title="T", results=results)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    write_report(path, title="T", results=results)
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_demo_end_to_end(tmp_path, capsys, pools):
    path = run_demo(tmp_path / "demo", steps=6, seed=1, progress=False, pools=pools, tasks=50)
    assert path == tmp_path / "demo" / "report.html"
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    recipe = make_recipe(pools, steps=6, seed=1, tasks=50)
    printed = capsys.readouterr().out
    for part, values in recipe.items():
        assert f"{part}: {json.dumps(values)}\n" in printed
    assert json.dumps(recipe, indent=2) in page.text
    assert [row[0].partition("\n")[0] for row in page.tables[0]] == ["Learner", "ProtoNet", "FineTune", "Untrained"]
    assert page.tables[0][0][1:] == ["5-way 1-shot", "20-way 1-shot"]
    assert len(page.tables[1]) == 5

    # Both are given equally many images, by steps: nothing depends on the clock.
    steps, shown = recipe["budget"]["steps"], recipe["episodes"]["ways"] * (1 + recipe["episodes"]["queries"])
    assert steps["ProtoNet"] * shown == recipe["budget"]["images"]
    assert (
        abs(steps["FineTune"] * recipe["batches"]["size"] - recipe["budget"]["images"]) <= recipe["batches"]["size"] / 2
    )

    # The untrained network, made again.
    torch.manual_seed(1)
    untrained = il.ProtoNet(il.nets.conv4(**recipe["encoder"]))
    train = pools.train.rotated()
    il.fit(untrained, FewShot(train, **recipe["episodes"]), steps=0, seed=1, progress=False, tasks_per_step=1)
    for column, values in enumerate(recipe["test"].values(), 1):
        report = il.evaluate(untrained, FewShot(pools.test, **values), tasks=50, seed=1)
        line = report.metric.text(report.value, report.interval)
        assert page.tables[0][3][column].startswith(line)
        assert line in printed


def test_demo_refuses_bad_input(tmp_path, pools):
    with pytest.raises(il.InputError, match="0 steps"):
        run_demo(tmp_path, steps=0, pools=pools)
    (tmp_path / "file").write_text("")
    with pytest.raises(il.InputError, match="cannot be written"):
        run_demo(tmp_path / "file", pools=pools)
    assert [file.name for file in Path(tmp_path).iterdir()] == ["file"]


def test_curves_leave_out_validations_without_a_score() -> None:
    """The best is that of the finite ones; a run without any has no line, and without lines there is no chart."""
    rows = [{"step": step, "loss": 1.0 / step, "lr": 0.1} for step in range(1, 5)]
    scores = [(1, float("-inf")), (2, 0.5), (3, float("nan")), (4, 0.25)]
    drawn = curves(
        {
            "some": il.training.History(rows=rows, scores=scores),
            "none": il.training.History(rows=rows, scores=scores[:1]),
        }
    )
    assert [plot.name for plot in drawn] == ["loss", "score"]
    assert drawn[1].caption == "Validation score: some 0.5000 at best."
    assert [plot.name for plot in curves({"none": il.training.History(rows=rows, scores=scores[:1])})] == ["loss"]
