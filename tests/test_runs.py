"""Run folders: begun, interrupted, resumed, damaged, in use; what is refused leaves nothing behind."""

from __future__ import annotations

import json
import math
import os
import resource
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from cases import episodes
from torch import Generator, Tensor, nn

import innerloop as il
from innerloop.core import checkpoint
from innerloop.data import FewShot, Sampler, Sinusoid

QUIET: dict[str, Any] = {"how": "vmap", "progress": False}


def maml() -> il.MAML:
    torch.manual_seed(0)
    return il.MAML(il.nets.mlp(1, 8, 1, activation=nn.Tanh), lr=0.01, likelihood=il.Gaussian(scale=1.0))


def weights(learner: nn.Module) -> Tensor:
    return nn.utils.parameters_to_vector(learner.parameters()).detach().clone()


def best(folder: Path) -> Tensor:
    """The best weights of a run, from its folder alone."""
    return weights(il.load(folder))


class At(Sampler):
    """The tasks of a sampler; a function is called at one draw, from 1."""

    def __init__(self, sampler: Sampler, draw: int, function: Callable[[], Any]) -> None:
        self.sampler, self.when, self.function, self.draws = sampler, draw, function, 0
        self.classifies = sampler.classifies

    def draw(self, generator: Generator, tasks: int) -> il.Task:
        self.draws += 1
        if self.draws == self.when:
            self.function()
        return self.sampler.draw(generator, tasks)


def send(*numbers: int) -> Callable[[], None]:
    """Signals to this process."""

    def act() -> None:
        for number in numbers:
            os.kill(os.getpid(), number)

    return act


def stopped(learner: il.Learner, step: int, number: int = signal.SIGINT, **options: Any) -> il.training.History:
    """A run, begun or resumed, that a signal ends after a step."""
    resumed = 0
    if options.get("resume"):
        resumed = checkpoint.load(Path(options["out"]) / "last.safetensors")[1]["step"]
    # Resuming draws the run's first tasks once more, to compare them.
    sampler = At(Sinusoid(), step - resumed + bool(resumed), send(number))
    history = il.fit(learner, sampler, **{**QUIET, **options})
    assert (history.stopped, history.signal, history.step) == ("interrupted", number, step)
    return history


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("validated", [False, True])
def test_two_interruptions_keep_the_last_weights(validated: bool, tmp_path: Path) -> None:
    """Where no validation has chosen any, what is kept and returned are the weights at hand, each time anew."""
    options: dict[str, Any] = {"steps": 20, "lr": 0.05, "schedule": "constant", "out": tmp_path}
    if validated:
        options |= {"validate": Sinusoid(), "validate_every": 100, "validate_tasks": 4}
    first, second = maml(), maml()
    assert stopped(first, 2, **options).best_step == 2
    assert torch.equal(best(tmp_path), weights(first))
    history = stopped(second, 10, resume=True, **options)
    assert (history.best_step, history.best, history.scores) == (10, None, [])
    plain = maml()
    il.fit(plain, Sinusoid(), steps=10, lr=0.05, schedule="constant", **QUIET)
    assert torch.equal(weights(second), weights(plain))
    assert torch.equal(best(tmp_path), weights(plain))
    assert not torch.equal(weights(second), weights(first))


def test_an_interruption_leaves_no_trace_in_the_scores(tmp_path: Path) -> None:
    """Interrupted before the first validation and resumed: the scores of an uninterrupted run, no one more."""
    options: dict[str, Any] = {"steps": 6, "validate": Sinusoid(), "validate_every": 4, "validate_tasks": 4}
    whole = il.fit(maml(), Sinusoid(), **options, **QUIET)
    stopped(maml(), 2, out=tmp_path, **options)
    history = il.fit(maml(), Sinusoid(), out=tmp_path, resume=True, **options, **QUIET)
    assert history.scores == whole.scores
    assert [step for step, _ in history.scores] == [4, 6]


