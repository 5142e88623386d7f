"""Linear classifiers: softmax regression on features, and the one that is pre-trained on all classes."""

from __future__ import annotations

from typing import Any, NamedTuple, TypedDict, Unpack

from torch import Tensor, nn
from torch.nn import functional as F

from innerloop.core.facts import Facts
from innerloop.core.likelihood import Categorical, Likelihood
from innerloop.core.numbers import check_count, check_number
from innerloop.core.task import Examples, InputError, Task
from innerloop.learners.head import Head, required


class Linear(NamedTuple):
    """A linear classifier: weight ``[D, H]`` and bias ``[D]``."""

    weight: Tensor
    bias: Tensor


class Fitting(TypedDict, total=False):
    """How a task's classifier is fitted: the options of :class:`SoftmaxRegression`."""

    steps: int
    lr: float
    weight_decay: float
    likelihood: Likelihood | None


class SoftmaxRegression(Head):
    """A linear classifier on features of unit length, fitted to each task: what stands on pre-trained features.

    Args:
        steps: gradient steps with momentum that fit a task's head.
        lr: their learning rate, on features of unit length.
        weight_decay: pulls a task's weights to 0.
        likelihood: default :class:`~innerloop.Categorical`.
    """

    def __init__(
        self, *, steps: int = 100, lr: float = 1.0, weight_decay: float = 1e-3, likelihood: Likelihood | None = None
    ) -> None:
        super().__init__(likelihood or Categorical())
        check_count("steps", steps, 0)
        check_number("lr", lr, "(0, inf)")
        check_number("weight_decay", weight_decay, "[0, inf)")
        self.steps, self.lr, self.weight_decay = steps, lr, weight_decay

    def adapt(self, support: Examples, state: Linear | None = None) -> Linear:  # noqa: D102
        z, y = F.normalize(support.x.flatten(1), dim=1), support.y
        weight, bias = state or (z.new_zeros(y.shape[1], z.shape[1]), z.new_zeros(y.shape[1]))
        pace_w, pace_b = weight.new_zeros(weight.shape), bias.new_zeros(bias.shape)
        for _ in range(self.steps):
            error = (F.linear(z, weight, bias).softmax(1) - y) / len(z)
            pace_w = 0.9 * pace_w + error.mT @ z + self.weight_decay * weight
            pace_b = 0.9 * pace_b + error.sum(0)
            weight, bias = weight - self.lr * pace_w, bias - self.lr * pace_b
        return Linear(weight, bias)

    def predict(self, state: Linear, x: Tensor) -> Tensor:  # noqa: D102
        return F.linear(F.normalize(x.flatten(1), dim=1), *state).unsqueeze(0)


class LinearHead(SoftmaxRegression):
    """One linear classifier over all meta-training classes, a new one for each task.

    Args:
        classes: meta-training classes.
        features: H, numbers in a feature vector; default the encoder's.

    Raises:
        InputError: if nobody says the size of the features.
    """

    def __init__(self, *, classes: int, features: int | None = None, **fitting: Unpack[Fitting]) -> None:
        super().__init__(**fitting)
        check_count("classes", classes, 1)
        self.classifier = nn.Linear(required(features, self), classes)

    @classmethod
    def given(cls, facts: Facts) -> dict[str, Any]:  # noqa: D102
        return {"classes": facts.targets}

    def loss(self, task: Task) -> Tensor:
        """Cross-entropy of the classifier over all meta-training classes; the support set plays no part."""
        x, y = task.query
        if y.shape[1] != self.classifier.out_features:
            raise InputError(
                f"the classifier tells {self.classifier.out_features} meta-training classes apart, the batch has "
                f"{y.shape[1]}: train FineTune on data.Batches(pool) of that many classes, not on episodes, and "
                f"Rotation on data.Turned(pool)"
            )
        return self.likelihood.nll(self.classifier(x.flatten(1)).unsqueeze(0), y).mean()
