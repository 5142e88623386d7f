"""Reptile (Nichol, Achiam, Schulman, 2018, https://arxiv.org/abs/1803.02999).

Train on a task for a few steps, then move the initialization towards where that led. No second derivatives, no query
set, memory independent of the number of steps; it wants many more tasks than MAML.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from innerloop.core.inner import SGD, Adam, CarriedAdam, Groups, InnerOptimizer
from innerloop.core.lazy import check_materialized
from innerloop.core.likelihood import Likelihood
from innerloop.core.task import InputError, Task
from innerloop.learners.optimization.adapting import names
from innerloop.learners.optimization.gradient import GradientLearner


class Reptile(GradientLearner):
    """Reptile: the outer loss is half the squared distance to the adapted parameters.

    Its gradient is exactly theta - phi, so outer SGD with rate epsilon is the published update
    ``theta <- theta + epsilon (mean(phi) - theta)``. It learns from the support set alone: draw tasks with
    ``queries=0``.

    Args:
        net: any module ``[N, *F] -> [N, P]``.
        steps: inner steps k.
        lr: learning rate of the inner optimizer; ignored if ``inner`` is given.
        optimizer: ``"Adam"`` (betas 0 and 0.999, as published) or ``"SGD"``.
        carry: whether Adam knows from earlier tasks how large gradients are, as in the authors' code (see
            :class:`innerloop.inner.CarriedAdam`): that is learned with the initial parameters, and kept with them. If
            not, it starts afresh with each task, and its first steps move every parameter by the whole rate, however
            small its gradient.
        head_lr: rate of the last layer, or of the shared head; default ``lr``; ignored if ``inner`` is given. With few
            inner steps a larger one gives the body gradients that mean something earlier.
        test_steps: inner steps outside training; default ``steps``.
        batch_size: support examples an inner step sees, in turn; ``None`` for all.
        inner: an inner optimizer in place of Adam.
        shared_head: name of a final one-output layer repeated for each class.
        likelihood: default :class:`~innerloop.Categorical`; ``Gaussian(scale=1.0)`` for regression by squared error.

    Example:
        >>> import innerloop as il
        >>> il.Reptile(il.nets.mlp(1, 40, 1), steps=5, lr=0.01, likelihood=il.Gaussian(scale=1.0)).first_order
        True

    References:
        Nichol, Achiam, Schulman, *On First-Order Meta-Learning Algorithms*, 2018, https://arxiv.org/abs/1803.02999.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        steps: int = 5,
        lr: float = 1e-3,
        optimizer: Literal["Adam", "SGD"] = "Adam",
        carry: bool = True,
        head_lr: float | None = None,
        test_steps: int | None = None,
        batch_size: int | None = None,
        inner: InnerOptimizer | None = None,
        shared_head: str | None = None,
        likelihood: Likelihood | None = None,
    ) -> None:
        if optimizer not in ("Adam", "SGD"):
            raise InputError(f"inner optimizer {optimizer!r} is unknown; choose 'Adam' or 'SGD', or pass inner=")
        # What is carried has the shapes of the parameters.
        check_materialized(net)
        super().__init__(
            net,
            inner=inner or _rule(net, lr, head_lr, optimizer if optimizer == "SGD" or not carry else None, shared_head),
            steps=steps,
            test_steps=test_steps,
            first_order=True,
            batch_size=batch_size,
            shared_head=shared_head,
            likelihood=likelihood,
        )

    def loss(self, task: Task) -> Tensor:  # noqa: D102
        theta = self.initial(task.support.y.shape[1])
        with torch.no_grad():
            # No query is asked, so nothing is normalized by the support set's statistics.
            for phi, memory in self.walk(task.support, None):  # noqa: B007
                pass
        # The copies of a shared row move it to their mean, as the copies of all else in different tasks do.
        copies = {k: len(p) if k in self.shared else 1 for k, p in theta.items()}
        distance = sum(((theta[k] - phi[k]) ** 2).sum() / (2 * copies[k]) for k in theta)
        if isinstance(self.inner, CarriedAdam):
            start = self.inner.start(theta)
            carried = sum(((start[k] - memory["second"][k]) ** 2).sum() / (2 * copies[k]) for k in theta)
            carried = carried + (self.inner.weight - memory["weight"]) ** 2 / 2
            # It has a gradient, and is no part of what the loss says.
            distance = distance + (carried - carried.detach())
        return distance  # type: ignore[return-value]


def _rule(
    net: nn.Module, lr: float, head_lr: float | None, afresh: str | None, shared_head: str | None
) -> InnerOptimizer:
    """The inner optimizer: one that starts afresh with each task, or Adam that carries what it knows."""
    head = {} if head_lr is None else dict.fromkeys(names(net, "head", shared_head), head_lr)
    if afresh is None:
        return CarriedAdam(dict(net.named_parameters()), lr, lrs=head)

    def rule(rate: float) -> InnerOptimizer:
        return SGD(rate) if afresh == "SGD" else Adam(rate, betas=(0.0, 0.999))

    return Groups({**{name: rule(rate) for name, rate in head.items()}, "*": rule(lr)}) if head else rule(lr)
