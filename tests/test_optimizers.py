"""Learned optimizers: as ordinary ones of PyTorch, and the two gradients that train them."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable
from pathlib import Path

import laws
import pytest
import torch
from torch import Generator, Tensor, nn

import innerloop as il
from innerloop.core.inner import InnerOptimizer, LearnedRates
from innerloop.optimizers import (
    ES,
    PES,
    Digits,
    LearnedOptimizer,
    LSTMRule,
    MLPRule,
    Quadratics,
    Teachers,
    TrainingRun,
    train,
)

SQUARES = {"likelihood": il.Gaussian(scale=1.0)}
RULES: dict[str, Callable[[], InnerOptimizer]] = {
    "mlp": lambda: MLPRule(width=8),
    "lstm": lambda: LSTMRule(width=6),
    "sgd": lambda: il.inner.SGD(0.05, momentum=0.9),
    "adam": lambda: il.inner.Adam(0.01),
}
rules = pytest.mark.parametrize("rule", RULES)


class Descent(InnerOptimizer):
    """Minus the gradient, times a rate that is a weight."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = nn.Parameter(torch.tensor(rate))

    def init(self, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        return {}

    def update(self, gradients, parameters, memory):
        return {k: p - self.rate * gradients[k] for k, p in parameters.items()}, memory


def adam_like() -> MLPRule:
    """An MLP rule whose network says zero."""
    rule = MLPRule(decays=(0.9, 0.5), second_decay=0.99, scale=0.02).double()
    rule.decays.copy_(torch.tensor([0.9, 0.5], dtype=torch.float64))
    nn.init.zeros_(rule.output.weight)
    return rule


def problem(dtype: torch.dtype = torch.float32) -> tuple[nn.Module, Callable[[nn.Module], Tensor]]:
    """A small network and its loss."""
    torch.manual_seed(3)
    net, x, y = il.nets.mlp(4, 8, 2).to(dtype), torch.randn(20, 4, dtype=dtype), torch.randn(20, 2, dtype=dtype)
    return net, lambda net: (net(x) - y).square().mean()


def steps(net: nn.Module, loss: Callable[[nn.Module], Tensor], optimizer: torch.optim.Optimizer, count: int) -> None:
    for _ in range(count):
        optimizer.zero_grad()
        loss(net).backward()
        optimizer.step()


def trained_by(make: Callable[..., torch.optim.Optimizer], count: int = 6, dtype: torch.dtype = torch.float32) -> dict:
    net, loss = problem(dtype)
    steps(net, loss, make(net.parameters()), count)
    return net.state_dict()


def test_a_rule_frozen_to_descent_is_sgd_to_the_bit() -> None:
    wanted = trained_by(lambda p: torch.optim.SGD(p, lr=0.125))
    for rule in (Descent(0.125), il.inner.SGD(0.125)):
        laws.assert_same(trained_by(lambda p, rule=rule: LearnedOptimizer(p, rule)), wanted)


def test_momentum_adam_and_an_mlp_rule_that_says_nothing_are_torchs() -> None:
    cases = [
        (il.inner.SGD(0.05, momentum=0.9), lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9)),
        (il.inner.Adam(0.01), lambda p: torch.optim.Adam(p, lr=0.01)),
        (adam_like(), lambda p: torch.optim.Adam(p, lr=0.02, betas=(0.9, 0.99), eps=0.0)),
    ]
    for rule, theirs in cases:
        ours = trained_by(lambda p, rule=rule: LearnedOptimizer(p, rule), dtype=torch.float64)
        for name, value in trained_by(theirs, dtype=torch.float64).items():
            torch.testing.assert_close(ours[name], value, rtol=1e-5, atol=1e-7)


@rules
def test_state_goes_through_a_file_and_back_to_the_bit(rule: str, tmp_path: Path) -> None:
    """Three steps, saved, loaded into a new optimizer, three more: as six steps at once."""
    made = RULES[rule]()
    whole = trained_by(lambda p: LearnedOptimizer(p, made))
    net, loss = problem()
    first = LearnedOptimizer(net.parameters(), made)
    steps(net, loss, first, 3)
    torch.save((net.state_dict(), first.state_dict()), tmp_path / "state.pt")
    weights, state = torch.load(tmp_path / "state.pt", weights_only=True)
    net = problem()[0]
    net.load_state_dict(weights)
    second = LearnedOptimizer(net.parameters(), made, lr=0.5)
    second.load_state_dict(state)
    assert second.param_groups[0]["lr"] == 1.0
    steps(net, loss, second, 3)
    laws.assert_same(net.state_dict(), whole)


