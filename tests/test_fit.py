"""Meta-training: budgets, optimizers, accumulation, what a run leaves on disk, and what it refuses."""

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import oracles
import pytest
import torch
from cases import episodes, pool
from safetensors.torch import save_file
from torch import Generator, Tensor, nn

import innerloop as il
from innerloop.core import checkpoint, files
from innerloop.core.random import generator
from innerloop.data import Batches, FewShot, Sampler, Sinusoid
from innerloop.training.schedule import schedule_factor
from innerloop.training.validation import CALIBRATION_BATCHES

QUIET: dict[str, Any] = {"how": "vmap", "progress": False}


def maml(**options: Any) -> il.MAML:
    """A small regression learner, the same each time."""
    torch.manual_seed(0)
    net = il.nets.mlp(1, 8, 1, activation=nn.Tanh)
    return il.MAML(net, lr=0.01, likelihood=il.Gaussian(scale=1.0), **options)


def protonet(**options: Any) -> il.ProtoNet:
    """A small classification learner, the same each time."""
    torch.manual_seed(0)
    return il.ProtoNet(il.nets.mlp(8, 16, 4, **options))


def weights(learner: nn.Module) -> Tensor:
    """All parameters as one vector, copied."""
    return nn.utils.parameters_to_vector(learner.parameters()).detach().clone()


class Watching(Sampler):
    """Calls a function with the number of each draw before it."""

    def __init__(self, sampler: Sampler, watch: Callable[[int], None]) -> None:
        self.sampler, self.watch, self.draws = sampler, watch, 0
        self.classifies = sampler.classifies

    def draw(self, generator: Generator, tasks: int) -> il.Task:
        """The tasks of the sampler within."""
        self.draws += 1
        self.watch(self.draws)
        return self.sampler.draw(generator, tasks)


def trajectory(learner: il.Learner, sampler: Sampler, **options: Any) -> list[Tensor]:
    """The weights before each step."""
    seen: list[Tensor] = []
    il.fit(learner, Watching(sampler, lambda draw: seen.append(weights(learner))), **{**QUIET, **options})
    return seen


def test_steps_are_the_budget() -> None:
    """As many losses as steps, at the rates of the schedule; the learner ends in evaluation mode."""
    learner = maml()
    history = il.fit(learner, Sinusoid(), steps=4, lr=0.1, **QUIET)
    assert [row["step"] for row in history.rows] == [1, 2, 3, 4]
    assert [row["lr"] for row in history.rows] == [0.1 * schedule_factor("cosine", i / 4) for i in range(4)]
    assert all(math.isfinite(loss) for loss in history.losses)
    assert (history.stopped, history.step, history.steps_here) == ("finished", 4, 4)
    assert not learner.training
    assert history.seconds > 0


def test_no_steps_leave_the_learner_untrained() -> None:
    """A budget of 0 changes no weight."""
    learner = maml()
    history = il.fit(learner, Sinusoid(), steps=0, **QUIET)
    assert history.losses == []
    assert torch.equal(weights(learner), weights(maml()))


def test_minutes_are_a_budget() -> None:
    """A run stops after its time, with at least one step; whichever budget ends first counts."""
    history = il.fit(maml(), Sinusoid(), minutes=0.002, **QUIET)
    assert history.stopped == "finished"
    assert history.step >= 1
    assert history.seconds >= 0.12
    assert il.fit(maml(), Sinusoid(), minutes=60, steps=2, **QUIET).step == 2
    assert il.fit(maml(), Sinusoid(), minutes=1e-9, steps=10**9, **QUIET).step <= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "needs a budget"),
        ({"steps": -1}, "steps is -1; it must be at least 0"),
        ({"minutes": 0.0}, "minutes is 0.0; it must be above 0"),
        ({"minutes": math.nan}, "minutes is nan; it must be above 0"),
        ({"steps": 1, "tasks_per_step": 0}, "tasks_per_step is 0; it must be at least 1"),
        ({"steps": 1, "optimizer": "Adamm"}, "no optimizer 'Adamm'"),
        ({"steps": 1, "optimizer": "Optimizer_"}, "no optimizer"),
        ({"steps": 1, "schedule": "stairs"}, "schedule 'stairs' is unknown"),
        ({"steps": 1, "how": "magic"}, "choose auto, vmap, loop, chunk or patches"),
        ({"steps": 1, "chunk": 0}, "it must be at least 1"),
    ],
)
def test_settings_that_cannot_work_are_refused(options: dict[str, Any], message: str) -> None:
    """The message names the setting."""
    with pytest.raises(il.InputError, match=message):
        il.fit(maml(), Sinusoid(), **{**QUIET, **options})


