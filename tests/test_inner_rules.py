"""Inner optimizers beside torch's own, step by step, and inner loops by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import laws
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import innerloop as il
from innerloop.core.inner import SGD, Adam, AdamW, CarriedAdam, Clipped, Groups, InnerOptimizer, RMSprop, Scheduled

STEPS = 6
RULES: dict[str, tuple[InnerOptimizer, Callable[..., torch.optim.Optimizer], dict[str, Any]]] = {}
for kind, theirs, choices in (
    (
        SGD,
        torch.optim.SGD,
        [
            {"lr": 0.1, "momentum": 0.9, "dampening": 0.3},
            {"lr": 0.1, "momentum": 0.5, "weight_decay": 0.2, "nesterov": True},
        ],
    ),
    (Adam, torch.optim.Adam, [{"lr": 0.1, "amsgrad": True}, {"lr": 0.1, "amsgrad": True, "weight_decay": 0.3}]),
    (
        AdamW,
        torch.optim.AdamW,
        [{}, {"lr": 0.1, "weight_decay": 0.5}, {"lr": 0.1, "betas": (0.5, 0.6), "amsgrad": True, "eps": 1e-3}],
    ),
    (
        RMSprop,
        torch.optim.RMSprop,
        [
            {},
            {"lr": 0.1, "alpha": 0.5},
            {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1},
            {"lr": 0.1, "centered": True, "momentum": 0.5, "eps": 1e-3},
        ],
    ),
):
    for choice in choices:
        RULES[f"{kind.__name__}{choice}"] = (kind(**choice), theirs, choice)


def gradients(seed: int) -> dict[str, Tensor]:
    """Gradients that shrink, so that the largest mean square is an early one."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"body": (3, 2), "head": (2,)}
    return {k: torch.randn(s, generator=generator, dtype=torch.float64) / (1 + seed) for k, s in shapes.items()}


def ours(rule: InnerOptimizer, start: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """Parameters after each step."""
    now, memory, path = start, rule.init(start), []
    for step in range(STEPS):
        now, memory = rule.update(gradients(step), now, memory)
        path.append(now)
    return path


def torchs(
    make: Callable[[dict[str, nn.Parameter]], torch.optim.Optimizer],
    start: dict[str, Tensor],
    before: Callable[[list[nn.Parameter]], Any] = lambda parameters: None,
    schedule: Callable[[torch.optim.Optimizer], Any] | None = None,
) -> list[dict[str, Tensor]]:
    """The same by an optimizer of torch, with something done to the gradients before each step."""
    parameters = {k: nn.Parameter(p.clone()) for k, p in start.items()}
    optimizer = make(parameters)
    scheduler = schedule(optimizer) if schedule else None
    path = []
    for step in range(STEPS):
        for k, g in gradients(step).items():
            parameters[k].grad = g.clone()
        before(list(parameters.values()))
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        path.append({k: p.detach().clone() for k, p in parameters.items()})
    return path


def start() -> dict[str, Tensor]:
    """Where all begin."""
    return gradients(40)


def assert_same_path(found: list[dict[str, Tensor]], wanted: list[dict[str, Tensor]]) -> None:
    """Parameter by parameter, step by step."""
    assert len(found) == len(wanted) == STEPS
    for one, other in zip(found, wanted, strict=True):
        for name, value in other.items():
            torch.testing.assert_close(one[name], value, rtol=1e-12, atol=1e-12)


def test_an_adam_that_carries_nothing_yet_is_torchs() -> None:
    """With a mean of gradients too, and a rate of its own for a parameter, as a group of torch's has it."""
    start = {k: torch.ones_like(g) for k, g in gradients(0).items()}
    rule = CarriedAdam(start, lr=0.1, betas=(0.5, 0.9), lrs={"head": 0.3})

    def theirs(parameters: dict[str, nn.Parameter]) -> torch.optim.Optimizer:
        groups = [{"params": [parameters["body"]]}, {"params": [parameters["head"]], "lr": 0.3}]
        return torch.optim.Adam(groups, lr=0.1, betas=(0.5, 0.9))

    for mine, wanted in zip(ours(rule, start), torchs(theirs, start), strict=True):
        for k, p in mine.items():
            torch.testing.assert_close(p, wanted[k], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("lrs", "words"),
    [
        ({"tail": 0.1}, "a rate of 'tail', and there are only body, head"),
        ({"head": 0.0}, "must be above 0 and finite"),
    ],
)
def test_a_carrying_adam_refuses_rates_that_are_none(lrs: dict[str, float], words: str) -> None:
    """Of an unknown parameter, or of 0."""
    with pytest.raises(il.InputError, match=words):
        CarriedAdam(gradients(0), lrs=lrs)


@pytest.mark.parametrize("name", RULES)
def test_rules_are_torchs(name: str) -> None:
    rule, theirs, options = RULES[name]
    assert_same_path(ours(rule, start()), torchs(lambda p: theirs(p.values(), **options), start()))


@pytest.mark.parametrize("rule", [SGD(0.3, momentum=0.9), AdamW(0.1), RMSprop(0.1, momentum=0.5)], ids=str)
def test_scheduled_is_a_schedule_of_the_rate(rule: Any) -> None:
    factors = [1.0, 0.5, 0.0, 0.25]
    theirs = {SGD: torch.optim.SGD, AdamW: torch.optim.AdamW, RMSprop: torch.optim.RMSprop}[type(rule)]
    options = {"lr": rule.lr, "momentum": getattr(rule, "momentum", 0)} if type(rule) is not AdamW else {"lr": rule.lr}
    wanted = torchs(
        lambda p: theirs(p.values(), **options),
        start(),
        schedule=lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda step: factors[min(step, 3)]),
    )
    found = ours(Scheduled(rule, factors), start())
    assert_same_path(found, wanted)
    assert torch.equal(found[2]["body"], found[1]["body"])


