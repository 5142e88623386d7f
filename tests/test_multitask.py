"""What adapts, multi-task learning as the case that nothing does, and how tasks' gradients become one."""

from __future__ import annotations

import copy
import itertools
import math
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import laws
import numpy
import oracles
import pytest
import torch
from sklearn.linear_model import Ridge
from torch import Tensor, nn
from typer.testing import CliRunner

import innerloop as il
from innerloop.cli.app import app
from innerloop.core.task import InputError
from innerloop.data import KnownTasks, Sinusoid, TableTasks
from innerloop.learners.optimization.gradient import Adapted, names
from innerloop.training.aggregate import AGGREGATORS, DynamicAverage, Uncertainty, backward_aggregated, make_aggregator

SQUARES = {"likelihood": il.Gaussian(scale=1.0)}
CONSTANT = 0.5 * math.log(2 * math.pi)
TASKS, TARGETS = 5, 3


def random_tasks(classes: bool = True, tasks: int = TASKS) -> il.Task:
    """Tasks of vectors in float64, of classes or of real targets."""

    def part(count: int) -> il.Examples:
        y = torch.eye(TARGETS).repeat(count // TARGETS, 1).expand(tasks, -1, -1)
        return il.Examples(torch.randn(tasks, count, 4), y if classes else torch.randn(tasks, count, TARGETS))

    drawn = il.Task(part(6), part(9))
    return il.Task(*(il.Examples(p.x.double(), p.y.double()) for p in drawn))


def body_and_heads() -> tuple[nn.Sequential, list[nn.Linear]]:
    body = nn.Sequential(nn.Linear(4, 8), nn.Tanh()).double()
    return body, [nn.Linear(8, TARGETS).double() for _ in range(TASKS)]


def named(tasks: il.Task) -> il.Task:
    """The tasks' queries with their names, and no support set."""
    x, y = tasks.query
    names = torch.eye(len(x)).to(y).unsqueeze(1).expand(-1, y.shape[1], -1)
    query = il.Examples(x, torch.cat((y, names), 2))
    return il.Task(il.Examples(query.x[:, :0], query.y[:, :0]), query)


def multi_task(body: nn.Module, heads: list[nn.Linear], **options: Any) -> il.MultiTask:
    """The learner that has this body and these heads."""
    learner = il.MultiTask(body, targets=TARGETS, tasks=len(heads), features=8, **options).double()
    with torch.no_grad():
        learner.head.classifier.weight.copy_(torch.cat([head.weight for head in heads]))
        learner.head.classifier.bias.copy_(torch.cat([head.bias for head in heads]))
    return learner


LOSSES = pytest.mark.parametrize(
    ("classes", "loss", "constant"),
    [(True, oracles.cross_entropy, 0.0), (False, oracles.half_squares, TARGETS * CONSTANT)],
    ids=["classes", "real"],
)


@LOSSES
@pytest.mark.parametrize("how", ["loop", "vmap"])
def test_multi_task_is_joint_training(
    classes: bool, loss: Callable[[Tensor, Tensor], Tensor], constant: float, how: str
) -> None:
    """Per-task heads on a shared body: exactly the loss and gradient of a plain joint training."""
    tasks, (body, heads) = random_tasks(classes), body_and_heads()
    wanted, slopes = oracles.joint_gradient(body, heads, tasks, loss)
    learner = multi_task(body, heads, **({} if classes else SQUARES))
    losses = il.lift(learner, how).backward(named(tasks))  # type: ignore[arg-type]
    torch.testing.assert_close(losses.mean(), wanted + constant)
    own = [*learner.encoder.parameters()]
    for parameter, slope in zip(own, slopes, strict=False):
        torch.testing.assert_close(parameter.grad, slope, rtol=0, atol=1e-12)
    rows = learner.head.classifier
    for got, every in ((rows.weight.grad, slopes[len(own) :: 2]), (rows.bias.grad, slopes[len(own) + 1 :: 2])):
        torch.testing.assert_close(got, torch.cat(every), rtol=0, atol=1e-12)


@LOSSES
def test_anil_without_steps_and_with_per_task_heads_is_joint_training(
    classes: bool, loss: Callable[[Tensor, Tensor], Tensor], constant: float
) -> None:
    """ANIL with 0 inner steps, each task starting at its own head, has the gradient of joint multi-task training."""
    tasks, (body, heads) = random_tasks(classes), body_and_heads()
    wanted, slopes = oracles.joint_gradient(body, heads, tasks, loss)
    anil = il.ANIL(nn.Sequential(*body, nn.Linear(8, TARGETS)), steps=0, **({} if classes else SQUARES)).double()
    losses = []
    for t, head in enumerate(heads):
        task = laws.one(tasks, t)
        own = Adapted({"2.weight": head.weight, "2.bias": head.bias}, [])
        raw = anil.predict(anil.adapt(task.support, own), task.query.x)
        losses.append(anil.likelihood.nll(raw, task.query.y).mean())
    total = torch.stack(losses).mean()
    everything = [*body.parameters(), *(p for head in heads for p in head.parameters())]
    for got, slope in zip(torch.autograd.grad(total, everything), slopes, strict=True):
        torch.testing.assert_close(got, slope, rtol=0, atol=1e-12)
    torch.testing.assert_close(total.detach(), wanted + constant)


@LOSSES
@pytest.mark.parametrize("options", [{"adapts": "none"}, {"steps": 0}], ids=str)
@pytest.mark.parametrize("how", ["loop", "vmap"])
def test_a_shared_head_that_does_not_adapt_is_pooled_risk_minimization(
    classes: bool, loss: Callable[[Tensor, Tensor], Tensor], constant: float, options: dict[str, Any], how: str
) -> None:
    """Nothing adapts and the head is shared: the loss and gradient of one network on all examples."""
    tasks = random_tasks(classes)
    net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, TARGETS)).double()
    wanted, slopes = oracles.pooled_gradient(net, tasks, loss)
    learner = il.MAML(net, **options, **({} if classes else SQUARES))
    losses = il.lift(learner, how).backward(tasks)  # type: ignore[arg-type]
    torch.testing.assert_close(losses.mean(), wanted + constant)
    for parameter, slope in zip(net.parameters(), slopes, strict=True):
        torch.testing.assert_close(parameter.grad, slope, rtol=0, atol=1e-12)


