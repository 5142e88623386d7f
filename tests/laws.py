"""The laws that learners obey, as plain assertions. ``test_laws.py`` runs them over every row of ``cases.py``."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from torch import Generator, Tensor
from torch.utils import _pytree as pytree

import innerloop as il
from innerloop.core import checkpoint
from innerloop.core.device import device_of
from innerloop.core.lifting import How
from innerloop.core.task import move
from innerloop.data import FewShot, Sampler

#: Rounding in float64, with room for Adam, which divides by gradients that may be small.
CLOSE = {"rtol": 1e-7, "atol": 1e-9}
#: All ways to run a batch of tasks: how, and tasks per chunk. The first is the reference.
WAYS_TO_LIFT: tuple[tuple[How, int | None], ...] = (
    ("loop", None),
    ("vmap", None),
    ("chunk", 2),
    ("loop", 2),
    ("vmap", 1),
)


class LawBroken(AssertionError):  # noqa: N818
    """What a law compares differs: the law's own violation, as opposed to a check on the way to the comparison."""


def assert_equal_predictions(got: Tensor, wanted: Tensor) -> None:
    """The comparison of a law about predictions or losses: the law is broken where two sound tensors differ.

    Other shapes or types, and numbers that are not finite, are faults of another kind.
    """
    assert got.shape == wanted.shape
    assert got.dtype == wanted.dtype
    assert got.isfinite().all()
    assert wanted.isfinite().all()
    try:
        torch.testing.assert_close(got, wanted, **CLOSE)
    except AssertionError as error:
        raise LawBroken(str(error)) from None


def predict(learner: il.Learner, task: il.Task) -> Tensor:
    """Adapt and predict, for one task and by hand."""
    with torch.no_grad():
        return learner.predict(learner.adapt(task.support), task.query.x)


def gradients(learner: il.Learner, loss: Tensor) -> dict[str, Tensor]:
    """The gradient of ``loss`` by parameter; zeros where it does not depend on one."""
    named = {name: p for name, p in learner.named_parameters() if p.requires_grad}
    if not loss.requires_grad:
        return {name: torch.zeros_like(p) for name, p in named.items()}
    found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    return {name: torch.zeros_like(p) if g is None else g for (name, p), g in zip(named.items(), found, strict=True)}


def accumulated(learner: il.Learner) -> dict[str, Tensor]:
    """What ``backward`` left in ``.grad``, by parameter; taken away again."""
    named = {name: p for name, p in learner.named_parameters() if p.requires_grad}
    found = {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in named.items()}
    learner.zero_grad()
    return found