@pytest.mark.parametrize(
    ("limit", "before"),
    [
        ({"norm": 0.5}, lambda p: nn.utils.clip_grad_norm_(p, 0.5)),
        ({"norm": 100.0}, lambda p: nn.utils.clip_grad_norm_(p, 100.0)),
        ({"value": 0.2}, lambda p: nn.utils.clip_grad_value_(p, 0.2)),
    ],
    ids=["norm", "long", "value"],
)
def test_clipped_is_torchs_clipping(limit: dict[str, float], before: Callable[[list[nn.Parameter]], Any]) -> None:
    wanted = torchs(lambda p: torch.optim.Adam(p.values(), lr=0.1), start(), before)
    assert_same_path(ours(Clipped(Adam(0.1), **limit), start()), wanted)


def test_groups_are_parameter_groups() -> None:
    """The first pattern that fits counts; each group remembers its own."""
    wanted = torchs(
        lambda p: torch.optim.SGD(
            [{"params": [p["head"]], "lr": 0.5, "momentum": 0.9}, {"params": [p["body"]], "weight_decay": 0.1}], lr=0.1
        ),
        start(),
    )
    rule = Groups({"head*": SGD(0.5, momentum=0.9), "*": SGD(0.1, weight_decay=0.1)})
    assert_same_path(ours(rule, start()), wanted)


@pytest.mark.parametrize(
    ("make", "options", "said"),
    [
        *((RMSprop, {"lr": value}, "learning rate|lr is '1'") for value in (-0.1, 0, float("nan"), "1")),
        *((RMSprop, {"alpha": value}, "alpha") for value in (-0.1, 1.0)),
        *((RMSprop, {name: -1}, name.replace("_", " ")) for name in ("eps", "weight_decay", "momentum")),
        *((AdamW, {"betas": value}, "beta") for value in ((0.9,), (1.0, 0.9), (0.9, -0.1))),
        (AdamW, {"weight_decay": -0.1}, "weight decay"),
        (SGD, {"lr": 0.1, "momentum": 0.9, "dampening": -0.1}, "dampening"),
        (SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.1, "nesterov": True}, "no dampening"),
        *(
            (Scheduled, {"rule": SGD(0.1), "factors": value}, "factor")
            for value in ([], 0.5, [1.0, -1.0], [float("nan")])
        ),
        *(
            (Clipped, {"rule": SGD(0.1), **value}, "limit|give one")
            for value in ({}, {"norm": 1, "value": 1}, {"norm": 0})
        ),
        *((Groups, {"rules": value}, "give a rule") for value in ({}, [SGD(0.1)])),
    ],
    ids=str,
)
def test_what_no_rule_can_use_is_refused(make: Callable[..., Any], options: dict[str, Any], said: str) -> None:
    with pytest.raises(il.InputError, match=said):
        make(**options)


