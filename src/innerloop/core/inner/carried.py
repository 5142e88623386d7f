"""Adam that knows from earlier tasks how large gradients are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

import torch
from torch import Tensor, nn

from innerloop.core.inner.adam import Adam
from innerloop.core.inner.base import Parameters, positive, root
from innerloop.core.task import InputError


class Carried(TypedDict):
    """What :class:`CarriedAdam` remembers of earlier gradients."""

    steps: int
    first: Parameters
    second: Parameters
    weight: Tensor
    """The sum of the weights that the mean squares are of, a scalar: below 1 until many gradients were seen."""


class CarriedAdam(Adam):
    """Adam whose mean squares of the gradient go on from task to task; until a task was seen it is :class:`Adam`.

    Adam that starts afresh moves every parameter by the whole rate in its first step, however small its gradient, and a
    task has few steps. Here they begin as a meta-parameter, which :class:`innerloop.Reptile` moves, as all others,
    towards where the inner loop led. A mean of gradients, for a beta of more than 0, starts afresh all the same.

    Args:
        parameters: what is adapted, by name.
        lr: the rate.
        betas: decays of the running means of gradients and of their squares.
        eps: added to the root of the latter.
        lrs: rates of some parameters, by name, in place of ``lr``.

    Raises:
        InputError: for what ``torch.optim.Adam`` refuses, for a learning rate of 0, and for the rate of an unknown
            parameter.

    Example:
        >>> w = {"w": torch.tensor([1.0, 1.0])}
        >>> adam = CarriedAdam(w, lr=0.1)
        >>> new, _ = adam.update({"w": torch.tensor([3.0, -4.0])}, w, adam.init(w))
        >>> [round(p, 2) for p in new["w"].tolist()]
        [0.9, 1.1]
        >>> with torch.no_grad():
        ...     _ = adam.second["w"].fill_(100.0), adam.weight.fill_(1.0)
        >>> new, _ = adam.update({"w": torch.tensor([3.0, -4.0])}, w, adam.init(w))
        >>> [round(p, 2) for p in new["w"].tolist()]
        [0.97, 1.04]

    References:
        The code of Nichol, Achiam, Schulman, *On First-Order Meta-Learning Algorithms*, 2018,
        https://arxiv.org/abs/1803.02999, keeps the optimizer's variables from task to task.
    """

    #: Learners are kept that were trained before they carried anything: to them it is what it is untrained.
    optional = True

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.0, 0.999),
        eps: float = 1e-8,
        lrs: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(lr, betas, eps)
        self.lrs = dict(lrs or {})
        for name, own in self.lrs.items():
            positive("learning rate", own)
            if name not in parameters:
                raise InputError(f"lrs has a rate of {name!r}, and there are only {', '.join(parameters)}")
        like = next(iter(parameters.values()), torch.zeros(()))
        # ParameterDict takes no dots in its keys.
        self.second = nn.ParameterDict({k.replace(".", "/"): torch.zeros_like(p) for k, p in parameters.items()})
        self.weight = nn.Parameter(like.new_zeros(()))

    def start(self, parameters: Parameters) -> Parameters:
        """The mean squares that a task starts from, in the form of its parameters."""
        return {k: self.second[k.replace(".", "/")].expand_as(p) for k, p in parameters.items()}

    def init(self, parameters: Parameters) -> Carried:  # type: ignore[override]  # noqa: D102
        zeros = {k: torch.zeros_like(p) for k, p in parameters.items()}
        # An outer optimizer other than the published one may lead below 0.
        second = {k: v.clamp(min=0) for k, v in self.start(parameters).items()}
        return {"steps": 0, "first": zeros, "second": second, "weight": self.weight.clamp(min=0)}

    def update(  # type: ignore[override]  # noqa: D102
        self, gradients: Parameters, parameters: Parameters, memory: Carried
    ) -> tuple[Parameters, Carried]:
        (b1, b2), steps = self.betas, memory["steps"] + 1
        first = {k: b1 * memory["first"][k] + (1 - b1) * g for k, g in gradients.items()}
        second = {k: b2 * memory["second"][k] + (1 - b2) * g * g for k, g in gradients.items()}
        weight = b2 * memory["weight"] + (1 - b2)
        rates = {k: self.lrs.get(k, self.lr) / (1 - b1**steps) for k in parameters}
        new = {k: p - rates[k] * first[k] / (root(second[k] / weight) + self.eps) for k, p in parameters.items()}
        return new, {"steps": steps, "first": first, "second": second, "weight": weight}
