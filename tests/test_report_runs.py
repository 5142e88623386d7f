"""Reports of run folders: what the page shows is what was computed, whatever the runs are of."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.decomposition import PCA
from test_cli import Cli
from test_report import Page
from torch import Tensor, nn

import innerloop as il
from innerloop.evidence.plane import plane
from innerloop.report.build import Built, build
from innerloop.report.embedding import features_of
from innerloop.report.episode import amount
from innerloop.report.functions import predicted
from innerloop.report.seeds import seeds_section
from innerloop.report.subject import Subject, look_at, tasks_of

SIZES = ["--ways", 3, "--shots", 2, "--queries", 3]
TINY = ["--quiet", "--set", "net.width=4", "--set", "net.pools=1", "--set", "validation.tasks=4", *SIZES]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(monkeypatch, capsys)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small images that can be told apart, mostly: noisy copies of a random one each."""
    folder = tmp_path_factory.mktemp("runs")
    generator = torch.Generator().manual_seed(0)
    for split, count in (("train", 8), ("val", 6), ("test", 7)):
        centers = torch.rand(count, 1, 1, 8, 8, generator=generator)
        noisy = (centers + 0.4 * torch.randn(count, 6, 1, 8, 8, generator=generator)).clamp(0, 1)
        il.data.write_pool(folder / "pools" / split, [(f"{split} {c}", x) for c, x in enumerate(noisy)])
    return folder


@pytest.fixture
def runs(place: Path, cli: Cli) -> list[Path]:
    """A metric-based learner and one with an inner loop, hardly trained."""
    for name in ("protonet", "maml"):
        if not (place / name).exists():
            words = ["train", name, "--data", "mapped", "--root", place / "pools", "--steps", 4, *TINY]
            assert cli(*words, "--out", place / name)[0] == 0
    return [place / "protonet", place / "maml"]


def check_page(text: str) -> Page:
    """What holds for every page: nothing is fetched or run, everything has words, every id is there once."""
    page = Page(text)
    for _, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href", "xlink:href", "srcset", "action", "data"):
                assert value is not None
                assert value.startswith(("data:", "#"))
    assert "url(" not in re.sub(r"url\(#", "", text)
    assert "@import" not in text
    assert not page.all("script")
    assert not page.all("iframe")
    assert len(page.all("h1")) == 1
    assert all(image["alt"] for image in page.all("img"))
    assert all(drawing["aria-label"] and drawing["role"] == "img" for drawing in page.all("svg"))
    assert all(cell["scope"] in ("row", "col") for cell in page.all("th"))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    named = {value for _, a in page.tags if (value := a.get("aria-labelledby"))}
    used = {value[1:] for _, a in page.tags if (value := a.get("xlink:href"))} | set(
        re.findall(r"url\(#([^)]*)\)", text)
    )
    assert named | used <= set(ids)
    return page


def headings(page: Page, text: str) -> list[str]:
    return re.findall(r"<h2 id=\"[^\"]*\">(.*?)</h2>", text)