def test_a_frozen_learner_is_refused() -> None:
    """There is nothing to train."""
    with pytest.raises(il.InputError, match="no parameter that requires a gradient"):
        il.fit(maml().requires_grad_(False), Sinusoid(), steps=1, **QUIET)


def test_malformed_tasks_are_refused_at_the_first_step() -> None:
    """Values that are not finite never reach the network."""

    class Broken(Sampler):
        classifies = False

        def draw(self, generator: Generator, tasks: int) -> il.Task:
            task = Sinusoid().draw(generator, tasks)
            task.support.x[0, 0] = math.nan
            return task

    with pytest.raises(il.InputError, match="1 of 40 values of the support set's x are not finite"):
        il.fit(maml(), Broken(), steps=1, **QUIET)


@pytest.mark.parametrize("name", ["constant", "linear", "cosine"])
def test_schedules(name: str) -> None:
    """From 1 to 0 (or 1), never up; warm-up rises linearly to the full rate."""
    values = [schedule_factor(name, p / 20) for p in range(21)]
    assert values[0] == 1
    assert values == sorted(values, reverse=True)
    assert values[-1] == pytest.approx(1.0 if name == "constant" else 0.0)
    assert values[10] == pytest.approx(1.0 if name == "constant" else 0.5)
    warm = [schedule_factor(name, p / 20, warmup=0.5) for p in range(21)]
    assert warm[:11] == pytest.approx([p / 10 for p in range(11)])
    assert warm[15] == pytest.approx(values[10])
    assert schedule_factor(name, 7.0) == pytest.approx(values[-1])


def one_gradient(learner: il.Learner, sampler: Sampler, step: int, reduction: Any = "mean") -> list[Tensor]:
    """The gradient that a step of ``fit`` sees: tasks and draws follow from the seed and the step's number."""
    il.lift(learner, "loop").backward(sampler.draw(generator(0, "train", step), 4), reduction)
    return [p.grad for p in learner.parameters()]


@pytest.mark.parametrize(
    "factory",
    [
        lambda ps: torch.optim.SGD(ps, lr=0.01, momentum=0.9),
        lambda ps: torch.optim.AdamW(ps, lr=0.01, weight_decay=0.1),
        lambda ps: torch.optim.RMSprop([{"params": ps[:1], "lr": 0.02}, {"params": ps[1:]}], lr=0.01),
    ],
    ids=["sgd", "adamw", "groups"],
)
def test_any_optimizer_by_a_function(factory: Callable[[list[nn.Parameter]], torch.optim.Optimizer]) -> None:
    """The weights after three steps are those of a plain loop with that optimizer."""
    learner, reference = maml(), maml()
    il.fit(learner, Sinusoid(), steps=3, optimizer=factory, schedule="constant", **QUIET)
    optimizer = factory(list(reference.parameters()))
    for step in range(3):
        optimizer.zero_grad()
        one_gradient(reference, Sinusoid(), step)
        optimizer.step()
    torch.testing.assert_close(weights(learner), weights(reference), rtol=1e-5, atol=1e-6)
    assert not torch.allclose(weights(learner), weights(maml()), atol=1e-3)


def test_any_scheduler_by_a_function() -> None:
    """A torch scheduler moves the rates, and goes on where it was after a resumption."""

    def halving(optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        return torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)

    history = il.fit(maml(), Sinusoid(), steps=5, lr=0.1, schedule=halving, **QUIET)
    # The rate of a row is the one after the step: the scheduler has stepped.
    assert [row["lr"] for row in history.rows] == [0.1, 0.05, 0.05, 0.025, 0.025]


def step_scheduler(optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
    return torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)


