"""The clever formulas against deliberately naive ones, and against numbers worked out by hand."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy
import oracles
import pytest
import torch
from torch import Tensor, nn

import innerloop as il
from innerloop.core.checkpoint import load_weights
from innerloop.core.inner import SGD, Adam, InnerOptimizer
from innerloop.core.task import turn
from innerloop.evaluation import metrics
from innerloop.learners.optimization.gradient import Adapted, GradientLearner

EXACT = {"rtol": 0.0, "atol": 0.0}
CLOSE = {"rtol": 1e-10, "atol": 1e-12}
#: The squared error's constant in the likelihood of a normal of deviation 1.
CONSTANT = 0.5 * math.log(2 * math.pi)


def linear() -> nn.Linear:
    """A linear model without bias, w = (2, 3, 5)."""
    model = nn.Linear(3, 1, bias=False).double()
    model.weight.data = torch.tensor([[2.0, 3.0, 5.0]], dtype=torch.float64)
    return model


def integer_task(support: list[float], query: list[float]) -> il.Task:
    """One support and one query example, both with target 0."""
    zero = torch.zeros(1, 1, dtype=torch.float64)
    return il.Task(*(il.Examples(torch.tensor([x], dtype=torch.float64), zero) for x in (support, query)))


def classification_task(ways: int = 3, features: int = 4) -> il.Task:
    """A random task of one-hot rows in float64."""
    y = torch.eye(ways, dtype=torch.float64).repeat(3, 1)
    support, query = (torch.randn(3 * ways, features, dtype=torch.float64) for _ in range(2))
    return il.Task(il.Examples(support, y), il.Examples(query, y))


def images_task() -> il.Task:
    """A random task of three classes of images ``[1, 8, 8]`` in float64."""
    y = torch.eye(3, dtype=torch.float64).repeat(2, 1)
    return il.Task(*(il.Examples(torch.rand(6, 1, 8, 8).double(), y) for _ in range(2)))


def regression_task() -> il.Task:
    """A random task of real targets in float64."""
    return il.Task(*(il.Examples(torch.randn(6, 4).double(), torch.randn(6, 2).double()) for _ in range(2)))


def batch_of(*tasks: il.Task) -> il.Task:
    """Single tasks as a batch."""
    return il.Task(
        *(
            il.Examples(torch.stack([part.x for part in parts]), torch.stack([part.y for part in parts]))
            for parts in zip(*tasks, strict=True)
        )
    )


def test_maml_on_integers() -> None:
    """A linear model with integer data has integer meta-gradients.

    Support x = (1, 2, 3), y = 0, rate 1/2: f = (w.x)^2 / 2 = 23^2 / 2 = 264.5, its gradient 23 x, so
    w' = w - 23 x / 2 = (-9.5, -20, -29.5). Query (4, 5, 6), y = 0: w'.q = -315 = (-12, -27, -42).w, so the loss is
    315^2 / 2 = 49612.5 and its gradient in w is -315 (-12, -27, -42) = (3780, 8505, 13230).
    """
    task = integer_task([1, 2, 3], [4, 5, 6])
    maml = il.MAML(linear(), steps=1, lr=0.5, likelihood=il.Gaussian(scale=1.0))
    raw = maml.predict(Adapted(maml.initial(1), []), task.support.x)
    assert maml.likelihood.nll(raw, task.support.y).item() == pytest.approx(264.5 + CONSTANT, rel=1e-15)
    adapted = maml.adapt(task.support).parameters
    torch.testing.assert_close(adapted["weight"], torch.tensor([[-9.5, -20.0, -29.5]]).double(), **EXACT)
    loss = maml.loss(task)
    assert loss.item() == pytest.approx(49612.5 + CONSTANT, rel=1e-15)
    loss.backward()
    torch.testing.assert_close(maml.net.weight.grad, torch.tensor([[3780.0, 8505.0, 13230.0]]).double(), **EXACT)


def test_first_order_maml_on_integers() -> None:
    """Without second derivatives the meta-gradient is the plain one at the adapted weights.

    Support (4, 5, 6): w.x = 53, w' = w - 53 x / 2 = (-104, -129.5, -154). Query (1, 2, 3): w'.q = -825, so the gradient
    in w' is -825 q = (-825, -1650, -2475).
    """
    task = integer_task([4, 5, 6], [1, 2, 3])
    maml = il.MAML(linear(), steps=1, lr=0.5, first_order=True, likelihood=il.Gaussian(scale=1.0))
    adapted = maml.adapt(task.support).parameters
    torch.testing.assert_close(adapted["weight"], torch.tensor([[-104.0, -129.5, -154.0]]).double(), **EXACT)
    maml.loss(task).backward()
    torch.testing.assert_close(maml.net.weight.grad, torch.tensor([[-825.0, -1650.0, -2475.0]]).double(), **EXACT)


def test_three_inner_steps_on_integers() -> None:
    """At rate 1 on x = (1, 2, 3) each step takes w to w - (w.x) x: w.x = 23, -299, 3887."""
    task = integer_task([1, 2, 3], [4, 5, 6])
    maml = il.MAML(linear(), steps=3, lr=1.0, likelihood=il.Gaussian(scale=1.0))
    adapted = maml.adapt(task.support).parameters["weight"]
    torch.testing.assert_close(adapted, torch.tensor([[-3609.0, -7219.0, -10828.0]]).double(), **EXACT)
    maml.eval()
    maml.test_steps = 1
    adapted = maml.adapt(task.support).parameters["weight"]
    torch.testing.assert_close(adapted, torch.tensor([[-21.0, -43.0, -64.0]]).double(), **EXACT)


@pytest.mark.parametrize("steps", [0, 1, 3])
@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("regression", [False, True])
@pytest.mark.parametrize("how", ["loop", "vmap"])
def test_maml_is_the_naive_one(steps: int, first_order: bool, regression: bool, how: str) -> None:
    """Loss and meta-gradient equal those of a loop over ``autograd.grad``."""
    net = il.nets.mlp(4, 8, 2 if regression else 3, activation=nn.Tanh).double()
    task = regression_task() if regression else classification_task()
    likelihood = il.Gaussian(scale=1.0) if regression else il.Categorical()
    maml = il.MAML(net, steps=steps, lr=0.3, first_order=first_order, likelihood=likelihood)
    plain = oracles.half_squares if regression else oracles.cross_entropy
    loss, gradient = oracles.maml_gradient(net, task, plain, 0.3, steps, first_order)
    got = il.lift(maml, how).backward(batch_of(task))
    constant = 2 * CONSTANT if regression else 0.0
    torch.testing.assert_close(got - constant, loss.unsqueeze(0), **CLOSE)
    for name, p in net.named_parameters():
        torch.testing.assert_close(p.grad, gradient[name], **CLOSE)


@pytest.mark.parametrize("policy", ["group", "support", "batch"])
@pytest.mark.parametrize("how", ["loop", "vmap"])
def test_maml_through_normalization_is_the_naive_one(policy: str, how: str) -> None:
    """The second-order gradient through normalization layers is right, under vmap too."""
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3), il.norm.layer(policy, 4), nn.Tanh(), nn.Flatten(), nn.Linear(36, 2)
    ).double()
    with torch.no_grad():
        for p in net[1].parameters():
            p.add_(0.5 * torch.randn_like(p))
    y = torch.eye(2, dtype=torch.float64).repeat(3, 1)
    x = torch.randn(6, 2, 5, 5, dtype=torch.float64)
    # The query is the support set, so that support statistics and those of the query batch agree.
    task = il.Task(il.Examples(x, y), il.Examples(x, y))
    loss, gradient = oracles.maml_gradient(net, task, oracles.cross_entropy, 0.5, 2)
    got = il.lift(il.MAML(net, steps=2, lr=0.5), how).backward(batch_of(task, task))
    torch.testing.assert_close(got, loss.expand(2), **CLOSE)
    for name, p in net.named_parameters():
        torch.testing.assert_close(p.grad, gradient[name], **CLOSE)


def test_first_order_gradient_is_the_plain_one_at_the_adapted_weights() -> None:
    """FOMAML: d loss / d theta = the gradient of the query loss at phi."""
    task = classification_task()
    maml = il.MAML(il.nets.mlp(4, 8, 3).double(), steps=3, lr=0.3, first_order=True)
    maml.loss(task).backward()
    phi = {name: p.detach().requires_grad_() for name, p in maml.adapt(task.support).parameters.items()}
    raw = maml.predict(Adapted(phi, []), task.query.x)
    wanted = torch.autograd.grad(maml.likelihood.nll(raw, task.query.y).mean(), list(phi.values()))
    for p, slope in zip(maml.net.parameters(), wanted, strict=True):
        torch.testing.assert_close(p.grad, slope, **CLOSE)


def test_reptile_gradient_and_update() -> None:
    """Reptile: the gradient is theta - mean(phi); outer SGD at rate e gives theta + e (mean(phi) - theta)."""
    tasks = [classification_task() for _ in range(3)]
    reptile = il.Reptile(il.nets.mlp(4, 8, 3).double(), steps=4, lr=0.05)
    theta = {name: p.detach().clone() for name, p in reptile.net.named_parameters()}
    with torch.no_grad():
        adapted = [reptile.adapt(task.support).parameters for task in tasks]
    outer = torch.optim.SGD(reptile.parameters(), lr=0.25)
    losses = il.lift(reptile, "loop").backward(batch_of(*tasks))
    distances = [sum(((theta[k] - phi[k]) ** 2).sum() / 2 for k in theta) for phi in adapted]
    torch.testing.assert_close(losses, torch.stack(distances), **CLOSE)
    means = {k: torch.stack([phi[k] for phi in adapted]).mean(0) for k in theta}
    for name, p in reptile.net.named_parameters():
        torch.testing.assert_close(p.grad, theta[name] - means[name], **CLOSE)
    outer.step()
    for name, p in reptile.net.named_parameters():
        torch.testing.assert_close(p.data, theta[name] + 0.25 * (means[name] - theta[name]), **CLOSE)


def test_one_reptile_task_is_exact() -> None:
    """With one task the gradient is theta - phi to the bit."""
    task = classification_task()
    reptile = il.Reptile(il.nets.mlp(4, 8, 3), steps=4, lr=0.05).double()
    reptile.loss(task).backward()
    with torch.no_grad():
        phi = reptile.adapt(task.support).parameters
    for name, p in reptile.net.named_parameters():
        torch.testing.assert_close(p.grad, p.detach() - phi[name], **EXACT)


@pytest.mark.parametrize("steps", [1, 2])
def test_the_first_step_from_a_shared_row_leaves_the_body(steps: int) -> None:
    """No probability depends on the features where all classes have one row, so that gradient is not computed."""

    class Computed(il.MAML):
        def _moved_first(self, phi: dict[str, Tensor]) -> dict[str, Tensor]:
            return phi

    torch.manual_seed(0)
    network = il.nets.mlp(8, 16, 1).double()
    options = {"steps": steps, "lr": 0.5, "shared_head": "2"}
    labels = torch.eye(3).double()
    task = il.Task(il.Examples(torch.randn(3, 8).double(), labels), il.Examples(torch.randn(3, 8).double(), labels))
    found = []
    for made in (il.MAML, Computed):
        learner = made(network, **options)
        own = learner.adapt(task.support).parameters
        found.append(
            [*own.values(), *torch.autograd.grad(learner.loss(task), list(network.parameters()), allow_unused=True)]
        )
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-13)
    moved = dict(il.MAML(network, **options).adapt(task.support).parameters)
    assert torch.equal(moved["0.weight"], network[0].weight) == (steps == 1)


@pytest.mark.parametrize("policy", ["group", "support"])
@pytest.mark.parametrize("how", ["loop", "vmap", "patches"])
@pytest.mark.parametrize("options", [{}, {"first_order": True}, {"shared_head": "out"}], ids=str)
def test_one_pass_of_the_body_serves_all_steps_of_the_head(policy: str, how: str, options: dict[str, Any]) -> None:
    """The states, losses and gradients of a head that adapts alone are those of passes of the network at each step."""

    class Anew(il.ANIL):
        def body(self, support: il.Examples, state: Adapted | None = None) -> None:
            return None

    torch.manual_seed(0)
    outputs = 1 if "shared_head" in options else 3
    net = il.nets.conv4((1, 8, 8), width=6, out=outputs, pools=2, norm=policy).double()
    passes: list[Tensor] = []
    net.register_forward_hook(lambda _, given, result: passes.append(given[0]))
    tasks = batch_of(*(images_task() for _ in range(2)))
    found, counted = [], []
    for made in (il.ANIL, Anew):
        learner = made(net, steps=4, lr=0.3, **options)
        passes.clear()
        state = learner.adapt(il.Examples(*(part[0] for part in tasks.support)))
        counted.append(len(passes))
        net.zero_grad()
        losses = il.lift(learner, how).backward(tasks)
        found.append([state.parameters, state.statistics, losses, {k: p.grad for k, p in net.named_parameters()}])
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-13)
    assert counted == [1, 4 + (policy == "support")]


def test_a_head_whose_output_is_changed_afterwards_adapts_by_the_whole_network() -> None:
    """What the network makes of its last layer's output belongs to the inner loss."""

    class Halved(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.out = nn.Linear(4, 8).double(), nn.Linear(8, 3).double()

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.first(x).tanh()) / 2

    torch.manual_seed(0)
    net, task = Halved(), classification_task()
    anil = il.ANIL(net, steps=1, lr=0.5)
    loss = nn.functional.cross_entropy(net(task.support.x), task.support.y)
    (gradient,) = torch.autograd.grad(loss, net.out.weight)
    found = anil.adapt(task.support).parameters["out.weight"]
    torch.testing.assert_close(found, net.out.weight - 0.5 * gradient, **CLOSE)
    assert anil.body(task.support) is None


