"""Logits divided by one number, so that probabilities mean what they say (Guo et al., ICML 2017).

What a learner answers stays the same, and so does how it adapts: a MAML's inner loop sees nothing of the temperature.
It is found on validation tasks by :func:`innerloop.evidence.tempered`; it belongs to the ways and shots of these.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from torch import Tensor, nn

from innerloop.core.learner import Learner, State
from innerloop.core.task import Examples, InputError, Task


class Tempered(Learner):
    """Any learner of classes, its logits divided by a temperature.

    Above 1 it is less sure than the learner within, below 1 surer. Training is that of the learner within. As any
    learner it is kept in a bundle (:func:`innerloop.save`), with its temperature.

    Args:
        learner: whose raw predictions are logits.
        temperature: what they are divided by.

    Raises:
        InputError: for a temperature that is not positive, or a learner of real targets.

    Example:
        >>> import torch, innerloop as il
        >>> learner = Tempered(il.ProtoNet(torch.nn.Identity()), temperature=2.0)
        >>> state = learner.adapt(il.Examples(torch.tensor([[0.0], [2.0]]), torch.eye(2)))
        >>> learner.predict(state, torch.tensor([[0.0]]))
        tensor([[[-0., -2.]]])

    References:
        Guo et al., *On Calibration of Modern Neural Networks*, ICML 2017, https://arxiv.org/abs/1706.04599.
    """

    def __init__(self, learner: Learner, temperature: float = 1.0) -> None:
        super().__init__(learner.likelihood)
        if not learner.likelihood.classifies:
            raise InputError(
                f"{type(learner.likelihood).__name__} has no logits to divide by a temperature: give the learner "
                f"likelihood=il.Categorical()"
            )
        if not (math.isfinite(temperature) and temperature > 0):
            raise InputError(f"the temperature is {temperature}; it must be positive and finite")
        self.learner, self.temperature = learner, temperature
        self.missing = learner.missing  # type: ignore[misc]

    def adapt(self, support: Examples, state: State | None = None) -> State:  # noqa: D102
        return self.learner.adapt(support, state)

    def predict(self, state: State, x: Tensor) -> Tensor:  # noqa: D102
        return self.learner.predict(state, x) / self.temperature

    def check(self, support: Examples) -> None:  # noqa: D102
        self.learner.check(support)

    def loss(self, task: Task) -> Tensor:
        """The outer objective of the learner within."""
        return self.learner.loss(task)

    def calibrate(self, tasks: Iterable[Task]) -> None:  # noqa: D102
        self.learner.calibrate(tasks)

    def split(self) -> tuple[nn.Module | None, Learner]:
        """The encoder of the learner within, and what it does with features, tempered."""
        encoder, rest = self.learner.split()
        return encoder, self if encoder is None else Tempered(rest, self.temperature)

    def backbone(self) -> nn.Module:  # noqa: D102
        return self.learner.backbone()

    def extra_repr(self) -> str:  # noqa: D102
        return f"temperature={self.temperature:g}"