def test_what_a_validation_chose_outlives_two_interruptions(tmp_path: Path) -> None:
    """Once scored, the best weights are returned, and not those of the interruption."""
    worse = {"optimizer": lambda ps: torch.optim.SGD(ps, lr=0.05, maximize=True), "schedule": "constant"}
    options = {"steps": 20, "validate": Sinusoid(), "validate_every": 1, "validate_tasks": 20, "out": tmp_path, **worse}
    first, second = maml(), maml()
    assert stopped(first, 3, **options).best_step == 1
    history = stopped(second, 6, resume=True, **options)
    assert history.best_step == 1
    assert history.best == max(score for _, score in history.scores)
    assert torch.equal(weights(second), weights(first))
    assert torch.equal(best(tmp_path), weights(first))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_each_signal_saves_and_says_which_it_was(number: int, tmp_path: Path) -> None:
    before = signal.getsignal(number)
    stopped(maml(), 3, number, steps=9, out=tmp_path)
    assert checkpoint.load(tmp_path / "last.safetensors")[1]["step"] == 3
    assert signal.getsignal(number) is before
    history = il.fit(maml(), Sinusoid(), steps=9, out=tmp_path, resume=True, **QUIET)
    assert (history.stopped, history.signal, history.step) == ("finished", None, 9)


def test_a_closed_terminal_may_say_so_twice(tmp_path: Path) -> None:
    """Only a second Ctrl-C breaks off: the first signal counts, and the step ends whole."""
    sampler = At(Sinusoid(), 2, send(signal.SIGHUP, signal.SIGHUP, signal.SIGTERM))
    history = il.fit(maml(), sampler, steps=9, out=tmp_path, **QUIET)
    assert (history.stopped, history.signal, history.step) == ("interrupted", signal.SIGHUP, 2)