def test_a_report_of_two_runs(runs: list[Path], cli: Cli, tmp_path: Path) -> None:
    """The figures are those of evaluate and compare on the same tasks; page, facts and plots say the same."""
    given = [*SIZES, "--tasks", 30, "--seed", 3]
    out, plots = tmp_path / "new" / "page.html", tmp_path / "plots"
    code, said, errors = cli("report", *runs, *given, "--out", out, "--plots", plots, "--json")
    assert code == 0, errors
    facts = json.loads(said)
    compared = json.loads(cli("compare", *runs, *given, "--json")[1])
    scores = facts["results"]["scores"]
    assert [row["learner"] for row in scores] == ["protonet", "maml"]
    for row, name in zip(scores, ("first", "second"), strict=True):
        for key in ("accuracy", "interval", "open_interval", "episodes", "nll", "calibration_error"):
            assert row[key] == compared[name][key], key
    difference = facts["results"]["differences"][0]
    assert {key: difference[key] for key in compared["difference"]} == compared["difference"]

    text = out.read_text(encoding="utf-8")
    page = check_page(text)
    for row, shown in zip(scores, page.tables[0][1:], strict=True):
        assert shown[0].startswith(row["learner"])
        assert shown[1].startswith(f"{100 * row['accuracy']:.2f} ")
        low, high = row["open_interval"]
        assert f"open {100 * low:.2f} to {100 * high:.2f} %" in shown[1]
    assert f"{100 * difference['mean']:+.2f} points" in page.tables[1][1][1].replace("\N{MINUS SIGN}", "-")
    assert (
        page.tables[1][1][3]
        == f"{difference['wins']}/{30 - difference['wins'] - difference['losses']}/{difference['losses']}"
    )
    for name, one in facts["calibration"].items():
        row = next(row for row in page.tables[2] if row[0] == name)
        assert row[1].startswith(f"{one['reliability']['error']:.4f}")
        assert row[2].startswith(f"{one['nll']['value']:.4f}")
        # The usual error is that of the report itself.
        assert one["reliability"]["error"] == pytest.approx(
            next(s["calibration_error"] for s in scores if s["learner"] == name), abs=1e-6
        )
    found = headings(page, text)
    assert found == [
        "Results", "How sure, and how often right", "Learning curves", "Test task 0, by protonet",
        "Which examples decide", "A task as the learner sees it",
        "What adaptation does", "Where it is worst", "What each was given",
        "Recipe and versions",
    ]  # fmt: skip
    assert f"innerloop report {runs[0]}" in page.text

    drawings = {path.stem: path for path in plots.glob("*.svg")}
    assert set(drawings) == {"reliability", "risk", "loss", "score", "map-0", "map-1", "steps", "layers"}
    assert len(page.all("svg")) == len(drawings)
    for name, path in drawings.items():
        drawing = path.read_text()
        assert "<script" not in drawing
        assert "<text" in drawing, "letters are letters"
        assert "<image" not in drawing
        assert "#010203" not in drawing
        with Image.open(plots / f"{name}.png") as picture:
            assert picture.info["dpi"] == pytest.approx((300, 300), abs=0.1)
            assert picture.convert("RGB").getpixel((0, 0)) == (255, 255, 255)

    budgets = {row["learner"]: row for row in facts["budgets"]}
    for run in runs:
        recipe = json.loads((run / "recipe.json").read_text())
        row = budgets[run.name]
        each = recipe["recipe"]["training"]["tasks_per_step"]
        assert (row["steps"], row["tasks_seen"], row["device"]) == (4, 4 * each, recipe["device"])
        assert row["parameters"] == sum(p.numel() for p in il.load(run).parameters())
        assert row["seconds"] > 0
        shown = next(r for table in page.tables for r in table if r[0].startswith(f"{run.name}\n{run.name} on mapped"))
        assert f"{4 * each}\n{each} a step" == shown[2]
        assert recipe["versions"]["torch"] in page.text
    curves = facts["curves"]["protonet"]
    rows = [json.loads(line) for line in (runs[0] / "metrics.jsonl").read_text().splitlines()]
    assert curves["losses"] == [row["loss"] for row in rows]