ADAPTING: dict[str, tuple[Callable[..., il.learners.GradientLearner], set[str]]] = {
    "anil": (il.ANIL, {"2.weight", "2.bias"}),
    "boil": (il.learners.BOIL, {"0.weight", "0.bias"}),
    "pattern": (lambda net, **o: il.MAML(net, adapts="*.weight", **o), {"0.weight", "2.weight"}),
    "patterns": (lambda net, **o: il.MAML(net, adapts=("0.b*", "2.bias"), **o), {"0.bias", "2.bias"}),
}


@pytest.mark.parametrize("name", ADAPTING)
@pytest.mark.parametrize("first_order", [False, True])
def test_only_what_adapts_adapts_and_all_learn(name: str, first_order: bool) -> None:
    """The state holds what adapts; the outer gradient of every parameter is that of a hand-written inner loop."""
    make, adapts = ADAPTING[name]
    net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, TARGETS)).double()
    task = laws.one(random_tasks(), 0)
    learner = make(net, steps=3, lr=0.3, first_order=first_order)
    assert learner.adapt(task.support).parameters.keys() == adapts
    loss, wanted = oracles.maml_gradient(net, task, oracles.cross_entropy, 0.3, 3, first_order, adapts)
    got = laws.gradients(learner, learner.loss(task))
    torch.testing.assert_close(learner.loss(task).detach(), loss)
    laws.assert_close({k.removeprefix("net."): g for k, g in got.items()}, wanted)


