"""Implicit MAML against dense implicit gradients, and what an inner step costs in memory."""

from __future__ import annotations

import math
from collections.abc import Callable

import oracles
import pytest
import torch
from cases import sines
from torch import Tensor, nn

import innerloop as il
from innerloop.learners.optimization.gradient import Adapted
from innerloop.learners.optimization.imaml import _conjugate_gradient

CLOSE = {"rtol": 1e-8, "atol": 1e-10}


class LearnedScale(il.core.likelihood.Likelihood):
    """A normal whose one deviation is learned with the rest."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(0.3))

    def size(self, targets: int) -> int:
        return targets

    def log_prob(self, raw: Tensor, y: Tensor) -> Tensor:
        return -(0.5 * ((raw - y) / self.log_scale.exp()).square() + self.log_scale).sum(-1)

    def mean(self, raw: Tensor) -> Tensor:
        return raw.mean(0)


def regression(examples: int = 6, features: int = 3, targets: int = 1) -> il.Task:
    return il.Task(
        *(
            il.Examples(torch.randn(examples, features).double(), torch.randn(examples, targets).double())
            for _ in range(2)
        )
    )


def batched(task: il.Task) -> il.Task:
    return il.Task(*(il.Examples(part.x.unsqueeze(0), part.y.unsqueeze(0)) for part in task))


def found(net: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad for name, p in net.named_parameters()}


@pytest.mark.parametrize("how", ["loop", "vmap", "chunk"])
def test_ridge_regression_in_closed_form(how: str) -> None:
    """A linear net: with A = X'X / n + l, phi = A^-1 (X'y / n + l theta) and the gradient l A^-1 Q'(Q phi - t) / n."""
    net, task, proximal = nn.Linear(3, 1, bias=False).double(), regression(), 0.7
    imaml = il.learners.IMAML(
        net, steps=150, lr=0.5, proximal=proximal, cg_steps=3, likelihood=il.Gaussian(scale=1.0)
    ).double()
    (x, y), (q, t) = task
    matrix = x.T @ x / len(x) + proximal * torch.eye(3).double()
    phi = torch.linalg.solve(matrix, x.T @ y / len(x) + proximal * net.weight.detach().T)
    torch.testing.assert_close(imaml.adapt(task.support).parameters["weight"].T, phi, **CLOSE)
    losses = il.lift(imaml, how).backward(batched(task))
    wanted = 0.5 * (q @ phi - t).square().mean() + 0.5 * math.log(2 * math.pi)
    torch.testing.assert_close(losses, wanted.unsqueeze(0), **CLOSE)
    gradient = proximal * torch.linalg.solve(matrix, q.T @ (q @ phi - t) / len(q))
    torch.testing.assert_close(net.weight.grad.T, gradient, **CLOSE)


