"""Learning to act: environments and baselines against exact values, RL^2 and policy-gradient MAML against gradients."""

from __future__ import annotations

import math
import re
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import Generator, Tensor
from torch.func import functional_call, vmap

import innerloop as il
from innerloop import acting
from innerloop.acting.maml import gains
from innerloop.acting.returns import advantages


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def mean_and_error(rewards: Tensor) -> tuple[float, float]:
    """The mean sum of rewards and its standard error."""
    total = rewards.sum(0)
    return float(total.mean()), float(total.std()) / math.sqrt(len(total))


def test_bandits_pay_by_their_probabilities_and_follow_the_seed() -> None:
    tasks = acting.Bandits.draw(seeded(), 400, arms=3, pulls=50)
    gap, variance = tasks.rewards.mean(0) - tasks.p, tasks.p * (1 - tasks.p) / 50
    assert abs(float(gap.sum())) < 4 * float(variance.sum().sqrt())
    assert float((gap**2).sum()) == pytest.approx(float(variance.sum()), rel=0.15)
    assert set(tasks.rewards.unique().tolist()) == {0.0, 1.0}
    again = acting.Bandits.draw(seeded(), 400, arms=3, pulls=50)
    assert torch.equal(tasks.rewards, again.rewards)
    few = acting.Bandits.draw(seeded(), 7, arms=3, pulls=50)
    assert torch.equal(few.rewards, tasks.rewards[:, :7])
    torch.testing.assert_close(tasks.best, 50 * tasks.p.max(1).values)


class Fixed(acting.IndexPlayer):
    """Always the last arm."""

    def index(self, wins: Tensor, losses: Tensor, left: int, generator: Generator) -> Tensor:
        return torch.arange(wins.shape[1]).expand_as(wins)


def test_a_player_gets_what_its_arms_pay() -> None:
    tasks = acting.Bandits.draw(seeded(), 5, arms=3, pulls=9)
    assert torch.equal(Fixed()(tasks, seeded()), tasks.rewards[:, :, 2])


def test_equal_indices_are_drawn_from_evenly() -> None:
    tasks = acting.Bandits(torch.rand(3000, 3), torch.eye(3)[[0]].expand(1, 3000, 3))
    share, error = mean_and_error(acting.Random()(tasks, seeded()))
    assert abs(share - 1 / 3) < 4 * error


@pytest.mark.parametrize(
    ("discount", "wins", "losses", "index"),
    [
        # Gittins, Glazebrook, Weber, "Multi-armed Bandit Allocation Indices", 2011, tables 8.1 and on.
        (0.5, 0, 0, 0.5590),
        (0.9, 0, 0, 0.7029),
        (0.9, 1, 0, 0.8001),
        (0.9, 0, 1, 0.5001),
        (0.9, 1, 1, 0.6346),
        (0.99, 0, 0, 0.8699),
    ],
)
def test_discounted_indices_are_the_tabled_ones(discount: float, wins: int, losses: int, index: float) -> None:
    assert float(acting.discounted_indices(discount, 2)[wins, losses]) == pytest.approx(index, abs=2e-4)


def stopping_value(wins: int, losses: int, left: int, payment: float) -> float:
    """Playing on at least once, then as long as it pays, naively."""

    def value(wins: int, losses: int, left: int) -> float:
        return max(left * payment, on(wins, losses, left)) if left else 0.0

    def on(wins: int, losses: int, left: int) -> float:
        p = (wins + 1) / (wins + losses + 2)
        return p * (1 + value(wins + 1, losses, left - 1)) + (1 - p) * value(wins, losses + 1, left - 1)

    return on(wins, losses, left)


def test_finite_indices_make_one_indifferent() -> None:
    """With the sure payment of its index a pull, an arm is worth giving up and playing on alike; and limits."""
    table = acting.finite_indices(7, points=1001)
    for wins, losses, left in ((0, 0, 7), (1, 0, 4), (2, 3, 2), (0, 4, 3)):
        index = float(table[left, wins, losses])
        assert stopping_value(wins, losses, left, index) == pytest.approx(left * index, abs=2e-5)
    assert float(table[1, 4, 2]) == pytest.approx(5 / 8, abs=1e-9)
    assert (table[2:8, 0, 0] > table[1:7, 0, 0]).all()