def test_json_alone_writes_nothing(runs: list[Path], cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = {path: path.read_bytes() for path in runs[0].rglob("*") if path.is_file()}
    assert cli("report", runs[0], "--tasks", 5, "--json")[0] == 0
    assert list(tmp_path.iterdir()) == []
    code, out, _ = cli("report", runs[0], "--tasks", 5, "--split", "val")
    assert code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert "val 3-way 2-shot" in (tmp_path / "report.html").read_text()
    assert out.startswith("protonet reaches an accuracy of")
    assert {path: path.read_bytes() for path in runs[0].rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", "."], "is a folder"),
        (["--out", "FILE/page.html"], "cannot be written"),
        (["--plots", "FILE"], "is a file"),
        (["--episode", 5], "the tasks are 0 to 4"),
        (["--episode", -1], "the tasks are 0 to 4"),
        (["--ways", 9], "9 ways need 9 classes"),
    ],
)
def test_what_cannot_be_reported(
    words: list[object], message: str, runs: list[Path], cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FILE").write_text("")
    code, out, errors = cli("report", runs[0], "--tasks", 5, *words)
    assert (code, out) == (2, "")
    assert message in errors
    assert [path.name for path in tmp_path.iterdir()] == ["FILE"]


def test_runs_of_one_name_and_of_other_data(runs: list[Path], cli: Cli, tmp_path: Path) -> None:
    shutil.copytree(runs[0], tmp_path / "protonet")
    code, out, _ = cli("report", runs[0], tmp_path / "protonet", "--tasks", 5, "--json")
    assert code == 0
    assert [row["learner"] for row in json.loads(out)["results"]["scores"]] == [
        str(runs[0]),
        str(tmp_path / "protonet"),
    ]
    assert cli("report", runs[0], runs[0], "--tasks", 5, "--json")[0] == 2
    words = ["--steps", 0, "--quiet", "--set", "validation.tasks=2", "--set", "net.width=4"]
    assert cli("train", "maml", "--data", "sinusoid", *words, "--out", tmp_path / "sines")[0] == 0
    code, _, errors = cli("report", runs[0], tmp_path / "sines", "--tasks", 5, "--json")
    assert code == 2
    assert errors.count("\n") == 1


def subjects(pool: il.Pool, tasks: int = 12) -> tuple[list[Subject], il.FewShot]:
    sampler = il.FewShot(pool, ways=3, shots=2, queries=4)
    torch.manual_seed(0)
    protonet = il.ProtoNet(il.nets.conv4((1, 8, 8), width=4, pools=1, norm="group"))
    maml = il.MAML(il.nets.conv4((1, 8, 8), width=4, pools=1, norm="group", out=3), lr=0.1, steps=2)
    return [look_at(name, one, sampler, tasks=tasks, seed=1) for name, one in (("P", protonet), ("M", maml))], sampler


@pytest.fixture(scope="module")
def pool() -> il.Pool:
    generator = torch.Generator().manual_seed(3)
    x = torch.rand(7, 1, 1, 8, 8, generator=generator) + 0.3 * torch.randn(7, 6, 1, 8, 8, generator=generator)
    return il.Pool.of(x.flatten(0, 1).clamp(0, 1), [c for c in range(7) for _ in range(6)])


@pytest.fixture(scope="module")
def built(pool: il.Pool) -> tuple[Built, list[Subject], il.FewShot]:
    found, sampler = subjects(pool)
    return build(found, sampler, title="T", protocol="3-way 2-shot"), found, sampler


def section(built: Built, key: str) -> Any:
    return next(one for one in built.sections if one.key == key)


def log_odds(learner: il.Learner, support: il.Examples, x: Tensor, answer: int) -> float:
    with torch.no_grad():
        raw = learner.predict(learner.adapt(support), x)[0, 0].double()
    return float(raw[answer] - torch.cat((raw[:answer], raw[answer + 1 :])).logsumexp(0))


def test_evidence_is_that_of_refits_one_by_one(built: tuple[Built, list[Subject], il.FewShot]) -> None:
    """Of every learner, on the queries of the first task; the page shows the numbers, and each picture has words."""
    report, found, sampler = built
    facts = section(report, "evidence").facts
    assert [one["learner"] for one in facts] == ["P", "M"]
    tables = Page(section(report, "evidence").html()).tables
    for subject, one, table in zip(found, facts, tables, strict=True):
        (support, query) = tasks_of(sampler, subject.report, [0])[0]
        assert len(one["queries"]) == 4
        names = list(report.json()["episode"]["classes"])
        for column, asked in enumerate(one["queries"]):
            x = query.x[asked["query"] : asked["query"] + 1]
            answer = names.index(asked["answer"])
            whole = log_odds(subject.learner, support, x, answer)
            for left in range(6):
                rest = [place for place in range(6) if place != left]
                part = il.Examples(support.x[rest], support.y[rest])
                value = whole - log_odds(subject.learner, part, x, answer)
                assert float(asked["evidence"][left]) == pytest.approx(value, abs=2e-3)
            shown = [row[1 + column] for row in table[1:-1]]
            order = sorted(range(6), key=lambda place: (int(support.y[place].argmax()), place))
            digits = len(shown[0].partition(".")[2])
            values = [float(value) for value in asked["evidence"]]
            assert shown == [amount(values[place], digits) for place in order]
            if asked["turn"] is not None:
                rest = [place for place in range(6) if place not in asked["turn"]["without"]]
                part = il.Examples(support.x[rest], support.y[rest])
                turned = subject.learner.proba(subject.learner.adapt(part), x)[0].argmax()
                assert names[int(turned)] == asked["turn"]["answer"] != asked["answer"]
                assert table[-1][1 + column].count(",") == len(asked["turn"]["without"]) - 1
    wrong = [asked["class"] != asked["answer"] for asked in facts[0]["queries"]]
    assert wrong == sorted(wrong, reverse=True)
    images = Page(section(report, "evidence").html()).all("img")
    assert len(images) == 2 * (6 + 4)


def test_worst_tasks_and_classes_are_the_worst(built: tuple[Built, list[Subject], il.FewShot]) -> None:
    report, found, sampler = built
    for subject in found:
        facts = section(report, "worst").facts[subject.name]
        scores = subject.report.per_task["accuracy"]
        assert [row["accuracy"] for row in facts["tasks"]] == pytest.approx(sorted(scores)[:5])
        for row in facts["tasks"]:
            assert scores[row["task"]] == pytest.approx(row["accuracy"])
            support, query = tasks_of(sampler, subject.report, [row["task"]])[row["task"]]
            said = subject.learner.proba(subject.learner.adapt(support), query.x).argmax(1)
            pairs = Counter(zip(query.y.argmax(1).tolist(), said.tolist(), strict=True))
            for mixed in row["confused"]:
                a, b = (row["classes"].index(mixed[key]) for key in ("class", "taken_for"))
                assert (mixed["times"], mixed["of"]) == (pairs[a, b], 4)
        right: dict[str, list[bool]] = {}
        told = subject.answers
        assert told is not None
        for number, classes in enumerate(subject.report.indices.classes.tolist()):
            for truth, good in zip(told.y[number].argmax(1).tolist(), told.right[number].tolist(), strict=True):
                right.setdefault(sampler.pool.names[classes[truth]], []).append(good)
        means = {name: np.mean(values) for name, values in right.items()}
        assert [row["right"] for row in facts["classes"]] == pytest.approx(sorted(means.values())[:8])
        for row in facts["classes"]:
            assert (row["right"], row["queries"]) == (pytest.approx(means[row["class"]]), len(right[row["class"]]))


def test_a_map_is_the_first_two_components_of_what_is_decided_by(
    built: tuple[Built, list[Subject], il.FewShot],
) -> None:
    report, found, sampler = built
    x = torch.randn(30, 5, dtype=torch.float64) * torch.tensor([3.0, 2.0, 1.0, 0.5, 0.1], dtype=torch.float64)
    at, share = plane(x.numpy())
    pca = PCA(2).fit(x.numpy())
    assert np.abs(at) == pytest.approx(np.abs(pca.transform(x.numpy())), abs=1e-9)
    assert share == pytest.approx(pca.explained_variance_ratio_.sum())
    task = tasks_of(sampler, found[0].report, [0])[0]
    protonet, maml = (subject.learner for subject in found)
    own = features_of(protonet, task)
    assert own is not None
    with torch.no_grad():
        assert own[1] == pytest.approx(protonet.encoder(task.query.x).flatten(1).double(), abs=1e-5)
        # Its last layer on its features gives its answers.
        theirs = features_of(maml, task)
        assert theirs is not None
        state = maml.adapt(task.support)
        raw = maml.predict(state, task.query.x)[0]
    last = [name for name, _ in maml.net.named_parameters()][-2:]
    weight, bias = (dict(state.parameters)[name] for name in last)
    assert theirs[1].float() @ weight.mT + bias == pytest.approx(raw, abs=1e-4)
    facts = section(report, "map").facts["P"]
    assert len(facts["support"]) == 6
    assert [row[2] for row in facts["queries"]] == task.query.y.argmax(1).tolist()


def test_a_transductive_learner_is_reported_without_evidence(pool: il.Pool) -> None:
    """It answers all queries together: no example speaks to one alone."""
    sampler = il.FewShot(pool, ways=3, shots=2, queries=4)
    learner = il.ProtoNet(il.nets.conv4((1, 8, 8), width=4, pools=1, norm="batch"))
    subject = look_at("B", learner, sampler, tasks=4)
    found = build([subject], sampler, title="T", protocol="3-way 2-shot")
    assert "evidence" not in [one.key for one in found.sections]
    assert "episode" in [one.key for one in found.sections]


def test_functions_have_their_spread(tmp_path: Path) -> None:
    """Of a process, 95 % between the quantiles of its Gaussians; sections that have nothing to say are left out."""
    sampler = il.data.GaussianProcess("rbf", shots=(3, 6), queries=8)
    torch.manual_seed(0)
    process = il.learners.CNP.from_facts(sampler.facts, il.nets.NetSpec())
    subject = look_at("CNP", process, sampler, tasks=6)
    found = build([subject], sampler, title="T", protocol="tasks")
    assert [one.key for one in found.sections] == ["results", "functions", "worst", "budgets", "recipe"]
    page = check_page(found.write(tmp_path / "page.html").read_text(encoding="utf-8"))
    assert not page.all("img")
    assert "Open:" not in page.text
    task = tasks_of(sampler, subject.report, [4])[4]
    x = torch.linspace(-2, 2, 9).unsqueeze(1)
    mean, low, high = predicted(subject, task, x)
    assert low is not None
    with torch.no_grad():
        raw = process.predict(process.adapt(task.support), x)
        mu, sigma = (part[0, :, 0].double() for part in process.likelihood.parameters_of(raw))
    room = torch.cat((task.support.y, task.query.y))
    step = 3 * float(room.max() - room.min()) / 240
    assert mean == pytest.approx(mu, abs=1e-5)
    for end, sign in ((low, -1), (high, 1)):
        want = mu + sign * 1.959964 * sigma
        within = (want > room.min() - 0.5) & (want < room.max() + 0.5)
        assert end[within] == pytest.approx(want[within], abs=step)
    worst = [row["task"] for row in section(found, "worst").facts["CNP"]["tasks"]]
    shown = [one["task"] for one in section(found, "functions").facts]
    assert set(shown) == {0, 1, *worst[:2]}


def test_functions_of_several_learners_and_of_many_inputs() -> None:
    """One plot a task for all; where inputs are many, predicted against true values."""
    sines = il.data.Sinusoid()
    mamls = [il.MAML(il.nets.mlp(1, 8, 1), lr=lr, likelihood=il.Gaussian(scale=1.0)) for lr in (0.1, 0.01)]
    both = [look_at(name, one, sines, tasks=6) for name, one in zip("ab", mamls, strict=True)]
    facts = section(build(both, sines, title="T", protocol="10-shot"), "functions").facts
    assert facts[0]["task"] == 0
    assert facts[0]["a"]["low"] is None
    x = torch.tensor(facts[0]["x"]).unsqueeze(1)
    task = tasks_of(sines, both[0].report, [0])[0]
    assert facts[0]["b"]["mean"] == pytest.approx(predicted(both[1], task, x)[0].tolist())

    class Planes(il.data.Sinusoid):
        def draw(self, generator: torch.Generator, tasks: int) -> il.Task:
            parts = []
            slope = torch.randn(tasks, 3, 1, generator=generator)
            for count in (6, 5):
                x = torch.randn(tasks, count, 3, generator=generator)
                parts.append(il.Examples(x, x @ slope))
            return il.Task(*parts)

    maml = il.MAML(il.nets.mlp(3, 8, 1), lr=0.1, likelihood=il.Gaussian(scale=1.0))
    one = look_at("planes", maml, Planes(), tasks=4)
    facts = section(build([one], Planes(), title="T", protocol="6-shot"), "functions").facts
    task = tasks_of(Planes(), one.report, [facts[-1]["task"]])[facts[-1]["task"]]
    assert facts[-1]["true"] == pytest.approx(task.query.y[:, 0].tolist())
    error = np.square(np.array(facts[-1]["true"]) - np.array(facts[-1]["planes"]["mean"])).mean()
    assert error == pytest.approx(one.report.per_task["mse"][facts[-1]["task"]], rel=1e-4)


def test_vectors_have_no_pictures(tmp_path: Path) -> None:
    """Tables and fingerprints: all sections but those of pictures."""
    pool = il.Pool.of(
        torch.randn(42, 5) + 2 * torch.arange(7).repeat_interleave(6).unsqueeze(1), [i // 6 for i in range(42)]
    )
    sampler = il.FewShot(pool, ways=3, shots=2, queries=4)
    subject = look_at("V", il.ProtoNet(nn.Linear(5, 4)), sampler, tasks=5)
    found = build([subject], sampler, title="T", protocol="3-way 2-shot")
    keys = [one.key for one in found.sections]
    assert keys == ["results", "calibration", "evidence", "map", "worst", "budgets", "recipe"]
    page = check_page(found.write(tmp_path / "page.html").read_text(encoding="utf-8"))
    assert not page.all("img")


def test_inner_steps_end_at_the_report(built: tuple[Built, list[Subject], il.FewShot]) -> None:
    """After the learner's own number of steps the queries are answered as well as the report says."""
    report, found, _ = built
    facts = section(report, "inner").facts
    assert list(facts) == ["M"]
    steps = facts["M"]["steps"]
    assert steps["test_steps"] == 2
    assert steps["query"]["accuracy"]["mean"][2] == pytest.approx(found[1].report.value, abs=1e-6)
    assert len(facts["M"]["layers"]["layers"]) == len(facts["M"]["layers"]["cka"])


def test_runs_of_several_seeds_have_their_mean(pool: il.Pool) -> None:
    """Those whose recipes differ in the seed alone, paired with those of another recipe by their seeds."""
    sampler = il.FewShot(pool, ways=3, shots=2, queries=4)
    found = []
    for name in ("a", "b"):
        for seed in (0, 1, 2):
            torch.manual_seed(seed)
            learner = il.ProtoNet(il.nets.conv4((1, 8, 8), width=4 if name == "a" else 8, pools=1, norm="group"))
            recipe = {"learner": "protonet", "data": "d", "seed": seed, "net": {"width": name}, "root": str(seed)}
            about = {"recipe": {**recipe, "training": {"steps": 3, "device": f"cuda:{seed}"}}}
            found.append(look_at(f"{name}{seed}", learner, sampler, tasks=10, about=about))
    shown = seeds_section(found)
    assert shown is not None
    facts = shown.facts
    assert list(facts) == ["protonet on d", "protonet on d as b0", "protonet on d less protonet on d as b0"]
    values = [one.report.value for one in found]
    for group, mean in zip(facts.values(), (values[:3], values[3:]), strict=False):
        assert group["each"] == pytest.approx(mean)
        assert group["value"] == pytest.approx(np.mean(mean))
    gaps = [a - b for a, b in zip(values[:3], values[3:], strict=True)]
    assert list(facts.values())[2]["each"] == pytest.approx(gaps)
    assert seeds_section(found[2:4]) is None