@pytest.mark.parametrize("how", ["loop", "vmap"])
@pytest.mark.parametrize("adapts", ["all", "head", "body", "*.bias"])
@pytest.mark.parametrize("targets", [2, 0])
def test_a_small_net_run_to_its_minimum(how: str, adapts: str, targets: int) -> None:
    """The gradient is the one with a dense Hessian, in what adapts and in what does not."""
    net = il.nets.mlp(3, 4, targets or 3, activation=nn.Tanh).double()
    task = regression(targets=targets or 1)
    if not targets:
        rows = torch.eye(3).double().repeat(2, 1)
        task = il.Task(*(il.Examples(part.x, rows) for part in task))
    likelihood, loss = (
        (il.Gaussian(scale=1.0), oracles.half_squares) if targets else (il.Categorical(), oracles.cross_entropy)
    )
    imaml = il.learners.IMAML(
        net, steps=100, lr=0.5, proximal=0.6, cg_steps=40, adapts=adapts, likelihood=likelihood
    ).double()
    adapted = imaml.adapt(task.support).parameters
    wanted = oracles.implicit_gradient(net, task, loss, 0.6, {name: adapted[name] for name in imaml.adapts})
    il.lift(imaml, how).backward(batched(task))
    for name, gradient in found(net).items():
        torch.testing.assert_close(gradient, wanted[name], **CLOSE, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("adapts", ["all", "head"])
def test_it_is_the_limit_of_unrolling(adapts: str) -> None:
    """Differentiating all of a long inner loop gives the same gradient, the likelihood's own parameter included."""
    net, task = il.nets.mlp(3, 4, 2, activation=nn.Tanh).double(), regression(targets=2)
    imaml = il.learners.IMAML(
        net, steps=100, lr=0.5, proximal=0.6, cg_steps=40, adapts=adapts, likelihood=LearnedScale()
    ).double()
    theta = dict(imaml.named_parameters())
    phi = start = {name: theta[f"net.{name}"] for name in imaml.adapts}

    def nll(phi: dict[str, Tensor], part: il.Examples) -> Tensor:
        own = {**dict(net.named_parameters()), **phi}
        raw = torch.func.functional_call(net, own, (part.x,)).unsqueeze(0)
        return imaml.likelihood.nll(raw, part.y).mean()

    for _ in range(100):
        held = sum((phi[k] - start[k]).square().sum() for k in phi)
        total = nll(phi, task.support) + 0.3 * held
        slopes = torch.autograd.grad(total, list(phi.values()), create_graph=True)
        phi = {k: p - 0.5 * slope for (k, p), slope in zip(phi.items(), slopes, strict=True)}
    wanted = torch.autograd.grad(nll(phi, task.query), list(theta.values()))
    imaml.loss(task).backward()
    assert "likelihood.log_scale" in theta
    for (name, p), gradient in zip(theta.items(), wanted, strict=True):
        torch.testing.assert_close(p.grad, gradient, **CLOSE, msg=lambda text, name=name: f"{name}: {text}")


def test_without_conjugate_gradient_it_is_the_first_order_gradient() -> None:
    """0 iterations: the plain gradient of the query loss at phi."""
    task = regression()
    imaml = il.learners.IMAML(il.nets.mlp(3, 4, 1).double(), cg_steps=0, likelihood=il.Gaussian(scale=1.0))
    imaml.loss(task).backward()
    phi = {name: p.requires_grad_() for name, p in imaml.adapt(task.support).parameters.items()}
    raw = imaml.predict(Adapted(phi, []), task.query.x)
    wanted = torch.autograd.grad(imaml.likelihood.nll(raw, task.query.y).mean(), list(phi.values()))
    for p, slope in zip(imaml.net.parameters(), wanted, strict=True):
        torch.testing.assert_close(p.grad, slope, **CLOSE)


def test_a_fold_starts_and_is_held_where_the_last_one_ended() -> None:
    """With a proximal weight that outweighs the loss a second set of examples moves a state by next to nothing."""
    imaml = il.learners.IMAML(
        nn.Linear(3, 1).double(), steps=50, lr=1e-6, proximal=1e5, likelihood=il.Gaussian(scale=1.0)
    )
    start = Adapted({"weight": torch.full((1, 3), 7.0).double(), "bias": torch.zeros(1).double()}, [])
    moved = imaml.adapt(regression().support, start).parameters
    torch.testing.assert_close(moved["weight"], start.parameters["weight"], rtol=0, atol=1e-2)


@pytest.mark.parametrize("size", [1, 4, 9])
def test_conjugate_gradient_is_exact_after_as_many_steps_as_numbers(size: int) -> None:
    """And stays where it is afterwards."""
    root = torch.randn(size, size).double()
    matrix, b = root @ root.T + torch.eye(size).double(), torch.randn(size).double()
    for extra in (0, 20):
        x = _conjugate_gradient(lambda d: matrix @ d, b, start=b, steps=size + extra)
        torch.testing.assert_close(x, torch.linalg.solve(matrix, b), rtol=1e-8, atol=1e-9)


def test_conjugate_gradient_stays_where_the_map_curves_downwards() -> None:
    """No step is taken along a direction of negative curvature, nor after it."""
    b = torch.tensor([1.0, 2.0]).double()
    x = _conjugate_gradient(lambda d: -d, b, start=b, steps=5)
    assert torch.equal(x, b)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"proximal": 0.0}, "proximal"),
        ({"proximal": math.inf}, "proximal"),
        ({"cg_steps": -1}, "cg_steps"),
        ({"adapts": "none"}, "none"),
        ({"inner": il.inner.LearnedRates(["weight", "bias"], 0.1)}, "LearnedRates"),
    ],
)
def test_what_cannot_be_is_refused(options: dict, word: str) -> None:
    with pytest.raises(il.InputError, match=word):
        il.learners.IMAML(nn.Linear(3, 1), **options)


