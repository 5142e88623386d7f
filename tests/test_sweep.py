"""Sweeps with the real Optuna: what is asked, what is left on disk, and going on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from test_cli import Cli

import innerloop as il
from innerloop import sweep
from innerloop.core.folder import prepare_folder
from innerloop.data import Sinusoid, registry
from innerloop.data.families import Functions
from innerloop.recipes import Recipe, defaults, load_run

BASE = ["--set", "net.width=8", "--set", "validation.tasks=5", "--steps", 3, "--json"]
TRY = ["--try", "training.lr=1e-4..1e-2:log", "--try", "options.steps=1..3", "--try", "net.width=[4, 8]"]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(monkeypatch, capsys)


def command(out: Path, trials: int, *words: Any) -> list[Any]:
    return ["sweep", "maml", "--data", "sinusoid", "--out", out, "--trials", trials, *TRY, *BASE, *words]


def short() -> Recipe:
    recipe = defaults("maml", "sinusoid")
    recipe.training = {**recipe.training, "steps": 3}
    del recipe.training["minutes"]
    recipe.validation["tasks"], recipe.net["width"] = 5, 8
    return recipe


def opened(out: Path) -> Any:
    return optuna.load_study(study_name="maml-sinusoid", storage=f"sqlite:///{out}/sweep.db")


def test_a_trial_is_an_ordinary_run_with_the_values_that_it_was_given(cli: Cli, tmp_path: Path) -> None:
    code, out, err = cli(*command(tmp_path, 3))
    assert code == 0
    found = json.loads(out)
    assert [line.split(" (")[0] for line in err.splitlines()] == ["trial 0", "trial 1", "trial 2"]
    assert found["best"] == found["trials"][0]
    scores = [row["score"] for row in found["trials"]]
    assert scores == sorted(scores, reverse=True)
    for row in found["trials"]:
        assert row["state"] == "complete"
        recipe, _ = load_run(row["folder"])
        given = row["parameters"]
        assert recipe.training["lr"] == given["training.lr"]
        assert recipe.options["steps"] == given["options.steps"]
        assert recipe.net["width"] == given["net.width"]
        assert 1e-4 <= recipe.training["lr"] <= 1e-2
        assert recipe.options["steps"] in (1, 2, 3)
        assert recipe.net["width"] in (4, 8)
        assert recipe.training["steps"] == 3
    assert len({row["parameters"]["training.lr"] for row in found["trials"]}) == 3


def test_the_score_is_the_best_validation_of_the_same_run_by_hand(tmp_path: Path) -> None:
    recipe = short()
    (row,) = sweep.run(recipe, [sweep.Axis.read("training.lr=[0.01]")], out=tmp_path, trials=1)
    recipe.training["lr"] = 0.01
    source = recipe.source()
    sampler = recipe.sampler(source)
    history = il.fit(
        recipe.build(sampler.facts), sampler, **recipe.training, validate=recipe.validation_sampler(source),
        validate_tasks=5, seed=0, progress=False,
    )  # fmt: skip
    assert row["score"] == history.best


def test_the_same_command_again_adds_nothing_and_a_larger_one_only_the_rest(cli: Cli, tmp_path: Path) -> None:
    first = json.loads(cli(*command(tmp_path, 2))[1])
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("trial-*/last.safetensors")}
    code, out, err = cli(*command(tmp_path, 2))
    assert (code, json.loads(out), err) == (0, first, "")
    more = json.loads(cli(*command(tmp_path, 3))[1])
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert sorted(row["trial"] for row in more["trials"]) == [0, 1, 2]
    assert all(row in more["trials"] for row in first["trials"])


def test_the_values_follow_from_the_seed(cli: Cli, tmp_path: Path) -> None:
    def values(name: str, seed: int) -> list[dict[str, Any]]:
        return json.loads(cli(*command(tmp_path / name, 2, "--seed", seed))[1])["trials"]

    a, b, c = ([row["parameters"] for row in values(*which)] for which in (("a", 0), ("b", 0), ("c", 1)))
    assert a == b != c


def test_a_trial_that_breaks_in_another_way_does_not_stop_the_sweep(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counts as failed with its reason, the others are tried, and the same command again has nothing left to do."""
    draws = []

    class Breaking(Sinusoid):
        def draw(self, generator: torch.Generator, tasks: int) -> il.Task:
            draws.append(tasks)
            if len(draws) == 1:
                raise RuntimeError("out of something")
            return super().draw(generator, tasks)

    broken = registry.DataSet(lambda: Functions(Breaking, "sinusoid"), ("regression", "functions"), "breaks once")
    monkeypatch.setitem(registry.SETS, "sinusoid", broken)
    code, out, err = cli(*command(tmp_path, 3))
    assert code == 0
    rows = json.loads(out)["trials"]
    assert sorted(row["state"] for row in rows) == ["complete", "complete", "fail"]
    assert "RuntimeError: out of something" in err
    assert json.loads(cli(*command(tmp_path, 3))[1])["trials"] == rows