def test_an_ignored_signal_stays_ignored() -> None:
    """Under ``nohup`` a closed terminal ends no run."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        history = il.fit(maml(), At(Sinusoid(), 2, send(signal.SIGHUP)), steps=3, **QUIET)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert (history.stopped, history.step) == ("finished", 3)


def test_a_second_process_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    """While a run is written, neither a resumption nor a new run gets at its files; after it, there is no lock left."""
    found: list[str] = []

    def intrude() -> None:
        for resume in (True, False):
            with pytest.raises(il.InputError) as refusal:
                il.fit(maml(), Sinusoid(), steps=6, out=tmp_path, resume=resume, **QUIET)
            found.append(str(refusal.value))

    history = il.fit(maml(), At(Sinusoid(), 3, intrude), steps=6, out=tmp_path, save_seconds=0.0, **QUIET)
    assert "another process is writing the run" in found[0]
    assert "already holds a run" in found[1]
    assert history.step == 6
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows == history.rows
    assert {path.name for path in tmp_path.iterdir()} == {"last.safetensors", "metrics.jsonl", "best"}


def test_a_run_that_begins_twice_at_once_is_one_run(tmp_path: Path) -> None:
    """Both find the folder empty; whoever writes first has it."""
    out = tmp_path / "run"
    refusals: list[str] = []

    def overtake() -> None:
        il.fit(maml(), Sinusoid(), steps=2, seed=5, out=out, **QUIET)

    with pytest.raises(il.InputError) as refusal:
        il.fit(maml(), At(Sinusoid(), 1, overtake), steps=2, out=out, **QUIET)
    refusals.append(str(refusal.value))
    assert "already holds a run" in refusals[0]
    assert checkpoint.load(out / "last.safetensors")[1]["began"]["seed"] == 5


class Shifted(Sampler):
    """Sine waves a little above themselves."""

    classifies = False

    def draw(self, generator: Generator, tasks: int) -> il.Task:
        support, query = Sinusoid().draw(generator, tasks)
        return il.Task(support, il.Examples(query.x, query.y + 0.1))


@pytest.mark.parametrize(
    ("sampler", "options", "message"),
    [
        (Shifted(), {}, "query y of the first step has other values"),
        (Sinusoid(shots=5), {}, r"support x was \(4, 10, 1\) in the first step and is now \(4, 5, 1\)"),
        (Sinusoid(), {"seed": 1}, "begun with seed=0, not 1"),
    ],
    ids=["values", "sizes", "seed"],
)
def test_other_data_are_refused_on_resumption(sampler: Sampler, options: Any, message: str, tmp_path: Path) -> None:
    stopped(maml(), 2, steps=6, out=tmp_path)
    before = contents(tmp_path)
    with pytest.raises(il.InputError, match=message):
        il.fit(maml(), sampler, steps=6, out=tmp_path, resume=True, **QUIET, **options)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "SGD"}, "begun with optimizer Adam, not SGD"),
        ({"average": 0.9}, "begun with average None, not AveragedModel"),
        ({"schedule": lambda o: torch.optim.lr_scheduler.StepLR(o, 1)}, "begun with scheduler None, not StepLR"),
    ],
)
def test_other_parts_are_refused_on_resumption(options: Any, message: str, tmp_path: Path) -> None:
    """A state of one kind does not go on with another."""
    stopped(maml(), 2, steps=6, out=tmp_path)
    before = contents(tmp_path)
    with pytest.raises(il.InputError, match=message):
        il.fit(maml(), Sinusoid(), steps=6, out=tmp_path, resume=True, **QUIET, **options)
    assert contents(tmp_path) == before


def test_another_pool_is_refused_on_resumption(tmp_path: Path) -> None:
    """A single example that no task of the first step has seen is enough, where a pool knows its content."""
    generator = torch.Generator().manual_seed(0)
    x, labels = torch.randn(400, 4, generator=generator), torch.arange(40).repeat(10)
    learner = il.ProtoNet(il.nets.mlp(4, 8, 4))
    options: dict[str, Any] = {"tasks_per_step": 1, "out": tmp_path, **QUIET}
    sampler = FewShot(il.Pool.of(x, labels), ways=2, shots=1, queries=1)
    il.fit(learner, sampler, steps=2, **options)
    changed = []
    for row in range(400):
        other = x.clone()
        other[row] += 1.0
        changed.append(FewShot(il.Pool.of(other, labels), ways=2, shots=1, queries=1))
    unseen = next(one for one in changed if same_first_tasks(one, sampler))
    with pytest.raises(il.InputError, match="another content"):
        il.fit(learner, unseen, steps=4, resume=True, **options)
    il.fit(learner, FewShot(il.Pool.of(x.clone(), labels), ways=2, shots=1, queries=1), steps=4, resume=True, **options)


def same_first_tasks(one: Sampler, other: Sampler) -> bool:
    from innerloop.core.random import generator

    a, b = (sampler.draw(generator(0, "train", 0), 1) for sampler in (one, other))
    return torch.equal(a.support.x, b.support.x) and torch.equal(a.query.x, b.query.x)


def test_the_rounding_of_another_machine_is_no_other_data(tmp_path: Path) -> None:
    """The same tasks to the last bits of float32 go on."""

    class Rounded(Sampler):
        classifies = False

        def draw(self, generator: Generator, tasks: int) -> il.Task:
            task = Sinusoid().draw(generator, tasks)
            return torch.utils._pytree.tree_map(lambda leaf: leaf * (1 + 1e-6), task)

    stopped(maml(), 2, steps=4, out=tmp_path)
    assert il.fit(maml(), Rounded(), steps=4, out=tmp_path, resume=True, **QUIET).step == 4


@pytest.mark.parametrize("damage", ["missing", "rubbish", "binary", "cut", "wrong", "list", "empty"])
def test_damaged_metrics_are_said(damage: str, tmp_path: Path) -> None:
    """One line with the remedy, whatever happened to the file, and nothing is changed."""
    stopped(maml(), 3, steps=6, out=tmp_path)
    path = tmp_path / "metrics.jsonl"
    lines = path.read_text().splitlines()
    if damage == "missing":
        path.unlink()
    else:
        damaged = {
            "rubbish": b"{hello}\n{}\n{there}\n",
            "binary": bytes(range(128, 256)),
            "cut": ("\n".join(lines[:2]) + "\n").encode(),
            "wrong": "\n".join([lines[0], lines[2], lines[1]]).encode(),
            "list": b"[1]\n[2]\n[3]}\n",
            "empty": b"",
        }
        path.write_bytes(damaged[damage])
    before = contents(tmp_path)
    with pytest.raises(il.InputError, match=r"metrics\.jsonl .*the checkpoint counts 3.*restore it, or train again"):
        il.fit(maml(), Sinusoid(), steps=6, out=tmp_path, resume=True, **QUIET)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["last.safetensors", "best"])
def test_a_flipped_bit_is_noticed(name: str, tmp_path: Path) -> None:
    """In the weights themselves, where the file still reads well."""
    options: dict[str, Any] = {"validate": Sinusoid(), "validate_every": 1, "validate_tasks": 4, "out": tmp_path}
    stopped(maml(), 2, steps=6, **options)
    path = tmp_path / name
    path = path if path.is_file() else next(path.glob("weights-*"))
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with pytest.raises(il.InputError, match="checksum"):
        il.fit(maml(), Sinusoid(), steps=6, resume=True, **options, **QUIET)
    assert path.read_bytes() == data


def test_a_folder_without_a_checkpoint_is_begun(tmp_path: Path) -> None:
    """What a killed start left, its temporary files included, does not stand in the way."""
    (tmp_path / "recipe.json").write_text("{}")
    (tmp_path / "metrics.jsonl").write_text("")
    history = il.fit(maml(), Sinusoid(), steps=3, out=tmp_path, **QUIET)
    assert history.step == 3
    assert {path.name for path in tmp_path.iterdir()} == {"recipe.json", "last.safetensors", "metrics.jsonl", "best"}


def test_a_kept_best_alone_is_a_run_too(tmp_path: Path) -> None:
    """Nothing that exists is overwritten."""
    il.fit(maml(), Sinusoid(), steps=1, out=tmp_path, **QUIET)
    (tmp_path / "last.safetensors").unlink()
    before = contents(tmp_path)
    with pytest.raises(il.InputError, match="already holds a run"):
        il.fit(maml(), Sinusoid(), steps=1, out=tmp_path, **QUIET)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    "out", ["", ".", "file/run", "x" * 300, "nul\0byte"], ids=["empty", "here", "below a file", "long", "nul"]
)
def test_a_folder_that_cannot_be_is_refused_before_any_draw(
    out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    drawn: list[int] = []
    with pytest.raises(il.InputError, match="folder"):
        il.fit(maml(), At(Sinusoid(), 1, lambda: drawn.append(1)), steps=2, out=out, **QUIET)
    assert drawn == []
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_loss_that_is_not_finite_at_once_leaves_no_folder(tmp_path: Path) -> None:
    """The mended command is not in its own way."""

    class Huge(Sampler):
        classifies = False

        def draw(self, generator: Generator, tasks: int) -> il.Task:
            support, query = Sinusoid().draw(generator, tasks)
            return il.Task(support, il.Examples(query.x, query.y * 1e30))

    with pytest.raises(il.training.NonFiniteLoss, match="at step 1: the run stops; nothing was written"):
        il.fit(maml(), Huge(), steps=2, out=tmp_path / "a" / "run", **QUIET)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_goes_during_training_is_said(tmp_path: Path) -> None:
    """One line, and the learner in memory keeps what it has learned."""
    learner = maml()
    sampler = At(Sinusoid(), 3, lambda: shutil.rmtree(tmp_path / "run"))
    with pytest.raises(il.InputError, match=r"metrics\.jsonl cannot be written \(No such file"):
        il.fit(learner, sampler, steps=6, save_seconds=0.0, out=tmp_path / "run", **QUIET)
    assert not torch.equal(weights(learner), weights(maml()))


@contextmanager
def small_files(size: int) -> Iterator[None]:
    """Within, no file can grow beyond so many bytes: a full disk, as far as a process sees it."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.getsignal(signal.SIGXFSZ)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.skipif(sys.platform == "win32", reason="limits of the system")