def test_the_head_is_the_last_layer_or_the_shared_one() -> None:
    conv = il.nets.conv4((1, 16, 16), width=4, out=5, norm="group")
    assert names(conv, "head") == ["out.weight", "out.bias"]
    everything = [name for name, _ in conv.named_parameters()]
    assert names(conv, "body") == everything[:-2]
    assert names(conv, "all") == everything
    assert names(conv, "none") == []
    assert names(conv, "convolutions.[01].*") == ["convolutions.0.weight", "convolutions.1.weight"]
    net = il.nets.mlp(4, 8, 8, 1)
    assert names(net, "head", shared_head="2") == ["2.weight", "2.bias"]
    # A layer without parameters of its own is no head.
    assert names(nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2, affine=False)), "all") == ["0.weight", "0.bias"]


def test_folding_goes_on_from_what_was_adapted() -> None:
    """Two adaptations of one step are one of two steps."""
    task = laws.one(random_tasks(), 0)
    net = il.nets.mlp(4, 8, TARGETS).double()
    once, twice = il.ANIL(net, steps=1, lr=0.3), il.ANIL(net, steps=2, lr=0.3)
    laws.assert_close(
        once.adapt(task.support, once.adapt(task.support)).parameters, twice.adapt(task.support).parameters
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: il.MAML(il.nets.mlp(4, 8, 3), adapts="features.*"), r"0\.weight, 0\.bias, 2\.weight, 2\.bias"),
        (lambda: il.MAML(il.nets.mlp(4, 8, 3), adapts=("2.*", "3.*")), r"adapts='3\.\*'"),
        (lambda: il.MAML(il.nets.mlp(4, 8, 1), shared_head="2", adapts="body"), "leaves it out"),
        (lambda: il.learners.BOIL(il.nets.mlp(4, 3)), "single layer"),
        (lambda: il.learners.CAVIA(il.nets.mlp(4, 8, 3), context=0), "context is 0"),
        (lambda: il.inner.LearnedRates(["w"], 0.1, per="number"), "pass a mapping"),
        (lambda: il.inner.LearnedRates(["w"], 0.1, per="layer"), "per 'layer'"),
        (lambda: il.MultiTask(nn.Identity(), targets=3, tasks=2), "pass features="),
        (lambda: il.MultiTask(il.nets.mlp(4, 8), targets=3, tasks=0, features=8), "tasks is 0"),
        (lambda: il.MultiTask(nn.Identity(), targets=3, tasks=2, features=8, likelihood=il.Gaussian()), "means"),
        (lambda: KnownTasks([], queries=1), "number of known tasks is 0"),
        (lambda: KnownTasks.of(Sinusoid(), 0, queries=1), "tasks is 0; it must be at least 1"),
        (lambda: KnownTasks.of(Sinusoid(shots=5, queries=5), 2, queries=11), "has 10 examples"),
    ],
)
def test_bad_options_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


def test_meta_sgd_moves_each_number_by_its_own_rate() -> None:
    net = il.nets.mlp(4, 8, TARGETS).double()
    learner, task = il.MetaSGD(net, lr=0.1).double(), laws.one(random_tasks(), 0)
    with torch.no_grad():
        for rate in learner.inner.parameters():
            rate.copy_(torch.rand_like(rate) - 0.3)
    loss = oracles.cross_entropy(net(task.support.x), task.support.y)
    rates = {name.replace("/", "."): rate for name, rate in learner.inner.rates.items()}
    wanted = {
        name: p - rates[name] * slope
        for (name, p), slope in zip(
            net.named_parameters(), torch.autograd.grad(loss, list(net.parameters())), strict=True
        )
    }
    laws.assert_close(learner.adapt(task.support).parameters, wanted)


def test_cavia_adapts_its_context_from_zero_and_nothing_else() -> None:
    net = il.nets.mlp(4 + 2, 8, TARGETS).double()
    learner, task = il.learners.CAVIA(net, context=2, lr=0.7).double(), laws.one(random_tasks(classes=False), 0)
    context = torch.zeros(len(task.support.x), 2, dtype=torch.float64, requires_grad=True)
    output = net(torch.cat((task.support.x, context), 1))
    slope = torch.autograd.grad(oracles.half_squares(output, task.support.y), context)[0].sum(0)
    laws.assert_close(learner.adapt(task.support).parameters, {"context": -0.7 * slope})
    # Every task starts from zero: the context is no meta-parameter.
    assert {name for name, p in learner.named_parameters() if not p.requires_grad} == {"net.context"}
    il.fit(learner.float(), Sinusoid4(), steps=2, progress=False)
    assert torch.equal(learner.net.context, torch.zeros(2))