def test_the_steps_of_a_bfloat16_parameter_are_counted() -> None:
    """Past 256 a bfloat16 counter would stand still, also after the state was loaded."""
    p = nn.Parameter(torch.ones(3, dtype=torch.bfloat16))
    optimizer = LearnedOptimizer([p], MLPRule().bfloat16())
    p.grad = torch.ones_like(p)
    optimizer.step()
    optimizer.state[p]["memory"]["step"].fill_(1000)
    optimizer.load_state_dict(optimizer.state_dict())
    optimizer.step()
    assert float(optimizer.state[p]["memory"]["step"]) == 1001


def test_parameter_groups_have_rates_of_their_own() -> None:
    net, loss = problem()
    before = {k: p.clone() for k, p in net.state_dict().items()}
    torch.manual_seed(0)
    rule = RULES["mlp"]()
    optimizer = LearnedOptimizer([{"params": net[0].parameters()}], rule, lr=2.0)
    optimizer.add_param_group({"params": net[2].parameters(), "lr": 0.0})
    steps(net, loss, optimizer, 1)
    once, _ = problem()
    steps(once, loss, LearnedOptimizer(once.parameters(), rule), 1)
    for k, p in net.state_dict().items():
        factor = 2.0 if k.startswith("0.") else 0.0
        torch.testing.assert_close(p - before[k], factor * (once.state_dict()[k] - before[k]))
    assert [group["lr"] for group in optimizer.param_groups] == [2.0, 0.0]


def test_schedulers_change_the_factor() -> None:
    """A rule of rate 1/2 under a schedule of its factor is SGD of rate 1/2 under the same schedule."""

    def scheduled(make: Callable[..., torch.optim.Optimizer]) -> dict[str, Tensor]:
        net, loss = problem(torch.float64)
        optimizer = make(net.parameters())
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2, gamma=0.5)
        for _ in range(6):
            steps(net, loss, optimizer, 1)
            scheduler.step()
        return net.state_dict()

    ours = scheduled(lambda p: LearnedOptimizer(p, il.inner.SGD(0.1)))
    laws.assert_close(ours, scheduled(lambda p: torch.optim.SGD(p, lr=0.1)))


def test_closures_and_parameters_without_a_gradient() -> None:
    net, loss = problem()
    idle = nn.Parameter(torch.ones(2))
    optimizer = LearnedOptimizer([*net.parameters(), idle], RULES["mlp"]())

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(net)
        value.backward()
        return value.detach()

    assert float(optimizer.step(closure)) == pytest.approx(float(loss(problem()[0]).detach()))
    assert torch.equal(idle, torch.ones(2))
    assert idle not in optimizer.state
    assert not any(p.requires_grad for p in optimizer.state[net[0].weight]["memory"].values())


def test_it_drives_fit_and_resumes(tmp_path: Path) -> None:
    """As the outer optimizer of a meta-training that is interrupted and resumed."""
    rule = RULES["mlp"]()
    laws.assert_resumed_is_uninterrupted(
        lambda: il.MAML(il.nets.mlp(1, 8, 1), lr=0.01, **SQUARES),
        il.data.Sinusoid(),
        tmp_path,
        optimizer=lambda parameters: LearnedOptimizer(parameters, rule),
        tasks_per_step=2,
    )


@rules
def test_each_number_has_the_same_rule(rule: str) -> None:
    """A tensor in another order takes the same steps in that order; other tensors beside it change nothing."""
    made, order = RULES[rule]().double(), torch.tensor([2, 0, 1, 3])
    p, other = torch.randn(4, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64)
    gradients = torch.randn(3, 4, dtype=torch.float64)

    def run(parameters: dict[str, Tensor], order: Tensor) -> Tensor:
        memory = made.init(parameters)
        for g in gradients:
            slopes = {k: g[order] if k == "p" else torch.ones_like(v) for k, v in parameters.items()}
            parameters, memory = made.update(slopes, parameters, memory)
        return parameters["p"]

    wanted = run({"p": p}, torch.arange(4))
    torch.testing.assert_close(run({"p": p[order]}, order), wanted[order])
    torch.testing.assert_close(run({"other": other, "p": p}, torch.arange(4)), wanted)


