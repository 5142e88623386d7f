"""The outer loop of agents: Adam on a policy-gradient objective, tasks and actions simulated anew each step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn

from innerloop.core.task import InputError
from innerloop.training.fit import NonFiniteLoss, _generator, schedule_factor
from innerloop.training.progress import progress_bar, stop_signal
from innerloop.training.store import History

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
        InputError: for fewer than 1 update, or a rate or clip that is not positive.
        NonFiniteLoss: if the loss is not finite.

    Example:
        >>> import innerloop.acting as acting
        >>> rl2 = acting.RL2(arms=2, pulls=3, hidden=8)
        >>> def objective(generator, done):
        ...     return rl2.loss(acting.Bandits.draw(generator, 4, arms=2, pulls=3), generator)
        >>> train(rl2, objective, updates=2, lr=1e-2).step
        2
    """
    if updates < 1 or not 0 < lr < math.inf or not clip > 0:
        raise InputError(f"updates={updates}, lr={lr}, clip={clip}: updates must be at least 1, lr and clip positive")
    parameters = [p for p in agent.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=lr)
    history, start = History(), time.monotonic()
    with stop_signal() as stopping, progress_bar(progress, updates, None) as bar:
        for step in range(updates):
            optimizer.param_groups[0]["lr"] = lr * schedule_factor("cosine", (step + 1) / (updates + 1), warmup)
            loss, returns = objective(_generator(seed, "act", step), step / updates)
            value = float(loss.detach())
            if not math.isfinite(value):
                raise NonFiniteLoss(f"the loss is {value} at step {step + 1}: lower the outer or the inner rate")
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, clip)
            optimizer.step()
            rate = float(optimizer.param_groups[0]["lr"])
            history.rows.append({"step": step + 1, "loss": value, "lr": rate, "return": float(returns.mean())})
            history.seconds = time.monotonic() - start
            bar((step + 1) / updates, value, history)
            if stopping.is_set():
                history.stopped = "interrupted"
                break
    optimizer.zero_grad()
    return history