def test_a_full_disk_is_said_and_the_checkpoint_stays(tmp_path: Path) -> None:
    """What was saved before is whole, no temporary file stays, and with room again the run goes on."""
    il.fit(maml(), Sinusoid(), steps=3, out=tmp_path, **QUIET)
    before = contents(tmp_path)
    with small_files(1000), pytest.raises(il.InputError, match="cannot be written"):
        il.fit(maml(), Sinusoid(), steps=6, out=tmp_path, resume=True, save_seconds=0.0, **QUIET)
    after = contents(tmp_path)
    assert after["last.safetensors"] == before["last.safetensors"]
    assert {name for name in after if not name.startswith("best")} == {"last.safetensors", "metrics.jsonl"}
    history = il.fit(maml(), Sinusoid(), steps=6, out=tmp_path, resume=True, **QUIET)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows == history.rows
    assert history.step == 6


def test_a_run_is_loaded_without_its_data(tmp_path: Path) -> None:
    """``fit(out=)`` leaves a bundle: the learner of the best step, its facts and where it comes from."""
    torch.manual_seed(0)
    learner = il.ProtoNet(il.nets.mlp(8, 16, 4))
    sampler, val = episodes("blobs", "train")(), episodes("blobs", "test")()
    options: dict[str, Any] = {"validate": val, "validate_every": 1, "validate_tasks": 20, "average": 0.9}
    history = il.fit(learner, sampler, steps=4, seed=3, out=tmp_path, origin={"data": "blobs"}, **options, **QUIET)
    loaded = il.load(tmp_path)
    assert type(loaded) is il.ProtoNet
    scores = [il.evaluate(one, val, tasks=20, seed=3, how="vmap", open=False).score for one in (loaded, learner)]
    assert scores == [history.best, history.best]
    kept = il.bundle.read(tmp_path)
    assert kept.facts == sampler.facts
    assert kept.origin == {"data": "blobs", "seed": 3, "step": history.best_step, "score": history.best}