def test_the_mlp_rule_knows_no_units_of_the_loss() -> None:
    rule, p, g = RULES["mlp"]().double(), {"p": torch.randn(5).double()}, torch.randn(5).double()
    one, thousand = (rule.update({"p": scale * g}, p, rule.init(p))[0]["p"] for scale in (1.0, 1000.0))
    torch.testing.assert_close(one, thousand, rtol=1e-6, atol=1e-8)


def test_the_lstm_is_torchs() -> None:
    """Two layers of ``nn.LSTMCell`` with the published preprocessing, three steps."""
    rule = LSTMRule(width=5, bound=10.0).double()
    cells = [nn.LSTMCell(2 if i == 0 else 5, 5).double() for i in range(2)]
    for i, cell in enumerate(cells):
        keep = torch.zeros(20, dtype=torch.float64)
        keep[5:10] = 1.0
        values = (rule.input[i].weight, rule.recurrent[i].weight, rule.input[i].bias, keep)
        cell.load_state_dict(dict(zip(("weight_ih", "weight_hh", "bias_ih", "bias_hh"), values, strict=True)))
    gradients = torch.tensor([1.0, -math.exp(-3), 1e-6, 0.0], dtype=torch.float64)
    seen = torch.tensor([[0, 1], [-0.3, -1], [-1, 1e-6 * math.exp(10)], [-1, 0]], dtype=torch.float64)
    torch.testing.assert_close(rule._seen(gradients), seen)
    p = {"p": torch.zeros(4, dtype=torch.float64)}
    memory, wanted, states = rule.init(p), p["p"], [None, None]
    for _ in range(3):
        p, memory = rule.update({"p": gradients}, p, memory)
        x = seen
        for i, cell in enumerate(cells):
            states[i] = cell(x, states[i])
            x = states[i][0]
        wanted = wanted + 0.1 * rule.output(x).squeeze(1)
    torch.testing.assert_close(p["p"], wanted)


@pytest.mark.parametrize("rule", ["mlp", "lstm"])
def test_zero_gradients_leave_finite_derivatives(rule: str) -> None:
    made, p = RULES[rule]().double(), {"p": torch.ones(3, dtype=torch.float64)}
    g = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    made.update({"p": g}, p, made.init(p))[0]["p"].sum().backward()
    assert g.grad.isfinite().all()
    assert all(q.grad.isfinite().all() for q in made.parameters())


@pytest.mark.parametrize(
    ("truncation", "first_order", "emphasis"), [(None, False, 0), (2, False, 2), (None, True, 1), (2, True, 0)]
)
@pytest.mark.parametrize("rule", ["mlp", "lstm", "descent"])
def test_unrolled_gradient_is_the_hand_written_one(
    rule: str, truncation: int | None, first_order: bool, emphasis: float
) -> None:
    """Minibatches in turn, the loss of the next one after each step, cut where said; by ``autograd.grad`` alone."""
    made = Descent(0.3).double() if rule == "descent" else RULES[rule]().double()
    options = {"steps": 5, "batch_size": 4, "truncation": truncation, "first_order": first_order, "emphasis": emphasis}
    run = TrainingRun(il.nets.mlp(3, 4, 1), made, **options, **SQUARES).double().eval()
    task = Quadratics(inputs=3, rows=10).draw(Generator().manual_seed(0), 1)
    task = il.Task(*(il.Examples(part.x[0].double(), part.y[0].double()) for part in task))

    def loss(phi: dict[str, Tensor], step: int) -> Tensor:
        rows = slice(4 * (step % 2), 4 * (step % 2) + 4)
        output = torch.func.functional_call(run.net, phi, (task.support.x[rows],))
        return 0.5 * (output - task.support.y[rows]).square().mean() + 0.5 * math.log(2 * math.pi)

    phi = {k: p.detach().clone().requires_grad_() for k, p in run.net.named_parameters()}
    memory, losses = made.init(phi), []
    for step in range(5):
        if truncation and step % truncation == 0:
            phi = {k: p.detach().requires_grad_() for k, p in phi.items()}
            memory = memory and {k: m.detach() for k, m in memory.items()}
        slopes = torch.autograd.grad(loss(phi, step), list(phi.values()), create_graph=not first_order)
        phi, memory = made.update(dict(zip(phi, slopes, strict=True)), phi, memory)
        losses.append(loss(phi, step + 1) * (step + 1) ** emphasis)
    wanted = torch.stack(losses).sum() / sum((step + 1) ** emphasis for step in range(5))
    torch.testing.assert_close(run.loss(task), wanted)
    ours, theirs = (torch.autograd.grad(value, list(made.parameters())) for value in (run.loss(task), wanted))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


