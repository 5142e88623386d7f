"""Each verb of the command line on real input, and what it says to bad input."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from laws import assert_same

import innerloop as il
from innerloop.cli.app import main
from innerloop.core import checkpoint
from innerloop.core.random import generator
from innerloop.recipes import load, load_run
from innerloop.training.validation import CALIBRATION_BATCHES

TINY = ["--set", "net.width=8", "--ways", "5", "--queries", "3", "--tasks-per-step", "2", "--set", "validation.tasks=4"]


class Cli:
    """Runs the command line in this process: exit code, standard output, standard error."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, *words: object) -> tuple[int, str, str]:
        self._monkeypatch.setattr(sys, "argv", ["innerloop", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = self._capsys.readouterr()
        return int(stop.value.code or 0), out, err


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(monkeypatch, capsys)


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short ProtoNet run on glyphs, made by ``python -m innerloop``."""
    folder = tmp_path_factory.mktemp("runs") / "protonet"
    command = [sys.executable, "-m", "innerloop", "train", "protonet", "--steps", "6", "--out", str(folder), *TINY]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_train_leaves_recipe_metrics_and_checkpoints(run_folder: Path) -> None:
    facts = json.loads((run_folder / "recipe.json").read_text())
    assert facts["recipe"]["learner"] == "protonet"
    assert facts["recipe"]["episodes"] == {"ways": 5, "shots": 1, "queries": 3}
    assert facts["versions"]["torch"] == torch.__version__
    assert facts["device"] == "CPU"
    rows = [json.loads(line) for line in (run_folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert checkpoint.load(run_folder / "last.safetensors")[1]["step"] == 6
    assert il.bundle.read(run_folder).origin["data"] == facts["recipe"]["data"]


def test_evaluate_under_views_is_the_learner_under_half_of_the_training_changes(cli: Cli, run_folder: Path) -> None:
    """``--views`` sees what :class:`UnderViews` of half the recipe's augmentation sees, on the same tasks."""
    words = ("evaluate", run_folder, "--ways", 5, "--shots", 1, "--queries", 3, "--tasks", 20, "--json")
    (_, plain, _), (_, seen, _) = cli(*words), cli(*words, "--views")
    plain, seen = json.loads(plain), json.loads(seen)
    recipe = load_run(run_folder)[0]
    halves = {name: recipe.augment[name] / 2 for name in ("shift", "rotate", "scale", "shear")}
    learner = il.learners.UnderViews(load(run_folder), **halves)
    sampler = recipe.episodes_of(recipe.source(), "test", ways=5, shots=1, queries=3)
    assert seen["accuracy"] == il.evaluate(learner, sampler, tasks=20).json()["accuracy"]
    assert seen["nll"] != plain["nll"]
    assert seen["episodes"] == plain["episodes"]


def test_running_statistics_of_a_run_without_any_are_those_of_its_training_tasks(cli: Cli, tmp_path: Path) -> None:
    """``--norm running`` of a MAML trained on support statistics: the mean over unaugmented meta-training tasks."""
    assert cli("train", "maml", "--steps", 3, "--out", tmp_path / "run", *TINY, "--quiet")[0] == 0
    code, out, _ = cli("evaluate", tmp_path / "run", "--norm", "running", "--tasks", 5, "--queries", 2, "--json")
    assert (code, json.loads(out)["norm"]) == (0, "running")
    net = load(tmp_path / "run", policy="running").net
    recipe = load_run(tmp_path / "run")[0]
    sampler, means = recipe.sampler(recipe.source()), []
    for i in range(CALIBRATION_BATCHES):
        task = sampler.plain(generator(recipe.seed, "calibrate", i), 1)
        means += [net.convolutions[0](part.x[0]).mean((0, 2, 3)) for part in task]
    torch.testing.assert_close(net.norms[0].running_mean, torch.stack(means).mean(0))


def test_views_of_a_run_without_changes_are_refused(cli: Cli, tmp_path: Path) -> None:
    """Nothing says which they would be."""
    still = ["--set", "augment.probability=0"]
    assert cli("train", "protonet", "--steps", 0, "--out", tmp_path / "run", *TINY, *still)[0] == 0
    code, _, err = cli("evaluate", tmp_path / "run", "--views", "--tasks", 2)
    assert code == 2
    assert "nothing says which views to see: leave views out" in " ".join(err.split())


def test_evaluate_prints_the_promised_keys_and_the_same_twice(cli: Cli, run_folder: Path) -> None:
    words = ("evaluate", run_folder, "--ways", 5, "--shots", 1, "--queries", 15, "--tasks", 20, "--seed", 3, "--json")
    code, out, _ = cli(*words)
    report = json.loads(out)
    assert code == 0
    assert {"accuracy", "interval", "tasks", "ways", "shots", "norm", "transductive", "seed"} <= report.keys()
    assert (report["tasks"], report["ways"], report["shots"], report["seed"]) == (20, 5, 1, 3)
    assert (report["norm"], report["transductive"]) == ("running", False)
    assert report["interval"][0] < report["accuracy"] < report["interval"][1]
    assert cli(*words)[1] == out


def test_evaluate_saves_the_episodes_and_each_score(cli: Cli, run_folder: Path) -> None:
    _, out, _ = cli("evaluate", run_folder, "--ways", 4, "--shots", 2, "--queries", 5, "--tasks", 7, "--json")
    (path,) = (run_folder / "evaluations").glob("test-4w2s5q-7tasks-seed0-????????.safetensors")
    tensors, facts = checkpoint.load(path)
    assert tensors["episodes.classes"].shape == (7, 4)
    assert tensors["episodes.support"].shape == (7, 8)
    assert float(tensors["task.accuracy"].double().mean()) == pytest.approx(json.loads(out)["accuracy"])
    assert facts["episodes"] == json.loads(out)["episodes"]
    assert (facts["learner"], facts["data"], facts["split"]) == ("protonet", "glyphs", "test")
    assert facts["versions"]["torch"] == torch.__version__
    assert facts["device"] == "CPU"
    assert len(facts["weights"]) == 16


def test_an_evaluation_of_other_weights_is_kept_beside_the_first(cli: Cli, run_folder: Path, tmp_path: Path) -> None:
    """The same again changes nothing; after the weights have changed there is a second file."""
    run, words = tmp_path / "run", ("--tasks", 3, "--queries", 2)
    shutil.copytree(run_folder, run, ignore=shutil.ignore_patterns("evaluations"))
    for _ in range(2):
        assert cli("evaluate", run, *words)[0] == 0
    ((first, content),) = contents(run / "evaluations").items()
    best = il.load(run)
    il.save(run / "best", best, weights={name: 2 * value for name, value in best.state_dict().items()}, replace=True)
    assert cli("evaluate", run, *words)[0] == 0
    kept = contents(run / "evaluations")
    assert len(kept) == 2
    assert kept[first] == content


def test_an_evaluation_is_kept_where_out_says(cli: Cli, run_folder: Path, tmp_path: Path) -> None:
    """And what cannot be written is refused before any task is scored, and leaves nothing."""
    before = contents(run_folder)
    assert cli("evaluate", run_folder, "--tasks", 2, "--queries", 2, "--out", tmp_path / "kept")[0] == 0
    assert len(list((tmp_path / "kept").glob("test-5w1s2q-2tasks-seed0-*.safetensors"))) == 1
    assert contents(run_folder) == before
    (tmp_path / "file").write_text("")
    code, out, err = cli("evaluate", run_folder, "--tasks", 2, "--out", tmp_path / "file")
    assert (code, out) == (2, "")
    assert "nothing was evaluated" in err


def test_one_task_is_json_too(cli: Cli, run_folder: Path) -> None:
    """No interval, and so null."""
    code, out, _ = cli("evaluate", run_folder, "--tasks", 1, "--queries", 2, "--json")
    assert code == 0
    assert json.loads(out, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))["interval"] == [None, None]


def test_compare_knows_that_less_error_is_better(cli: Cli, tmp_path: Path) -> None:
    """Of regressions the one with the smaller error wins; one that has another figure is met on a common one."""
    words = ("--data", "sinusoid", "--set", "validation.tasks=4", "--quiet")
    for name, learner, steps in (("none", "maml", 0), ("some", "maml", 40), ("process", "cnp", 0)):
        assert cli("train", learner, *words, "--steps", steps, "--out", tmp_path / name)[0] == 0
    runs = tmp_path / "some", tmp_path / "none"
    found = json.loads(cli("compare", *runs, "--tasks", 30, "--json")[1])
    first, second, gap = found["first"]["mse"], found["second"]["mse"], found["difference"]
    assert gap["mean"] == pytest.approx(second - first)
    assert (gap["metric"], gap["better"]) == ("mse", "lower")
    assert gap["wins"] > gap["losses"]
    assert "mse, lower is better, so above 0 is for the first" in cli("compare", *runs, "--tasks", 30)[1]
    mixed = json.loads(cli("compare", tmp_path / "process", tmp_path / "none", "--tasks", 10, "--json")[1])
    assert mixed["difference"]["metric"] == "mse"
    assert mixed["difference"]["mean"] == pytest.approx(mixed["second"]["mse"] - mixed["first"]["mse"])
    code, out, err = cli("compare", *runs, "--tasks", 1)
    assert (code, out) == (2, "")
    assert "2 tasks or more, not 1" in err


def test_the_line_for_people_says_norm_and_transductive(cli: Cli, run_folder: Path) -> None:
    _, out, _ = cli("evaluate", run_folder, "--tasks", 5)
    assert re.search(r"5-way 1-shot: accuracy \d+\.\d\d ± .*5 tasks, seed 0, norm running, not transductive", out)


def test_compare_pairs_two_runs_on_the_same_tasks(cli: Cli, run_folder: Path, tmp_path: Path) -> None:
    assert cli("train", "protonet", "--steps", 0, "--out", tmp_path / "untrained", "--quiet", *TINY)[0] == 0
    code, out, _ = cli("compare", run_folder, tmp_path / "untrained", "--tasks", 12, "--json")
    result = json.loads(out)
    assert code == 0
    assert result["first"]["episodes"] == result["second"]["episodes"]
    gap = result["first"]["accuracy"] - result["second"]["accuracy"]
    assert result["difference"]["mean"] == pytest.approx(gap)
    assert "points" in cli("compare", run_folder, tmp_path / "untrained", "--tasks", 12)[1]


CLASSIFIERS = ["maml", "reptile", "relationnet", "finetune", "versa", "statistician", "hallucinator", "metagan"]
CLASSIFIERS += ["anil", "boil", "mamlplusplus", "metasgd", "multitask"]


@pytest.mark.parametrize("learner", CLASSIFIERS)
def test_each_learner_trains_and_is_scored(cli: Cli, learner: str, tmp_path: Path) -> None:
    extra = {
        "reptile": [*TINY, "--queries", "0", "--shots", "2", "--inner-steps", "2", "--set", "options.test_steps=2"],
        "finetune": ["--set", "net.width=8", "--set", "episodes.size=8", "--set", "validation.tasks=4"],
    }.get(learner, TINY)
    assert cli("train", learner, "--steps", 2, "--out", tmp_path / "run", "--quiet", *extra)[0] == 0
    code, out, _ = cli("evaluate", tmp_path / "run", "--ways", 5, "--shots", 1, "--queries", 2, "--tasks", 3, "--json")
    assert code == 0
    assert 0 <= json.loads(out)["accuracy"] <= 1


@pytest.mark.parametrize("words", [("maml",), ("maml", "--width", 16), ("reptile",), ("cavia",)], ids=str)
def test_regression_by_the_command_line(words: tuple[object, ...], cli: Cli, tmp_path: Path) -> None:
    words = ("train", *words, "--data", "sinusoid", "--steps", 3, "--set", "validation.tasks=4")
    words = (*words, "--out", tmp_path / "run", "--quiet")
    assert cli(*words)[0] == 0
    code, out, _ = cli("evaluate", tmp_path / "run", "--tasks", 5, "--queries", 9, "--inner-steps", 2, "--json")
    report = json.loads(out)
    assert code == 0
    assert report["mse"] > 0
    assert report["ways"] is None


PROCESSES = ["cnp", "np", "canp", "anp", "tnp", "convcnp"]


@pytest.mark.parametrize("learner", PROCESSES)
def test_each_process_trains_and_is_scored_on_another_family(cli: Cli, learner: str, tmp_path: Path) -> None:
    words = ["--steps", 2, "--tasks-per-step", 2, "--set", "validation.tasks=4", "--out", tmp_path / "run", "--quiet"]
    assert cli("train", learner, *words)[0] == 0
    for extra in ([], ["--data", "gp_periodic"]):
        code, out, _ = cli("evaluate", tmp_path / "run", "--tasks", 20, "--json", *extra)
        report = json.loads(out)
        assert code == 0
        assert report["log_likelihood"] == pytest.approx(-report["nll"])
        assert set(report["coverage"]) == {"50", "90", "95"}
    saved = {path.name for path in (tmp_path / "run" / "evaluations").iterdir()}
    assert {name.rpartition("-")[0] for name in saved} == {
        f"test-tasks{data}-20tasks-seed0" for data in ("", "-gp_periodic")
    }


def test_images_are_completed_by_a_learner_of_functions(cli: Cli, tmp_path: Path) -> None:
    words = ["--set", "options.width=4", "--set", "options.layers=1", "--set", "validation.tasks=2", "--quiet"]
    words = ["--steps", 2, "--tasks-per-step", 2, *words, "--out", tmp_path / "run"]
    assert cli("train", "gridconvcnp", *words)[0] == 0
    code, out, _ = cli("evaluate", tmp_path / "run", "--shots", 100, "--queries", 50, "--tasks", 3, "--json")
    assert code == 0
    assert json.loads(out)["mse"] > 0


def test_a_table_with_a_task_column_is_for_every_learner_of_real_targets(
    cli: Cli, data_root: Path, tmp_path: Path
) -> None:
    for learner in ("cnp", "maml"):
        words = ["--data", "Hsb82", "--root", data_root, "--shots", 8, "--queries", 4, "--steps", 2, "--quiet"]
        assert cli("train", learner, *words, "--out", tmp_path / learner)[0] == 0
        code, out, _ = cli("evaluate", tmp_path / learner, "--tasks", 5, "--json")
        assert code == 0
        assert json.loads(out)["mse"] > 0
    rows = json.loads(cli("data", "Hsb82", "--root", data_root, "--json")[1])
    assert sum(row["tasks"] for row in rows) == 160
    code, _, err = cli("train", "protonet", *words, "--out", tmp_path / "none")
    assert code == 2
    assert "Hsb82 is regression" in err


def test_tables_to_classify_are_for_classifiers(cli: Cli, tmp_path: Path) -> None:
    small = ["--set", "options.width=8", "--set", "options.heads=2", "--set", "options.depth=1"]
    for learner, extra in (("incontext", small), ("cnp", [])):
        words = ["--data", "table_prior", "--steps", 1, "--tasks-per-step", 2, "--set", "validation.tasks=2", *extra]
        code, _, err = cli("train", learner, *words, "--out", tmp_path / learner, "--quiet")
        assert code == (0 if learner == "incontext" else 2), err
    assert "table_prior is classification" in err


def test_a_run_becomes_weights_of_the_estimator(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = ["--set", "options.width=8", "--set", "options.heads=2", "--set", "options.depth=1"]
    words = ["--steps", 1, "--tasks-per-step", 2, "--set", "validation.tasks=2", *small, "--quiet"]
    assert cli("train", "incontext", *words, "--out", tmp_path / "run")[0] == 0
    script = Path(__file__).resolve().parents[1] / "benchmarks" / "bundle_incontext.py"
    weights = tmp_path / "weights"
    monkeypatch.setattr(sys, "argv", [str(script), str(tmp_path / "run"), str(weights)])
    runpy.run_path(str(script), run_name="__main__")
    model = il.InContextClassifier(n_estimators=1, weights=weights).fit([[0.0], [1.0], [2.0]], ["a", "b", "a"])
    learner = load(tmp_path / "run")
    assert model.predict_proba([[0.5]]).sum() == pytest.approx(1, abs=1e-5)
    assert_same(il.load(weights).state_dict(), learner.state_dict())
    assert il.bundle.read(weights).origin["recipe"]["learner"] == "incontext"


def test_training_starts_from_the_network_of_another_run(cli: Cli, run_folder: Path, tmp_path: Path) -> None:
    words = ["train", "maml", "--steps", 0, "--quiet", *TINY]
    assert cli(*words, "--init", run_folder, "--out", tmp_path / "run")[0] == 0
    given, got = (il.bundle.read(run).weights for run in (run_folder, tmp_path / "run"))
    for layer in range(4):
        weight = given[f"encoder.convolutions.{layer}.weight"]
        assert torch.equal(got[f"net.convolutions.{layer}.weight"], weight)
    code, _, err = cli(*words, "--set", "net.width=16", "--init", run_folder, "--out", tmp_path / "other")
    assert code == 2
    assert "convolutions.0.weight" in err
    assert not (tmp_path / "other").exists()


@pytest.mark.filterwarnings("ignore:this cpu has no instructions for bfloat16:RuntimeWarning")
def test_mixed_precision_is_for_encoders(cli: Cli, tmp_path: Path) -> None:
    words = ["--steps", 2, "--quiet", *TINY, "--set", "training.precision=bfloat16"]
    assert cli("train", "protonet", *words, "--out", tmp_path / "run")[0] == 0
    code, _, err = cli("train", "maml", *words, "--out", tmp_path / "maml")
    assert code == 2
    assert "MAML has none" in err


def test_train_on_real_omniglot(cli: Cli, data_root: Path, tmp_path: Path) -> None:
    root = data_root / "omniglot"
    words = ["--data", "omniglot", "--root", root, "--steps", 2, "--out", tmp_path / "run", "--quiet", *TINY]
    assert cli("train", "protonet", *words)[0] == 0
    _, out, _ = cli("data", "omniglot", "--root", root, "--json")
    assert [(row["split"], row["classes"], row["examples"]) for row in json.loads(out)] == [
        ("train", 4 * 1028, 80 * 1028),
        ("val", 4 * 172, 80 * 172),
        ("test", 4 * 423, 80 * 423),
    ]


def test_learners_and_data_are_listed(cli: Cli) -> None:
    names = [row["learner"] for row in json.loads(cli("learners", "--json")[1])]
    others = ["anml", "cavia", "contrastive", "gridconvcnp", "imaml", "incontext", "oml", "protonet"]
    others += ["raworlearned", "rotation"]
    assert names == sorted([*CLASSIFIERS, *PROCESSES, *others])
    sets = [row["data"] for row in json.loads(cli("data", "--json")[1])]
    assert {"glyphs", "omniglot", "cifar_fs", "mapped", "sinusoid", "gp_rbf", "table_prior", "storms"} <= set(sets)


def test_resume_has_the_losses_of_an_uninterrupted_run(cli: Cli, tmp_path: Path) -> None:
    folder, whole = tmp_path / "interrupted", tmp_path / "whole"
    words = ["train", "protonet", "--steps", "150", *TINY]
    command = [sys.executable, "-m", "innerloop", *words, "--out", str(folder)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        next(line for line in process.stderr if "step" in line)
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    # So that `train && evaluate` does not go on with half a run.
    assert process.returncode == 128 + signal.SIGINT
    assert "interrupted after" in rest
    assert 0 < checkpoint.load(folder / "last.safetensors")[1]["step"] < 150

    assert cli("resume", folder, "--quiet")[0] == 0
    assert cli(*words, "--out", whole, "--quiet")[0] == 0
    assert (folder / "metrics.jsonl").read_text() == (whole / "metrics.jsonl").read_text()
    resumed, uninterrupted = (il.bundle.read(run).weights for run in (folder, whole))
    assert all(torch.equal(resumed[name], uninterrupted[name]) for name in uninterrupted)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["train", "protonett", "--out", "OUT"], r"'protonett' is unknown \(did you mean protonet\?\)"),
        (["train", "protonet", "--data", "omniglott", "--out", "OUT"], r"did you mean omniglot\?"),
        (["train", "protonet", "--data", "omniglot", "--out", "OUT"], "give --root DIR"),
        (["train", "protonet", "--data", "omniglot", "--root", "NOWHERE", "--out", "OUT"], "NOWHERE"),
        (["train", "protonet", "--ways", "100000", "--out", "OUT"], "100000 ways need 100000 classes"),
        (["train", "protonet", "--queries", "50", "--out", "OUT"], "need 51 examples a class"),
        (["train", "protonet", "--norm", "layer", "--out", "OUT"], "norm policy 'layer' is unknown; choose one of"),
        (["train", "protonet", "--steps", "-1", "--out", "OUT"], "steps is -1; it must be at least 0"),
        (["train", "protonet", "--set", "training.speed=3", "--steps", "1", "--out", "OUT"], "speed"),
        (["train", "protonet", "--set", "speed", "--out", "OUT"], "must read PART.NAME=VALUE"),
        (["train", "protonet", "--data", "sinusoid", "--out", "OUT"], "is for classification, sinusoid is regression"),
        (["train", "maml", "--norm", "running", "--out", "OUT"], r"layer 'norms.0' \(BatchNorm2d\)"),
        (["train", "protonet", "--steps", "1", "--out", "FILE/run"], "cannot be written"),
        (["evaluate", "NOWHERE"], "holds no run"),
        (["evaluate", "RUN", "--split", "exam"], "split 'exam' is unknown; choose train, val or test"),
        (["evaluate", "RUN", "--ways", "100000"], "100000 ways need 100000 classes"),
        (["evaluate", "RUN", "--tasks", "0"], "tasks is 0; it must be at least 1"),
        (["resume", "NOWHERE"], "holds no run"),
        (["train", "protonet", "--steps", "1", "--out", "RUN"], "already holds a run"),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(
    words: list[str], says: str, cli: Cli, run_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    places = {"OUT": tmp_path / "out", "NOWHERE": tmp_path / "NOWHERE", "RUN": run_folder, "FILE": tmp_path / "file"}
    before = contents(run_folder)
    named = [re.sub("|".join(places), lambda match: str(places[match[0]]), word) for word in words]
    code, out, err = cli(*named, *(["--quiet"] if words[0] == "train" else []))
    assert code == 2
    assert re.search(says, err)
    assert err.startswith("innerloop: ")
    assert "Traceback" not in err
    assert out == ""
    assert contents(run_folder) == before


def damaged(run_folder: Path, place: Path) -> Path:
    place.mkdir()
    for name in ("recipe.json", "last.safetensors", "metrics.jsonl"):
        (place / name).write_bytes((run_folder / name).read_bytes())
    shutil.copytree(run_folder / "best", place / "best")
    return place


def test_a_damaged_or_foreign_run_folder_is_refused(cli: Cli, run_folder: Path, tmp_path: Path) -> None:
    truncated = damaged(run_folder, tmp_path / "truncated")
    (kept,) = (truncated / "best").glob("weights-*")
    kept.write_bytes(kept.read_bytes()[: kept.stat().st_size // 2])
    code, _, err = cli("evaluate", truncated)
    assert code == 2
    assert "corrupt or truncated" in err

    foreign = damaged(run_folder, tmp_path / "foreign")
    facts = json.loads((foreign / "recipe.json").read_text())
    (foreign / "recipe.json").write_text(json.dumps({**facts, "format": 999}))
    code, _, err = cli("evaluate", foreign)
    assert code == 2
    assert "has format 999, this version of innerloop reads 2" in err

    broken = damaged(run_folder, tmp_path / "broken")
    (broken / "recipe.json").write_text("{")
    assert cli("evaluate", broken)[0] == 2

    other = damaged(run_folder, tmp_path / "other")
    facts["recipe"]["net"]["width"] = 16
    (other / "recipe.json").write_text(json.dumps(facts))
    # What was trained stands in its bundle; to go on takes the recipe that it was begun with.
    assert cli("evaluate", other, "--tasks", 2, "--queries", 2)[0] == 0
    code, _, err = cli("resume", other)
    assert code == 2
    assert "belongs to another recipe" in err


def test_a_fixed_head_is_scored_on_its_own_ways_only_and_a_shared_one_on_any(cli: Cli, tmp_path: Path) -> None:
    fixed = ["--set", 'options.shared_head=""']
    assert cli("train", "maml", "--steps", 1, "--out", tmp_path / "fixed", "--quiet", *TINY, *fixed)[0] == 0
    code, _, err = cli("evaluate", tmp_path / "fixed", "--ways", 7, "--tasks", 2)
    assert code == 2
    assert "7 target columns" in err
    assert cli("train", "maml", "--steps", 1, "--out", tmp_path / "shared", "--quiet", *TINY)[0] == 0
    code, out, _ = cli("evaluate", tmp_path / "shared", "--ways", 7, "--tasks", 2, "--json")
    assert code == 0
    assert json.loads(out)["ways"] == 7


def test_one_run_is_scored_under_several_policies(cli: Cli, tmp_path: Path) -> None:
    assert cli("train", "maml", "--steps", 1, "--out", tmp_path / "run", "--quiet", *TINY)[0] == 0
    words = ("evaluate", tmp_path / "run", "--tasks", 3, "--json")
    plain, batch = (json.loads(cli(*words, *extra)[1]) for extra in ((), ("--norm", "batch")))
    assert (plain["norm"], plain["transductive"]) == ("support", False)
    assert (batch["norm"], batch["transductive"]) == ("batch", True)
    assert plain["episodes"] == batch["episodes"]


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(cli: Cli, tmp_path: Path) -> None:
    words = ["train", "protonet", "--steps", 50, "--lr", "1e30", "--out", tmp_path / "run", "--quiet", *TINY]
    code, _, err = cli(*words)
    assert code == 2
    assert re.search(r"the loss is (nan|inf) at step \d+: the run stops; the last good checkpoint is", err)
    tensors, _ = checkpoint.load(tmp_path / "run" / "last.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values() if tensor.is_floating_point())


def test_help_names_every_verb(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    code, out, _ = cli("--help")
    assert code == 0
    for verb in ("train", "resume", "evaluate", "compare", "learners", "data", "demo"):
        assert verb in out
