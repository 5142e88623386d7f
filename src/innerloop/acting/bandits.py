"""Bernoulli bandits, many at a time, and the players that need no training.

A task is k arms with win probabilities p ~ U(0, 1). A player has n pulls and wants the largest sum of rewards. What
each arm *would* pay at each pull is drawn with the task, so players meet the same luck and are compared in pairs.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from innerloop.core.numbers import check_count, check_number


class Bandits(NamedTuple):
    """A batch of T bandits with k arms and n pulls.

    Args:
        p: the win probability of each arm, ``[T, k]``.
        rewards: what each arm pays at each pull, 0 or 1, ``[n, T, k]``.
    """

    p: Tensor
    rewards: Tensor

    @staticmethod
    def draw(generator: Generator, tasks: int, *, arms: int, pulls: int) -> Bandits:
        """Draw tasks with p ~ U(0, 1).

        Args:
            generator: the source of all that is random.
            tasks: T.
            arms: k.
            pulls: n.

        Raises:
            InputError: for fewer than one of any.

        Example:
            >>> Bandits.draw(torch.Generator(), 3, arms=5, pulls=100).rewards.shape
            torch.Size([100, 3, 5])
        """
        for name, value in (("tasks", tasks), ("arms", arms), ("pulls", pulls)):
            check_count(name, value, 1)
        # One row of numbers a task: the tasks of a batch do not depend on how many others are drawn after them.
        u = torch.rand(tasks, 1 + pulls, arms, generator=generator, device=generator.device)
        p = u[:, 0]
        return Bandits(p, (u[:, 1:] < p.unsqueeze(1)).to(p.dtype).transpose(0, 1))

    @property
    def best(self) -> Tensor:
        """The expected sum of rewards of who knows the arms, ``[T]``."""
        return len(self.rewards) * self.p.amax(1)


class IndexPlayer(ABC):
    """Pulls the arm with the largest index; equal ones are drawn from at random."""

    @abstractmethod
    def index(self, wins: Tensor, losses: Tensor, left: int, generator: Generator) -> Tensor:
        """How much each arm is wanted.

        Args:
            wins: pulls of each arm that paid, ``[T, k]``.
            losses: pulls that did not, ``[T, k]``.
            left: pulls that are left, this one included.
            generator: for players that draw.

        Returns:
            ``[T, k]``.
        """

    def __call__(self, bandits: Bandits, generator: Generator) -> Tensor:
        """Play.

        Args:
            bandits: T tasks of n pulls.
            generator: for equal indices, and players that draw.

        Returns:
            the rewards, ``[n, T]``.
        """
        wins, losses = torch.zeros_like(bandits.p), torch.zeros_like(bandits.p)
        paid = []
        for t, rewards in enumerate(bandits.rewards):
            index = self.index(wins, losses, len(bandits.rewards) - t, generator)
            luck = torch.rand(index.shape, generator=generator, device=index.device)
            arm = luck.masked_fill(index < index.amax(1, keepdim=True), -1.0).argmax(1, keepdim=True)
            reward = rewards.gather(1, arm)
            wins = wins.scatter_add(1, arm, reward)
            losses = losses.scatter_add(1, arm, 1 - reward)
            paid.append(reward.squeeze(1))
        return torch.stack(paid)


def posterior_mean(wins: Tensor, losses: Tensor) -> Tensor:
    """The mean of p after a uniform prior: Laplace's rule of succession."""
    return (wins + 1) / (wins + losses + 2)


class Random(IndexPlayer):
    """Every arm is as good as another."""

    def index(self, wins: Tensor, losses: Tensor, left: int, generator: Generator) -> Tensor:  # noqa: D102
        return torch.zeros_like(wins)


class Greedy(IndexPlayer):
    """The arm with the best posterior mean; with probability ``epsilon`` any arm.

    Args:
        epsilon: probability of a random arm; 0 for the greedy player.

    Raises:
        InputError: if it is no probability.

    Example:
        >>> tasks = Bandits.draw(torch.Generator().manual_seed(0), 1000, arms=5, pulls=100)
        >>> 73 < float(Greedy()(tasks, torch.Generator()).sum(0).mean()) < 77
        True
    """

    def __init__(self, epsilon: float = 0.0) -> None:
        check_number("epsilon, a probability,", epsilon, "[0, 1]")
        self.epsilon = epsilon

    def index(self, wins: Tensor, losses: Tensor, left: int, generator: Generator) -> Tensor:  # noqa: D102
        explores = torch.rand(len(wins), 1, generator=generator, device=wins.device) < self.epsilon
        return posterior_mean(wins, losses).masked_fill(explores, 0.0)


class Thompson(IndexPlayer):
    """The arm that is best in one draw from the posterior, Beta(1 + wins, 1 + losses).

    References:
        Thompson, *On the Likelihood that One Unknown Probability Exceeds Another*, Biometrika, 1933.
    """

    def index(self, wins: Tensor, losses: Tensor, left: int, generator: Generator) -> Tensor:  # noqa: D102
        # A Beta is a share of two Gammas; this sampler of torch is the one that takes a generator.
        first, second = (torch._standard_gamma(count + 1, generator=generator) for count in (wins, losses))
        return first / (first + second)


class UCB1(IndexPlayer):
    """The arm with the highest upper confidence bound, mean + c sqrt(2 ln t / pulls); each arm is pulled once first.

    Args:
        c: factor of the bonus. 1 is the published rule, whose regret is bounded for any rewards in [0, 1]; about 0.2
            is best for 100 pulls of such arms (the RL^2 paper tunes it too).

    Raises:
        InputError: if c is negative or not finite.

    References:
        Auer, Cesa-Bianchi, Fischer, *Finite-time Analysis of the Multiarmed Bandit Problem*, Machine Learning, 2002,
        https://doi.org/10.1023/A:1013689704352.
    """

    def __init__(self, c: float = 1.0) -> None:
        check_number("the factor of UCB1's bonus", c, "[0, inf)")
        self.c = c

    def index(self, wins: Tensor, losses: Tensor, left: int, generator: Generator) -> Tensor:  # noqa: D102
        pulls = wins + losses
        total = pulls.sum(1, keepdim=True).clamp(min=1)
        bound = wins / pulls.clamp(min=1) + self.c * (2 * total.log() / pulls.clamp(min=1)).sqrt()
        return bound.masked_fill(pulls == 0, math.inf)