def nested_scheduler(optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
    """One whose state has integer keys within a list, which JSON alone would turn into words."""
    warm = torch.optim.lr_scheduler.ConstantLR(optimizer, 0.5, total_iters=1)
    milestones = torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 3], gamma=0.1)
    return torch.optim.lr_scheduler.SequentialLR(optimizer, [warm, milestones], [1])


@pytest.mark.parametrize("scheduler", [step_scheduler, nested_scheduler])
@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step:UserWarning")
def test_a_scheduler_is_resumed(
    scheduler: Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler], tmp_path: Path
) -> None:
    """Interrupted under a torch scheduler and resumed = uninterrupted, bit for bit."""
    options = {"steps": 6, "lr": 0.1, "schedule": scheduler, "optimizer": "SGD", **QUIET}
    whole, resumed = maml(), maml()
    wanted = il.fit(whole, Sinusoid(), **options)
    interrupted(maml(), 3, out=tmp_path, **options)
    history = il.fit(resumed, Sinusoid(), out=tmp_path, resume=True, **options)
    assert history.rows == wanted.rows
    assert torch.equal(weights(resumed), weights(whole))


def interrupted(learner: il.Learner, step: int, **options: Any) -> il.training.History:
    """A run that is interrupted in a step, which still ends whole."""

    def press(draw: int) -> None:
        if draw == step:
            os.kill(os.getpid(), signal.SIGINT)

    history = il.fit(learner, Watching(Sinusoid(), press), **options)
    assert (history.stopped, history.step) == ("interrupted", step)
    return history


def test_the_second_interrupt_breaks_off() -> None:
    """A second Ctrl-C within a step does not wait for its end; the handlers before the run are back after it."""
    before = signal.getsignal(signal.SIGINT)

    def press_twice(draw: int) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        il.fit(maml(), Watching(Sinusoid(), press_twice), steps=5, **QUIET)
    assert signal.getsignal(signal.SIGINT) is before


def test_clip_bounds_the_gradient() -> None:
    """With plain SGD of rate 1 a step is no longer than the clip, and exactly as long where the gradient is longer."""
    seen = trajectory(maml(), Sinusoid(), steps=4, lr=1.0, optimizer="SGD", schedule="constant", clip=0.01)
    lengths = torch.stack([(b - a).norm() for a, b in pairwise(seen)])
    torch.testing.assert_close(lengths, torch.full((3,), 0.01), rtol=1e-3, atol=0)


def test_weight_decay_is_the_optimizers() -> None:
    """SGD with decay d: w <- w - lr (g + d w)."""
    learner, reference = maml(), maml()
    il.fit(learner, Sinusoid(), steps=1, lr=0.1, optimizer="SGD", weight_decay=0.5, schedule="constant", **QUIET)
    slopes = one_gradient(reference, Sinusoid(), 0)
    wanted = [p - 0.1 * (g + 0.5 * p) for p, g in zip(reference.parameters(), slopes, strict=True)]
    torch.testing.assert_close(weights(learner), nn.utils.parameters_to_vector(wanted).detach())


def test_reduction_sums_or_averages() -> None:
    """The sum's gradient, and its loss, are T times the mean's."""
    options = {"steps": 1, "optimizer": "SGD", "schedule": "constant", "tasks_per_step": 4, **QUIET}
    mean, total = maml(), maml()
    first = il.fit(mean, Sinusoid(), lr=0.004, **options)
    second = il.fit(total, Sinusoid(), lr=0.001, reduction="sum", **options)
    torch.testing.assert_close(weights(mean), weights(total), rtol=1e-5, atol=1e-7)
    assert second.losses[0] == pytest.approx(4 * first.losses[0], rel=1e-5)


def test_label_smoothing_is_in_the_loss() -> None:
    """A step under smoothing has torch's smoothed loss; the report after it has the plain one."""
    sampler = episodes("blobs", "train")()
    learner = protonet()
    learner.likelihood.smoothing = 0.3
    before = il.evaluate(learner, sampler, tasks=20, how="vmap", open=False)
    plain = il.evaluate(protonet(), sampler, tasks=20, how="vmap", open=False)
    assert before.per_task["nll"].tolist() == plain.per_task["nll"].tolist()
    smooth = il.fit(learner, sampler, steps=1, **QUIET).losses[0]
    tasks = sampler.draw(generator(0, "train", 0), 4)
    raw = il.lift(protonet(), "loop").predict(tasks).squeeze(1)
    wanted = nn.functional.cross_entropy(raw.flatten(0, 1), tasks.query.y.flatten(0, 1), label_smoothing=0.3)
    assert smooth == pytest.approx(wanted.item(), rel=1e-5)