def test_an_inner_loss_of_a_class_moves_the_body_from_a_shared_row() -> None:
    """Its gradient there is not zero: a step down half the squared length alone shrinks every weight by the rate."""

    class Shrinking(il.MAML):
        def support_loss(self, phi: dict[str, Tensor], fixed: dict[str, Tensor], batch: il.Examples) -> Tensor:
            return super().support_loss(phi, fixed, batch) + sum(p.square().sum() for p in phi.values()) / 2

    torch.manual_seed(0)
    network = il.nets.mlp(8, 16, 1).double()
    own = Shrinking(network, steps=1, lr=0.5, shared_head="2").adapt(
        il.Examples(torch.randn(3, 8).double(), torch.eye(3).double())
    )
    torch.testing.assert_close(own.parameters["0.weight"], 0.5 * network[0].weight, rtol=1e-12, atol=1e-14)


def test_reptile_moves_a_shared_row_to_the_mean_of_its_copies() -> None:
    """With a shared head the gradient of its row is theta - the mean of the classes' adapted rows."""
    task = classification_task()
    reptile = il.Reptile(il.nets.mlp(4, 8, 1), steps=4, lr=0.05, shared_head="2").double()
    reptile.loss(task).backward()
    with torch.no_grad():
        phi = reptile.adapt(task.support).parameters
    for name in ("2.weight", "2.bias"):
        p = reptile.net.get_parameter(name)
        assert phi[name].shape[0] == 3
        torch.testing.assert_close(p.grad, p.detach() - phi[name].mean(0, keepdim=True), **CLOSE)