@pytest.mark.parametrize("name", ["a#b", "a b", "\u4e2d"])
def test_the_database_lies_in_the_folder_whatever_its_name(cli: Cli, tmp_path: Path, name: str) -> None:
    assert cli(*command(tmp_path / name, 1))[0] == 0
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name / "sweep.db").is_file()


@pytest.mark.parametrize("name", ["a?b", "a%3Fb"])
def test_a_folder_that_no_url_can_name_is_refused(cli: Cli, tmp_path: Path, name: str) -> None:
    code, _, err = cli(*command(tmp_path / name, 1))
    assert code == 2
    assert "--storage" in err
    assert not list(tmp_path.iterdir())


#: A process of a sweep that is killed without a word in the middle of its second trial.
KILLED = """
import os, signal
from innerloop.cli.app import main
from innerloop.data import Sinusoid
from innerloop.data import registry
from innerloop.data.families import Functions

class Killing(Sinusoid):
    draws = 0

    def draw(self, generator, tasks):
        Killing.draws += os.path.exists(SECOND)
        if Killing.draws == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().draw(generator, tasks)

registry.SETS["sinusoid"] = registry.DataSet(lambda: Functions(Killing), ("regression", "functions"), "they kill")
main()
"""


def test_a_killed_sweep_goes_on(cli: Cli, tmp_path: Path) -> None:
    """Its finished trial stays, the one that it was killed in is marked as failed, and its values are tried again."""
    words = [str(word) for word in command(tmp_path, 3)]
    driver = KILLED.replace("SECOND", repr(str(tmp_path / "trial-0001" / "metrics.jsonl")))
    assert subprocess.run([sys.executable, "-c", driver, *words], capture_output=True).returncode == -signal.SIGKILL
    states = [trial.state.name for trial in opened(tmp_path).trials]
    assert states == ["COMPLETE", "RUNNING"]
    finished = (tmp_path / "trial-0000" / "last.safetensors").stat().st_mtime_ns
    code, out, err = cli(*command(tmp_path, 3))
    rows = {row["trial"]: row for row in json.loads(out)["trials"]}
    assert code == 0
    assert [rows[number]["state"] for number in range(4)] == ["complete", "fail", "complete", "complete"]
    assert rows[2]["repeats"] == 1
    assert rows[2]["parameters"] == rows[1]["parameters"] != rows[3]["parameters"]
    assert (tmp_path / "trial-0000" / "last.safetensors").stat().st_mtime_ns == finished
    assert [line.split(" (")[0] for line in err.splitlines()] == ["trial 2", "trial 3"]


def test_processes_share_a_sweep(cli: Cli, tmp_path: Path) -> None:
    """A trial that another process has in hand counts and is left alone until that process is gone."""
    cli(*command(tmp_path, 1))
    axes = [sweep.Axis.read(text) for text in TRY[1::2]]
    other = sweep._begin(opened(tmp_path), axes, seed=0, trials=3, out=tmp_path)
    assert other is not None
    trial, _, lock = other
    rows = json.loads(cli(*command(tmp_path, 3))[1])["trials"]
    assert {row["trial"]: row["state"] for row in rows} == {0: "complete", 1: "running", 2: "complete"}
    lock.release()
    rows = json.loads(cli(*command(tmp_path, 3))[1])["trials"]
    assert {row["trial"]: row["state"] for row in rows} == {0: "complete", 1: "fail", 2: "complete", 3: "complete"}
    assert next(row for row in rows if row["trial"] == 3)["parameters"] == trial.params


