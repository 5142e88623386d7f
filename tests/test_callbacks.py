"""Hooks of a run, the range test of the learning rate, the outer loop by itself, and what a person sees."""

from __future__ import annotations

import io
import math
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn

import innerloop as il
from innerloop import acting, optimizers
from innerloop.data import Sampler, Sinusoid
from innerloop.training import (
    Budget,
    Callback,
    CheckpointEvery,
    EarlyStopping,
    LogEvery,
    OuterLoop,
    RateTest,
    Update,
    find_lr,
)
from innerloop.training.history import History
from innerloop.training.progress import clock, progress_bar, time_left

QUIET: dict[str, Any] = {"how": "vmap", "progress": False}
#: Ascends, so that every validation is worse than the first.
WORSE: dict[str, Any] = {
    "optimizer": lambda ps: torch.optim.SGD(ps, lr=0.02, maximize=True),
    "schedule": "constant",
    "validate": Sinusoid(),
    "validate_every": 1,
    "validate_tasks": 10,
}


def maml() -> il.MAML:
    torch.manual_seed(0)
    return il.MAML(il.nets.mlp(1, 8, 1, activation=nn.Tanh), lr=0.01, likelihood=il.Gaussian(scale=1.0))


class Interrupted(Sampler):
    """Sine waves; Ctrl-C is pressed at one draw."""

    classifies = False

    def __init__(self, draw: int) -> None:
        self.when, self.draws = draw, 0

    def draw(self, generator: Generator, tasks: int) -> il.Task:
        self.draws += 1
        if self.draws == self.when:
            os.kill(os.getpid(), signal.SIGINT)
        return Sinusoid().draw(generator, tasks)


class Notes(Callback):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []

    def on_start(self, learner: il.Learner, folder: Path | None) -> None:
        self.seen.append(("start", type(learner).__name__, folder))

    def on_step(self, step: int, metrics: Mapping[str, float]) -> None:
        self.seen.append(("step", step, metrics["loss"]))

    def on_validation(self, step: int, report: il.Report) -> None:
        self.seen.append(("validation", step, report.score))

    def on_end(self, history: il.training.History) -> None:
        self.seen.append(("end", history.step))


def test_callbacks_are_told_everything_in_order() -> None:
    notes = Notes()
    options: dict[str, Any] = {"validate": Sinusoid(), "validate_every": 2, "validate_tasks": 4}
    history = il.fit(maml(), Sinusoid(), steps=3, callbacks=[notes], **options, **QUIET)
    scores = dict(history.scores)
    assert notes.seen == [
        ("start", "MAML", None),
        ("step", 1, history.losses[0]),
        ("step", 2, history.losses[1]),
        ("validation", 2, scores[2]),
        ("step", 3, history.losses[2]),
        ("validation", 3, scores[3]),
        ("end", 3),
    ]


def test_callbacks_change_no_number() -> None:
    plain, told = maml(), maml()
    il.fit(plain, Sinusoid(), steps=3, **QUIET)
    il.fit(told, Sinusoid(), steps=3, callbacks=[Notes(), LogEvery(1, lambda step, metrics: None)], **QUIET)
    assert torch.equal(told.net[0].weight, plain.net[0].weight)


def test_a_callback_ends_a_run_after_the_step_at_hand() -> None:
    """Any callback may; the last weights are judged, as at every end."""

    class Third(Callback):
        def on_step(self, step: int, metrics: Mapping[str, float]) -> None:
            self.stop = step == 3

    options: dict[str, Any] = {"validate": Sinusoid(), "validate_every": 2, "validate_tasks": 4}
    history = il.fit(maml(), Sinusoid(), steps=9, callbacks=[Third()], **options, **QUIET)
    assert (history.stopped, history.signal, history.step) == ("stopped", None, 3)
    assert [step for step, _ in history.scores] == [2, 3]


def test_early_stopping_waits_for_its_patience() -> None:
    """The first validation is the best one; so many without an improvement are the end, and the best weights stay."""
    learner, first = maml(), maml()
    history = il.fit(learner, Sinusoid(), steps=50, callbacks=[EarlyStopping(patience=3)], **WORSE, **QUIET)
    assert (history.stopped, history.step, history.best_step) == ("stopped", 4, 1)
    il.fit(first, Sinusoid(), steps=1, **WORSE, **QUIET)
    assert torch.equal(learner.net[0].weight, first.net[0].weight)


def report(score: float) -> Any:
    """A report of a score, which is all that is looked at."""
    return type("Scored", (), {"score": score})()