def test_a_parameter_without_a_group_is_named_before_any_training() -> None:
    with pytest.raises(il.InputError, match=r"no group .* '0.weight'.*add '\*'"):
        il.MAML(il.nets.mlp(2, 3, 2), inner=Groups({"2.*": SGD(0.1)}))


TASK_X = torch.linspace(-1, 1, 12, dtype=torch.float64).view(6, 2)


def regression() -> il.Task:
    """A small task of two targets."""
    y = TASK_X.sin()
    return il.Task(il.Examples(TASK_X, y), il.Examples(TASK_X + 0.1, y))


def mae(raw: Tensor, y: Tensor) -> Tensor:
    """An inner loss of one's own."""
    return (raw - y).abs().mean()


EVERY = Groups(
    {"2.*": Clipped(AdamW(0.05, amsgrad=True), norm=1.0), "*": Scheduled(RMSprop(0.02, momentum=0.5), [1, 0.5])}
)


@pytest.mark.parametrize("rule", [EVERY, AdamW(0.05), RMSprop(0.02, centered=True, eps=1e-3)], ids=["all", "w", "rms"])
def test_an_outer_gradient_passes_through_every_rule(rule: InnerOptimizer) -> None:
    """The loop's and vmap's are one, and that of finite differences."""
    learner = il.MAML(
        il.nets.mlp(2, 4, 2).double(), steps=2, inner=rule, likelihood=il.Gaussian(scale=1.0), inner_loss=mae
    )
    task = regression()
    tasks = il.Task(*(il.Examples(*(leaf.expand(2, *leaf.shape) for leaf in part)) for part in task))
    losses = {how: il.lift(learner, how).loss(tasks).sum() for how in ("loop", "vmap")}  # type: ignore[arg-type]
    torch.testing.assert_close(losses["loop"], losses["vmap"], rtol=1e-9, atol=1e-12)
    slopes = [torch.autograd.grad(loss, list(learner.net.parameters())) for loss in losses.values()]
    laws.assert_close(*({str(i): g for i, g in enumerate(slope)} for slope in slopes))
    weight = next(learner.net.parameters())
    with torch.no_grad():
        step = 1e-6
        weight[0, 0] += step
        above = il.lift(learner, "loop").loss(tasks).sum()
        weight[0, 0] -= 2 * step
        below = il.lift(learner, "loop").loss(tasks).sum()
        weight[0, 0] += step
    torch.testing.assert_close((above - below) / (2 * step), slopes[0][0][0, 0], rtol=1e-5, atol=1e-8)


def test_an_inner_loss_of_ones_own_is_what_the_inner_loop_descends() -> None:
    """By hand: one step down it; a bundle keeps it; a learned one has an outer gradient."""
    net, task = il.nets.mlp(2, 4, 2).double(), regression()
    learner = il.MAML(net, lr=0.1, likelihood=il.Gaussian(scale=1.0), inner_loss=mae)
    adapted = learner.adapt(task.support).parameters
    slopes = torch.autograd.grad(mae(net(task.support.x), task.support.y), list(net.parameters()))
    wanted = {k: p - 0.1 * g for (k, p), g in zip(net.named_parameters(), slopes, strict=True)}
    laws.assert_close(adapted, wanted)

    class Weighted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.tensor(0.5, dtype=torch.float64))

        def forward(self, raw: Tensor, y: Tensor) -> Tensor:
            return self.weight * (raw - y).square().mean()

    learned = Weighted()
    learner = il.MAML(net, lr=0.1, likelihood=il.Gaussian(scale=1.0), inner_loss=learned)
    learner.loss(task).backward()
    assert learned.weight.grad is not None
    assert learned.weight.grad != 0