def assert_same(got: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Two mappings hold the same tensors, to the bit."""
    assert got.keys() == wanted.keys()
    for name, value in wanted.items():
        assert got[name].dtype == value.dtype, name
        assert torch.equal(got[name], value), f"{name} differs by {(got[name] - value).abs().max()}"


def assert_close(got: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Two mappings hold the same tensors, up to rounding in float64."""
    assert got.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(got[name], value, **CLOSE, msg=lambda text, name=name: f"{name}: {text}")


def assert_lifting_changes_no_loss(learner: il.Learner, tasks: il.Task) -> None:
    """A loop = vmap, chunked = whole: the loss of every task, and the gradient."""
    reference = il.lift(learner, *WAYS_TO_LIFT[0]).loss(tasks)
    wanted = gradients(learner, reference.sum())
    assert reference.shape == (len(tasks.query.x),)
    assert all(g.isfinite().all() for g in wanted.values())
    for how, chunk in WAYS_TO_LIFT[1:]:
        losses = il.lift(learner, how, chunk).loss(tasks)
        torch.testing.assert_close(losses, reference, **CLOSE)
        assert_close(gradients(learner, losses.sum()), wanted)


def assert_lifting_changes_no_prediction(learner: il.Learner, tasks: il.Task) -> None:
    """Every way of lifting predicts what the learner predicts for each task by itself."""
    wanted = torch.stack([predict(learner, one(tasks, t)) for t in range(len(tasks.query.x))])
    assert wanted.shape[:3] == (len(tasks.query.x), wanted.shape[1], tasks.query.x.shape[1])
    for how, chunk in WAYS_TO_LIFT:
        raw = il.lift(learner, how, chunk).predict(tasks)
        assert not raw.requires_grad
        torch.testing.assert_close(raw, wanted, **CLOSE)


def assert_lifting_changes_no_fold(learner: il.Learner, tasks: il.Task) -> None:
    """Folding a second support set into many tasks' states at once gives what each task's fold gives by itself."""
    xs, ys = tasks.support
    cut = xs.shape[1] // 2

    def folded(x: Tensor, y: Tensor, query: Tensor) -> Tensor:
        state = learner.adapt(il.Examples(x[cut:], y[cut:]), learner.adapt(il.Examples(x[:cut], y[:cut])))
        return learner.predict(state, query)

    with torch.no_grad():
        wanted = torch.stack([folded(*each) for each in zip(xs, ys, tasks.query.x, strict=True)])
        got = torch.func.vmap(folded, randomness="different")(xs, ys, tasks.query.x)
    torch.testing.assert_close(got, wanted, **CLOSE)


def assert_backward_is_the_gradient(learner: il.Learner, tasks: il.Task) -> None:
    """``backward`` adds the gradient of the mean (or the sum) over tasks, whatever the chunks."""
    losses = il.lift(learner, "loop").loss(tasks)
    mean = gradients(learner, losses.mean())
    total = {name: len(losses) * g for name, g in mean.items()}
    for how, chunk in WAYS_TO_LIFT:
        lifted = il.lift(learner, how, chunk)
        got = lifted.backward(tasks)
        assert not got.requires_grad
        torch.testing.assert_close(got, losses.detach(), **CLOSE)
        assert_close(accumulated(learner), mean)
        lifted.backward(tasks, "sum")
        assert_close(accumulated(learner), total)


def assert_nothing_to_train(learner: il.Learner, tasks: il.Task) -> None:
    """No way of lifting gives a loss that depends on a parameter; whoever asks for its gradient is told so."""
    for how, chunk in WAYS_TO_LIFT:
        assert not il.lift(learner, how, chunk).loss(tasks).requires_grad
        with pytest.raises(il.InputError, match=f"{type(learner).__name__} .*nothing to train"):
            il.lift(learner, how, chunk).backward(tasks)


def assert_training_is_refused(learner: il.Learner, sampler: Sampler, folder: Path, **options: Any) -> None:
    """A learner with nothing to train is refused by name, before anything is written."""
    with pytest.raises(il.InputError, match=type(learner).__name__):
        il.fit(learner, sampler, steps=1, out=folder / "run", progress=False, **options)
    assert not (folder / "run").exists()


def assert_loss_is_its_own(learner: il.Learner, tasks: il.Task) -> None:
    """A task's loss does not depend on the other tasks of its batch."""
    lifted = il.lift(learner, "vmap")
    first = pytree.tree_map(lambda leaf: leaf[:1], tasks)
    assert_equal_predictions(lifted.loss(tasks)[:1], lifted.loss(first))


def assert_folds(learner: il.Learner, task: il.Task) -> None:
    """adapt(B, adapt(A)) = adapt(A and B): seen in what both predict."""
    (x, y), query = task
    # Not in the middle: the two parts then hold other numbers of each class.
    cut = len(x) // 3
    with torch.no_grad():
        folded = learner.adapt(il.Examples(x[cut:], y[cut:]), learner.adapt(il.Examples(x[:cut], y[:cut])))
        assert_equal_predictions(learner.predict(folded, query.x), predict(learner, task))


def assert_support_order_is_free(learner: il.Learner, task: il.Task) -> None:
    """The support examples in another order give the same predictions."""
    order = torch.randperm(len(task.support.x), device=task.support.x.device)
    shuffled = il.Task(il.Examples(task.support.x[order], task.support.y[order]), task.query)
    assert_equal_predictions(predict(learner, shuffled), predict(learner, task))


def assert_relabeling_permutes(learner: il.Learner, task: il.Task) -> None:
    """Renaming the classes (the columns of y) renames what is predicted of them and changes nothing else."""
    ways = task.support.y.shape[1]
    assert ways > 1, "one column has no other name"
    names = torch.arange(ways, device=task.support.y.device).roll(1)
    renamed = il.Task(il.Examples(task.support.x, task.support.y[:, names]), task.query)
    mean = learner.likelihood.mean
    assert_equal_predictions(mean(predict(learner, renamed)), mean(predict(learner, task))[..., names])


def assert_gradient_everywhere(learner: il.Learner, tasks: il.Task, exempt: Mapping[str, str]) -> None:
    """Each meta-parameter has a gradient, but for the exempt ones, whose gradient is zero."""
    found = gradients(learner, il.lift(learner, "loop").loss(tasks).mean())
    largest = {name: float(g.abs().max()) for name, g in found.items()}
    assert not exempt.keys() - largest.keys(), "an exempt parameter does not exist"
    silent = {name for name, size in largest.items() if size < 1e-10}
    assert silent == set(exempt), f"without a gradient: {sorted(silent)}, exempt: {dict(exempt)}"


def assert_learner_survives_saving(learner: il.Learner, other: il.Learner, task: il.Task, path: Path) -> None:
    """Another learner that loads the saved weights predicts the same, to the bit."""
    wanted = predict(learner, task)
    # Other random weights predict something else; only learners without weights agree beforehand.
    assert torch.equal(predict(other, task), wanted) == (not learner.state_dict())
    checkpoint.save(path, learner.state_dict(), {"step": 3})
    tensors, facts = checkpoint.load(path, task.query.x.device)
    checkpoint.load_weights(other, tensors, path)
    assert facts == {"step": 3}
    assert_same(other.state_dict(), learner.state_dict())
    assert torch.equal(predict(other, task), wanted)


def assert_state_survives_saving(learner: il.Learner, task: il.Task, like: il.Task, path: Path) -> None:
    """An adapted state that was saved predicts the same, to the bit, with the learner that was loaded beside it too."""
    with torch.no_grad():
        state, other = learner.adapt(task.support), learner.adapt(like.support)
        il.save(path, learner, state)
        loaded = il.load(path, device=task.query.x.device)
        wanted = learner.predict(state, task.query.x)
        assert torch.equal(learner.predict(loaded.state, task.query.x), wanted)
        assert torch.equal(loaded.learner.predict(loaded.state, task.query.x), wanted)
        assert not torch.equal(learner.predict(loaded.state, task.query.x), learner.predict(other, task.query.x))


def assert_evaluation_changes_nothing(learner: il.Learner, sampler: Sampler) -> None:
    """Evaluation leaves each parameter, each buffer, each gradient and each module's mode as it was."""
    learner.train()
    # A mode of its own somewhere within must come back too.
    next(reversed(list(learner.modules()))).eval()
    modes = [part.training for part in learner.modules()]
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    il.evaluate(learner, sampler, tasks=5, how="vmap")
    assert_same(learner.state_dict(), before)
    assert [part.training for part in learner.modules()] == modes
    assert True in modes
    assert all(p.grad is None for p in learner.parameters())


def assert_queries_are_judged_alone(learner: il.Learner, task: il.Task) -> None:
    """A query's prediction is the same whichever other queries are predicted with it."""
    with torch.no_grad():
        state = learner.adapt(task.support)
        alone = [learner.predict(state, x.unsqueeze(0)) for x in task.query.x]
        assert_equal_predictions(torch.cat(alone, 1), learner.predict(state, task.query.x))


def assert_evaluation_is_by_hand(learner: il.Learner, sampler: Sampler) -> None:
    """Evaluation scores what adapting to each task by hand scores, also where a pool is embedded once for all tasks."""
    report = il.evaluate(learner, sampler, tasks=8, seed=3, how="vmap", open=False)
    generator = Generator().manual_seed(3)
    few_shot = isinstance(sampler, FewShot)
    batches = [sampler.gather(sampler.episodes(generator, 8))] if few_shot else sampler.batches(generator, 8)
    learner.eval()
    scores: dict[str, list[float]] = {"accuracy" if sampler.classifies else "mse": [], "nll": []}
    device = device_of(learner)
    # Two ways of many inner steps round apart, further where sums are taken in other orders.
    apart = 1e-3 if device.type == "cpu" else 1e-2
    for tasks in batches:
        for t in range(len(tasks.query.x)):
            task = pytree.tree_map(lambda leaf: leaf.to(device), one(tasks, t))
            raw, y = predict(learner, task), task.query.y
            mean = learner.likelihood.mean(raw)
            right = mean.argmax(1) == y.argmax(1) if sampler.classifies else (mean - y).square()
            score, nll = scores.values()
            score.append(float(right.double().mean()))
            nll.append(float(learner.likelihood.nll(raw, y).mean()))
    for name, values in scores.items():
        assert len(values) == 8
        tight = {"rtol": 1e-6} if name == "accuracy" else {"rtol": apart, "atol": 1e-5}
        numpy.testing.assert_allclose(report.per_task[name], values, **tight)


class Interrupting(Sampler):
    """Presses Ctrl-C while it draws the tasks of one step."""

    def __init__(self, sampler: Sampler, step: int) -> None:
        self.sampler, self.step, self.draws = sampler, step, 0
        self.classifies = sampler.classifies

    def draw(self, generator: Generator, tasks: int) -> il.Task:
        """The tasks of the sampler within."""
        self.draws += 1
        if self.draws == self.step:
            os.kill(os.getpid(), signal.SIGINT)
        return self.sampler.draw(generator, tasks)


def assert_resumed_is_uninterrupted(
    make: Callable[[], il.Learner], sampler: Sampler, folder: Path, **options: Any
) -> None:
    """A run that is interrupted and resumed has the losses and the weights of one that was not, bit for bit."""
    steps, stop = 5, 2
    options = {"lr": 1e-2, "clip": 1.0, "average": 0.9, "how": "vmap", **options}
    options |= {"steps": steps, "seed": 7, "schedule": "cosine", "progress": False}
    torch.manual_seed(0)
    whole = make()
    history = il.fit(whole, sampler, out=folder / "whole", **options)
    torch.manual_seed(0)
    first = il.fit(make(), Interrupting(sampler, stop), out=folder / "parts", **options)
    assert (first.stopped, first.step) == ("interrupted", stop)
    # Other random weights: all that the resumed run knows must come from the folder.
    torch.manual_seed(1)
    resumed = make()
    second = il.fit(resumed, sampler, out=folder / "parts", resume=True, **options)
    assert (second.stopped, second.resumed, second.steps_here) == ("finished", stop, steps - stop)
    assert second.rows == history.rows
    assert first.rows == history.rows[:stop]
    assert_same(resumed.state_dict(), whole.state_dict())
    last = [checkpoint.load(folder / part / "last.safetensors")[0] for part in ("parts", "whole")]
    best = [il.bundle.read(folder / part).weights for part in ("parts", "whole")]
    assert_same(*last)
    assert_same(*best)
    lines = [(folder / part / "metrics.jsonl").read_text() for part in ("parts", "whole")]
    assert lines[0] == lines[1]
    assert lines[0].count("\n") == steps


def assert_learns(learner: il.Learner, train: Sampler, test: Sampler, margin: float, **options: Any) -> None:
    """After a short training it beats its untrained self on held-out tasks, paired, by a margin."""
    scoring = {"tasks": 100, "seed": 5, "how": "vmap", "open": False}
    untrained = il.evaluate(learner, test, **scoring)
    il.fit(learner, train, **{"schedule": "constant", "how": "vmap", "progress": False, **options})
    trained = il.evaluate(learner, test, **scoring)
    assert trained.episodes == untrained.episodes
    gap = il.compare(trained, untrained).difference
    assert gap.mean > margin
    assert gap.interval[0] > 0


def assert_adapting_helps(learner: il.Learner, sampler: Sampler, margin: float) -> None:
    """On a task it beats itself adapted to the next task's support set, paired, by a margin: what it learns is used."""
    tasks = move(sampler.draw(Generator().manual_seed(5), 40), device_of(learner))
    other = il.Task(il.Examples(*(leaf.roll(1, 0) for leaf in tasks.support)), tasks.query)
    scores = []
    for drawn in (tasks, other):
        raw = il.lift(learner.eval(), "vmap").predict(drawn)
        mean = torch.stack([learner.likelihood.mean(each) for each in raw])
        right = mean.argmax(2) == drawn.query.y.argmax(2) if sampler.classifies else -(mean - drawn.query.y).square()
        scores.append(right.double().flatten(1).mean(1).numpy())
    gap = il.paired(*scores)
    assert gap.mean > margin
    assert gap.interval[0] > 0


def one(tasks: il.Task, index: int) -> il.Task:
    """One task of a batch."""
    return il.Task(*(il.Examples(part.x[index], part.y[index]) for part in tasks))