def test_early_stopping_counts_real_improvements() -> None:
    """More than ``least``; what is no number is none, and an improvement starts the count anew."""
    stopping = EarlyStopping(patience=2, least=0.1)
    seen = []
    for score in (0.5, 0.55, 0.7, math.nan, 0.9, -math.inf, 0.95):
        stopping.on_validation(1, report(score))
        seen.append(stopping.without)
    assert seen == [0, 1, 0, 1, 0, 1, 2]
    assert stopping.stop
    again = EarlyStopping(patience=2, least=0.1)
    again.restore(stopping.state())
    assert (again.best, again.without, again.stop) == (0.9, 2, True)
    fresh = EarlyStopping(patience=2)
    fresh.restore(EarlyStopping(patience=2).state())
    assert (fresh.best, fresh.stop) == (-math.inf, False)


def test_early_stopping_is_resumed(tmp_path: Path) -> None:
    """Interrupted between two validations: the run ends where an uninterrupted one does, and then stays ended."""
    whole = il.fit(maml(), Sinusoid(), steps=50, callbacks=[EarlyStopping(4)], **WORSE, **QUIET)
    options = {"steps": 50, "out": tmp_path, **WORSE, **QUIET}
    first = il.fit(maml(), Interrupted(3), callbacks=[Notes(), EarlyStopping(4)], **options)
    assert (first.stopped, first.step) == ("interrupted", 3)
    second = il.fit(maml(), Sinusoid(), callbacks=[EarlyStopping(4)], resume=True, **options)
    assert (second.stopped, second.step, second.scores) == ("stopped", whole.step, whole.scores)
    third = il.fit(maml(), Sinusoid(), callbacks=[EarlyStopping(4)], resume=True, **options)
    assert (third.stopped, third.steps_here, third.rows) == ("stopped", 0, whole.rows)
    longer = il.fit(maml(), Sinusoid(), callbacks=[EarlyStopping(6)], resume=True, **options)
    assert longer.step == whole.step + 2


def test_states_go_to_the_callbacks_of_their_class(tmp_path: Path) -> None:
    """In their order; one without a state begins anew."""

    class Counter(Callback):
        def __init__(self, start: int) -> None:
            self.count = start

        def on_step(self, step: int, metrics: Mapping[str, float]) -> None:
            self.count += 1

        def state(self) -> dict[str, Any]:
            return {"count": self.count}

        def restore(self, state: Mapping[str, Any]) -> None:
            self.count = state["count"]

    options = {"steps": 5, "out": tmp_path, **QUIET}
    il.fit(maml(), Interrupted(2), callbacks=[Counter(0), Notes(), Counter(100)], **options)
    found = [Counter(-1), Counter(-1), Counter(-1)]
    il.fit(maml(), Sinusoid(), callbacks=found, resume=True, **options)
    assert [one.count for one in found] == [5, 105, 2]


def test_log_every_so_many_steps(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[tuple[int, float]] = []
    logs = [LogEvery(2, lambda step, metrics: seen.append((step, metrics["loss"]))), LogEvery(5)]
    history = il.fit(maml(), Sinusoid(), steps=5, callbacks=logs, **QUIET)
    assert seen == [(2, history.losses[1]), (4, history.losses[3])]
    assert capsys.readouterr().out.startswith(f"step 5: loss {history.losses[4]:.4g}, lr ")


def test_checkpoints_every_so_many_steps(tmp_path: Path) -> None:
    """Each is a bundle with the weights of its step; a resumed run writes the rest."""
    after: dict[int, Tensor] = {}

    class Watching(Callback):
        def on_start(self, learner: il.Learner, folder: Path | None) -> None:
            self.learner = learner

        def on_step(self, step: int, metrics: Mapping[str, float]) -> None:
            after[step] = self.learner.net[0].weight.detach().clone()

    options = {"steps": 7, "out": tmp_path, "average": 0.5, **QUIET}
    il.fit(maml(), Interrupted(3), callbacks=[CheckpointEvery(2), Watching()], **options)
    il.fit(maml(), Sinusoid(), callbacks=[CheckpointEvery(2), Watching()], resume=True, **options)
    assert sorted(path.name for path in tmp_path.glob("step-*")) == [f"step-{step:08d}" for step in (2, 4, 6)]
    for step in (2, 4, 6):
        kept = il.load(tmp_path / f"step-{step:08d}")
        assert torch.equal(kept.net[0].weight, after[step])


def test_checkpoints_need_a_folder(tmp_path: Path) -> None:
    """What a callback refuses at the start leaves nothing behind."""

    class Refusing(Callback):
        def on_start(self, learner: il.Learner, folder: Path | None) -> None:
            raise il.InputError("not here")

    with pytest.raises(il.InputError, match="nowhere to write"):
        il.fit(maml(), Sinusoid(), steps=2, callbacks=[CheckpointEvery(1)], **QUIET)
    learner = maml()
    with pytest.raises(il.InputError, match="not here"):
        il.fit(learner, Sinusoid(), steps=2, callbacks=[Refusing()], out=tmp_path / "a" / "run", **QUIET)
    assert list(tmp_path.iterdir()) == []
    assert torch.equal(learner.net[0].weight, maml().net[0].weight)
    il.fit(maml(), Sinusoid(), steps=2, out=tmp_path / "a" / "run", **QUIET)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EarlyStopping(0), "patience is 0"),
        (lambda: EarlyStopping(2, least=-1.0), "least is -1.0"),
        (lambda: LogEvery(0), "between two calls is 0; it must be at least 1"),
        (lambda: CheckpointEvery(-3), "between two checkpoints is -3; it must be at least 1"),
    ],
)
def test_callbacks_refuse_what_cannot_be(make: Any, message: str) -> None:
    with pytest.raises(il.InputError, match=message):
        make()


