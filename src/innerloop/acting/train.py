"""The outer loop of agents: Adam on a policy-gradient objective, tasks and actions simulated anew each step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn

from innerloop.core.numbers import check_count, check_number
from innerloop.core.random import check_seed, generator
from innerloop.training.history import History
from innerloop.training.outer import Budget, OuterLoop, Update
from innerloop.training.schedule import schedule_factor

Objective = Callable[[Generator, float], tuple[Tensor, Tensor]]


def train(
    agent: nn.Module,
    objective: Objective,
    *,
    updates: int,
    lr: float,
    warmup: float = 0.03,
    clip: float = 1.0,
    seed: int = 0,
    progress: bool = False,
) -> History:
    """Meta-train an agent in place; the learning rate follows a cosine to 0.

    Args:
        agent: its parameters are trained.
        objective: from a step's generator and the share of the run that is done to the loss ``[]`` and the returns of
            the tasks ``[T]``.
        updates: outer steps.
        lr: learning rate of Adam.
        warmup: share of the run in which the rate rises from 0.
        clip: largest norm of the outer gradient.
        seed: of tasks and actions; the initial weights are the caller's.
        progress: show a bar.

    Returns:
        the history; its rows hold ``step``, ``loss``, ``lr`` and ``return``, the mean over the step's tasks. Ctrl-C
        ends the run after the step at hand (``stopped`` is then ``"interrupted"``).

    Raises:
        InputError: for fewer than 1 update, a rate or clip that is not positive, or a warm-up of the whole run.
        NonFiniteLoss: if the loss or its gradient is not finite.

    Example:
        >>> import innerloop.acting as acting
        >>> rl2 = acting.RL2(arms=2, pulls=3, hidden=8)
        >>> def objective(generator, done):
        ...     return rl2.loss(acting.Bandits.draw(generator, 4, arms=2, pulls=3), generator)
        >>> train(rl2, objective, updates=2, lr=1e-2).step
        2
    """
    check_count("updates", updates, 1)
    check_number("lr", lr, "(0, inf)")
    check_number("clip", clip, "(0, inf]")
    check_number("warmup, a share of the run,", warmup, "[0, 1)")
    check_seed(seed)

    def factor(done: float) -> float:
        # Half a step in, so that neither the first rate nor the last is 0.
        return schedule_factor("cosine", (round(done * updates) + 1) / (updates + 1), warmup)

    optimizer = torch.optim.Adam([p for p in agent.parameters() if p.requires_grad], lr=lr)
    history = History()
    with OuterLoop(
        Update(optimizer, factor=factor, clip=clip), Budget(steps=updates), history, progress=progress
    ) as loop:
        for step, done in loop:
            loss, returns = objective(generator(seed, "act", step), done)
            loss.backward()
            loop.take(float(loss.detach()), **{"return": float(returns.mean())})
    return history