def test_average_is_the_hand_computed_one() -> None:
    """What is kept is the exponential moving average of the weights after each step; losses do not change."""
    plain, learner = maml(), maml()
    options = {"steps": 5, "lr": 0.05, "schedule": "constant"}
    seen = trajectory(plain, Sinusoid(), **options)
    after = [*seen[1:], weights(plain)]
    history = il.fit(learner, Sinusoid(), average=0.8, **options, **QUIET)
    torch.testing.assert_close(weights(learner), oracles.average(after, 0.8))
    assert not torch.allclose(weights(learner), after[-1], atol=1e-3)
    assert history.losses == il.fit(maml(), Sinusoid(), **options, **QUIET).losses


class Float64(Sampler):
    """Sine waves in float64."""

    classifies = False

    def draw(self, generator: Generator, tasks: int) -> il.Task:
        """The tasks of ``Sinusoid``."""
        return il.Task(*(il.Examples(x.double(), y.double()) for x, y in Sinusoid().draw(generator, tasks)))


@pytest.mark.parametrize("how", ["vmap", "loop"])
def test_accumulated_chunks_are_the_whole_batch(how: Any) -> None:
    """Chunks of any size give the losses and the weights of whole batches, in float64."""
    runs = []
    for chunk in (None, 1, 3):
        learner = maml().double()
        history = il.fit(learner, Float64(), steps=4, tasks_per_step=5, how=how, chunk=chunk, progress=False)
        runs.append((torch.tensor(history.losses), weights(learner)))
    for losses, after in runs[1:]:
        torch.testing.assert_close(losses, runs[0][0])
        torch.testing.assert_close(after, runs[0][1], rtol=1e-7, atol=1e-9)


def test_stale_gradients_play_no_part() -> None:
    """A gradient that lies about from before the run does not enter its first step."""
    clean, stale = maml(), maml()
    for p in stale.parameters():
        p.grad = torch.full_like(p, 100.0)
    il.fit(clean, Sinusoid(), steps=1, **QUIET)
    il.fit(stale, Sinusoid(), steps=1, **QUIET)
    assert torch.equal(weights(clean), weights(stale))


def test_auto_settles_and_says_why() -> None:
    """The faster way is kept, both times are said, and the choice changes no weight on its own."""
    learner = maml()
    history = il.fit(learner, Sinusoid(), steps=2, progress=False)
    assert history.how in ("vmap", "loop")
    assert "vmap" in history.why
    assert "loop" in history.why
    other = maml()
    il.fit(other, Sinusoid(), steps=2, how=history.how, progress=False)
    assert torch.equal(weights(other), weights(learner))


def test_a_seed_gives_one_run() -> None:
    """The same seed, the same weights, whatever the global random state; another seed, others."""
    runs = []
    for seed, noise in ((1, 5), (1, 6), (2, 5)):
        learner = protonet(dropout=0.3)
        torch.manual_seed(noise)
        il.fit(learner, episodes("blobs", "train")(), steps=3, seed=seed, **QUIET)
        runs.append(weights(learner))
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def test_validation_keeps_the_best() -> None:
    """A run that makes things worse ends with the weights of its best validation."""
    sampler, val = episodes("blobs", "train")(), episodes("blobs", "test")()
    learner = protonet()
    worse = {"optimizer": lambda ps: torch.optim.SGD(ps, lr=0.02, maximize=True), "schedule": "constant"}
    history = il.fit(learner, sampler, steps=6, validate=val, validate_every=1, validate_tasks=50, **worse, **QUIET)
    scores = [score for _, score in history.scores]
    assert [step for step, _ in history.scores] == [1, 2, 3, 4, 5, 6]
    assert history.best == max(scores) > scores[-1]
    assert il.evaluate(learner, val, tasks=50, how="vmap", open=False).score == history.best