def test_a_bundle_keeps_rules_and_losses(tmp_path: Path) -> None:
    learner = il.MAML(
        il.nets.mlp(2, 4, 2), steps=2, inner=EVERY, likelihood=il.Gaussian(scale=1.0), inner_loss=nn.L1Loss()
    )
    task = il.Task(*(il.Examples(*(leaf.float() for leaf in part)) for part in regression()))
    il.save(tmp_path / "kept", learner)
    loaded = il.load(tmp_path / "kept")
    with torch.no_grad():
        assert torch.equal(laws.predict(loaded, task), laws.predict(learner, task))


def test_an_inner_loss_that_is_no_number_is_refused() -> None:
    learner = il.MAML(
        il.nets.mlp(2, 4, 2).double(), likelihood=il.Gaussian(scale=1.0), inner_loss=nn.L1Loss(reduction="none")
    )
    with pytest.raises(il.InputError, match=r"the inner loss gives \(6, 2\).*take its mean"):
        learner.adapt(regression().support)


@pytest.mark.parametrize("first_order", [False, True])
def test_an_inner_loop_by_hand_is_maml(first_order: bool) -> None:
    """The same outer loss and gradient, with a rule that remembers, on some of the parameters."""
    net, task, rule = il.nets.mlp(2, 4, 2).double(), regression(), Adam(0.05)
    learner = il.MAML(
        net, steps=3, inner=rule, adapts="2.*", first_order=first_order, likelihood=il.Gaussian(scale=1.0),
        inner_loss=nn.MSELoss(),
    )  # fmt: skip
    wanted = F.mse_loss(learner.predict(learner.adapt(task.support), task.query.x)[0], task.query.y)
    with il.inner_loop(net, rule, adapts="2.*", first_order=first_order) as fast:
        for _ in range(3):
            fast.step(F.mse_loss(fast(task.support.x), task.support.y))
    found = F.mse_loss(fast(task.query.x), task.query.y)
    torch.testing.assert_close(found, wanted)
    slopes = [torch.autograd.grad(loss, list(net.parameters())) for loss in (found, wanted)]
    for one, other in zip(*slopes, strict=True):
        torch.testing.assert_close(one, other)


def test_an_inner_loop_leaves_the_network_as_it_was() -> None:
    """Weights, modes and running statistics; frozen parameters adapt all the same, without an outer gradient."""
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    il.norm.calibrate(net, [torch.randn(8, 2)])
    net.train()
    net[0].requires_grad_(False)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    x, y = torch.randn(5, 2), torch.randn(5, 2)
    with il.inner_loop(net, SGD(0.1)) as fast:
        assert not net[1].training
        fast.step(F.mse_loss(fast(x), y))
        outer = F.mse_loss(fast(x), y)
    outer.backward()
    laws.assert_same(net.state_dict(), before)
    assert all(part.training for part in net.modules())
    assert net[0].weight.grad is None
    assert net[2].weight.grad is not None
    assert not torch.equal(fast.parameters["0.weight"], net[0].weight)


def test_an_inner_loop_refuses_what_cannot_be() -> None:
    net, x = il.nets.mlp(2, 3, 2), torch.randn(4, 2)
    with pytest.raises(il.InputError, match="no inner optimizer"), il.inner_loop(net, torch.optim.SGD):  # type: ignore[arg-type]
        pass
    with pytest.raises(il.InputError, match="fits no parameter"), il.inner_loop(net, SGD(0.1), adapts="head.*"):
        pass
    with pytest.raises(il.InputError, match="never calibrated"), il.inner_loop(il.nets.conv4(), SGD(0.1)):
        pass
    with il.inner_loop(net, SGD(0.1)) as fast:
        with pytest.raises(il.InputError, match=r"one number, not \(4, 2\)"):
            fast.step(fast(x))
        with pytest.raises(il.InputError, match="no gradient"), torch.no_grad():
            fast.step(fast(x).mean())
        fast.step(fast(x).square().mean())
        # The network's own weights are no longer those that adapt.
        with pytest.raises(il.InputError, match=r"does not depend on 0.weight"):
            fast.step(net(x).mean())