def optimal(arms: int, pulls: int) -> float:
    """The Bayes-optimal value, naively: no symmetry, no memory of states."""

    def value(counts: list[list[int]], left: int) -> float:
        if not left:
            return 0.0
        best = 0.0
        for wins_losses in counts:
            p = (wins_losses[0] + 1) / (sum(wins_losses) + 2)
            total = 0.0
            for outcome, chance in ((0, p), (1, 1 - p)):
                wins_losses[outcome] += 1
                total += chance * ((1 - outcome) + value(counts, left - 1))
                wins_losses[outcome] -= 1
            best = max(best, total)
        return best

    return value([[0, 0] for _ in range(arms)], pulls)


@pytest.mark.parametrize(("arms", "pulls"), [(1, 4), (2, 1), (2, 2), (2, 5), (3, 4)])
def test_exact_value_is_the_naive_one(arms: int, pulls: int) -> None:
    assert acting.bayes_value(arms, pulls) == pytest.approx(optimal(arms, pulls), rel=1e-12)


PLAYERS = {
    "random": acting.Random(),
    "greedy": acting.Greedy(),
    "ucb1": acting.UCB1(),
    "ucb1-tuned": acting.UCB1(0.2),
    "gittins": acting.Gittins(8),
    "gittins-discounted": acting.Gittins(8, discount=0.9),
}


@pytest.mark.parametrize("name", PLAYERS)
def test_no_player_passes_the_optimum_and_simulation_is_exact(name: str) -> None:
    """Exact value <= Bayes-optimal value; the simulated mean is the exact one."""
    exact = acting.bayes_value(2, 8, PLAYERS[name])
    assert exact <= acting.bayes_value(2, 8) + 1e-9
    mean, error = mean_and_error(PLAYERS[name](acting.Bandits.draw(seeded(1), 20000, arms=2, pulls=8), seeded()))
    assert abs(mean - exact) < 4 * error


def test_the_gittins_player_is_nearly_optimal() -> None:
    assert acting.bayes_value(2, 10, acting.Gittins(10)) > 0.9999 * acting.bayes_value(2, 10)


def test_baselines_in_their_order() -> None:
    """N = 100, k = 5, paired on the same arms; published: 78.3, 78.0, 74.8, 74.7."""
    tasks = acting.Bandits.draw(seeded(), 2000, arms=5, pulls=100)
    players = {
        "gittins": acting.Gittins(100),
        "ucb1": acting.UCB1(0.2),
        "greedy": acting.Greedy(),
        "thompson": acting.Thompson(),
        "ucb1-published-constant": acting.UCB1(),
        "random": acting.Random(),
    }
    sums = {name: player(tasks, seeded(1)).sum(0) for name, player in players.items()}
    means = [float(value.mean()) for value in sums.values()]
    assert means == sorted(means, reverse=True)
    assert il.paired(sums["gittins"].numpy(), sums["ucb1"].numpy()).interval[0] > 0
    assert means[0] == pytest.approx(78.6, abs=0.9)
    assert means[-1] == pytest.approx(50, abs=1.0)
    assert (tasks.best.mean() > sums["gittins"].mean()).item()


def test_thompson_draws_from_the_posterior() -> None:
    """Shares of pulls of two arms with known counts: P(Beta(4, 2) > Beta(2, 2)), by quadrature."""
    wins, losses = torch.tensor([3.0, 1.0]).expand(20000, 2), torch.tensor([1.0, 1.0]).expand(20000, 2)
    index = acting.Thompson().index(wins, losses, 1, seeded())
    grid = torch.linspace(0, 1, 20001, dtype=torch.float64)
    density = 20 * grid**3 * (1 - grid)
    below = 3 * grid**2 - 2 * grid**3
    share = float(torch.trapezoid(density * below, grid))
    assert float((index[:, 0] > index[:, 1]).double().mean()) == pytest.approx(share, abs=4 * 0.5 / math.sqrt(20000))


def test_advantages_are_the_sums_that_define_them() -> None:
    rewards, values = torch.randn(6, 3).double(), torch.randn(6, 3).double()
    discount, trace = 0.9, 0.7
    after = torch.cat((values[1:], torch.zeros(1, 3)))
    surprise = rewards + discount * after - values
    for t in range(6):
        wanted = sum((discount * trace) ** i * surprise[t + i] for i in range(6 - t))
        torch.testing.assert_close(advantages(rewards, values, discount, trace)[t], wanted)
    whole = advantages(rewards, values)
    torch.testing.assert_close(whole + values, rewards.flip(0).cumsum(0).flip(0))