def test_validations_are_evenly_spread() -> None:
    """By default ten of them, the last one at the end."""
    options = {"validate": episodes("blobs", "test")(), "validate_tasks": 2, **QUIET}
    history = il.fit(protonet(), episodes("blobs", "train")(), steps=20, **options)
    assert [step for step, _ in history.scores] == [2, 4, 6, 8, 10, 12, 14, 16, 18, 20]


def test_without_validation_the_last_weights_stay() -> None:
    """Nothing to compare: the run's end is kept."""
    learner = maml()
    seen = trajectory(learner, Sinusoid(), steps=3, lr=0.1)
    assert not torch.equal(weights(learner), seen[-1])
    again = maml()
    il.fit(again, Sinusoid(), steps=3, lr=0.1, **QUIET)
    assert torch.equal(weights(again), weights(learner))


def test_running_statistics_are_calibrated_at_the_end() -> None:
    """They are the average over meta-training batches under the final weights, not a trace of the training."""
    torch.manual_seed(0)
    learner = il.ProtoNet(il.nets.conv4((1, 8, 8), width=8, pools=1))
    sampler = episodes("pictures", "train")()
    il.fit(learner, sampler, steps=3, lr=0.05, tasks_per_step=2, **QUIET)
    first = learner.encoder.convolutions[0]
    means = []
    for i in range(CALIBRATION_BATCHES):
        tasks = sampler.draw(generator(0, "calibrate", i), 2)
        x = torch.cat((tasks.support.x.flatten(0, 1), tasks.query.x.flatten(0, 1)))
        means.append(first(x).mean((0, 2, 3)))
    torch.testing.assert_close(learner.encoder.norms[0].running_mean, torch.stack(means).mean(0))


def test_a_frozen_encoder_stays_as_it_is() -> None:
    """No weight and no statistic of it changes, and it runs in evaluation mode; the head is trained."""
    torch.manual_seed(0)
    encoder = il.nets.conv4((1, 8, 8), width=8, pools=1, maps=True, dropout=0.5)
    il.norm.calibrate(encoder, [pool("pictures", "train").x])
    encoder.requires_grad_(False)
    learner = il.RelationNet(encoder, il.nets.RelationModule((8, 4, 4), width=8, norm="none"))
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    il.fit(learner, episodes("pictures", "train")(), steps=3, **QUIET)
    changed = {name for name, value in learner.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith("head.") for name in changed)
    learner.train()
    assert not encoder.training
    assert learner.head.training
    encoder.requires_grad_(True)
    assert learner.train().encoder.training


def test_plain_batches_train_the_baseline() -> None:
    """FineTune learns its meta-training classes from plain batches, and refuses episodes."""
    learner = il.FineTune(il.nets.mlp(8, 16, 8), classes=40, features=8)
    history = il.fit(learner, Batches(pool("blobs", "train"), size=64), steps=60, lr=0.02, tasks_per_step=1, **QUIET)
    assert sum(history.losses[-5:]) < 0.9 * sum(history.losses[:5])
    with pytest.raises(il.InputError, match="tells 40 meta-training classes apart, the batch has 3"):
        il.fit(learner, episodes("blobs", "train")(), steps=1, how="loop", progress=False)


def test_metrics_have_a_line_a_step(tmp_path: Path) -> None:
    """``metrics.jsonl`` holds the history's rows, ``best`` the final weights."""
    learner = maml()
    history = il.fit(learner, Sinusoid(), steps=5, out=tmp_path / "new" / "run", **QUIET)
    folder = tmp_path / "new" / "run"
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert rows == history.rows
    assert sorted(path.name for path in folder.iterdir()) == ["best", "last.safetensors", "metrics.jsonl"]
    other = maml()
    best = il.bundle.read(folder)
    checkpoint.load_weights(other, dict(best.weights), folder)
    assert torch.equal(weights(other), weights(learner))
    assert best.origin == {"seed": 0, "step": 5, "score": None}


