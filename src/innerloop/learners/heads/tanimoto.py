"""Kernel ridge regression on the Tanimoto kernel (Ralaivola et al., Neural Networks 2005), for fingerprints.

Two sets are as alike as their members in common are many among those of either. Chemists compare molecules so, and it
is a kernel: ridge regression with it needs no learned features.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from innerloop.core.likelihood import Categorical, Likelihood
from innerloop.core.numbers import check_number
from innerloop.core.task import Examples, join
from innerloop.learners.head import Head
from innerloop.learners.heads.ridge import pairs_lack, pairs_left_out


class KernelRows(NamedTuple):
    """The examples, and what each adds to the rows of a query, times their kernel."""

    examples: Examples
    dual: Tensor
    """``[N, D]``; its columns sum to 0, so that the kernel of a query needs no centering."""
    level: Tensor
    """The rows at a kernel of 0, ``[D]``."""


class Tanimoto(Head):
    """Least squares from the Tanimoto kernel of counts or of zeros and ones to one-hot rows, with a free bias.

    Args:
        penalty: what the squared weights count beside the squared errors.
        scale: factor of the logits, which are the fitted rows.
        likelihood: default :class:`~innerloop.Categorical`.

    Raises:
        InputError: for a penalty or a scale that is not positive and finite.

    Example:
        >>> head = Tanimoto()
        >>> support = Examples(torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]), torch.eye(2))
        >>> head.predict(head.adapt(support), torch.tensor([[1.0, 0.0, 0.0]])).argmax(2)
        tensor([[0]])

    References:
        Ralaivola, Swamidass, Saigo, Baldi, *Graph kernels for chemical informatics*, Neural Networks 2005.
    """

    def __init__(self, *, penalty: float = 0.3, scale: float = 10.0, likelihood: Likelihood | None = None) -> None:
        super().__init__(likelihood or Categorical())
        for name, value in (("penalty", penalty), ("scale", scale)):
            check_number(f"the {name} of the Tanimoto kernel", value, "(0, inf)")
        self.penalty, self.scale = penalty, scale

    def adapt(self, support: Examples, state: KernelRows | None = None) -> KernelRows:  # noqa: D102
        support = join(state.examples if state else None, support)
        kernel, y = self._kernel(support.x, support.x), support.y
        level = y.mean(0)
        dual = self._solve(_centered(kernel), y - level)
        return KernelRows(support, dual, level - kernel.mean(0) @ dual)

    def predict(self, state: KernelRows, x: Tensor) -> Tensor:  # noqa: D102
        rows = self._kernel(x, state.examples.x) @ state.dual + state.level
        # A class that has no support example cannot be the answer.
        return (self.scale * rows).masked_fill(state.examples.y.sum(0) == 0, -math.inf).unsqueeze(0)

    def held_out(self, support: Examples) -> Tensor:
        """By the diagonal of the hat matrix."""
        hat, y = self._hat(support), support.y
        free = (1 - hat.diagonal()).clamp(min=torch.finfo(y.dtype).eps).unsqueeze(1)
        return (self.scale * (y - (y - hat @ y) / free)).masked_fill(y.sum(0) - y == 0, -math.inf)

    def held_out_pairs(self, support: Examples) -> Tensor:
        """By two equations a pair, of the hat matrix."""
        y = support.y
        return (self.scale * pairs_left_out(self._hat(support), y)).masked_fill(pairs_lack(y), -math.inf)

    def _hat(self, support: Examples) -> Tensor:
        kernel = _centered(self._kernel(support.x, support.x))
        return self._solve(kernel, kernel).mT + 1 / len(kernel)

    def _solve(self, kernel: Tensor, right: Tensor) -> Tensor:
        own = torch.eye(kernel.shape[0], dtype=kernel.dtype, device=kernel.device)
        return torch.linalg.solve(kernel + self.penalty * own, right)

    def _kernel(self, one: Tensor, other: Tensor) -> Tensor:
        one, other = one.flatten(1), other.flatten(1)
        shared = one @ other.mT
        either = one.square().sum(1, keepdim=True) + other.square().sum(1) - shared
        return shared / either.clamp(min=1e-12)

    def extra_repr(self) -> str:  # noqa: D102
        return f"penalty={self.penalty}, scale={self.scale}"


def _centered(kernel: Tensor) -> Tensor:
    """As of features minus their mean, ``[N, N]``: what a free bias comes to."""
    rows = kernel.mean(0)
    return kernel - rows - rows.unsqueeze(1) + rows.mean()