def test_policy_gradient_is_the_exact_gradient_on_one_pull() -> None:
    """Two arms, one pull: the mean gradient is that of sum_a pi(a) p(a), times the advantages' deviation."""
    rl2 = acting.RL2(arms=2, pulls=1, hidden=4).double()
    with torch.no_grad():
        rl2.policy.bias.copy_(torch.tensor([0.3, -0.4]))
        # A critic that says 0: the advantages are the rewards, less their mean over the batch.
        for parameter in rl2.critic.parameters():
            parameter.zero_()
    arms = torch.tensor([[0.2, 0.9]], dtype=torch.float64)
    estimates = []
    for seed in range(60):
        tasks = acting.Bandits(arms.expand(400, 2), (torch.rand(1, 400, 2, generator=seeded(seed)) < arms).double())
        loss, _ = rl2.loss(tasks, seeded(100 + seed))
        pi = rl2.policy(rl2.play(tasks, seeded(100 + seed)).hidden[0, :1]).softmax(1)
        spread = 0.7 * (pi[0, 0] * pi[0, 1]).sqrt()
        estimates.append(torch.autograd.grad(loss, rl2.policy.bias)[0] * spread.detach())
    hidden = rl2.play(tasks, seeded()).hidden[0, :1].detach()
    exact = torch.autograd.grad(-(rl2.policy(hidden).softmax(1) * arms).sum(), rl2.policy.bias)[0]
    drawn = torch.stack(estimates)
    error = drawn.std(0) / math.sqrt(len(drawn))
    assert ((drawn.mean(0) - exact).abs() < 4 * error + 0.01 * exact.abs()).all()
    assert float(error.max()) < 0.1 * float(exact.abs().max())


def test_rl2_sees_only_the_past() -> None:
    """Other rewards from pull 5 on leave the first six states as they were, and change the seventh."""
    rl2 = acting.RL2(arms=3, pulls=10, hidden=8)
    tasks = acting.Bandits.draw(seeded(), 20, arms=3, pulls=10)
    other = tasks._replace(rewards=torch.cat((tasks.rewards[:5], 1 - tasks.rewards[5:])))
    first, second = (rl2.play(these, seeded(3)).hidden for these in (tasks, other))
    assert torch.equal(first[:6], second[:6])
    assert not torch.equal(first[6], second[6])


def test_a_gradient_reaches_every_parameter_of_rl2() -> None:
    rl2 = acting.RL2(arms=3, pulls=6, hidden=8)
    loss, returns = rl2.loss(acting.Bandits.draw(seeded(), 16, arms=3, pulls=6), seeded(), entropy=0.01)
    loss.backward()
    assert returns.shape == (16,)
    assert all(p.grad is not None and float(p.grad.abs().sum()) > 0 for p in rl2.parameters())


def test_rl2_learns_to_play_nearly_optimally() -> None:
    """N = 10, k = 2: from random play, 5, to near the Bayes-optimal value, 6.0218."""
    rl2 = acting.RL2(arms=2, pulls=10, hidden=16)
    tasks = acting.Bandits.draw(seeded(9), 20000, arms=2, pulls=10)
    before, _ = mean_and_error(rl2(tasks, seeded()))
    history = acting.train_rl2(rl2, pulls=10, updates=150, tasks=128)
    after, error = mean_and_error(rl2(tasks, seeded()))
    best = acting.bayes_value(2, 10)
    assert before < 5.3
    assert 5.85 < after < best + 4 * error
    assert history.step == 150


def test_training_follows_the_seed() -> None:
    def trained(seed: int) -> list[float]:
        torch.manual_seed(0)
        rl2 = acting.RL2(arms=2, pulls=4, hidden=6)
        return acting.train_rl2(rl2, pulls=4, updates=3, tasks=8, seed=seed).losses

    assert trained(1) == trained(1)
    assert trained(1) != trained(2)


def test_navigation_by_hand() -> None:
    """Clipped steps, distance after the step, done within 0.01 of both coordinates, nothing after."""
    goal = torch.tensor([0.25, 0.0], dtype=torch.float64)
    plan = iter([[5.0, 0.0], [1.0, 0.0], [0.5, 0.05], [9.0, 9.0]])
    seen = acting.navigate(lambda x, z: torch.tensor([next(plan)]).double(), goal, torch.zeros(4, 1, 2).double())
    torch.testing.assert_close(seen.x[:, 0], torch.tensor([[0, 0], [0.1, 0], [0.2, 0], [0.25, 0.005]]).double())
    torch.testing.assert_close(seen.reward[:, 0], torch.tensor([-0.15, -0.05, -0.005, 0.0]).double())
    assert seen.alive[:, 0].tolist() == [1, 1, 1, 0]
    torch.testing.assert_close(seen.returns, torch.tensor([-0.205]).double())


