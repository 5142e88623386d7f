"""Looking on at a run: what is shown is what was written, nothing is changed, and it ends with the run."""

from __future__ import annotations

import io
import json
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from test_cli import Cli
from torch import Generator, nn

import innerloop as il
from innerloop.core.folder import locked
from innerloop.data import Sinusoid
from innerloop.report.live import Look, chart, frame
from innerloop.training.record import Record

OPTIONS: dict[str, Any] = {"how": "vmap", "progress": False, "validate": Sinusoid(), "validate_tasks": 5}


def maml() -> il.MAML:
    torch.manual_seed(0)
    return il.MAML(il.nets.mlp(1, 8, 1, activation=nn.Tanh), lr=0.01, likelihood=il.Gaussian(scale=1.0))


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    monkeypatch.setenv("COLUMNS", "100")
    return Cli(monkeypatch, capsys)


def shown(look: Look, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(frame(look, width))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_a_record_is_the_history(tmp_path: Path) -> None:
    """Of a run that is going on too, whose last line may be half written; and of one that was taken back."""
    history = il.fit(maml(), Sinusoid(), steps=6, out=tmp_path, validate_every=2, **OPTIONS)
    record = Record(tmp_path)
    found = record.read()
    assert found.rows == history.rows
    assert found.scores == history.scores
    assert (found.best, found.best_step, found.stopped) == (history.best, history.best_step, "finished")
    (tmp_path / "last.safetensors").rename(tmp_path / "away")
    left = Record(tmp_path).read()
    assert (left.rows, left.scores, left.best, left.best_step) == (history.rows, [], history.best, history.best_step)
    (tmp_path / "away").rename(tmp_path / "last.safetensors")
    path = tmp_path / "metrics.jsonl"
    whole = path.read_text()
    lines = whole.splitlines(keepends=True)
    path.write_text("".join(lines[:3]) + lines[3][:10])
    assert Record(tmp_path).read().rows == history.rows[:3]
    # It had six, and a resumed run took off what its checkpoint does not count.
    assert record.read().rows == history.rows[:3]
    path.write_text("".join(lines[:5]))
    assert record.read().rows == history.rows[:5]
    path.write_text(whole)
    assert record.read().rows == history.rows


def test_once_says_what_the_run_wrote(tmp_path: Path, cli: Cli) -> None:
    run = tmp_path / "run"
    words = ["--steps", 7, "--quiet", "--set", "validation.tasks=2", "--set", "training.validate_every=3", "--out", run]
    assert cli("train", "maml", "--data", "sinusoid", *words)[0] == 0
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    code, out, _ = cli("watch", run, "--json")
    found = json.loads(out)
    assert code == 0
    assert (found["step"], found["steps"], found["used"], found["running"]) == (7, 7, 1.0, False)
    assert found["loss"] == pytest.approx(sum(row["loss"] for row in rows) / 7)
    assert [step for step, _ in found["scores"]] == [3, 6, 7]
    assert found["best"] == max(score for _, score in found["scores"])
    code, out, _ = cli("watch", run, "--once")
    assert code == 0
    assert "maml on sinusoid · finished" in " ".join(out.split())
    assert "step 7 of 7" in out
    assert f"best {found['best']:.4f} at step {found['best_step']}" in out
    for step, score in found["scores"]:
        assert f"{step}{score:18.4f}" in out.replace("  best", "")
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_it_ends_with_the_run(tmp_path: Path, cli: Cli) -> None:
    """Begun while the run goes on, with the lock held by whoever writes it; a second writer is never in the way."""
    entered, done = threading.Event(), threading.Event()

    class Waiting(Sinusoid):
        def draw(self, generator: Generator, tasks: int) -> il.Task:
            if entered.is_set():
                done.wait(30)
            return super().draw(generator, tasks)

    class Entering(il.training.Callback):
        def on_step(self, step: int, metrics: Any) -> None:
            if step == 3:
                entered.set()

    options = {**OPTIONS, "validate": None, "save_seconds": 0.0}
    arguments = {"steps": 5, "out": tmp_path / "run", "callbacks": [Entering()], **options}
    training = threading.Thread(target=il.fit, args=(maml(), Waiting()), kwargs=arguments)
    training.start()
    assert entered.wait(30)
    code, out, _ = cli("watch", tmp_path / "run", "--json")
    assert (code, json.loads(out)["running"]) == (0, True)
    assert json.loads(out)["step"] in (2, 3)
    threading.Timer(0.3, done.set).start()
    code, out, _ = cli("watch", tmp_path / "run", "--every", 0.1)
    training.join()
    assert code == 0
    assert "finished" in out
    assert "step 5" in out


def test_a_killed_run_is_told_by_its_silence(tmp_path: Path) -> None:
    il.fit(maml(), Sinusoid(), steps=2, out=tmp_path, **OPTIONS)
    record = Record(tmp_path)
    with locked(tmp_path):
        assert record.running
    assert not record.running
    history = record.read()
    look = Look("run", history, True, steps=10, rate=4.0, silent=200.0)
    assert (look.used, look.left) == (0.2, 2.0)
    assert "no news for 3:20: it may have been killed" in shown(look)
    assert "no news" not in shown(Look("run", history, True, steps=10, silent=20.0))
    assert Look("run", history, False, steps=10).ended == "ended before its last step"
    assert "4.0/s · 0:02 left" in shown(look)


def test_a_chart_has_the_means_of_its_columns() -> None:
    """As high as they are, to an eighth; a single value and equal ones are drawn too."""
    values = [8.0, 8.0, 4.0, 4.0, 1.0, 1.0, 0.0, 0.0]
    lines = chart(values, 4, 1)
    assert lines == ["   8.000 █▄▁▁"]
    two = chart(values, 4, 2)
    assert [line[:8].strip() for line in two] == ["8.000", "0.000"]
    assert [line[9:] for line in two] == ["█   ", "██▂▁"]
    assert all(len(line) == 8 + 1 + 8 for line in chart(list(range(100)), 8))
    assert chart([3.0], 10, 2)[-1].endswith("█")
    assert len({line[9:] for line in chart([2.0] * 5, 5, 1)}) == 1


@pytest.mark.parametrize("width", [20, 40, 200])
def test_a_frame_fits_any_terminal(width: int) -> None:
    rows = [{"step": i, "loss": 1 / i, "lr": 0.1} for i in range(1, 300)]
    history = il.training.History(rows=rows, scores=[(100, 0.5), (200, float("nan"))], best=0.5, best_step=100)
    lines = shown(Look("a run", history, False), width).splitlines()
    assert max(map(len, lines)) <= width
    assert any("none" in line for line in lines)


def test_bad_metrics_are_refused(tmp_path: Path) -> None:
    with pytest.raises(il.InputError, match="holds no run"):
        Record(tmp_path).read()
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')
    with pytest.raises(il.InputError, match="damaged"):
        Record(tmp_path).read()
    (tmp_path / "metrics.jsonl").write_text("[1]\n")
    with pytest.raises(il.InputError, match="damaged"):
        Record(tmp_path).read()
