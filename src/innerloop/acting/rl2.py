"""RL^2 (Duan, Schulman, Chen, Bartlett, Sutskever, Abbeel, 2016, https://arxiv.org/abs/1611.02779).

A recurrent policy reads its own last action and what it paid; trained by an ordinary policy gradient over many tasks,
its hidden state becomes the learning algorithm: adapting to a task is running the network, no gradient is taken. Choose
it where episodes are short and simulation is cheap.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn

from innerloop.acting.bandits import Bandits
from innerloop.acting.returns import advantages
from innerloop.acting.train import train
from innerloop.core.numbers import check_count
from innerloop.core.task import InputError
from innerloop.nets import mlp
from innerloop.training.history import History


class Played(NamedTuple):
    """What happened, and what the policy thought of it: n pulls of T tasks."""

    hidden: Tensor
    """Before each pull, ``[n, T, H]``."""
    logits: Tensor
    """Of the arms, ``[n, T, k]``."""
    arms: Tensor
    """The arms pulled, ``[n, T]``."""
    rewards: Tensor
    """What they paid, ``[n, T]``."""


class RL2(nn.Module):
    """A recurrent bandit player, a player like any other: ``rl2(bandits, generator) -> rewards [n, T]``.

    Its input is the raw history: the last action (one-hot), that row times its reward, whether there was a last action
    (the paper's *done*: each pull is an episode of its own), and the share of pulls that are left.

    Args:
        arms: k.
        pulls: n that it is meant for: its memory begins as long as a task. It plays any number.
        hidden: size H of the GRU's state.

    Raises:
        InputError: for fewer than 2 arms, or 1 pull or hidden unit.

    Example:
        >>> import innerloop.acting as acting
        >>> rl2 = acting.RL2(arms=5, pulls=10, hidden=16)
        >>> rl2(acting.Bandits.draw(torch.Generator(), 3, arms=5, pulls=10), torch.Generator()).shape
        torch.Size([10, 3])
    """

    def __init__(self, arms: int, pulls: int, hidden: int = 64) -> None:
        super().__init__()
        for name, value, least in (("arms", arms, 2), ("pulls", pulls, 1), ("hidden", hidden, 1)):
            check_count(name, value, least)
        self.arms = arms
        self.cell = nn.GRUCell(2 * arms + 2, hidden)
        self.policy = nn.Linear(hidden, arms)
        # It serves training alone, so it may see the arms' p: a baseline need only not depend on the action.
        self.critic = mlp(hidden + arms + 1, hidden, 1)
        with torch.no_grad():
            self.policy.weight.mul_(0.1)
            # Counting takes a long memory: units begin with memories of 1 to n pulls (Tallec, Ollivier, ICLR 2018).
            gates = slice(hidden, 2 * hidden)
            self.cell.bias_hh[gates] = 0.0
            self.cell.bias_ih[gates] = torch.empty(hidden).uniform_(1, pulls).log()

    def play(self, bandits: Bandits, generator: Generator) -> Played:
        """Play T tasks of n pulls; a gradient passes through the hidden states."""
        n, tasks, arms = bandits.rewards.shape
        if arms != self.arms:
            raise InputError(f"the bandits have {arms} arms, this player was made for {self.arms}: make another one")
        like = self.policy.weight
        luck = torch.rand(n, tasks, 1, generator=generator, device=generator.device).to(like)
        hidden = like.new_zeros(tasks, self.cell.hidden_size)
        last = like.new_zeros(tasks, 2 * arms + 1)
        rows = []
        for t, rewards in enumerate(bandits.rewards.to(like)):
            hidden = self.cell(torch.cat((last, like.new_full((tasks, 1), 1 - t / n)), 1), hidden)
            with torch.no_grad():
                edges = self.policy(hidden).softmax(1).cumsum(1)[:, :-1]
                arm = (luck[t] > edges).sum(1, keepdim=True)
                reward = rewards.gather(1, arm)
                row = like.new_zeros(tasks, arms).scatter(1, arm, 1.0)
                last = torch.cat((row, row * reward, torch.ones_like(reward)), 1)
            rows.append((hidden, arm.squeeze(1), reward.squeeze(1)))
        states, pulled, paid = map(torch.stack, zip(*rows, strict=True))
        return Played(states, self.policy(states), pulled, paid)

    @torch.no_grad()
    def forward(self, bandits: Bandits, generator: Generator) -> Tensor:
        """Play, for the rewards ``[n, T]``."""
        return self.play(bandits, generator).rewards

    def loss(
        self, bandits: Bandits, generator: Generator, *, entropy: float = 0.0, trace: float = 0.95
    ) -> tuple[Tensor, Tensor]:
        """The outer objective: its gradient is the policy gradient (advantage actor-critic).

        The policy sees the rewards that were drawn, its gradient their expectation p: in a simulation it is known, and
        the same on average with less noise.

        Args:
            bandits: T tasks.
            generator: of the actions.
            entropy: weight of the entropy bonus.
            trace: lambda of the advantages.

        Returns:
            the loss, ``[]``, and the sum of rewards of each task, ``[T]``.
        """
        played = self.play(bandits, generator)
        p = bandits.p.to(played.rewards)
        n, tasks = played.rewards.shape
        left = torch.linspace(1, 1 / n, n).to(p).view(n, 1, 1).expand(n, tasks, 1)
        features = torch.cat((played.hidden, p.expand(n, tasks, self.arms), left), 2)
        # The critic's unit is the mean reward of the pulls that are left, so that its targets are alike at every time.
        values = self.critic(features).squeeze(2) * left.squeeze(2)
        with torch.no_grad():
            paid = p.expand(n, tasks, self.arms).gather(2, played.arms.unsqueeze(2)).squeeze(2) / n
            gain = advantages(paid, values, trace=trace)
            target = gain + values
            gain = (gain - gain.mean()) / (gain.std(correction=0) + 1e-8)
        log_policy = played.logits.log_softmax(2)
        chosen = log_policy.gather(2, played.arms.unsqueeze(2)).squeeze(2)
        surprise = -(log_policy.exp() * log_policy).sum(2)
        miss = ((values - target) / left.squeeze(2)) ** 2
        loss = -(gain * chosen).mean() - entropy * surprise.mean() + miss.mean()
        return loss, played.rewards.sum(0)


def train_rl2(
    rl2: RL2,
    *,
    pulls: int,
    updates: int,
    tasks: int = 256,
    lr: float = 2e-2,
    entropy: float = 0.02,
    seed: int = 0,
    progress: bool = False,
) -> History:
    """Meta-train on new bandits each step (see :func:`innerloop.acting.train`); the entropy bonus falls to 0.

    Args:
        rl2: trained in place.
        pulls: n of each task.
        updates: outer steps.
        tasks: T of each step.
        lr: learning rate of Adam.
        entropy: weight of the entropy bonus at the start.
        seed: of tasks and actions.
        progress: show a bar.

    Returns:
        the history; ``return`` is the mean sum of rewards.

    Example:
        >>> import innerloop.acting as acting
        >>> train_rl2(acting.RL2(arms=2, pulls=3, hidden=8), pulls=3, updates=2, tasks=4).step
        2
    """

    def objective(generator: Generator, done: float) -> tuple[Tensor, Tensor]:
        bandits = Bandits.draw(generator, tasks, arms=rl2.arms, pulls=pulls)
        return rl2.loss(bandits, generator, entropy=entropy * (1 - done))

    return train(rl2, objective, updates=updates, lr=lr, seed=seed, progress=progress)