class Exploding(Sampler):
    """Sine waves that turn huge at one step."""

    classifies = False

    def __init__(self, step: int) -> None:
        self.step, self.draws = step, 0

    def draw(self, generator: Generator, tasks: int) -> il.Task:
        """Tasks with targets that overflow the squared error, from a step on."""
        self.draws += 1
        support, query = Sinusoid().draw(generator, tasks)
        return il.Task(support, il.Examples(query.x, query.y * (1e30 if self.draws >= self.step else 1.0)))


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    """The step is named, no weight takes the bad step, and the last good checkpoint is there, loads and resumes."""
    learner = maml()
    with pytest.raises(il.training.NonFiniteLoss, match=r"the loss is inf at step 4.*last\.safetensors"):
        il.fit(learner, Exploding(4), steps=6, save_seconds=0.0, out=tmp_path, **QUIET)
    assert weights(learner).isfinite().all()
    tensors, facts = checkpoint.load(tmp_path / "last.safetensors")
    assert facts["step"] == 3
    kept = {name.removeprefix("learner."): t for name, t in tensors.items() if name.startswith("learner.")}
    other = maml()
    checkpoint.load_weights(other, kept, tmp_path)
    assert torch.equal(weights(other), weights(learner))
    resumed, whole = maml(), maml()
    history = il.fit(resumed, Sinusoid(), steps=6, out=tmp_path, resume=True, **QUIET)
    assert (history.resumed, history.step) == (3, 6)
    il.fit(whole, Sinusoid(), steps=6, **QUIET)
    assert torch.equal(weights(resumed), weights(whole))
    with pytest.raises(il.training.NonFiniteLoss, match="no folder was given"):
        il.fit(maml(), Exploding(1), steps=2, **QUIET)


@pytest.mark.parametrize("validate", [None, Sinusoid()])
def test_weights_that_are_not_finite_are_never_kept(tmp_path: Path, validate: Sampler | None) -> None:
    """A last step that ruins the weights under a finite loss stops the run, and no checkpoint holds them."""

    def ruin(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=math.inf)

    options = {"optimizer": ruin, "schedule": lambda optimizer: torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)}
    with pytest.raises(il.training.NonFiniteLoss, match="the weights are not finite after step 1"):
        il.fit(maml(), Sinusoid(), steps=1, validate=validate, out=tmp_path, **options, **QUIET)
    tensors, facts = checkpoint.load(tmp_path / "last.safetensors")
    assert facts["step"] == 0
    assert torch.equal(tensors["learner.net.0.weight"], maml().state_dict()["net.0.weight"])
    assert not (tmp_path / "best").exists()


