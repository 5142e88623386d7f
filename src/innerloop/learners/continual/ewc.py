"""Elastic weight consolidation (Kirkpatrick et al., PNAS 2017, https://arxiv.org/abs/1612.00796), in its online form.

A quadratic penalty holds each weight near its value after the last task, the more so the more the earlier tasks'
likelihoods depend on it (their Fisher information). No example is kept: choose it where none may be.
"""

from __future__ import annotations

from typing import NamedTuple, Unpack

import torch
from torch import Tensor, nn
from torch.func import grad, vmap

from innerloop.core.inner import Parameters
from innerloop.core.numbers import check_count, check_number
from innerloop.core.task import Examples
from innerloop.learners.continual.online import OnlineLearner, Steps


class Consolidated(NamedTuple):
    """Parameters, what holds them, and the task at hand so far."""

    parameters: Parameters
    anchor: Parameters
    """The parameters after the last finished task."""
    fisher: Parameters
    """Diagonal Fisher information of the finished tasks, decayed: how hard each parameter is held."""
    current: Parameters
    """Sum over the batches of the task at hand of their mean squared gradients."""
    batches: Tensor
    """Batches of the task at hand so far, int64 ``[]``."""


class EWC(OnlineLearner):
    """Elastic weight consolidation, online: one penalty for all finished tasks together.

    Args:
        net: any module ``[N, *F] -> [N, P]``.
        every: batches a task: after as many the learner consolidates, which is how it is told that a task ends.
        strength: factor lambda of the penalty ``lambda / 2 sum(F (theta - anchor)^2)``.
        decay: what is left of the earlier tasks' Fisher information when another task is finished.

    Example:
        >>> import torch, innerloop as il
        >>> learner = il.learners.EWC(torch.nn.Linear(3, 2), every=2)
        >>> batch = il.Examples(torch.rand(4, 3), torch.eye(2).repeat(2, 1))
        >>> state = learner.adapt(batch, learner.adapt(batch))
        >>> bool(state.anchor["weight"].equal(state.parameters["weight"]))
        True

    References:
        Kirkpatrick et al., *Overcoming Catastrophic Forgetting in Neural Networks*, PNAS 2017,
        https://arxiv.org/abs/1612.00796. Online form: Schwarz et al., *Progress & Compress*, ICML 2018,
        https://arxiv.org/abs/1805.06370.
    """

    def __init__(
        self, net: nn.Module, *, every: int, strength: float = 10.0, decay: float = 1.0, **options: Unpack[Steps]
    ) -> None:
        super().__init__(net, **options)
        check_count("every", every, 1)
        check_number("strength", strength, "[0, inf)")
        check_number("decay", decay, "[0, 1]")
        self.every, self.strength, self.decay = every, strength, decay

    def adapt(self, batch: Examples, state: Consolidated | None = None) -> Consolidated:  # noqa: D102
        if state is None:
            theta = self.start()
            zeros = {name: torch.zeros_like(p) for name, p in theta.items()}
            state = Consolidated(theta, theta, zeros, zeros, torch.zeros((), dtype=torch.int64))
        theta = state.parameters
        for _ in range(self.glances):
            theta = self.descend(theta, self.penalized(theta, batch, state))
        squares = self.fisher_of(theta, batch)
        current = {name: f + squares[name] for name, f in state.current.items()}
        batches = state.batches + 1
        if int(batches) < self.every:
            return state._replace(parameters=theta, current=current, batches=batches)
        fisher = {name: self.decay * f + current[name] / self.every for name, f in state.fisher.items()}
        zeros = {name: torch.zeros_like(p) for name, p in theta.items()}
        return Consolidated(theta, theta, fisher, zeros, torch.zeros_like(batches))

    def penalized(self, theta: Parameters, batch: Examples, state: Consolidated) -> Parameters:
        """The gradient of the batch's loss and of the penalty."""
        found = self.gradient(theta, batch)
        return {n: g + self.strength * state.fisher[n] * (theta[n] - state.anchor[n]) for n, g in found.items()}

    def fisher_of(self, theta: Parameters, batch: Examples) -> Parameters:
        """The empirical diagonal Fisher information: squared gradients of single examples, averaged over the batch."""

        def one(x: Tensor, y: Tensor) -> Parameters:
            return grad(self.loss_of)(theta, Examples(x.unsqueeze(0), y.unsqueeze(0)))

        return {name: g.square().mean(0) for name, g in vmap(one)(*batch).items()}
