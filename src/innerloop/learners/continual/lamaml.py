"""C-MAML and La-MAML (Gupta, Yadav, Paull, NeurIPS 2020, https://arxiv.org/abs/2007.13904).

Look ahead: take one inner step for each example of the new batch, then move the start so that the loss after these
steps falls on the batch *and* on remembered examples, which aligns their gradients. La-MAML also learns a rate for each
parameter, online, and skips those whose rate turned negative. Choose it where replay alone forgets and a few times its
compute is at hand.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Unpack

import torch
from torch import nn
from torch.func import vmap

from innerloop.core.inner import Parameters
from innerloop.core.numbers import check_number
from innerloop.core.task import Examples, join
from innerloop.learners.continual.online import Kept, Memory, Replay, ReplayLearner


def clip_norm(gradient: Parameters, limit: float) -> Parameters:
    """The gradient, scaled so that the norm of all its parts together is at most ``limit``.

    Example:
        >>> clip_norm({"w": torch.tensor([3.0, 4.0])}, 1.0)
        {'w': tensor([0.6000, 0.8000])}
    """
    # Not get_total_norm: its kernel for many tensors has no batching rule.
    norm = torch.stack([g.norm() for g in gradient.values()]).norm()
    scale = (limit / norm.clamp(min=1e-12)).clamp(max=1.0)
    return {name: g * scale for name, g in gradient.items()}


class Ahead(Kept, total=False):
    """The options of :class:`LookAhead`, but for the rates."""

    clip: float


class LookAhead(ReplayLearner):
    """What both share: the inner steps, and the gradient of the loss after them.

    Args:
        inner_lr: rate of the inner steps, or what it starts from.
        clip: bound of each entry of an inner gradient, and of the norm of an outer one.
        replay: how many examples of the memory the outer loss sees beside the batch.
        glances: outer steps on each batch.
    """

    def __init__(self, net: nn.Module, *, inner_lr: float, clip: float = 2.0, **options: Unpack[Replay]) -> None:
        super().__init__(net, **options)
        for name, value in (("inner_lr", inner_lr), ("clip", clip)):
            check_number(name, value, "(0, inf)")
        self.inner_lr, self.clip = inner_lr, clip

    def outer(
        self, theta: Parameters, rates: Parameters, batch: Examples, replayed: Examples
    ) -> tuple[Parameters, Parameters]:
        """Look ahead, and the clipped gradients with respect to theta and the rates.

        Of the loss on batch and memory, averaged over the points after one, two, ... inner steps, as the authors' code
        has it; the algorithm's last point alone hardly moves a network that has not learned anything yet.
        """
        phi, path = theta, {name: torch.zeros_like(p) for name, p in theta.items()}
        points, paths = [], []
        for x, y in zip(batch.x.split(1), batch.y.split(1), strict=True):
            gradient = self.gradient(phi, Examples(x, y))
            gradient = {name: g.clamp(-self.clip, self.clip) for name, g in gradient.items()}
            phi = {name: p - rates[name] * gradient[name] for name, p in phi.items()}
            path = {name: p + gradient[name] for name, p in path.items()}
            points.append(phi)
            paths.append(path)
        found = vmap(self.gradient, (0, None))(_stacked(points), join(replayed, batch))
        # phi = theta - rates * path; the inner gradients count as constants, as in the paper.
        by_rates = {name: -(found[name] * p).mean(0) for name, p in _stacked(paths).items()}
        by_theta = {name: g.mean(0) for name, g in found.items()}
        return clip_norm(by_theta, self.clip), clip_norm(by_rates, self.clip)


def _stacked(several: list[Parameters]) -> Parameters:
    return {name: torch.stack([one[name] for one in several]) for name in several[0]}


class CMAML(LookAhead):
    """Continual MAML: look-ahead with fixed rates.

    Args:
        net: any module ``[N, *F] -> [N, P]``.
        inner_lr: rate of the inner steps.
        lr: rate of the outer step.

    Example:
        >>> import torch, innerloop as il
        >>> learner = il.learners.CMAML(torch.nn.Linear(3, 2), inner_lr=0.1, lr=0.1)
        >>> learner.adapt(il.Examples(torch.rand(4, 3), torch.eye(2).repeat(2, 1))).parameters["weight"].shape
        torch.Size([2, 3])

    References:
        Gupta, Yadav, Paull, *La-MAML: Look-ahead Meta Learning for Continual Learning*, NeurIPS 2020,
        https://arxiv.org/abs/2007.13904, algorithm 1.
    """

    def __init__(self, net: nn.Module, *, inner_lr: float = 0.1, lr: float = 0.05, **options: Unpack[Ahead]) -> None:
        super().__init__(net, inner_lr=inner_lr, lr=lr, **options)

    def step(self, parameters: Parameters, batch: Examples, replayed: Examples) -> Parameters:  # noqa: D102
        rates = {name: torch.full_like(p, self.inner_lr) for name, p in parameters.items()}
        by_theta, _ = self.outer(parameters, rates, batch, replayed)
        return self.descend(parameters, by_theta)


class LookAheadState(NamedTuple):
    """Parameters, their learned rates, and the memory."""

    parameters: Parameters
    rates: Parameters
    memory: Memory


class LaMAML(LookAhead):
    """Look-ahead MAML: a rate for each number of the network, learned online; it serves both inner and outer steps.

    The inner gradients are clipped for good here; in the authors' first code the clipped values were not assigned.

    Args:
        net: any module ``[N, *F] -> [N, P]``.
        inner_lr: what every rate starts from.
        lr: learning rate of the rates.

    Example:
        >>> import torch, innerloop as il
        >>> learner = il.learners.LaMAML(torch.nn.Linear(3, 2), memory=20)
        >>> learner.adapt(il.Examples(torch.rand(4, 3), torch.eye(2).repeat(2, 1))).rates["bias"].shape
        torch.Size([2])

    References:
        Gupta, Yadav, Paull, *La-MAML: Look-ahead Meta Learning for Continual Learning*, NeurIPS 2020,
        https://arxiv.org/abs/2007.13904, algorithm 2.
    """

    def __init__(self, net: nn.Module, *, inner_lr: float = 0.15, lr: float = 0.3, **options: Unpack[Ahead]) -> None:
        super().__init__(net, inner_lr=inner_lr, lr=lr, **options)

    def adapt(self, batch: Examples, state: Any = None) -> Any:  # noqa: D102
        if state is None:
            theta = self.start()
            alpha = {name: torch.full_like(p, self.inner_lr) for name, p in theta.items()}
            state = LookAheadState(theta, alpha, Memory.empty(self.memory, batch))
        theta, alpha, memory = state
        generator = self.generator(memory.seen)
        for _ in range(self.glances):
            rates = {name: a.relu() for name, a in alpha.items()}
            by_theta, by_rates = self.outer(theta, rates, batch, memory.draw(self.replay, generator))
            alpha = self.descend(alpha, {name: g * (alpha[name] > 0) for name, g in by_rates.items()})
            # The step itself already uses the new rates.
            theta = {name: p - alpha[name].relu() * by_theta[name] for name, p in theta.items()}
        return LookAheadState(theta, alpha, memory.offer(batch, generator))
