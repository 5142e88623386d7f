"""Trackers: what they are sent, read back from what they keep, in one piece and in a run that is broken off."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from test_cli import Cli
from torch import Generator, nn

import innerloop as il
from innerloop.core import checkpoint
from innerloop.data import Sinusoid
from innerloop.training import TensorBoard, Track

OPTIONS: dict[str, Any] = {
    "how": "vmap", "progress": False, "validate": Sinusoid(), "validate_every": 2, "validate_tasks": 5,
}  # fmt: skip


def maml() -> il.MAML:
    torch.manual_seed(0)
    return il.MAML(il.nets.mlp(1, 8, 1, activation=nn.Tanh), lr=0.01, likelihood=il.Gaussian(scale=1.0))


class KilledError(Exception):
    """What ends a process at once."""


class Ending(Sinusoid):
    """Sine waves; at one draw the process is killed, or Ctrl-C is pressed."""

    def __init__(self, draw: int, how: str) -> None:
        super().__init__()
        self.when, self.end, self.draws = draw, how, 0

    def draw(self, generator: Generator, tasks: int) -> il.Task:
        self.draws += 1
        if self.draws == self.when and self.end == "killed":
            raise KilledError
        if self.draws == self.when:
            os.kill(os.getpid(), signal.SIGINT)
        return super().draw(generator, tasks)

    @property
    def digest(self) -> str:
        """That of the same waves without an end."""
        return Sinusoid().digest


class Kept:
    """A tracker that keeps what it is sent, with the face that W&B and Trackio document: ``log(metrics, step=)``."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []

    def log(self, metrics: dict[str, float], step: int | None = None) -> None:
        assert step is not None
        self.rows.append((step, dict(metrics)))


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows of a folder."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = accumulator.EventAccumulator(str(folder))
    found.Reload()
    return {tag: [(one.step, one.value) for one in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def assert_curves(found: dict[str, list[tuple[int, float]]], history: il.training.History) -> None:
    """Every step once, in order, with the history's values, in single precision."""
    for name in ("loss", "lr"):
        want = [(row["step"], pytest.approx(row[name], rel=1e-6)) for row in history.rows]
        assert found[f"train/{name}"] == want
    assert found["validation/mse"] == [(step, pytest.approx(-score, rel=1e-6)) for step, score in history.scores]


@pytest.mark.parametrize("end", ["killed", "interrupted"])
@pytest.mark.filterwarnings("default:.*distutils.*:DeprecationWarning")
def test_tensorboard_has_every_step_once(end: str, tmp_path: Path) -> None:
    """KilledError after step 5 with a checkpoint at 4, or stopped whole: the resumed run is one curve."""
    whole = il.fit(maml(), Sinusoid(), steps=8, callbacks=[Track(TensorBoard(tmp_path / "whole"))], **OPTIONS)
    assert_curves(curves(tmp_path / "whole"), whole)

    run = tmp_path / "run"
    tracking = Track("tensorboard")
    try:
        il.fit(maml(), Ending(6, end), steps=8, out=run, callbacks=[tracking], **OPTIONS)
    except KilledError:
        assert end == "killed"
        # The process is gone; what was written is on the disk.
        tracking._to._writer.flush()
    history = il.fit(maml(), Sinusoid(), steps=8, out=run, resume=True, callbacks=[Track("tensorboard")], **OPTIONS)
    assert history.resumed == {"killed": 4, "interrupted": 6}[end]
    assert history.losses == whole.losses
    assert_curves(curves(run / "tensorboard"), history)


@pytest.mark.parametrize("end", ["killed", "interrupted"])
def test_any_tracker_gets_every_step_once(end: str, tmp_path: Path) -> None:
    """One that takes nothing back is sent what checkpoints count; without a folder it is sent all at once."""
    kept = Kept()
    try:
        il.fit(maml(), Ending(6, end), steps=8, out=tmp_path / "run", callbacks=[Track(kept)], **OPTIONS)
    except KilledError:
        assert [step for step, row in kept.rows if "train/loss" in row] == [1, 2, 3, 4]
    options = {**OPTIONS, "out": tmp_path / "run", "resume": True}
    history = il.fit(maml(), Sinusoid(), steps=8, callbacks=[Track(kept)], **options)
    losses = [(step, row["train/loss"]) for step, row in kept.rows if "train/loss" in row]
    assert losses == [(row["step"], row["loss"]) for row in history.rows]
    scores = [(step, -row["validation/mse"]) for step, row in kept.rows if "validation/mse" in row]
    assert scores == history.scores

    sparse = Kept()
    il.fit(maml(), Sinusoid(), steps=8, callbacks=[Track(sparse, every=3)], **OPTIONS)
    assert [step for step, row in sparse.rows if "train/loss" in row] == [3, 6]
    assert [step for step, row in sparse.rows if "validation/mse" in row] == [2, 4, 6, 8]


def test_what_is_not_finite_is_left_out() -> None:
    kept = Kept()
    track = Track(kept)
    track.on_step(1, {"step": 1, "loss": float("nan"), "lr": 0.5})
    assert kept.rows == [(1, {"train/lr": 0.5})]


def test_weights_and_biases_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real package: its offline file holds every step once, and the recipe; a resumed run has the same id."""
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_CONSOLE", "off")
    run = tmp_path / "run"
    options = {**OPTIONS, "out": run}
    il.fit(maml(), Ending(3, "interrupted"), steps=5, callbacks=[Track("wandb", config={"lr": 7})], **options)
    il.fit(maml(), Sinusoid(), steps=5, resume=True, callbacks=[Track("wandb")], **options)
    (state,) = checkpoint.read_facts(run / "last.safetensors")["callbacks"]
    assert state[0] == "Track"
    files = sorted((run / "wandb").glob("offline-run-*/run-*.wandb"))
    assert files
    assert {file.stem for file in files} == {f"run-{state[1]['id']}"}
    assert wandb.run is None


def test_the_command_line_tracks_and_goes_on(tmp_path: Path, cli: Cli) -> None:
    """``--track`` is kept by the run: ``resume`` sends the rest without being told, unless it is told ``none``."""
    pytest.importorskip("tensorboard")
    run = tmp_path / "run"
    common: list[object] = ["--quiet", "--set", "validation.tasks=2", "--set", "net.width=4"]
    code, _, said = cli(
        "train", "maml", "--data", "sinusoid", "--steps", 3, "--track", "tensorboard", *common, "--out", run
    )
    assert code == 0, said
    assert [step for step, _ in curves(run / "tensorboard")["train/loss"]] == [1, 2, 3]
    recipe = json.loads((run / "recipe.json").read_text())
    recipe["recipe"]["training"]["steps"] = 5
    (run / "recipe.json").write_text(json.dumps(recipe))
    assert cli("resume", run, "--quiet")[0] == 0
    assert [step for step, _ in curves(run / "tensorboard")["train/loss"]] == [1, 2, 3, 4, 5]
    recipe["recipe"]["training"]["steps"] = 6
    (run / "recipe.json").write_text(json.dumps(recipe))
    assert cli("resume", run, "--quiet", "--track", "none")[0] == 0
    assert [step for step, _ in curves(run / "tensorboard")["train/loss"]] == [1, 2, 3, 4, 5]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(monkeypatch, capsys)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Track("tensorbord"), "did you mean tensorboard"),
        (lambda: Track(object()), r"has no log\(metrics, step=\)"),  # type: ignore[arg-type]
        (lambda: Track(Kept(), every=0), "every is 0; it must be at least 1"),
    ],
)
def test_trackers_refuse_what_cannot_be(make: Any, message: str) -> None:
    with pytest.raises(il.InputError, match=message):
        make()


def test_a_missing_extra_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("innerloop.training.trackers.find_spec", lambda name: None)
    with pytest.raises(il.InputError, match=r"pip install 'innerloop\[trackio\]'"):
        Track("trackio")