class Sinusoid4(il.data.Sampler):
    """Random tasks of real targets."""

    classifies = False

    def draw(self, generator: torch.Generator, tasks: int) -> il.Task:
        """Ten examples each way."""
        x, y = (torch.randn(tasks, 20, d, generator=generator) for d in (4, TARGETS))
        return il.Task(il.Examples(x[:, :10], y[:, :10]), il.Examples(x[:, 10:], y[:, 10:]))


def test_the_head_of_a_new_task_is_ridge_regression_about_the_mean_head() -> None:
    body, heads = body_and_heads()
    learner, task = multi_task(body, heads, ridge=0.3, **SQUARES), laws.one(random_tasks(classes=False), 0)
    with torch.no_grad():
        z, zq = (numpy.pad(body(part.x).numpy(), ((0, 0), (0, 1)), constant_values=1) for part in task)
        mean = sum(torch.cat((head.weight, head.bias.unsqueeze(1)), 1) for head in heads).numpy().T / TASKS
        ridge = Ridge(alpha=0.3, fit_intercept=False).fit(z, task.support.y.numpy() - z @ mean)
        wanted = torch.from_numpy(zq @ mean + ridge.predict(zq))
        torch.testing.assert_close(laws.predict(learner, task)[0], wanted)
        # Without an example it is the mean head.
        nothing = il.Task(il.Examples(task.support.x[:0], task.support.y[:0]), task.query)
        torch.testing.assert_close(laws.predict(learner, nothing)[0], torch.from_numpy(zq @ mean))


def test_multi_task_wants_the_names_of_its_tasks() -> None:
    learner = il.MultiTask(il.nets.mlp(1, 8), targets=1, tasks=4, features=8, **SQUARES)
    with pytest.raises(InputError, match="named=True"):
        il.fit(learner, Sinusoid(), steps=1, progress=False)


def test_known_tasks_keep_their_examples_their_order_and_their_names() -> None:
    first = Sinusoid(shots=6, queries=4).draw(torch.Generator().manual_seed(3), 5)
    known = KnownTasks.of(Sinusoid(shots=6, queries=4), 5, seed=3, queries=10, named=True)
    assert (known.tasks, known.targets, known.classifies) == (5, 1, False)
    drawn = known.draw(torch.Generator().manual_seed(0), 5)
    assert drawn.support.x.shape == (5, 0, 1)
    assert torch.equal(drawn.query.y[:, 0, 1:], torch.eye(5))
    # All examples of each task, in a random order.
    every = torch.cat((first.support.x, first.query.x), 1)
    assert torch.equal(drawn.query.x.sort(1).values, every.sort(1).values)
    few = KnownTasks.of(Sinusoid(shots=6, queries=4), 5, seed=3, shots=3, queries=7).draw(torch.Generator(), 9)
    assert few.query.y.shape == (9, 7, 1)
    both = torch.cat((few.support.x, few.query.x), 1).sort(1).values
    assert all(any(torch.equal(x, own) for own in every.sort(1).values) for x in both)


