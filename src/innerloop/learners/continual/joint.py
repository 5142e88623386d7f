"""Joint training: keep all data and train on them in random order.

Not a continual learner but their upper bound: a fresh network, trained on everything seen so far as if it had come at
once. The state is the data; the training happens when a prediction is asked for.
"""

from __future__ import annotations

from typing import TypedDict, Unpack

import torch
from torch import Tensor, nn

from innerloop.core.inner import Adam
from innerloop.core.likelihood import Likelihood
from innerloop.core.numbers import check_count
from innerloop.core.task import Examples, join
from innerloop.learners.continual.online import OnlineLearner, permutation


class Start(TypedDict, total=False):
    """The options of :class:`OnlineLearner` that matter to one that keeps all data."""

    seed: int
    likelihood: Likelihood | None


class Joint(OnlineLearner):
    """Trains on all data seen, shuffled, from the same start, whenever it is asked.

    Args:
        net: any module ``[N, *F] -> [N, P]``.
        lr: learning rate of Adam.
        epochs: passes over the data.
        batch: examples a step.
        seed: of their order.

    Example:
        >>> import torch, innerloop as il
        >>> joint = il.learners.Joint(torch.nn.Linear(3, 2), epochs=2)
        >>> batch = il.Examples(torch.rand(4, 3), torch.eye(2).repeat(2, 1))
        >>> joint.adapt(batch, joint.adapt(batch)).x.shape
        torch.Size([8, 3])
    """

    def __init__(
        self, net: nn.Module, *, lr: float = 1e-3, epochs: int = 10, batch: int = 32, **options: Unpack[Start]
    ) -> None:
        super().__init__(net, lr=lr, **options)
        check_count("epochs", epochs, 1)
        check_count("batch", batch, 1)
        self.epochs, self.batch, self.optimizer = epochs, batch, Adam(lr)

    def adapt(self, batch: Examples, state: Examples | None = None) -> Examples:  # noqa: D102
        return join(state, batch)

    def predict(self, state: Examples, x: Tensor) -> Tensor:  # noqa: D102
        theta, generator = self.start(), self.generator(torch.tensor(len(state.x)))
        memory = self.optimizer.init(theta)
        for _ in range(self.epochs):
            for index in permutation(len(state.x), generator).to(x.device).split(self.batch):
                gradient = self.gradient(theta, Examples(state.x[index], state.y[index]))
                theta, memory = self.optimizer.update(gradient, theta, memory)
        return self.forward(theta, x)