class Unsure(il.MAML):
    """Has no finite prediction in evaluation mode from the moment that its sampler says so."""

    lost = False

    def predict(self, state: Any, x: Tensor) -> Tensor:
        raw = super().predict(state, x)
        return raw * math.nan if self.lost and not self.training else raw


def test_a_validation_without_finite_predictions_ends_nothing(tmp_path: Path) -> None:
    """The run goes on to its end, and the weights of the last good validation are kept."""

    def lose() -> None:
        learner.lost = True

    torch.manual_seed(0)
    learner = Unsure(il.nets.mlp(1, 8, 1), lr=0.01, likelihood=il.Gaussian(scale=1.0))
    options: dict[str, Any] = {"validate": Sinusoid(), "validate_every": 1, "validate_tasks": 4, "lr": 0.05}
    history = il.fit(learner, At(Sinusoid(), 4, lose), steps=6, out=tmp_path, **options, **QUIET)
    assert (history.stopped, history.step, len(history.scores)) == ("finished", 6, 6)
    assert [math.isfinite(score) for _, score in history.scores] == [True] * 3 + [False] * 3
    good = dict(history.scores[:3])
    assert history.best == max(good.values())
    assert history.best_step in good
    assert checkpoint.load(tmp_path / "last.safetensors")[1]["best_step"] == history.best_step
    assert il.bundle.read(tmp_path).origin["step"] == history.best_step