def test_reptile_carries_what_adam_knows_from_task_to_task() -> None:
    """At an outer rate of 1, a task a step, it is one run of Adam over all tasks, as in the authors' code."""
    tasks = [classification_task() for _ in range(5)]
    reptile = il.Reptile(il.nets.mlp(4, 8, 3).double(), steps=4, lr=0.05)
    net = copy.deepcopy(reptile.net)
    adam = torch.optim.Adam(net.parameters(), lr=0.05, betas=(0.0, 0.999))
    outer = torch.optim.SGD(reptile.parameters(), lr=1.0)
    for x, y in (task.support for task in tasks):
        outer.zero_grad()
        reptile.loss(il.Task(il.Examples(x, y), il.Examples(x[:0], y[:0]))).backward()
        outer.step()
        for _ in range(4):
            adam.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()
            adam.step()
    for mine, theirs in zip(reptile.net.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, **CLOSE)
    assert isinstance(reptile.inner, il.inner.CarriedAdam)
    for name, p in net.named_parameters():
        found = reptile.inner.second[name.replace(".", "/")] / reptile.inner.weight
        wanted = adam.state[p]["exp_avg_sq"] / (1 - 0.999**20)
        torch.testing.assert_close(found.data, wanted, **CLOSE)


def test_reptile_carries_a_mean_over_tasks_and_classes() -> None:
    """At an outer rate below 1 what is carried stays a weighted mean of squared gradients, one row for all classes."""
    task = classification_task()
    reptile = il.Reptile(il.nets.mlp(4, 8, 1).double(), steps=1, lr=0.05, shared_head="2")
    twice = batch_of(task, task)
    outer = torch.optim.SGD(reptile.parameters(), lr=0.25)
    for _ in range(3):
        outer.zero_grad()
        theta = reptile.initial(3)
        slopes = reptile.inner_gradient(theta, theta, task.support)
        wanted = {k: g.square().mean(0, keepdim=True) if k in reptile.shared else g.square() for k, g in slopes.items()}
        assert isinstance(reptile.inner, il.inner.CarriedAdam)
        before = {k: p.detach().clone() for k, p in reptile.inner.second.items()}
        il.lift(reptile, "loop").backward(twice)
        outer.step()
        for name, square in wanted.items():
            key = name.replace(".", "/")
            mean = 0.999 * before[key] + 0.001 * square
            torch.testing.assert_close(
                reptile.inner.second[key].data, before[key] + 0.25 * (mean - before[key]), **CLOSE
            )
    torch.testing.assert_close(reptile.inner.weight.data, torch.tensor(1 - 0.99975**3, dtype=torch.float64), **CLOSE)