def test_training_goes_on_from_its_state() -> None:
    """Parameters, memory and place among the minibatches are all in the state."""
    run = TrainingRun(il.nets.mlp(3, 4, 1), MLPRule(), steps=3, batch_size=4, **SQUARES).double().eval()
    task = laws.one(laws.pytree.tree_map(Tensor.double, Quadratics(inputs=3, rows=10).draw(Generator(), 1)), 0)
    with torch.no_grad():
        twice = run.adapt(task.support, run.adapt(task.support))
        run.test_steps = 6
        laws.assert_close(twice.parameters, run.adapt(task.support).parameters)


def test_random_first_weights_have_the_nets_own_mean_and_deviation() -> None:
    net = nn.Sequential(nn.Linear(50, 40), nn.GroupNorm(4, 40))
    run = TrainingRun(net, MLPRule(), steps=1)
    first, second = run.weights(), run.weights()
    assert not torch.equal(first["0.weight"], second["0.weight"])
    assert float(first["0.weight"].std() / net[0].weight.std()) == pytest.approx(1, abs=0.1)
    assert torch.equal(first["1.weight"], torch.ones(40))
    assert run.eval().weights()["0.weight"] is net[0].weight


DECAY, TARGET = 0.8, 1.5


def linear_window(theta: dict[str, Tensor], state: Tensor) -> tuple[Tensor, Tensor]:
    """Two steps of ``s <- 0.8 s + a + b step(s)``, each with loss ``(s - 1.5)^2 / 2``: quadratic in the parameters."""
    loss = torch.zeros((), dtype=torch.float64)
    for _ in range(2):
        state = DECAY * state + theta["a"] + 0.5 * theta["b"].sum()
        loss = loss + 0.5 * (state - TARGET) ** 2
    return state, loss


def estimates(kind: type[PES], repeats: int = 40, particles: int = 128, windows: int = 4) -> tuple[Tensor, Tensor]:
    """Independent estimates of the whole unroll's gradient by ``a`` and by each ``b``, and the true one, ``[3]``."""
    theta = {"a": torch.tensor(0.1, dtype=torch.float64), "b": torch.tensor([0.2, -0.1], dtype=torch.float64)}
    found = []
    for seed in range(repeats):
        generator = Generator().manual_seed(seed)
        pes = kind(lambda g: torch.zeros(particles, dtype=torch.float64), linear_window, windows=windows, sigma=0.3)
        # The first calls run unrolls that began in the middle; then each call has as many of each age.
        calls = [pes.gradient(theta, generator)[0] for _ in range(2 * windows)][windows:]
        found.append(torch.stack([torch.cat((g["a"].view(1), g["b"])) for g in calls]).sum(0))
    wanted = {k: p.clone().requires_grad_() for k, p in theta.items()}
    state, total = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for _ in range(windows):
        state, loss = linear_window(wanted, state)
        total = total + loss
    a, b = torch.autograd.grad(total, [wanted["a"], wanted["b"]])
    return torch.stack(found), torch.cat((a.view(1), b))


def test_pes_is_unbiased_where_truncated_es_is_not() -> None:
    """Within four standard errors of the true gradient over the whole unroll; truncated ES is off by more than ten."""
    for kind, holds in ((PES, True), (ES, False)):
        found, wanted = estimates(kind)
        errors = (found.mean(0) - wanted) / (found.std(0) / math.sqrt(len(found)))
        assert bool((errors.abs() < 4).all()) == holds, (kind.__name__, errors)
        if not holds:
            assert float(errors.abs().max()) > 10


def test_pes_in_one_window_is_truncated_es() -> None:
    one, other = (estimates(kind, repeats=2, windows=1)[0] for kind in (PES, ES))
    assert torch.equal(one, other)