def test_best_return_is_that_of_the_straight_way_and_unbeaten() -> None:
    goals = acting.draw_goals(seeded(), 50).double()
    noise = torch.zeros(len(goals), 100, 1, 2).double()

    def run(goal: Tensor, noise: Tensor, way: float) -> Tensor:
        return acting.navigate(lambda x, z: way * (goal - x) / 0.1, goal, noise).returns[0]

    best = acting.best_return(goals)
    torch.testing.assert_close(vmap(run, in_dims=(0, 0, None))(goals, noise, 1.0), best)
    for way in (0.3, 0.8, 1.5):
        assert (vmap(run, in_dims=(0, 0, None))(goals, noise, way) <= best + 1e-9).all()
    stay = vmap(run, in_dims=(0, 0, None))(goals, noise, 0.0)
    torch.testing.assert_close(stay, -100 * goals.norm(dim=1))


def learner(width: int = 6, **options: object) -> acting.PolicyMAML:
    return acting.PolicyMAML(acting.GaussianPolicy(width=width), **options).double()


def test_inner_step_is_the_policy_gradient_by_hand() -> None:
    """Theta + lr mean(grad log pi * advantage), by autograd on a sum of log densities."""
    maml = learner(lr=0.3)
    goal = acting.draw_goals(seeded(), 1).double()
    seen = maml._roll(maml._repeated(1), goal, seeded(1), 5)
    one = acting.Trajectories(*(leaf[0] for leaf in seen))
    adapted = maml.adapt(one)
    gain = gains(one, maml.discount)
    theta = maml.initial()
    mean = functional_call(maml.policy, theta, (one.x,))
    normal = torch.distributions.Normal(mean, theta["log_scale"].exp())
    objective = (normal.log_prob(one.action).sum(-1) * gain * one.alive).sum() / one.alive.sum()
    for (name, value), gradient in zip(
        theta.items(), torch.autograd.grad(objective, list(theta.values())), strict=True
    ):
        torch.testing.assert_close(adapted[name], value + 0.3 * gradient)


def test_advantages_of_episodes_are_standardized_where_they_live() -> None:
    maml = learner()
    maml.policy.log_scale.data.fill_(-1.5)
    seen = maml._roll(maml._repeated(1), torch.tensor([[0.03, 0.01]]).double(), seeded(1), 30)
    one = acting.Trajectories(*(leaf[0] for leaf in seen))
    assert 0 < float(one.alive.sum()) < one.alive.numel()
    gain = gains(one, 0.97)
    live = gain[one.alive > 0]
    assert not gain[one.alive == 0].any()
    assert float(live.mean()) == pytest.approx(0, abs=1e-9)
    assert float(live.std(correction=0)) == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize("first_order", [False, True])
def test_meta_gradient_by_differences(first_order: bool) -> None:
    """Of the surrogate after the inner step, episodes and advantages fixed; first order: inner gradients too."""
    maml = learner(width=3, lr=0.2, first_order=first_order)
    goal = acting.draw_goals(seeded(), 1).double()
    before, after = (
        acting.Trajectories(*(leaf[0] for leaf in maml._roll(maml._repeated(1), goal, seeded(s), 4))) for s in (1, 2)
    )
    gain, fixed_log_prob = gains(after, maml.discount), maml.log_prob(maml.adapt(before), after).detach()
    base = maml.log_prob(maml.initial(), before).detach()
    gain_before = gains(before, maml.discount)
    frozen = maml.adapt(before)
    steps = {name: (frozen[name] - value).detach() for name, value in maml.initial().items()}

    def outer(theta: dict[str, Tensor]) -> Tensor:
        """Naively: ratios to the densities of the episodes' own policies."""

        def inner(phi: dict[str, Tensor]) -> Tensor:
            ratio = (maml.log_prob(phi, before) - base).exp()
            return -(ratio * gain_before * before.alive).sum() / before.alive.sum()

        if first_order:
            phi = {name: value + steps[name] for name, value in theta.items()}
        else:
            phi = {name: theta[name] - 0.2 * g for name, g in torch.func.grad(inner)(theta).items()}
        ratio = (maml.log_prob(phi, after) - fixed_log_prob).exp()
        return -(ratio * gain * after.alive).sum() / after.alive.sum()

    theta = {name: value.detach() for name, value in maml.initial().items()}
    maml.surrogate(maml.adapt(before), after, gain).backward()
    size = 1e-5
    for name, parameter in maml.policy.named_parameters():
        for place in product(*map(range, theta[name].shape)):
            ends = []
            for sign in (1, -1):
                moved = theta[name].clone()
                moved[place] += sign * size
                ends.append(float(outer({**theta, name: moved})))
            assert float(parameter.grad[place]) == pytest.approx((ends[0] - ends[1]) / (2 * size), rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("options", [{}, {"first_order": True}, {"adapts": "head"}, {"learn_lr": True}], ids=str)
def test_outer_gradient_is_finite_and_reaches_every_parameter(options: dict[str, object]) -> None:
    maml = learner(**options)
    loss, returns = maml.loss(acting.draw_goals(seeded(), 3).double(), seeded(), episodes=4)
    loss.backward()
    assert returns.shape == (3,)
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in maml.parameters())


