"""Navigation in the plane: a point must find a goal that only the reward tells of.

The task of Finn, Abbeel, Levine (ICML 2017, https://arxiv.org/abs/1703.03400): goal ~ U(-0.5, 0.5)^2, start at the
origin, 100 steps, each coordinate of a step at most 0.1. **The reward is minus the distance to the goal after the
step**, as in their code; the paper's text names the square of the distance, which is another scale. An episode is done,
and costs nothing any more, once both coordinates are within 0.01 of the goal's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from innerloop.core.numbers import check_count

#: Steps of an episode, the longest step along a coordinate, and how near the goal is near enough.
HORIZON, STEP, NEAR = 100, 0.1, 0.01


class Trajectories(NamedTuple):
    """M episodes in one plane (or in each of T planes: a leading ``[T]``); n steps."""

    x: Tensor
    """Where each step began, ``[n, M, 2]``."""
    action: Tensor
    """What the policy asked for, in units of the longest step, before it was clipped, ``[n, M, 2]``."""
    reward: Tensor
    """Minus the distance to the goal after the step, 0 once done, ``[n, M]``."""
    alive: Tensor
    """1 where the step was taken, 0 once done, ``[n, M]``."""

    @property
    def returns(self) -> Tensor:
        """The sum of rewards of each episode, ``[M]``."""
        return self.reward.sum(-2)


def draw_goals(generator: Generator, tasks: int) -> Tensor:
    """Goals of T tasks, ``[T, 2]``.

    Raises:
        InputError: for fewer than one task.

    Example:
        >>> draw_goals(torch.Generator(), 3).shape
        torch.Size([3, 2])
    """
    check_count("tasks", tasks, 1)
    return torch.rand(tasks, 2, generator=generator, device=generator.device) - 0.5


def navigate(act: Callable[[Tensor, Tensor], Tensor], goal: Tensor, noise: Tensor) -> Trajectories:
    """Run M episodes in one plane; runs under ``vmap``.

    Args:
        act: from positions and noise, each ``[M, 2]``, to actions in units of the longest step.
        goal: ``[2]``.
        noise: the policy's, standard normal, ``[n, M, 2]``.

    Returns:
        the trajectories.

    Example:
        >>> stay = navigate(lambda x, noise: 0 * x, torch.tensor([0.3, 0.4]), torch.zeros(HORIZON, 1, 2))
        >>> round(float(stay.returns), 4)
        -50.0
    """
    x, alive = torch.zeros_like(noise[0]), torch.ones_like(noise[0, :, 0])
    rows = []
    for luck in noise:
        action = act(x, luck)
        after = x + STEP * action.clamp(-1, 1) * alive.unsqueeze(1)
        gap = after - goal
        rows.append((x, action, -gap.norm(dim=1) * alive, alive))
        x, alive = after, alive * (gap.abs().amax(1) >= NEAR).to(alive.dtype)
    return Trajectories(*map(torch.stack, zip(*rows, strict=True)))


def best_return(goals: Tensor) -> Tensor:
    """The largest return that anyone can have, exactly: each coordinate heads for the goal's at full speed.

    Args:
        goals: ``[T, 2]``.

    Returns:
        ``[T]``.

    Example:
        >>> best_return(torch.tensor([[0.25, 0.0]])).round(decimals=4)
        tensor([-0.2000])
    """
    steps = torch.arange(1, math.ceil(0.5 / STEP) + 1).to(goals).view(-1, 1, 1)
    gaps = (goals.abs() - STEP * steps).clamp(min=0)
    near = (gaps.amax(2) < NEAR).to(goals)
    done = torch.cat((torch.zeros_like(near[:1]), near[:-1])).cummax(0).values
    return -(gaps.norm(dim=2) * (1 - done)).sum(0)