@pytest.mark.parametrize(("optimizer", "carry"), [("SGD", True), ("Adam", False), ("Adam", True)])
def test_the_head_of_a_reptile_may_have_a_rate_of_its_own(optimizer: Any, carry: bool) -> None:
    """After one step the head has moved by its rate, and the body by its own."""
    support = classification_task().support
    rates = {"optimizer": optimizer, "carry": carry, "steps": 1, "lr": 0.01}
    one = il.Reptile(il.nets.mlp(4, 8, 3).double(), **rates)
    two = il.Reptile(one.net, head_lr=0.05, **rates)
    theta, alike, apart = one.initial(3), one.adapt(support).parameters, two.adapt(support).parameters
    for name, p in theta.items():
        times = 5 if name.startswith("2.") else 1
        torch.testing.assert_close(apart[name] - p, times * (alike[name] - p), **CLOSE)


def test_a_carrying_reptile_that_saw_no_task_adapts_as_one_that_does_not() -> None:
    """Untrained, or with the weights of a version that carried nothing, its inner loop is that of a fresh Adam."""
    support = classification_task().support
    fresh = il.Reptile(il.nets.mlp(4, 8, 3).double(), steps=4, lr=0.05, carry=False)
    carrying = il.Reptile(il.nets.mlp(4, 8, 3).double(), steps=4, lr=0.05)
    load_weights(carrying, fresh.state_dict(), "an earlier version")
    wanted = fresh.adapt(support).parameters
    for name, p in carrying.adapt(support).parameters.items():
        torch.testing.assert_close(p, wanted[name], **CLOSE)
    half = {name: p for name, p in carrying.state_dict().items() if name != "inner.weight"}
    with pytest.raises(il.InputError, match=r"lacks the weight 'inner.weight'"):
        load_weights(carrying, half, "a damaged file")


