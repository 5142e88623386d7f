"""Learned rates: the inner loop's step sizes as meta-parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from innerloop.core.inner.base import InnerOptimizer, Parameters, not_negative, positive
from innerloop.core.numbers import check_count
from innerloop.core.task import InputError


class LearnedRates(InnerOptimizer):
    """Gradient descent with learned rates: they are meta-parameters, and may become negative.

    Args:
        parameters: the names of the parameters that are adapted; with their tensors for a rate for each number.
        lr: the rate that each one starts from, or one for each name, of which some may be 0.
        per: a rate for each ``"tensor"`` of parameters or for each ``"number"`` in them.
        steps: inner steps that have rates of their own, the later ones those of the last; ``None``: all have the same.

    Raises:
        InputError: for a rate that is not positive (by name: negative, or missing), an unknown ``per``, names without
            tensors for ``"number"``, or fewer than 1 step.

    Example:
        >>> rates = LearnedRates(["w"], lr=0.5)
        >>> rates.update({"w": torch.tensor([1.0])}, {"w": torch.tensor([1.0])}, None)[0]["w"].item()
        0.5

    References:
        Li et al., *Meta-SGD*, 2017, https://arxiv.org/abs/1707.09835 (a rate for each number).
        Antoniou, Edwards, Storkey, *How to Train Your MAML*, ICLR 2019, https://arxiv.org/abs/1810.09502 (for each
        layer and step).
    """

    def __init__(
        self,
        parameters: Iterable[str] | Mapping[str, Tensor],
        lr: float | Mapping[str, float],
        per: Literal["tensor", "number"] = "tensor",
        steps: int | None = None,
    ) -> None:
        super().__init__()
        if per not in ("tensor", "number"):
            raise InputError(f"learned rates per {per!r} are unknown; choose 'tensor' or 'number'")
        if per == "number" and not isinstance(parameters, Mapping):
            raise InputError("a rate for each number needs the parameters and not only their names: pass a mapping")
        check_count("steps", steps, 1, optional=True)
        self.steps = steps
        times = () if steps is None else (steps,)
        # In the type and on the device of what they are rates of. ParameterDict takes no dots in its keys.
        like = parameters if isinstance(parameters, Mapping) else dict.fromkeys(parameters, torch.empty(0))
        starts = _starts(like, lr)
        rates = {
            name.replace(".", "/"): nn.Parameter(
                p.new_full((*times, *(p.shape if per == "number" else ())), starts[name])
            )
            for name, p in like.items()
        }
        self.rates = nn.ParameterDict(rates)

    def rate(self, name: str, step: int = 0) -> Tensor:
        """The rate of a parameter at an inner step, counted from 0."""
        found: Tensor = self.rates[name.replace(".", "/")]
        return found if self.steps is None else found[min(step, self.steps - 1)]

    def init(self, parameters: Parameters) -> int | None:  # noqa: D102
        return None if self.steps is None else 0

    def update(  # noqa: D102
        self, gradients: Parameters, parameters: Parameters, memory: int | None
    ) -> tuple[Parameters, int | None]:
        rates = {k: self.rate(k, memory or 0).to(p.dtype) for k, p in parameters.items()}
        new = {k: p - rates[k] * gradients[k] for k, p in parameters.items()}
        return new, None if memory is None else memory + 1


def _starts(names: Iterable[str], lr: float | Mapping[str, float]) -> Mapping[str, float]:
    if not isinstance(lr, Mapping):
        positive("learning rate", lr)
        return dict.fromkeys(names, lr)
    for name in names:
        if name not in lr:
            raise InputError(f"no learning rate is given for {name!r}: give one for each parameter that adapts")
        not_negative(f"learning rate of {name}", lr[name])
    return lr