def test_a_run_without_any_finite_score_keeps_its_last_weights(tmp_path: Path) -> None:
    """There is a best all the same, and it claims no score."""
    learner = Unsure(il.nets.mlp(1, 8, 1), lr=0.01, likelihood=il.Gaussian(scale=1.0))
    learner.lost = True
    options: dict[str, Any] = {"validate": Sinusoid(), "validate_every": 1, "validate_tasks": 4}
    history = il.fit(learner, Sinusoid(), steps=3, out=tmp_path, **options, **QUIET)
    assert (history.best, history.best_step) == (None, 3)
    kept = il.bundle.read(tmp_path)
    assert kept.origin["score"] is None
    assert torch.equal(kept.weights["net.0.weight"], learner.net[0].weight)


def test_what_is_kept_when_the_loss_breaks_is_finite_and_of_its_step(tmp_path: Path) -> None:
    """``last`` is the step before the break, ``best`` the last validation before it."""

    class Breaking(Sampler):
        classifies, draws = False, 0

        def draw(self, generator: Generator, tasks: int) -> il.Task:
            self.draws += 1
            support, query = Sinusoid().draw(generator, tasks)
            return il.Task(support, il.Examples(query.x, query.y * (1e30 if self.draws > 5 else 1.0)))

    options: dict[str, Any] = {"validate": Sinusoid(), "validate_every": 2, "validate_tasks": 4, "save_seconds": 0.0}
    with pytest.raises(il.training.NonFiniteLoss, match="at step 6"):
        il.fit(maml(), Breaking(), steps=9, out=tmp_path, **options, **QUIET)
    tensors, facts = checkpoint.load(tmp_path / "last.safetensors")
    assert facts["step"] == 5
    assert all(bool(t.isfinite().all()) for t in tensors.values() if t.is_floating_point())
    kept = il.bundle.read(tmp_path)
    assert kept.origin["step"] in (2, 4)
    assert all(bool(t.isfinite().all()) for t in kept.weights.values())


def test_a_gradient_that_is_not_finite_changes_no_weight() -> None:
    """Under clipping its norm is known: the run stops before the optimizer sees it."""

    class Steep(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, slope: Tensor) -> Tensor:
            return slope * math.inf

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            return Steep.apply(self.layer(x))

    learner = il.ProtoNet(Net())
    before = weights(learner)
    with pytest.raises(il.training.NonFiniteLoss, match="its gradient's norm"):
        il.fit(learner, episodes("blobs", "train")(), steps=2, clip=1.0, how="loop", progress=False)
    assert torch.equal(weights(learner), before)


class Remembering(nn.Module):
    """Keeps its last activation, with its graph, as networks do that are looked into."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 4)
        self.seen: dict[str, list[Tensor]] = {}

    def forward(self, x: Tensor) -> Tensor:
        self.seen["last"] = [self.layer(x)]
        return self.seen["last"][0]


def weight_normed() -> nn.Module:
    return nn.Sequential(nn.utils.weight_norm(nn.Linear(8, 16)), nn.ReLU(), nn.Linear(16, 4))


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize("make", [Remembering, weight_normed])
@pytest.mark.parametrize("average", [None, 0.9])
def test_a_network_that_keeps_tensors_trains_twice(make: Callable[[], nn.Module], average: float | None) -> None:
    """A tensor with a graph, on a module, cannot be copied as it is; its value can."""
    learner = il.ProtoNet(make())
    sampler = episodes("blobs", "train")()
    learner.loss(il.core.task.take(sampler.draw(torch.Generator().manual_seed(0), 1), 0)).backward()
    for how in ("loop", "auto"):
        before = weights(learner)
        il.fit(learner, sampler, steps=2, how=how, average=average, validate=sampler, validate_tasks=4, progress=False)
        assert not torch.equal(weights(learner), before)