def test_reptile_by_gradient_descent_is_the_naive_one() -> None:
    """``optimizer="SGD"``: phi is where plain gradient descent leads."""
    task = classification_task()
    reptile = il.Reptile(il.nets.mlp(4, 8, 3), steps=3, lr=0.1, optimizer="SGD").double()
    net = copy.deepcopy(reptile.net)
    for _ in range(3):
        loss = -(net(task.support.x).log_softmax(1) * task.support.y).sum(1).mean()
        gradients = torch.autograd.grad(loss, list(net.parameters()))
        with torch.no_grad():
            for p, g in zip(net.parameters(), gradients, strict=True):
                p -= 0.1 * g
    phi = reptile.adapt(task.support).parameters
    for name, p in net.named_parameters():
        torch.testing.assert_close(phi[name], p, **CLOSE)
    with pytest.raises(il.InputError, match="choose 'Adam' or 'SGD'"):
        il.Reptile(il.nets.mlp(4, 8, 3), optimizer="adam")  # type: ignore[arg-type]


def test_minibatches_take_their_turns() -> None:
    """An inner step sees the next ``batch_size`` examples, around and around, so that none is left out."""
    x, y = torch.arange(7.0).view(7, 1), torch.zeros(7, 1)
    net, rate, support = nn.Linear(1, 1, bias=False), 0.01, il.Examples(x, y)
    seen = [turn(support, 3, step).x.flatten().tolist() for step in range(3)]
    assert seen == [[0, 1, 2], [3, 4, 5], [6, 0, 1]]
    assert turn(support, 9, 1) is turn(support, None, 1) is support
    # A learner's steps go by them: each multiplies the weight by 1 minus the rate times the mean square of its inputs.
    learner = GradientLearner(net, inner=SGD(rate), steps=3, batch_size=3, likelihood=il.Gaussian(scale=1.0))
    by_hand = net.weight.item()
    for places in seen:
        by_hand *= 1 - rate * sum(place**2 for place in places) / 3
    assert learner.adapt(support).parameters["weight"].item() == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.parametrize(
    ("ours", "theirs", "options"),
    [
        (SGD, torch.optim.SGD, {"lr": 0.1}),
        (SGD, torch.optim.SGD, {"lr": 0.1, "weight_decay": 0.2}),
        (SGD, torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
        (SGD, torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.2}),
        (SGD, torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
        (Adam, torch.optim.Adam, {"lr": 0.1}),
        (Adam, torch.optim.Adam, {"lr": 0.1, "betas": (0.0, 0.999)}),
        (Adam, torch.optim.Adam, {"lr": 0.1, "betas": (0.5, 0.9), "eps": 1e-3, "weight_decay": 0.2}),
    ],
    ids=str,
)
def test_inner_optimizer_is_torchs(
    ours: type[InnerOptimizer], theirs: type[torch.optim.Optimizer], options: dict[str, Any]
) -> None:
    """Step by step the same weights as the namesake in ``torch.optim``, in float64."""
    task = classification_task()
    net = il.nets.mlp(4, 6, 3, activation=nn.Tanh).double()
    phi = {name: p.detach().clone() for name, p in net.named_parameters()}
    inner, reference = ours(**options), theirs(net.parameters(), **options)
    memory = inner.init(phi)
    for _ in range(6):
        reference.zero_grad()
        oracles.cross_entropy(net(task.support.x), task.support.y).backward()
        slopes = {name: p.grad.clone() for name, p in net.named_parameters()}
        reference.step()
        phi, memory = inner.update(slopes, phi, memory)
        for name, p in net.named_parameters():
            torch.testing.assert_close(phi[name], p.detach(), rtol=1e-13, atol=1e-14)


def test_learned_rates_start_as_plain_descent_and_have_a_gradient() -> None:
    """MAML with learned rates is MAML at first; each rate's gradient is that of the outer loss, by differences."""
    tasks = il.data.Sinusoid(shots=4, queries=5).draw(torch.Generator().manual_seed(0), 1)
    tasks = il.Task(*(il.Examples(part.x.double(), part.y.double()) for part in tasks))

    def maml(**options: Any) -> il.MAML:
        torch.manual_seed(0)
        return il.MAML(il.nets.mlp(1, 6, 1), lr=0.05, steps=2, likelihood=il.Gaussian(scale=1.0), **options).double()

    plain, learned = maml(), maml(learn_lr=True)
    loss = il.lift(learned, "loop").loss(tasks)
    torch.testing.assert_close(loss, il.lift(plain, "loop").loss(tasks), rtol=1e-6, atol=0)
    loss.backward()
    rates = dict(learned.inner.named_parameters())
    assert len(rates) == 4
    for rate in rates.values():
        with torch.no_grad():
            ends = []
            for step in (1e-6, -2e-6):
                rate += step
                ends.append(float(il.lift(learned, "loop").loss(tasks)))
            rate += 1e-6
        assert float(rate.grad) == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-4, abs=1e-8)