def test_many_look_at_a_folder_at_once(tmp_path: Path) -> None:
    """Whether it can be written is tried with one file, which another may have taken away already."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: prepare_folder(tmp_path / "new"), range(2000)))
    assert list((tmp_path / "new").iterdir()) == []


def test_two_processes_at_once_run_each_trial_once(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "innerloop", *(str(word) for word in command(tmp_path, 4))]
    both = [subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    lines = sorted(line.split(" (")[0] for text in said for line in text.splitlines())
    assert lines == ["trial 0", "trial 1", "trial 2", "trial 3"]


def test_values_that_cannot_train_are_kept_as_refused(cli: Cli, tmp_path: Path) -> None:
    words = ["sweep", "maml", "--data", "sinusoid", "--out", tmp_path, "--trials", 2, *BASE]
    code, out, _ = cli(*words, "--set", "training.clip=", "--try", "options.lr=1e15..1e16:log")
    rows = json.loads(out)["trials"]
    assert code == 0
    assert [(row["state"], row["score"]) for row in rows] == [("refused", None)] * 2
    assert "the loss is" in rows[0]["why"]


@pytest.mark.parametrize(
    ("text", "axis"),
    [
        ("training.lr=1e-4..1e-2:log", ("training", "lr", (), 1e-4, 1e-2, True)),
        ("options.scale=0.05..1.0", ("options", "scale", (), 0.05, 1.0, False)),
        ("options.steps=1..5", ("options", "steps", (), 1, 5, False)),
        ("options.lr=-1..5.0", ("options", "lr", (), -1, 5.0, False)),
        ("episodes.ways=[5,20,60]", ("episodes", "ways", (5, 20, 60), 0, 0, False)),
        ("training.schedule=['cosine', 'linear']", ("training", "schedule", ("cosine", "linear"), 0, 0, False)),
    ],
)
def test_ranges_are_read(text: str, axis: tuple[Any, ...]) -> None:
    read = sweep.Axis.read(text)
    assert read == sweep.Axis(*axis)
    assert [type(value) for value in (read.low, read.high)] == [type(value) for value in axis[3:5]]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("training.lr", "PART.NAME"),
        ("lr=1..2", "PART.NAME"),
        ("trainin.lr=1..2", "did you mean training"),
        ("training.learning_rate=1..2", "no argument"),
        ("validation.shots=[1, 5]", "validation tasks"),
        ("pool.split=['a', 'b']", "validation tasks"),
        ("training.lr=1e-2..1e-4", "LOW below HIGH"),
        ("training.lr=1..1", "LOW below HIGH"),
        ("training.lr=0..1:log", "above 0"),
        ("training.lr=0..nan", "finite"),
        ("training.lr=0..inf", "finite"),
        ("training.lr=fast", "LOW..HIGH"),
        ("training.lr=a..b", "LOW..HIGH"),
        ("training.schedule=[cosine]", "quotes"),
        ("net.width=[]", "at least one"),
        ("net.width=[[8, 8], [4]]", "at least one"),
    ],
)
def test_what_is_no_range_is_refused_by_name(cli: Cli, tmp_path: Path, text: str, word: str) -> None:
    code, _, err = cli("sweep", "maml", "--data", "sinusoid", "--out", tmp_path / "new", *BASE, "--try", text)
    assert code == 2
    assert word in err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("words", "word"),
    [
        (["--try", "options.nonsense=1..2"], "nonsense"),
        (["--try", "options.steps=-3..2"], "at least 0"),
        (["--try", "options.steps=1..2", "--try", "options.steps=1..3"], "only once"),
        (["--try", "options.steps=1..2", "--trials", 0], "at least 1"),
        (["--try", "options.steps=1..2", "--storage", "nonsense"], "storage"),
        (["--try", "options.steps=1..2", "--storage", "sqlite:////no/such/folder/x.db"], "storage"),
        (["--try", "options.steps=1..2", "--storage", "nobase://host/x"], "storage"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_trial(cli: Cli, tmp_path: Path, words: list[Any], word: str) -> None:
    code, _, err = cli("sweep", "maml", "--data", "sinusoid", "--out", tmp_path, *BASE, *words)
    assert code == 2
    assert word in err
    assert not list(tmp_path.glob("trial-*"))


def test_another_sweep_under_the_same_name_is_refused(cli: Cli, tmp_path: Path) -> None:
    cli(*command(tmp_path, 1))
    for more in (["--seed", 1], ["--set", "options.lr=0.5"], ["--try", "training.clip=1.0..2.0"]):
        code, _, err = cli(*command(tmp_path, 2, *more))
        assert code == 2
        assert "another recipe or other ranges" in err
    # In another storage it finds the folders taken.
    code, _, err = cli(*command(tmp_path, 1, "--storage", f"sqlite:///{tmp_path}/other.db"))
    assert code == 2
    assert "another --out" in err


def test_episodes_that_vary_do_not_change_what_trials_are_judged_on(tmp_path: Path) -> None:
    recipe = short()
    recipe.validation = {"tasks": 5}
    rows = sweep.run(recipe, [sweep.Axis.read("episodes.shots=[3, 7]")], out=tmp_path, trials=4)
    recipes = [load_run(row["folder"])[0] for row in rows]
    assert {one.episodes["shots"] for one in recipes} == {3, 7}
    assert {one.validation_sampler(one.source()).shots for one in recipes} == {recipe.episodes["shots"]} == {10}


def test_without_optuna_it_says_what_to_install(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "optuna", None)
    code, _, err = cli(*command(tmp_path, 1))
    assert code == 2
    assert "pip install 'innerloop[sweep]'" in err


def test_the_table_has_a_column_for_each_value(cli: Cli, tmp_path: Path) -> None:
    code, out, _ = cli(*(word for word in command(tmp_path, 2) if word != "--json"))
    assert code == 0
    assert all(word in out for word in ("trial", "score", "training.lr", "options.steps", "net.width"))
