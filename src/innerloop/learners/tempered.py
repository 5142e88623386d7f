"""Logits divided by one number, so that probabilities mean what they say (Guo et al., ICML 2017).

What a learner answers stays the same, and so does how it adapts: a MAML's inner loop sees nothing of the temperature.
It is found on validation tasks by :func:`innerloop.evidence.tempered`, and belongs to their ways and shots, or on
meta-training tasks by learners that are built with ``tempered=True``, which follow those of a task.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from innerloop.core.learner import Learner, State, check_learner_kind
from innerloop.core.likelihood import Likelihood
from innerloop.core.numbers import check_number
from innerloop.core.task import Examples, InputError, Task

#: The logarithm of a temperature is looked for within this.
_WITHIN = 9.0


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
        check_learner_kind(learner, "Tempered takes")
        super().__init__(learner.likelihood)
        check_logits(learner.likelihood)
        check_number("the temperature", temperature, "(0, inf)")
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


def check_logits(likelihood: Likelihood) -> None:
    """Refuse a likelihood whose raw predictions are no logits.

    Raises:
        InputError: for one of real targets.
    """
    if not likelihood.classifies:
        raise InputError(
            f"{type(likelihood).__name__} has no logits to divide by a temperature: give the learner "
            f"likelihood=il.Categorical()"
        )


def fitted_temperature(
    likelihood: Likelihood, answers: Sequence[tuple[Tensor, Tensor]], prior: float = 0.0
) -> float | None:
    """The temperature under which answers have the greatest likelihood; ``None`` where no query has a finite answer.

    Args:
        likelihood: of classes.
        answers: raw predictions ``[S, N, P]`` and target rows ``[N, D]``, for each of some tasks; queries whose answer
            is not finite are left out.
        prior: how many queries, told at random, are added to all others: with 1 the temperature stays above 0 where
            every answer is right (a correction of targets, as Platt's).

    Example:
        >>> import innerloop as il
        >>> raw, y = torch.tensor([[[1.0, 0.0]] * 4]), torch.eye(2)[[0, 0, 0, 1]]
        >>> round(fitted_temperature(il.Categorical(), [(raw, y)]) * math.log(3), 3)
        1.0

    References:
        Platt, *Probabilistic Outputs for Support Vector Machines*, 1999.
    """
    from scipy.optimize import minimize_scalar

    finite = [~raw.isnan().flatten(2).any(2).any(0) for raw, _ in answers]
    kept = [(raw[:, one], y[one]) for one, (raw, y) in zip(finite, answers, strict=True)]
    number = sum(len(y) for _, y in kept)
    if not number:
        return None
    soft = []
    for raw, y in kept:
        share = prior / (number + prior)
        soft.append((raw, y * (1 - share) + share / y.shape[1] if prior else y))

    def loss(log_t: float) -> float:
        return float(torch.cat([likelihood.nll(raw / math.exp(log_t), y) for raw, y in soft]).mean())

    found = minimize_scalar(loss, bounds=(-_WITHIN, _WITHIN), method="bounded", options={"xatol": 1e-4})
    return math.exp(found.x)