def peak(learner: il.Learner, how: str, tasks: il.Task) -> int:
    """Bytes of tensors alive at once at most, in one step: what the allocator was asked for and got back."""
    lifted = il.lift(learner, how)
    lifted.backward(tasks)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        lifted.backward(tasks)
    held = most = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most


def kept(loss: Tensor) -> int:
    """Bytes of tensors that the graph behind a loss holds."""
    nodes, seen, storages = [loss.grad_fn], set(), {}
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        nodes += [parent for parent, _ in node.next_functions]
        for name in dir(node):
            if name.startswith("_saved_"):
                value = getattr(node, name)
                for tensor in value if isinstance(value, tuple) else (value,):
                    if isinstance(tensor, Tensor):
                        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
    return sum(storages.values())


SQUARES = {"likelihood": il.Gaussian(scale=1.0)}
CONSTANT: dict[str, Callable[[int], il.Learner]] = {
    "imaml": lambda k: il.learners.IMAML(il.nets.mlp(1, 40, 40, 1), steps=k, lr=0.01, **SQUARES),
    "imaml-head": lambda k: il.learners.IMAML(il.nets.mlp(1, 40, 40, 1), steps=k, lr=0.01, adapts="head", **SQUARES),
    "maml-first-order": lambda k: il.MAML(il.nets.mlp(1, 40, 40, 1), steps=k, lr=0.01, first_order=True, **SQUARES),
    "maml-first-order-learned-scale": lambda k: il.MAML(
        il.nets.mlp(1, 40, 40, 1), steps=k, lr=0.01, first_order=True, likelihood=LearnedScale()
    ),
    "reptile": lambda k: il.Reptile(il.nets.mlp(1, 40, 40, 1), steps=k, lr=0.01, **SQUARES),
}


@pytest.mark.parametrize("how", ["loop", "vmap"])
@pytest.mark.parametrize("name", CONSTANT)
def test_memory_does_not_grow_with_inner_steps(name: str, how: str) -> None:
    """The most that is alive at once, and what the graph keeps, after 2 and after 20 inner steps."""
    tasks = sines()().draw(torch.Generator().manual_seed(0), 2)
    few, many = (CONSTANT[name](k) for k in (2, 20))
    assert peak(many, how, tasks) <= 1.02 * peak(few, how, tasks)
    graphs = [kept(il.lift(learner, how).loss(tasks).sum()) for learner in (few, many)]
    assert graphs[0] == graphs[1] > 0


def test_these_measures_see_an_unrolled_loop() -> None:
    """Second-order MAML does keep every step."""
    tasks = sines()().draw(torch.Generator().manual_seed(0), 2)
    few, many = (il.MAML(il.nets.mlp(1, 40, 40, 1), steps=k, lr=0.01, **SQUARES) for k in (2, 20))
    assert peak(many, "loop", tasks) > 4 * peak(few, "loop", tasks)
    assert kept(il.lift(many, "loop").loss(tasks).sum()) > 4 * kept(il.lift(few, "loop").loss(tasks).sum())