def test_known_tasks_of_a_table(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("task,x,y\n" + "".join(f"{t},{i},{t * i}\n" for t in range(10) for i in range(3 + t)))
    table = TableTasks.read(path, task="task", inputs="x", targets="y", shares=(0.8, 0.1, 0.1))
    known = KnownTasks.table(table, queries=6, named=True)
    large = [int(m) for m in table.splits["train"] if table.sizes[m] >= 6]
    assert known.sizes.tolist() == table.sizes[large].tolist()
    one = known.draw(torch.Generator(), known.tasks).query
    assert one.x.shape == (len(large), 6, 1)
    ratio = table.original(one.y[..., :1])
    slopes = (ratio[:, 0] - ratio[:, 1]) / (one.x[:, 0] - one.x[:, 1])
    assert (slopes[:, 0].argsort() == torch.tensor([int(table.names[m]) for m in large]).argsort()).all()


def test_images_in_bytes_become_floats() -> None:
    pool = il.Pool.of(torch.full((40, 1, 4, 4), 255, dtype=torch.uint8), [i % 4 for i in range(40)])
    drawn = KnownTasks.of(il.FewShot(pool, ways=2, shots=3, queries=2), 3, queries=4).draw(torch.Generator(), 3)
    assert float(drawn.query.x.min()) == 1.0
    assert torch.equal(drawn.query.y.sum(2), torch.ones(3, 4))


class Slopes(il.Learner):
    """Two weights and a loss that is linear in them: a task's gradient is its query's x."""

    def __init__(self) -> None:
        super().__init__(il.Gaussian(scale=1.0))
        self.w = nn.Parameter(torch.zeros(2, dtype=torch.float64))
        self.unused = nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def adapt(self, support: il.Examples, state: Any = None) -> tuple[()]:
        return ()

    def predict(self, state: Any, x: Tensor) -> Tensor:
        return (x @ self.w).view(1, -1, 1)

    def loss(self, task: il.Task) -> Tensor:
        return (task.query.x[0] @ self.w) * 1.0


class Fixed(il.data.Sampler):
    """Tasks whose gradients are the given rows."""

    classifies = False

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows

    def draw(self, generator: torch.Generator, tasks: int) -> il.Task:
        """Each row once."""
        query = il.Examples(self.rows.unsqueeze(1), self.rows[:, :1].unsqueeze(1))
        return il.Task(il.Examples(query.x[:, :0], query.y[:, :0]), query)


CONFLICT = torch.tensor([[1.0, 0.2], [-0.5, 1.0]], dtype=torch.float64)


def followed(rows: Tensor, how: str, **options: Any) -> Tensor:
    """The gradient that ``fit`` follows: minus the weights after one step of rate 1."""
    learner = Slopes()
    options = {"optimizer": "SGD", "lr": 1.0, "schedule": "constant", "how": how, "progress": False, **options}
    il.fit(learner, Fixed(rows), steps=1, tasks_per_step=len(rows), **options)
    assert float(learner.unused.detach()) == 0.0
    return -learner.w.detach()


def by_hand(name: str, tasks: int) -> Callable[[Tensor], Tensor]:
    """TorchJD's aggregator, called directly."""
    aggregation = pytest.importorskip("torchjd.aggregation")
    return {
        "upgrad": aggregation.UPGrad(),
        "mgda": aggregation.MGDA(),
        "pcgrad": lambda J: aggregation.PCGrad()(J) / tasks,
        "cagrad": aggregation.CAGrad(c=0.5),
        "nashmtl": aggregation.NashMTL(n_tasks=tasks),
    }[name]


@pytest.mark.filterwarnings("ignore:You are solving a parameterized problem")
@pytest.mark.parametrize("how", ["loop", "vmap"])
@pytest.mark.parametrize("name", AGGREGATORS[1:])
def test_fit_follows_what_torchjd_aggregates(name: str, how: str) -> None:
    wanted = by_hand(name, 2)(CONFLICT)
    torch.testing.assert_close(followed(CONFLICT, how, aggregate=name), wanted)
    # Any function of the Jacobian will do.
    torch.testing.assert_close(followed(CONFLICT, how, aggregate=by_hand(name, 2)), wanted)


def test_closed_forms_of_two_conflicting_gradients() -> None:
    pytest.importorskip("torchjd")
    a, b = CONFLICT
    dot = a @ b
    assert dot < 0
    got = {name: followed(CONFLICT, "vmap", aggregate=name) for name in AGGREGATORS[1:]}
    # Each gradient without its part against the other one; for two, the projections onto the dual cone are the same.
    projected = ((a - dot / (b @ b) * b) + (b - dot / (a @ a) * a)) / 2
    torch.testing.assert_close(got["pcgrad"], projected)
    torch.testing.assert_close(got["upgrad"], projected, rtol=1e-3, atol=1e-3)
    # The shortest vector of the segment between them: it has the same product with both.
    share = (b - a) @ b / ((a - b) @ (a - b))
    torch.testing.assert_close(got["mgda"], share * a + (1 - share) * b)
    # The farthest point of the ball of radius c |g0| about the mean, so that the worse task gains most.
    mean = (a + b) / 2
    torch.testing.assert_close((got["cagrad"] - mean).norm(), 0.5 * mean.norm(), rtol=1e-4, atol=0)
    angles = torch.linspace(0, 2 * math.pi, 100_001, dtype=torch.float64)
    ball = mean + 0.5 * mean.norm() * torch.stack((angles.cos(), angles.sin()), 1)
    torch.testing.assert_close(got["cagrad"], ball[(ball @ CONFLICT.mT).amin(1).argmax()], rtol=1e-3, atol=1e-3)
    # Nash bargaining: each task's weight times its gain is the same.
    weights = torch.linalg.solve(CONFLICT.mT, got["nashmtl"])
    gains = weights * (CONFLICT @ got["nashmtl"])
    torch.testing.assert_close(gains[0], gains[1], rtol=1e-2, atol=0)


@pytest.mark.parametrize("tasks", [2, 5])
@pytest.mark.parametrize("name", AGGREGATORS[1:])
def test_aggregators_do_not_ask_how_large_gradients_are(name: str, tasks: int) -> None:
    """All grow with a common factor, but for the bargain, whose step has the same length whatever the unit."""
    pytest.importorskip("torchjd")
    combine, J = make_aggregator(name, tasks), torch.randn(tasks, 7, dtype=torch.float64)
    assert combine is not None

    def combined(factor: float) -> Tensor:
        torch.manual_seed(3)
        return combine(factor * J) / (1 if name == "nashmtl" else factor)

    for factor in (1e-30, 1e-8, 1e-4, 0.01, 3.0, 1e4):
        torch.testing.assert_close(combined(factor), combined(1.0), rtol=1e-4, atol=1e-6)
    assert combined(1.0).norm() > 0.01
    assert combine(0 * J).tolist() == [0.0] * 7
    J[0] = 0
    assert combined(1e-6).isfinite().all()


@pytest.mark.parametrize("name", AGGREGATORS[1:])
def test_a_single_task_is_followed_as_it_is(name: str) -> None:
    pytest.importorskip("torchjd")
    assert followed(1e-6 * CONFLICT[:1], "loop", aggregate=name).tolist() == (1e-6 * CONFLICT[0]).tolist()


def test_the_mean_is_the_default_to_the_bit() -> None:
    def trained(**options: Any) -> dict[str, Tensor]:
        torch.manual_seed(0)
        learner = il.MAML(il.nets.mlp(1, 8, 1), lr=0.01, **SQUARES)
        il.fit(learner, Sinusoid(), steps=3, how="vmap", progress=False, **options)
        return learner.state_dict()

    laws.assert_same(trained(aggregate="mean"), trained())
    same = trained(aggregate=lambda jacobian: jacobian.mean(0))
    for name, value in trained().items():
        torch.testing.assert_close(same[name], value, rtol=1e-4, atol=1e-6)


def test_the_jacobian_is_every_tasks_own_gradient() -> None:
    """For a learner with an encoder that runs folded, and through inner steps."""
    seen: list[Tensor] = []
    tasks = random_tasks()
    for learner in (il.ProtoNet(il.nets.mlp(4, 8)).double(), il.ANIL(il.nets.mlp(4, 8, TARGETS), steps=2).double()):
        lifted = il.lift(learner, "vmap")
        losses = backward_aggregated(lifted, tasks, lambda J: seen.append(J) or J.mean(0))  # type: ignore[func-returns-value]
        wanted = []
        for t in range(TASKS):
            loss = il.lift(learner, "loop").loss(il.Task(*(il.Examples(p.x[t : t + 1], p.y[t : t + 1]) for p in tasks)))
            torch.testing.assert_close(loss[0].detach(), losses[t])
            wanted.append(torch.cat([g.flatten() for g in laws.gradients(learner, loss.sum()).values()]))
        torch.testing.assert_close(seen[-1], torch.stack(wanted))


def test_a_loss_that_is_not_finite_stops_the_run_before_any_solver() -> None:
    pytest.importorskip("torchjd")
    learner, sampler = Slopes(), Fixed(torch.full((2, 2), 1e10, dtype=torch.float64))
    with torch.no_grad():
        learner.w.fill_(1e308)
    with pytest.raises(il.training.NonFiniteLoss):
        il.fit(learner, sampler, steps=1, tasks_per_step=2, aggregate="upgrad", how="loop", progress=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"aggregate": "median"}, "choose one of mean, upgrad"),
        ({"aggregate": "mgda", "reduction": "sum"}, "change one of them"),
        ({"aggregate": "mgda", "weighting": "dwa"}, "change one of them"),
        ({"weighting": "focal"}, "choose one of uncertainty, dwa"),
        ({"weighting": "dwa"}, "not 4 a step of Sinusoid"),
    ],
)
def test_bad_ways_to_combine_are_refused(options: dict[str, Any], message: str) -> None:
    learner = il.MAML(il.nets.mlp(1, 8, 1), **SQUARES)
    with pytest.raises(InputError, match=message):
        il.fit(learner, Sinusoid(), steps=1, progress=False, **options)