def contents(folder: Path) -> dict[str, bytes]:
    """Each file of a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_in_use_is_refused_and_unchanged(tmp_path: Path) -> None:
    """Without ``resume`` another run does not touch the files."""
    il.fit(maml(), Sinusoid(), steps=2, out=tmp_path, **QUIET)
    before = contents(tmp_path)
    with pytest.raises(il.InputError, match="already holds a run"):
        il.fit(maml(), Sinusoid(), steps=2, out=tmp_path, **QUIET)
    assert contents(tmp_path) == before


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """Before any training; a path below a file is one that nobody can write."""
    (tmp_path / "file").write_text("")
    drawn: list[int] = []
    with pytest.raises(il.InputError, match="cannot be written"):
        il.fit(maml(), Watching(Sinusoid(), drawn.append), steps=2, out=tmp_path / "file" / "run", **QUIET)
    assert drawn == []


def test_nothing_to_resume_is_said(tmp_path: Path) -> None:
    """Resuming wants a checkpoint."""
    with pytest.raises(il.InputError, match="no checkpoint at"):
        il.fit(maml(), Sinusoid(), steps=2, out=tmp_path, resume=True, **QUIET)


@pytest.mark.parametrize("damage", ["truncated", "empty", "rubbish", "bit-length"])
def test_a_damaged_checkpoint_is_said_to_be_one(tmp_path: Path, damage: str) -> None:
    """Whatever happened to the file: an InputError that names it, and no other exception."""
    il.fit(maml(), Sinusoid(), steps=2, out=tmp_path, **QUIET)
    path = tmp_path / "last.safetensors"
    data = path.read_bytes()
    damaged = {
        "truncated": data[: len(data) // 2],
        "empty": b"",
        "rubbish": b"not a checkpoint at all" * 20,
        "bit-length": b"\xff" * 8 + data[8:],
    }
    path.write_bytes(damaged[damage])
    with pytest.raises(il.InputError, match=r"last\.safetensors .* corrupt or\s+truncated"):
        il.fit(maml(), Sinusoid(), steps=4, out=tmp_path, resume=True, **QUIET)
    assert path.read_bytes() == damaged[damage]


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"format": "1", "facts": "{}"}])
def test_a_checkpoint_of_another_format_is_refused(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    """Both formats are named."""
    save_file({"x": torch.zeros(1)}, tmp_path / "a.safetensors", metadata)
    wanted = f"has format {metadata['format'] if metadata else None}, this version of innerloop reads 2"
    with pytest.raises(il.InputError, match=wanted):
        checkpoint.load(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda: il.MAML(il.nets.mlp(1, 9, 1), likelihood=il.Gaussian(scale=1.0)), r"'net\.0\.bias' has shape \(8,\)"),
        (lambda: il.MAML(il.nets.mlp(1, 8, 8, 1), likelihood=il.Gaussian(scale=1.0)), "weight 'net.2.bias'"),
        (protonet, "weight 'encoder.0.bias'"),
    ],
)
def test_another_learners_checkpoint_is_refused(tmp_path: Path, other: Any, message: str) -> None:
    """The first weight that does not fit is named."""
    il.fit(maml(), Sinusoid(), steps=1, out=tmp_path, **QUIET)
    best = dict(il.bundle.read(tmp_path).weights)
    with pytest.raises(il.InputError, match=message):
        checkpoint.load_weights(other(), best, tmp_path)


def test_cut_metrics_are_noticed(tmp_path: Path) -> None:
    """Fewer lines than the checkpoint counts are an error; more, or half a line, are put right."""
    options = {"steps": 6, **QUIET}
    interrupted(maml(), 3, out=tmp_path, **options)
    metrics = tmp_path / "metrics.jsonl"
    good = metrics.read_text()
    metrics.write_text(good.splitlines()[0] + "\n")
    with pytest.raises(il.InputError, match="has 1 steps, the checkpoint counts 3"):
        il.fit(maml(), Sinusoid(), out=tmp_path, resume=True, **options)
    metrics.write_text(good + '{"step": 4, "loss": 1.0, "lr": 0.1}\n{"step": 5, "lo')
    history = il.fit(maml(), Sinusoid(), out=tmp_path, resume=True, **options)
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    assert rows == history.rows
    assert rows == il.fit(maml(), Sinusoid(), **options).rows


def test_half_a_line_after_the_checkpoint_is_cut_off(tmp_path: Path) -> None:
    """A process that died while it wrote a line leaves a file that is mended on resumption."""
    options = {"steps": 6, **QUIET}
    interrupted(maml(), 3, out=tmp_path, **options)
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_text(metrics.read_text() + '{"step": 4, "lo')
    history = il.fit(maml(), Sinusoid(), out=tmp_path, resume=True, **options)
    assert [json.loads(line) for line in metrics.read_text().splitlines()] == history.rows


def test_a_finished_run_can_be_resumed_for_more_steps(tmp_path: Path) -> None:
    """Two more steps after two, under a constant rate, are four."""
    options = {"schedule": "constant", **QUIET}
    il.fit(maml(), Sinusoid(), steps=2, out=tmp_path, **options)
    resumed, whole = maml(), maml()
    history = il.fit(resumed, Sinusoid(), steps=4, out=tmp_path, resume=True, **options)
    assert history.losses == il.fit(whole, Sinusoid(), steps=4, **options).losses
    assert torch.equal(weights(resumed), weights(whole))


def test_resuming_a_finished_run_changes_nothing(tmp_path: Path) -> None:
    """No step is left: the weights, the rows and the scores stay as they are."""
    sampler, val = episodes("blobs", "train")(), episodes("blobs", "test")()
    options = {"steps": 3, "validate": val, "validate_every": 1, "validate_tasks": 5, "out": tmp_path, **QUIET}
    first, again = protonet(), protonet()
    history = il.fit(first, sampler, **options)
    repeated = il.fit(again, sampler, resume=True, **options)
    assert repeated.rows == history.rows
    assert repeated.scores == history.scores
    assert repeated.steps_here == 0
    assert torch.equal(weights(again), weights(first))


def test_the_best_survives_a_resumption(tmp_path: Path) -> None:
    """Scores and best weights of before the interruption still count after it."""
    sampler, val = episodes("blobs", "train")(), episodes("blobs", "test")()
    worse = {"optimizer": lambda ps: torch.optim.SGD(ps, lr=0.02, maximize=True), "schedule": "constant"}
    options = {"steps": 6, "validate": val, "validate_every": 1, "validate_tasks": 50, **worse, **QUIET}
    whole, resumed = protonet(), protonet()
    wanted = il.fit(whole, sampler, **options)

    def press(draw: int) -> None:
        if draw == 4:
            os.kill(os.getpid(), signal.SIGINT)

    il.fit(protonet(), Watching(sampler, press), out=tmp_path, **options)
    history = il.fit(resumed, sampler, out=tmp_path, resume=True, **options)
    assert history.scores == wanted.scores
    assert history.best == wanted.best
    assert torch.equal(weights(resumed), weights(whole))


def test_checkpoints_keep_dtypes_and_shapes(tmp_path: Path) -> None:
    """Any tensor comes back as it was, non-contiguous, empty and scalar ones too; facts are JSON."""
    tensors = {
        "transposed": torch.randn(3, 4).T,
        "scalar": torch.tensor(3),
        "empty": torch.zeros(0, 2),
        "half": torch.randn(2).half(),
        "flag": torch.tensor([True, False]),
    }
    checkpoint.save(tmp_path / "a.safetensors", tensors, {"a": [1, None, "b"]})
    loaded, facts = checkpoint.load(tmp_path / "a.safetensors")
    assert facts == {"a": [1, None, "b"]}
    assert loaded.keys() == tensors.keys()
    for name, value in tensors.items():
        assert loaded[name].dtype == value.dtype
        assert torch.equal(loaded[name], value)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    """Readers see the old file or the new one, and no temporary file stays."""
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, {"x": torch.ones(2)}, {})
    with pytest.raises(TypeError):
        checkpoint.save(path, {"x": torch.zeros(2)}, {"a": object()})

    def fail(temporary: str) -> None:
        Path(temporary).write_text("half")
        raise OSError("disk full")

    with pytest.raises(il.InputError, match=r"a\.safetensors cannot be written \(disk full\)"):
        files.write_atomically(path, fail)
    assert torch.equal(checkpoint.load(path)[0]["x"], torch.ones(2))
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize("tree", [{"a": [1, (2.5, None)], 3: {"b": torch.ones(2)}}, [], torch.zeros(1), "text"])
def test_pack_and_unpack(tree: Any) -> None:
    """A nest of dicts, lists and leaves survives JSON; tuples come back as lists, keys keep their type."""
    tensors, packed = checkpoint.pack("p", tree)
    back = checkpoint.unpack(tensors, json.loads(json.dumps(packed)))

    def plain(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: plain(value) for key, value in node.items()}
        if isinstance(node, list | tuple):
            return [plain(value) for value in node]
        return node.tolist() if isinstance(node, Tensor) else node

    assert plain(back) == plain(tree)


def test_few_shot_training_needs_no_queries_for_reptile() -> None:
    """Reptile trains on support sets alone."""
    sampler = FewShot(pool("blobs", "train"), ways=3, shots=2, queries=0)
    learner = il.Reptile(il.nets.mlp(8, 4, 3))
    history = il.fit(learner, sampler, steps=2, **QUIET)
    assert all(loss > 0 for loss in history.losses)


def test_outputs_that_do_not_fit_the_targets_are_refused_before_a_step(tmp_path: Path) -> None:
    """Two outputs for one target column would train by broadcasting, without a word."""
    learner = il.MAML(il.nets.mlp(1, 8, 2), lr=0.01, likelihood=il.Gaussian(scale=1.0))
    before = weights(learner).clone()
    with pytest.raises(il.InputError, match="gives 2 outputs a query, Gaussian needs 1"):
        il.fit(learner, Sinusoid(), steps=2, **QUIET)
    assert torch.equal(weights(learner), before)