@pytest.mark.parametrize(
    ("callbacks", "message"),
    [
        (EarlyStopping(2), "is no list"),
        ([lambda step, metrics: None], "is no callback.*LogEvery"),
        ([LogEvery], "is no callback"),
        ([EarlyStopping(2)], "EarlyStopping looks at validations, and there are none"),
    ],
)
def test_what_is_no_callback_or_of_no_use_is_refused(callbacks: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(il.InputError, match=message):
        il.fit(maml(), Sinusoid(), steps=2, callbacks=callbacks, out=tmp_path / "run", **QUIET)
    assert list(tmp_path.iterdir()) == []


class Bowl(il.Learner):
    """A bowl, flat one way and curved the other: plain descent diverges above a rate of 2 / curvature."""

    def __init__(self, curvature: float) -> None:
        super().__init__(il.Gaussian(scale=1.0))
        self.w = nn.Parameter(torch.ones(2, dtype=torch.float64))
        self.curvatures = curvature * torch.tensor([1.0, 0.1], dtype=torch.float64)

    def adapt(self, support: il.Examples, state: Any = None) -> Any:
        return support

    def predict(self, state: Any, x: Tensor) -> Tensor:
        return x.unsqueeze(0) + 0 * self.w.sum()

    def loss(self, task: il.Task) -> Tensor:
        return 0.5 * self.curvatures @ self.w.square()


@pytest.mark.parametrize("curvature", [3.0, 300.0])
def test_the_range_test_finds_where_descent_diverges(curvature: float) -> None:
    """It ends soon after 2 / curvature, suggests about the best fixed rate, and leaves the learner as it is."""
    bowl = Bowl(curvature)
    options: dict[str, Any] = {"optimizer": "SGD", "low": 1e-6, "high": 100.0, "steps": 33}
    found = find_lr(bowl, Sinusoid(), **options, **QUIET)
    assert found.rates == pytest.approx([1e-6 * 10 ** (i / 4) for i in range(len(found.rates))])
    assert 2 / curvature < found.rates[-1] < 40 / curvature
    assert len(found.losses) == len(found.rates) < 33
    assert found.suggestion is not None
    assert 0.5 < found.suggestion * curvature < 2
    assert found == find_lr(bowl, Sinusoid(), **options, **QUIET)
    assert (bowl.w.tolist(), bowl.w.grad) == ([1.0, 1.0], None)


def test_a_loss_that_never_falls_suggests_nothing() -> None:
    assert RateTest([0.1, 0.2], [1.0, 2.0]).suggestion is None
    assert RateTest([], []).suggestion is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"low": 0.0}, "low=0.0"),
        ({"low": 1.0, "high": 0.1}, "0 < low < high"),
        ({"high": math.inf}, "high=inf"),
        ({"steps": 1}, "steps=1"),
        ({"optimizer": "Adamm"}, "no optimizer"),
        ({"device": "gpu"}, "not there"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_a_range_test_refuses_what_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(il.InputError, match=message):
        find_lr(maml(), Sinusoid(), **{**QUIET, **options})


def test_the_outer_loop_is_plain_descent() -> None:
    """By hand: rates by the schedule, rows as they come, and more of them where a history has some."""
    weight = nn.Parameter(torch.tensor(4.0))
    update = Update(torch.optim.SGD([weight], lr=0.5), factor=lambda used: 1 - used)
    history = History()

    def run(steps: int) -> None:
        with OuterLoop(update, Budget(steps=steps), history) as loop:
            for step, used in loop:
                assert used == step / steps
                loss = weight**2 / 2
                loss.backward()
                loop.take(float(loss.detach()), seen=float(step))

    run(2)
    assert weight.item() == 4.0 * (1 - 0.5) * (1 - 0.25)
    run(4)
    assert weight.item() == 1.5 * (1 - 0.25) * (1 - 0.125)
    assert [row["step"] for row in history.rows] == [1, 2, 3, 4]
    assert [row["seen"] for row in history.rows] == [0.0, 1.0, 2.0, 3.0]
    assert [row["lr"] for row in history.rows] == [0.5, 0.25, 0.25, 0.125]


@pytest.mark.parametrize(
    ("budget", "used"),
    [
        (Budget(steps=4), 0.5),
        (Budget(minutes=1.0), 0.25),
        (Budget(steps=40, minutes=0.5), 0.5),
        (Budget(steps=0), 1.0),
    ],
)
def test_a_budget_is_used_by_steps_or_minutes(budget: Budget, used: float) -> None:
    assert budget.used(2, 15.0) == used


def test_learned_optimizers_and_agents_stop_at_ctrl_c() -> None:
    """The same loop: the step ends whole, and says so."""
    rule = il.optimizers.MLPRule()
    run = il.optimizers.TrainingRun(il.nets.mlp(10, 1), rule, steps=2, likelihood=il.Gaussian(scale=1.0))

    class Pressed(optimizers.Quadratics):
        def draw(self, generator: Generator, tasks: int) -> il.Task:
            os.kill(os.getpid(), signal.SIGINT)
            return super().draw(generator, tasks)

    history = optimizers.train([(run, Pressed())], steps=5)
    assert (history.stopped, history.signal, history.step) == ("interrupted", signal.SIGINT, 1)

    def objective(generator: Generator, done: float) -> tuple[Tensor, Tensor]:
        os.kill(os.getpid(), signal.SIGTERM)
        loss = agent.weight.square().sum()
        return loss, loss.detach().expand(3)

    agent = nn.Linear(2, 1)
    history = acting.train(agent, objective, updates=5, lr=0.1)
    assert (history.stopped, history.signal, history.step) == ("interrupted", signal.SIGTERM, 1)
    assert history.rows[0].keys() == {"step", "loss", "lr", "return"}


@pytest.mark.parametrize("options", [{"steps": -1}, {"tasks": 0}, {"lr": 0.0}, {"clip": -1.0}, {"seed": 2**64}])
def test_training_of_rules_refuses_what_cannot_be(options: dict[str, Any]) -> None:
    run = il.optimizers.TrainingRun(
        il.nets.mlp(10, 1), il.optimizers.MLPRule(), steps=2, likelihood=il.Gaussian(scale=1.0)
    )
    with pytest.raises(il.InputError, match=next(iter(options))):
        optimizers.train([(run, optimizers.Quadratics())], **{"steps": 1, **options})


@pytest.mark.parametrize("options", [{"warmup": 1.0}, {"warmup": -0.1}, {"lr": math.nan}, {"clip": 0.0}, {"seed": -1}])
def test_training_of_agents_refuses_what_cannot_be(options: dict[str, Any]) -> None:
    with pytest.raises(il.InputError, match=next(iter(options))):
        acting.train(nn.Linear(1, 1), lambda generator, done: None, **{"updates": 1, "lr": 0.1, **options})


def test_time_left_is_never_negative() -> None:
    """A last step or a validation may well take a run under minutes beyond its budget."""
    assert time_left(30.0, 0.0, 0.75) == 10.0
    assert time_left(30.0, 0.5, 0.75) == 30.0
    assert [time_left(30.0, first, used) for first, used in ((0.0, 1.0), (0.0, 1.7), (0.9, 1.2))] == [0.0] * 3
    assert math.isnan(time_left(30.0, 0.5, 0.5))
    assert [clock(seconds) for seconds in (0.0, 59.9, 3661.0)] == ["0:00", "0:59", "61:01"]
    assert [clock(seconds) for seconds in (math.nan, math.inf)] == ["?", "?"]


def test_the_bar_says_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A last line at the end, beyond the budget too: no more than 100 %, no time left, the score and the best."""
    shown = io.StringIO()
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("sys.stderr", shown)
    history = History(rows=[{"step": 1, "loss": 2.0, "lr": 0.1}], scores=[(1, -0.5)], best=-0.25)
    with progress_bar(True) as bar:
        bar.draw(0.5, 2.0, history)
        bar.draw(1.3, 2.0, history)
    last = [line for line in shown.getvalue().splitlines() if " % · step 1" in line][-1]
    assert "100 %" in last
    assert "0:00 left" in last
    assert "score -0.5000 (best -0.2500)" in last


class Lost(io.StringIO):
    """A terminal that is gone."""

    def __init__(self, error: type[OSError]) -> None:
        super().__init__()
        self.error = error

    def write(self, text: str) -> int:
        raise self.error(5, "gone")

    flush = write  # type: ignore[assignment]


@pytest.mark.parametrize("error", [OSError, BrokenPipeError])
def test_a_run_outlives_its_terminal(error: type[OSError], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody to show the bar to is no reason to stop."""
    monkeypatch.setattr("sys.stderr", Lost(error))
    history = il.fit(maml(), Sinusoid(), steps=3, how="vmap", progress=True)
    monkeypatch.undo()
    assert (history.stopped, history.step) == ("finished", 3)