def test_pes_on_training_runs_points_along_the_unrolled_gradient() -> None:
    """The mean of many estimates is the unrolled gradient of the run's objective, up to noise."""
    torch.manual_seed(0)
    rule = Descent(0.2)
    sampler = Quadratics(inputs=3, rows=8)
    run = TrainingRun(il.nets.mlp(3, 1), rule, steps=4, truncation=2, emphasis=1.0, **SQUARES).train()
    whole = TrainingRun(il.nets.mlp(3, 1), rule, steps=4, emphasis=1.0, **SQUARES).train()
    whole.net.load_state_dict(run.net.state_dict())
    il.lift(whole, "vmap").backward(sampler.draw(Generator().manual_seed(0), 2000))
    wanted = float(rule.rate.grad)
    from innerloop.optimizers.train import _persistent

    estimate = _persistent(run, sampler, 500, 0.02)
    found = []
    for seed in range(24):
        estimate(Generator().manual_seed(seed))
        found.append(float(rule.rate.grad))
    values = torch.tensor(found[2:])
    assert abs(float(values.mean()) - wanted) < 4 * float(values.std()) / math.sqrt(len(values)) + 0.05 * abs(wanted)
    assert wanted < 0


@pytest.mark.parametrize("gradient", ["unrolled", "pes"])
def test_it_learns_quadratics(gradient: str) -> None:
    """After a short training it beats its untrained self on held-out quadratics, paired, by a margin."""
    torch.manual_seed(0)
    rule = MLPRule(width=8)
    run = TrainingRun(il.nets.mlp(10, 1), rule, steps=10, truncation=5, **SQUARES)
    test = Quadratics().draw(Generator().manual_seed(99), 50)

    def score() -> Tensor:
        with torch.no_grad():
            return il.lift(run.eval(), "vmap").loss(test)

    before = score()
    train([(run, Quadratics())], steps=40 if gradient == "unrolled" else 120, gradient=gradient, lr=1e-2, sigma=0.05)
    gap = il.paired(score().numpy(), before.numpy())
    assert gap.mean < -0.2
    assert gap.interval[1] < 0


def test_training_follows_from_the_seed() -> None:
    def weights(seed: int) -> Tensor:
        torch.manual_seed(0)
        rule = MLPRule(width=4)
        runs = [TrainingRun(il.nets.mlp(n, 1), rule, steps=2, truncation=1, **SQUARES) for n in (2, 3)]
        train(
            [(r, Quadratics(inputs=n)) for r, n in zip(runs, (2, 3), strict=True)], steps=3, gradient="pes", seed=seed
        )
        return torch.cat([p.flatten() for p in rule.parameters()])

    one = weights(1)
    torch.manual_seed(7)
    assert torch.equal(one, weights(1))
    assert not torch.equal(one, weights(2))


@pytest.mark.parametrize(
    "sampler", [Quadratics(), Teachers(examples=20), Digits("train")], ids=lambda s: type(s).__name__
)
def test_problems_do_not_depend_on_how_many_are_drawn(sampler: il.data.Sampler) -> None:
    whole = sampler.draw(Generator().manual_seed(1), 5)
    generator = Generator().manual_seed(1)
    parts = [sampler.draw(generator, n) for n in (2, 3)]
    for i in range(2):
        for leaf in range(2):
            torch.testing.assert_close(whole[i][leaf], torch.cat([part[i][leaf] for part in parts]))


def test_digits_of_train_and_test_are_other_images() -> None:
    train_set, test_set = ({tuple(row.tolist()) for row in Digits(split).x} for split in ("train", "test"))
    assert len(train_set) > 880
    assert not train_set & test_set


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: LearnedOptimizer([nn.Parameter(torch.ones(1))], nn.Linear(1, 1)), "inner optimizer"),
        (lambda: LearnedOptimizer([nn.Parameter(torch.ones(1))], MLPRule(), lr=-1.0), "at least 0"),
        (lambda: LearnedOptimizer([nn.Parameter(torch.ones(1))], LearnedRates(["w"], lr=0.1)), "a rate for each"),
        (lambda: MLPRule(decays=(1.0,)), "below 1"),
        (lambda: MLPRule(scale=0.0), "scale"),
        (lambda: LSTMRule(bound=-1.0), "bound"),
        (lambda: TrainingRun(il.nets.mlp(1, 1), MLPRule(), steps=2, truncation=0), "truncation"),
        (lambda: TrainingRun(il.nets.mlp(1, 1), MLPRule(), steps=2, emphasis=-1.0), "emphasis"),
        (lambda: PES(torch.zeros, lambda theta, s: (s, s), windows=0), "windows"),
        (lambda: PES(torch.zeros, lambda theta, s: (s, s), windows=1, sigma=0.0), "sigma"),
        (lambda: train([], steps=1), "share|one rule"),
        (lambda: train([], steps=1, gradient="es"), "unknown"),
        (lambda: train([(TrainingRun(il.nets.mlp(10, 1), MLPRule(), steps=5, truncation=2), Quadratics())],
                       steps=1, gradient="pes"), "multiple"),
        (lambda: Quadratics(inputs=0), "inputs"),
        (lambda: Teachers(classes=1), "classes"),
        (lambda: Digits("val"), "split"),
        (lambda: Digits("train", side=3), "side"),
        (lambda: Digits("train", examples=2000), "examples"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(call: Callable[[], object], words: str) -> None:
    with pytest.raises(il.InputError, match=words):
        call()


def test_the_page_on_optimizers_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = Path(__file__).resolve().parent.parent / "docs" / "optimize.md"
    example = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)[0]
    exec(example.replace("steps=500", "steps=2"), {})
    assert float(capsys.readouterr().out.split()[-1]) < 1.5


