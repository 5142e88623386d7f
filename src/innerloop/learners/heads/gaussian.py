"""Gaussian classes that share a covariance (Bateni et al., CVPR 2020, https://arxiv.org/abs/1912.03432).

Each class is a normal distribution about the mean of its features. A handful of examples says little about a
covariance, so that of the task is shared by its classes, starts from the one that meta-training features have within
their classes, and is shrunk towards equal variances. With equal variances alone it is Euclidean prototypes; with no
base it is the classical linear discriminant analysis.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from innerloop.core.likelihood import Categorical, Likelihood
from innerloop.core.numbers import check_number
from innerloop.core.task import Examples, Task, join
from innerloop.learners.head import Head, required
from innerloop.learners.heads.prototypes import ClassSums


class GaussianFit(NamedTuple):
    """The examples, since a further one changes the whole fit, and the squared distance that they give.

    It is ``|a|^2 - |inner a|^2``, where ``a`` is a difference of features times ``widths``.
    """

    examples: Examples
    means: Tensor
    """Of each class, ``[D, H]``."""
    widths: Tensor
    """One over the deviation of each feature, ``[H]``, before the examples' covariance comes in."""
    inner: Tensor
    """The part of the examples' covariance, ``[N, H]``."""


class GaussianClasses(Head):
    """Normal distributions with a shared, shrunken covariance; classes are equally likely beforehand.

    The covariance is the squared deviations from the class means, over N, as N examples more than those of the base.

    Args:
        shrinkage: how far it is pulled towards equal variances of the same sum, above 0 to 1 (Euclidean prototypes).
        base: the number of examples that the covariance of the meta-training features counts for, which
            :meth:`calibrate` finds; 0 for none.
        features: H, numbers in a feature vector; only a ``base`` needs it.
        likelihood: default :class:`~innerloop.Categorical`.

    Raises:
        InputError: for a shrinkage outside of its range, or a base that is negative.

    Example:
        >>> head = GaussianClasses(shrinkage=1.0)
        >>> x, y = torch.tensor([[0.0], [2.0], [6.0], [8.0]]), torch.eye(2)[[0, 0, 1, 1]]
        >>> head.predict(head.adapt(Examples(x, y)), torch.tensor([[2.0]]))
        tensor([[[ -0.5000, -12.5000]]])

    References:
        Bateni, Goyal, Masrani, Wood, Sigal, *Improved Few-Shot Visual Classification*, CVPR 2020,
        https://arxiv.org/abs/1912.03432. Friedman, *Regularized Discriminant Analysis*, JASA 1989.
    """

    basis: Tensor | None
    variances: Tensor | None

    def __init__(
        self,
        *,
        shrinkage: float = 0.5,
        base: float = 0.0,
        features: int | None = None,
        likelihood: Likelihood | None = None,
    ) -> None:
        super().__init__(likelihood or Categorical())
        check_number("the shrinkage", shrinkage, "(0, 1]")
        check_number("base, the examples that the base classes count for,", base, "[0, inf)")
        self.shrinkage, self.base = shrinkage, base
        # Kept by its eigenvectors: in their basis it is a row of variances, and so is what it is shrunk towards.
        size = required(features, self) if base else 0
        self.register_buffer("basis", torch.eye(size) if base else None)
        self.register_buffer("variances", torch.ones(size) if base else None)

    @property
    def looks(self) -> bool:  # noqa: D102
        return self.basis is not None

    @torch.no_grad()
    def calibrate(self, tasks: Iterable[Task]) -> None:
        """Keep the covariance of the meta-training features within their classes, where it is wanted."""
        if self.basis is None or self.variances is None:
            return
        scatter, free = torch.zeros_like(self.basis), 0
        for batch in tasks:
            for x, y in zip(*(torch.cat(parts, 1) for parts in zip(*batch, strict=True)), strict=True):
                z = x.flatten(1)
                apart = z - y @ ClassSums.of(z, y).means
                scatter, free = scatter + apart.mT @ apart, free + len(z) - int((y.sum(0) > 0).sum())
        if free > 0:
            variances, basis = torch.linalg.eigh(scatter / free)
            self.variances.copy_(variances.clamp(min=0))
            self.basis.copy_(basis)

    def adapt(self, support: Examples, state: GaussianFit | None = None) -> GaussianFit:  # noqa: D102
        support = join(state.examples if state else None, support)
        z, y = self._vectors(support.x), support.y
        means = ClassSums.of(z, y).means
        apart = z - y @ means
        known = self.base * self.variances if self.variances is not None else torch.zeros_like(means[0])
        count = torch.ones_like(z[:, 0]).sum() + self.base
        variance = (apart.square().sum() + known.sum()) / (count * z.shape[1])
        # Single examples without a base say nothing of the spread within classes: the spread of all is taken.
        spread = (z - z.mean(0)).square().mean()
        variance = torch.where(variance > 0, variance, torch.where(spread > 0, spread, torch.ones_like(spread)))
        own = 1 - self.shrinkage
        widths = (own / count * known + self.shrinkage * variance).rsqrt()
        # The inverse of a diagonal plus N outer products: a system of N equations and not of H.
        inner = (own / count).sqrt() * apart * widths
        gram = inner @ inner.mT + torch.eye(z.shape[0], dtype=z.dtype, device=z.device)
        inner = torch.linalg.solve_triangular(torch.linalg.cholesky(gram), inner, upper=False)
        return GaussianFit(support, means, widths, inner)

    def predict(self, state: GaussianFit, x: Tensor) -> Tensor:  # noqa: D102
        # A point near the features to count from: squares of large numbers lose the differences that decide.
        center = state.examples.y.sum(0) @ state.means / state.examples.y.shape[0]
        z, means = ((part - center) * state.widths for part in (self._vectors(x), state.means))
        outer = (z.unsqueeze(1) - means).square().sum(2)
        within = ((z @ state.inner.mT).unsqueeze(1) - means @ state.inner.mT).square().sum(2)
        # A class that has no support example cannot be the answer.
        return (-0.5 * (outer - within)).masked_fill(state.examples.y.sum(0) == 0, -math.inf).unsqueeze(0)

    def held_out(self, support: Examples) -> Tensor | None:
        """By what the covariance and its inverse change by without an example; with a base, by refits."""
        if self.base or len(support.x) < 2:
            return None
        z, y = self._vectors(support.x), support.y
        z, rest = z - z.mean(0), y @ y.sum(0) - 1
        count, means = len(z) - 1, ClassSums.of(z, y).means
        apart = z - y @ means
        # Without an example its class's mean moves, so that more than its own square is gone; one alone has none.
        moved = torch.where(rest > 0.5, (rest + 1) / rest.clamp(min=1), torch.zeros_like(rest))
        squares = z.square().sum(1)
        variance = _left(apart.square().sum(), moved * apart.square().sum(1))
        spread = _left(squares.sum(), len(z) / count * squares)
        # As in `adapt`: of single examples the spread of all is taken.
        variance = torch.where(variance > 0, variance, torch.where(spread > 0, spread, torch.ones_like(spread)))
        floor = (self.shrinkage * variance / (count * z.shape[1])).unsqueeze(1)
        # In the basis in which the examples' covariance is a row of variances, the same for every example.
        own = (1 - self.shrinkage) / count
        values, basis = torch.linalg.eigh(apart @ apart.mT)
        weights = own / (own * values.clamp(min=0) + floor)
        points, centers = (part @ apart.mT @ basis for part in (z, means))
        itself = points - y @ centers
        # Squared distances to each mean, and products with the example's own deviation, before it is left out.
        between = squares.unsqueeze(1) + means.square().sum(1) - 2 * z @ means.mT
        between -= (weights * points.square()).sum(1, keepdim=True) + weights @ centers.square().mT
        between += 2 * (weights * points) @ centers.mT
        along = (apart * z).sum(1, keepdim=True) - apart @ means.mT
        along -= (weights * points * itself).sum(1, keepdim=True) - (weights * itself) @ centers.mT
        length = (apart.square().sum(1) - (weights * itself.square()).sum(1)).unsqueeze(1) / floor
        between, along, moved = between / floor, along / floor, moved.unsqueeze(1)
        # A rank less, by Sherman and Morrison.
        less = 1 - own * moved * length
        distance = torch.where(y > 0, moved.square() * length / less, between + own * moved * along.square() / less)
        return (-0.5 * distance).masked_fill(y.sum(0) - y == 0, -math.inf)

    def _vectors(self, x: Tensor) -> Tensor:
        z = x.flatten(1)
        return z if self.basis is None else z @ self.basis

    def extra_repr(self) -> str:  # noqa: D102
        return f"shrinkage={self.shrinkage}, base={self.base}"


def _left(whole: Tensor, parts: Tensor) -> Tensor:
    """What a sum is without each of some parts of it; zero where that is rounding alone."""
    left = whole - parts
    return left.masked_fill(left <= 64 * torch.finfo(left.dtype).eps * whole, 0.0)