def test_weightings_want_all_known_tasks_in_each_step() -> None:
    learner = il.MAML(il.nets.mlp(1, 8, 1), **SQUARES)
    known = KnownTasks.of(Sinusoid(), 6, shots=5, queries=5)
    with pytest.raises(InputError, match="not 4 a step of 6 known tasks"):
        il.fit(learner, known, steps=1, weighting="dwa", progress=False)
    spread = il.MAML(il.nets.mlp(1, 8, 2), likelihood=il.Gaussian())
    with pytest.raises(InputError, match="learned spread"):
        il.fit(spread, known, steps=1, tasks_per_step=6, weighting="uncertainty", progress=False)


def test_a_state_in_which_nothing_adapts_survives_saving(tmp_path: Path) -> None:
    task, learner = laws.one(random_tasks(), 0), il.MAML(il.nets.mlp(4, 8, TARGETS), adapts="none").double()
    state = learner.adapt(task.support)
    assert state == ({}, [], None)
    il.save(tmp_path / "state", learner, state)
    loaded = il.load(tmp_path / "state")
    assert loaded.state == ({}, [], None)
    assert torch.equal(loaded.learner.predict(loaded.state, task.query.x), learner.predict(state, task.query.x))


def test_without_torchjd_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchjd", None)
    with pytest.raises(InputError, match=r"pip install 'innerloop\[multitask\]'"):
        make_aggregator("upgrad", 4)