def test_the_head_alone_moves_under_anil() -> None:
    maml = learner(adapts="head")
    seen = maml._roll(maml._repeated(1), acting.draw_goals(seeded(), 1).double(), seeded(1), 3)
    adapted = maml.adapt(acting.Trajectories(*(leaf[0] for leaf in seen)))
    moved = {name for name, value in maml.initial().items() if not torch.equal(value, adapted[name])}
    assert moved == {"mean.4.weight", "mean.4.bias"}


def test_returns_of_a_batch_are_those_of_its_tasks() -> None:
    """Vmap = loop: each task adapts to its own episodes."""
    maml = learner()
    goals = acting.draw_goals(seeded(), 3).double()
    together = maml.returns(goals, seeded(5), steps=1, episodes=4)
    generator = seeded(5)
    noise = [torch.randn(3, 100, 4, 2, generator=generator).double() for _ in range(2)]
    for task, goal in enumerate(goals):
        theta = maml.initial()
        for step in range(2):

            def act(x: Tensor, z: Tensor, phi: dict[str, Tensor] = theta) -> Tensor:
                return maml.act(phi, x, z)

            with torch.no_grad():
                seen = acting.navigate(act, goal, noise[step][task])
            assert float(seen.returns.mean()) == pytest.approx(float(together[step][task]), rel=1e-8)
            theta = maml.adapt(seen, theta)


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: acting.Bandits.draw(Generator(), 0, arms=2, pulls=3), "at least 1"),
        (lambda: acting.Greedy(1.5), "probability"),
        (lambda: acting.UCB1(-1.0), "at least 0"),
        (lambda: acting.discounted_indices(1.0, 3), "discount"),
        (lambda: acting.finite_indices(0), "at least 1"),
        (lambda: acting.bayes_value(5, 100), "too many states"),
        (lambda: acting.RL2(arms=1, pulls=3), "arms is 1"),
        (lambda: acting.RL2(2, 3)(acting.Bandits.draw(Generator(), 2, arms=3, pulls=3), Generator()), "made for 2"),
        (lambda: acting.PolicyMAML(acting.GaussianPolicy(), adapts="elbow"), "adapts='elbow' matches no"),
        (lambda: acting.PolicyMAML(acting.GaussianPolicy(), lr=-1.0), "learning rate"),
        (lambda: acting.PolicyMAML(acting.GaussianPolicy(), discount=0.0), "discount"),
        (lambda: acting.draw_goals(Generator(), 0), "at least 1"),
        (lambda: acting.train_rl2(acting.RL2(2, 3), pulls=3, updates=0), "updates"),
    ],
)
def test_bad_input_is_refused(make: object, word: str) -> None:
    with pytest.raises(il.InputError, match=word):
        make()


def test_a_loss_that_is_not_finite_stops_the_run() -> None:
    rl2 = acting.RL2(2, 3)
    with torch.no_grad():
        rl2.critic[0].weight.fill_(math.inf)
    with pytest.raises(il.training.NonFiniteLoss, match="step 1"):
        acting.train_rl2(rl2, pulls=3, updates=2, tasks=4)


def test_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """docs/acting.md, block after block; only the budgets become short."""
    page = (Path(__file__).resolve().parent.parent / "docs" / "acting.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    code = "\n".join(blocks).replace("updates=150", "updates=2").replace("updates=3", "updates=1")
    exec(code, {})
    assert "optimum 6.02" in capsys.readouterr().out