def test_gradient_through_adam_survives_a_zero_gradient() -> None:
    """A weight that the support set does not touch has gradient 0; the outer gradient stays finite, and right."""
    net = nn.Linear(2, 1, bias=False).double()
    # The second feature is 0 in the support set and 1 in the query set.
    support = il.Examples(torch.tensor([[1.0, 0.0]]).double(), torch.ones(1, 1).double())
    query = il.Examples(torch.tensor([[1.0, 1.0]]).double(), torch.ones(1, 1).double())
    maml = il.MAML(net, steps=2, inner=Adam(0.1), likelihood=il.Gaussian(scale=1.0))
    maml.loss(il.Task(support, query)).backward()
    assert net.weight.grad.isfinite().all()
    raw = maml.predict(maml.adapt(support), query.x)
    # That weight is not adapted, so its gradient is the plain one: (output - target) * 1.
    assert float(net.weight.grad[0, 1]) == pytest.approx((raw - 1).item(), rel=1e-12)


@pytest.mark.parametrize("side", [2, 4, 7])
@pytest.mark.parametrize("norm", ["group", "none"])
def test_relation_module_is_the_naive_one(side: int, norm: str) -> None:
    """One convolution over two maps one above the other, for each pair: the same scores."""
    module = il.nets.RelationModule((3, side, side), width=16, norm=norm).double()
    a, b = torch.randn(4, 3, side, side).double(), torch.randn(5, 3, side, side).double()
    wanted = oracles.relation_scores(module, a, b)
    torch.testing.assert_close(module(a, b), wanted, **CLOSE)
    assert wanted.std() > 0