def losses_seen(rule: il.inner.InnerOptimizer, start: float, steps: int) -> list[float]:
    """The losses of w^2 along a run by a rule that is told them."""
    w = {"w": torch.tensor([start])}
    memory, seen = rule.init(w), []
    for _ in range(steps):
        loss = w["w"].square().sum()
        seen.append(float(loss))
        w, memory = rule.update({"w": 2 * w["w"]}, w, rule.told(loss, memory))
    return seen


def test_a_guard_lets_a_good_rule_be_and_replaces_one_that_stalls_or_diverges() -> None:
    """Until the loss has not fallen for `patience` steps it is the rule, bit for bit, and from then on the other."""
    sound, good, stalls, blows = (il.inner.SGD(lr) for lr in (0.1, 0.2, 1.0, 1.2))
    guarded = functools.partial(il.optimizers.Guarded, patience=3, smoothing=0.0)
    assert losses_seen(guarded(good, sound), 1.0, 20) == losses_seen(good, 1.0, 20)
    # A rate of 1 goes from w to -w: the loss stands still.
    seen = losses_seen(guarded(stalls, sound), 1.0, 12)
    assert seen[:4] == [1.0] * 4
    assert seen[4:] == pytest.approx([0.8 ** (2 * k) for k in range(1, 9)])
    # It grows by 1.4^2 a step, for the three steps that the guard waits.
    seen = losses_seen(guarded(blows, sound), 1.0, 40)
    assert max(seen) == pytest.approx(1.4**6)
    assert seen[-1] < 0.01


def test_a_guard_takes_over_at_once_where_the_loss_is_not_finite() -> None:
    rule = il.optimizers.Guarded(il.inner.SGD(1e30), il.inner.SGD(0.1))
    memory = rule.init({"w": torch.ones(1)})
    assert not rule.told(torch.tensor(1.0), memory)["fallen"]
    assert rule.told(torch.tensor(math.inf), memory)["fallen"]


def test_a_guard_works_in_a_training_and_as_an_optimizer() -> None:
    """Over a batch of runs each has a guard of its own; as an optimizer it needs the loss."""
    rule = il.optimizers.Guarded(il.inner.SGD(50.0), il.inner.SGD(0.5), patience=2)
    run = il.optimizers.TrainingRun(il.nets.mlp(8, 16, 3), rule, steps=30, batch_size=20)
    problems = il.optimizers.Teachers(inputs=8, classes=3, examples=60)
    report = il.evaluate(run, problems, tasks=10)
    assert report.mean("accuracy") > 0.5
    net = nn.Linear(2, 1)
    optimizer = il.optimizers.LearnedOptimizer(net.parameters(), rule)
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0]])

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (net(x) - 1.0).square().mean()
        loss.backward()
        return loss

    for _ in range(60):
        optimizer.step(closure)
    assert float(closure().detach()) < 1e-3
    with pytest.raises(il.InputError, match="watches the loss: give step"):
        optimizer.step()


@pytest.mark.parametrize("options", [{"patience": 0}, {"least": 1.0}, {"smoothing": 1.0}], ids=str)
def test_what_no_guard_can_use_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(il.InputError, match="must"):
        il.optimizers.Guarded(il.inner.SGD(0.1), il.inner.SGD(0.1), **options)  # type: ignore[arg-type]
