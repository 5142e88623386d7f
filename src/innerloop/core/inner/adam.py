"""Inner optimizers that divide by running sizes of the gradient: Adam, AdamW, RMSprop."""

from __future__ import annotations

import math
from typing import ClassVar, TypedDict

import torch

from innerloop.core.inner.base import InnerOptimizer, Parameters, decay, not_negative, pair, positive, root


class Moments(TypedDict):
    """What Adam remembers of earlier gradients."""

    steps: int
    first: Parameters
    second: Parameters
    largest: Parameters | None
    """The largest second moments so far, for AMSGrad."""


class Adam(InnerOptimizer):
    """Adam as in ``torch.optim.Adam``; ``betas=(0, 0.999)`` is the inner optimizer of the Reptile paper.

    Args:
        lr: the rate.
        betas: decays of the running means of gradients and of their squares.
        eps: added to the root of the latter.
        weight_decay: times the parameters, added to their gradient.
        amsgrad: divide by the largest mean square so far.

    Raises:
        InputError: for what ``torch.optim.Adam`` refuses, and for a learning rate of 0.

    References:
        Kingma, Ba, *Adam*, ICLR 2015, https://arxiv.org/abs/1412.6980. AMSGrad: Reddi, Kale, Kumar, *On the Convergence
        of Adam and Beyond*, ICLR 2018, https://arxiv.org/abs/1904.09237.
    """

    #: Whether weight decay shrinks the parameters by itself, and is no part of the gradient.
    decoupled: ClassVar[bool] = False

    def __init__(
        self,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
    ) -> None:
        super().__init__()
        positive("learning rate", lr)
        pair("beta", betas)
        not_negative("eps", eps)
        not_negative("weight decay", weight_decay)
        self.lr, self.betas, self.eps, self.weight_decay, self.amsgrad = lr, betas, eps, weight_decay, amsgrad

    def init(self, parameters: Parameters) -> Moments:  # noqa: D102
        zeros = {k: torch.zeros_like(p) for k, p in parameters.items()}
        return {"steps": 0, "first": zeros, "second": zeros, "largest": zeros if self.amsgrad else None}

    def update(  # noqa: D102
        self, gradients: Parameters, parameters: Parameters, memory: Moments
    ) -> tuple[Parameters, Moments]:
        if self.weight_decay and self.decoupled:
            parameters = {k: p * (1 - self.lr * self.weight_decay) for k, p in parameters.items()}
        elif self.weight_decay:
            gradients = {k: g + self.weight_decay * parameters[k] for k, g in gradients.items()}
        (b1, b2), steps, largest = self.betas, memory["steps"] + 1, memory["largest"]
        first = {k: b1 * memory["first"][k] + (1 - b1) * g for k, g in gradients.items()}
        second = {k: b2 * memory["second"][k] + (1 - b2) * g * g for k, g in gradients.items()}
        if largest is not None:
            largest = {k: torch.maximum(largest[k], v) for k, v in second.items()}
        rate, correction = self.lr / (1 - b1**steps), math.sqrt(1 - b2**steps)
        sizes = {k: root(v) / correction + self.eps for k, v in (second if largest is None else largest).items()}
        new = {k: p - rate * first[k] / sizes[k] for k, p in parameters.items()}
        return new, {"steps": steps, "first": first, "second": second, "largest": largest}

    def extra_repr(self) -> str:  # noqa: D102
        return f"lr={self.lr}, betas={self.betas}"


class AdamW(Adam):
    """Adam with a weight decay of its own, as in ``torch.optim.AdamW``: it shrinks the parameters and no gradient.

    Args:
        lr: the rate.
        betas: decays of the running means of gradients and of their squares.
        eps: added to the root of the latter.
        weight_decay: times the rate, what the parameters lose in a step.
        amsgrad: divide by the largest mean square so far.

    Raises:
        InputError: for what ``torch.optim.AdamW`` refuses, and for a learning rate of 0.

    Example:
        >>> adamw = AdamW(lr=0.1, weight_decay=0.5)
        >>> w = {"w": torch.tensor([1.0])}
        >>> adamw.update({"w": torch.tensor([0.0])}, w, adamw.init(w))[0]
        {'w': tensor([0.9500])}

    References:
        Loshchilov, Hutter, *Decoupled Weight Decay Regularization*, ICLR 2019, https://arxiv.org/abs/1711.05101.
    """

    decoupled = True

    def __init__(
        self,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
    ) -> None:
        super().__init__(lr, betas, eps, weight_decay, amsgrad)


class Sizes(TypedDict):
    """What RMSprop remembers of earlier gradients."""

    squares: Parameters
    means: Parameters | None
    momentum: Parameters | None


class RMSprop(InnerOptimizer):
    """RMSprop as in ``torch.optim.RMSprop``.

    Args:
        lr: the rate.
        alpha: decay of the running mean of squares.
        eps: added to its root.
        weight_decay: times the parameters, added to their gradient.
        momentum: what the last step counts in the next one.
        centered: divide by the deviation of the gradient, not by its size.

    Raises:
        InputError: for what ``torch.optim.RMSprop`` refuses, for a learning rate of 0, and for an alpha of 1 or more.

    Example:
        >>> rms = RMSprop(lr=0.1, alpha=0.0, eps=0.0)
        >>> w = {"w": torch.tensor([1.0])}
        >>> rms.update({"w": torch.tensor([3.0])}, w, rms.init(w))[0]
        {'w': tensor([0.9000])}

    References:
        Tieleman, Hinton, *Lecture 6.5: rmsprop*, 2012. Centered: Graves, *Generating Sequences With Recurrent Neural
        Networks*, 2013, https://arxiv.org/abs/1308.0850.
    """

    def __init__(
        self,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
    ) -> None:
        super().__init__()
        positive("learning rate", lr)
        decay("alpha", alpha)
        not_negative("eps", eps)
        not_negative("weight decay", weight_decay)
        not_negative("momentum", momentum)
        self.lr, self.alpha, self.eps, self.weight_decay = lr, alpha, eps, weight_decay
        self.momentum, self.centered = momentum, centered

    def init(self, parameters: Parameters) -> Sizes:  # noqa: D102
        zeros = {k: torch.zeros_like(p) for k, p in parameters.items()}
        return {
            "squares": zeros,
            "means": zeros if self.centered else None,
            "momentum": zeros if self.momentum else None,
        }

    def update(self, gradients: Parameters, parameters: Parameters, memory: Sizes) -> tuple[Parameters, Sizes]:  # noqa: D102
        if self.weight_decay:
            gradients = {k: g + self.weight_decay * parameters[k] for k, g in gradients.items()}
        squares, means, momentum = memory["squares"], memory["means"], memory["momentum"]
        squares = {k: self.alpha * squares[k] + (1 - self.alpha) * g * g for k, g in gradients.items()}
        spread = squares
        if means is not None:
            means = {k: self.alpha * means[k] + (1 - self.alpha) * g for k, g in gradients.items()}
            # A difference of two roundings may fall below 0.
            spread = {k: (v - means[k].square()).clamp(min=0) for k, v in squares.items()}
        steps = {k: g / (root(spread[k]) + self.eps) for k, g in gradients.items()}
        if momentum is not None:
            steps = momentum = {k: self.momentum * momentum[k] + step for k, step in steps.items()}
        new = {k: p - self.lr * steps[k] for k, p in parameters.items()}
        return new, {"squares": squares, "means": means, "momentum": momentum}

    def extra_repr(self) -> str:  # noqa: D102
        return f"lr={self.lr}, alpha={self.alpha}, momentum={self.momentum}, centered={self.centered}"