def test_uncertainty_learns_the_noise_of_each_task() -> None:
    """At its optimum the variance is twice the loss: the mean squared error, for half of one."""
    losses = torch.tensor([0.1, 2.0, 30.0], dtype=torch.float64)
    weights = Uncertainty(3, least=CONSTANT).double()
    optimizer = torch.optim.LBFGS(weights.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = weights(losses + CONSTANT)
        value.backward()
        return value

    optimizer.step(closure)  # type: ignore[arg-type]
    torch.testing.assert_close(weights.log_variance.detach().exp(), 2 * losses, rtol=1e-4, atol=0)


def test_dynamic_average_weighs_as_torchjd_does() -> None:
    scalarization = pytest.importorskip("torchjd.scalarization")
    ours, theirs = DynamicAverage(3, window=4), scalarization.DWA()
    for step in range(20):
        losses = torch.rand(3, dtype=torch.float64) * torch.tensor([1.0, 0.9**step, 0.5**step])
        torch.testing.assert_close(ours(losses), theirs(losses) / 3)
        if step % 4 == 3:
            theirs.step()


def test_weighted_losses_train_their_weights_too() -> None:
    torch.manual_seed(0)
    known = KnownTasks.of(Sinusoid(shots=20, queries=0), 4, queries=10, named=True)
    learner = il.MultiTask(il.nets.mlp(1, 8), targets=1, tasks=4, features=8, **SQUARES)
    start = {name: value.clone() for name, value in learner.state_dict().items()}
    history = il.fit(learner, known, steps=1, weighting="uncertainty", progress=False)
    # The history has the losses themselves, and equal weights at first: the step of the plain mean.
    other = il.MultiTask(il.nets.mlp(1, 8), targets=1, tasks=4, features=8, **SQUARES)
    other.load_state_dict(start)
    assert history.losses == il.fit(other, known, steps=1, progress=False).losses
    for name, value in other.state_dict().items():
        torch.testing.assert_close(learner.state_dict()[name], value, rtol=1e-4, atol=1e-6)


def interrupting(sampler: KnownTasks, step: int) -> KnownTasks:
    """The same known tasks, with Ctrl-C pressed while those of one step are drawn."""
    other, draws = copy.copy(sampler), itertools.count(1)

    def draw(generator: torch.Generator, tasks: int) -> il.Task:
        if next(draws) == step:
            os.kill(os.getpid(), signal.SIGINT)
        return sampler.draw(generator, tasks)

    other.draw = draw  # type: ignore[method-assign]
    return other


@pytest.mark.parametrize(
    "options",
    [{"aggregate": "nashmtl"}, {"aggregate": "pcgrad"}, {"weighting": "uncertainty"}, {"weighting": "dwa"}],
    ids=str,
)
def test_resumed_is_uninterrupted_whatever_combines(
    options: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also across windows of the dynamic average: its sums are in the checkpoint."""
    if "aggregate" in options:
        pytest.importorskip("torchjd")
    monkeypatch.setattr(DynamicAverage.__init__, "__defaults__", (0.0, 2.0, 1))
    monkeypatch.setattr(laws, "Interrupting", interrupting)
    known = KnownTasks.of(Sinusoid(shots=20, queries=0), 3, queries=5, named=True)
    laws.assert_resumed_is_uninterrupted(
        lambda: il.MultiTask(il.nets.mlp(1, 8), targets=1, tasks=3, features=8, **SQUARES),
        known, tmp_path, tasks_per_step=3, **options,
    )  # fmt: skip


def test_the_command_line_aggregates_and_weighs(tmp_path: Path) -> None:
    pytest.importorskip("torchjd")
    common = ["train", "multitask", "--data", "sinusoid", "--steps", "2", "--quiet", "--set", "validation.tasks=5"]
    few = ["--set", "episodes.known=4", "--tasks-per-step", "4"]
    for name, change in (("a", "training.aggregate=upgrad"), ("b", "training.weighting=dwa")):
        result = CliRunner().invoke(app, [*common, *few, "--set", change, "--out", str(tmp_path / name)])
        assert result.exit_code == 0, result.output
    result = CliRunner().invoke(app, ["evaluate", str(tmp_path / "a"), "--tasks", "5", "--json"])
    assert '"mse"' in result.output


@pytest.mark.parametrize("learner", ["anil", "boil", "mamlplusplus", "metasgd", "cavia", "multitask"])
def test_recipes_build_on_functions_and_on_pictures(learner: str) -> None:
    """What a recipe is like is what it does not change."""
    from innerloop.recipes import defaults

    recipe = defaults(learner, "sinusoid")
    assert recipe.training.get("how") == ("vmap" if learner == "multitask" else None)
    source = recipe.source()
    task = recipe.validation_sampler(source).draw(torch.Generator(), 1)
    built = recipe.build(recipe.sampler(source).facts)
    assert laws.predict(built.eval(), laws.one(task, 0)).shape == (1, task.query.x.shape[1], 1)
    if learner in ("anil", "boil", "mamlplusplus", "metasgd"):
        maml = defaults("maml", "omniglot")
        # With one output a class all tasks have as many; classes that share one may be more in training.
        assert (defaults(learner, "omniglot").episodes == maml.episodes) == (learner != "boil")
        assert defaults(learner, "omniglot").options.get("shared_head") == ("" if learner == "boil" else "out")