@pytest.mark.parametrize("combine", ["scores", "features"])
def test_relation_network_is_the_naive_one(combine: Any) -> None:
    """The class's confidence is the sum of its scores, even for unequal shots, or the score of its summed features."""
    encoder = il.nets.conv4((1, 8, 8), width=(8, 8), norm="group", pools=1, maps=True)
    learner = il.RelationNet(encoder, il.nets.RelationModule((8, 4, 4), norm="none"), combine=combine).double()
    y = torch.eye(3, dtype=torch.float64)[[0, 1, 2, 2, 0, 2]]
    support, query = torch.randn(6, 1, 8, 8).double(), torch.randn(4, 1, 8, 8).double()
    task = il.Task(il.Examples(support, y), il.Examples(query, y[:4]))
    raw = learner.predict(learner.adapt(task.support), query)
    torch.testing.assert_close(raw, oracles.relation_network(learner, task).unsqueeze(0), **CLOSE)


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_prototypes_are_numpys(distance: Any) -> None:
    """Logits from class means equal those of a loop over pairs in numpy; shots may be unequal."""
    labels = [0, 1, 2, 2, 0, 2, 1, 2]
    support, query = torch.randn(8, 5).double(), torch.randn(6, 5).double()
    head = il.learners.Prototypes(distance=distance)
    raw = head.predict(head.adapt(il.Examples(support, torch.eye(3, dtype=torch.float64)[labels])), query)
    wanted = oracles.prototype_logits(support.numpy(), labels, query.numpy(), distance)
    numpy.testing.assert_allclose(raw.squeeze(0).numpy(), wanted, rtol=1e-12)


def test_a_class_without_support_is_never_the_answer() -> None:
    """Its logit is minus infinity, its probability 0; the loss of the others and its gradient stay finite."""
    x = torch.randn(4, 5, requires_grad=True)
    head = il.learners.Prototypes()
    y = torch.eye(3)[[0, 1, 0, 1]]
    raw = head.predict(head.adapt(il.Examples(x, y)), x)
    assert (raw[..., 2] == -math.inf).all()
    assert (head.likelihood.mean(raw)[:, 2] == 0).all()
    loss = head.likelihood.nll(raw, y).mean()
    loss.backward()
    assert loss.isfinite()
    assert x.grad.isfinite().all()


def test_fine_tuned_head_is_at_the_optimum() -> None:
    """After enough steps the gradient of its objective, cross-entropy plus weight decay, is 0."""
    head = il.learners.LinearHead(features=6, classes=9, steps=3000, lr=1.0, weight_decay=0.01)
    z = torch.nn.functional.normalize(torch.randn(12, 6).double(), dim=1)
    y = torch.eye(3, dtype=torch.float64).repeat(4, 1)
    weight, bias = (part.requires_grad_() for part in head.adapt(il.Examples(5 * z, y)))
    logits = z @ weight.mT + bias
    objective = oracles.cross_entropy(logits, y) + 0.005 * weight.square().sum()
    for slope in torch.autograd.grad(objective, (weight, bias)):
        assert slope.abs().max() < 1e-10
    assert weight.abs().max() > 0.1


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_calibration_error_is_the_naive_one(bins: int) -> None:
    """The expected calibration error equals that of a loop over bins in numpy."""
    mean: Tensor = (2 * torch.randn(50, 20, 5).double()).softmax(-1)
    labels = torch.randint(5, (50, 20))
    wanted = oracles.calibration_error(mean.flatten(0, 1).numpy(), labels.flatten().numpy(), bins)
    assert metrics.calibration_error(mean, il.one_hot(labels, 5), bins) == pytest.approx(wanted, rel=1e-9)
    assert wanted > 0.05


def test_calibration_error_by_hand() -> None:
    """Two bins: confidence 0.6 with half right, confidence 1 with all right: 0.5 * 0.1 + 0.5 * 0."""
    mean = torch.tensor([[0.6, 0.4], [0.6, 0.4], [1.0, 0.0], [0.0, 1.0]]).double()
    y = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    assert metrics.calibration_error(mean, y) == pytest.approx(0.05)
