"""Ridge regression by a kernel that was meta-learned (Patacchiola et al., NeurIPS 2020, https://arxiv.org/abs/1910.05199).

Features go through one linear map, close to the identity, which many tasks have taught what tells classes apart there.
On them stand kernel ridge regression, whose kernel grows with the cosine, and cosine prototypes, and their logits are
added: the first counts most with several examples a class, the second with one. Of many prototypes those near the
middle of all are near to any query, so a share of the examples' mean is subtracted from queries before they meet the
prototypes. All is in closed form, so that gradients pass through it in meta-training, and what each example would get
from all the others follows exactly.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from innerloop.core.likelihood import Categorical, Likelihood
from innerloop.core.numbers import check_number
from innerloop.core.task import Examples, join
from innerloop.learners.head import Head, required
from innerloop.learners.heads.prototypes import ClassSums


class KernelFit(NamedTuple):
    """The examples, since a further one changes the whole fit, and what was fitted to them."""

    examples: Examples
    mapped: Tensor
    """Their features after the map, of unit length, ``[N, H]``."""
    dual: Tensor
    """What each example adds to the rows of a query, times their kernel, ``[N, D]``."""
    level: Tensor
    """The rows at a kernel of 0, ``[D]``."""
    sums: ClassSums


class LearnedKernel(Head):
    """Kernel ridge regression and cosine prototypes on features after a meta-learned linear map.

    The map starts as the identity: without meta-training it is a kernel ridge regression. The kernel of two features
    of unit length is ``exp(sharpness * (cosine - 1))``.

    Args:
        features: H, numbers in a feature vector.
        penalty: what the squared weights count beside the squared errors, as it is before meta-training.
        sharpness: how fast the kernel falls off, as it is before meta-training.
        scale: factor of the rows of the ridge regression, as it is before meta-training.
        near: factor of the cosines to the prototypes, as it is before meta-training.
        hub: share of the examples' mean that is subtracted from queries for them, as it is before meta-training.
        noise: length of the random numbers that are added to features of unit length, in training alone.
        likelihood: default :class:`~innerloop.Categorical`.

    Raises:
        InputError: for a number that is not positive and finite, or a negative hub or noise.

    Example:
        >>> head = LearnedKernel(features=2).eval().requires_grad_(False)
        >>> state = head.adapt(Examples(torch.eye(2), torch.eye(2)))
        >>> head.predict(state, torch.eye(2)).argmax(2)
        tensor([[0, 1]])

    References:
        Patacchiola, Turner, Crowley, O'Boyle, Storkey, *Bayesian Meta-Learning for the Few-Shot Setting via Deep
        Kernels*, NeurIPS 2020, https://arxiv.org/abs/1910.05199. Bertinetto, Henriques, Torr, Vedaldi, *Meta-learning
        with differentiable closed-form solvers*, ICLR 2019, https://arxiv.org/abs/1805.08136.
    """

    def __init__(
        self,
        *,
        features: int | None = None,
        penalty: float = 0.25,
        sharpness: float = 1.5,
        scale: float = 15.0,
        near: float = 10.0,
        hub: float = 0.5,
        noise: float = 0.0,
        likelihood: Likelihood | None = None,
    ) -> None:
        super().__init__(likelihood or Categorical())
        for name, value in (("penalty", penalty), ("sharpness", sharpness), ("scale", scale), ("near", near)):
            check_number(f"the {name} of the learned kernel", value, "(0, inf)")
        for name, value in (("hub", hub), ("noise", noise)):
            check_number(f"the {name} of the learned kernel", value, "[0, inf)")
        size = required(features, self)
        self.noise = noise
        self.center = nn.Parameter(torch.zeros(size))
        self.change = nn.Parameter(torch.zeros(size, size))
        self.log_penalty = nn.Parameter(torch.tensor(math.log(penalty)))
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(sharpness)))
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))
        self.log_near = nn.Parameter(torch.tensor(math.log(near)))
        self.hub = nn.Parameter(torch.tensor(float(hub)))

    def adapt(self, support: Examples, state: KernelFit | None = None) -> KernelFit:  # noqa: D102
        support = join(state.examples if state else None, support)
        z, y = self._vectors(support.x), support.y
        kernel = self._kernel(z, z)
        level = y.mean(0)
        # Its columns sum to 0, so that the kernel of a query needs no centering.
        dual = self._solve(_centered(kernel), y - level)
        return KernelFit(support, z, dual, level - kernel.mean(0) @ dual, ClassSums.of(z, y))

    def predict(self, state: KernelFit, x: Tensor) -> Tensor:  # noqa: D102
        z = self._vectors(x)
        rows = (self._kernel(z, state.mapped) @ state.dual + state.level) * _evened(state.sums.counts)
        raw = self.log_scale.exp().to(z) * rows + self._near(z, state.mapped.mean(0), state.sums.sums)
        # A class that has no support example cannot be the answer.
        return raw.masked_fill(state.sums.counts == 0, -math.inf).unsqueeze(0)

    def held_out(self, support: Examples) -> Tensor:
        """By the diagonal of the hat matrix; and an example is missing from its own class's sum alone."""
        z, y = self._vectors(support.x), support.y
        kernel = _centered(self._kernel(z, z))
        hat = self._solve(kernel, kernel).mT + 1 / len(z)
        free = (1 - hat.diagonal()).clamp(min=torch.finfo(z.dtype).eps).unsqueeze(1)
        rows = self.log_scale.exp().to(z) * (y - (y - hat @ y) / free) * _evened(y.sum(0) - y)
        sums, mean = y.mT @ z, (z.sum(0) - z) / (len(z) - 1)
        own = self._near(z.unsqueeze(1), mean.unsqueeze(1), (y @ sums - z).unsqueeze(1)).squeeze(1)
        near = torch.where(y > 0, own, self._near(z, mean, sums))
        return (rows + near).masked_fill(y.sum(0) - y == 0, -math.inf)

    def numbers(self, examples: int, classes: int, features: int) -> int:
        """The map is as large as the features squared, but there is one of it."""
        return examples * (2 * features + 3 * examples + classes)

    def _solve(self, kernel: Tensor, right: Tensor) -> Tensor:
        penalty = self.log_penalty.exp().to(kernel)
        return torch.linalg.solve(kernel + penalty * torch.eye(kernel.shape[0], dtype=kernel.dtype).to(kernel), right)

    def _kernel(self, one: Tensor, other: Tensor) -> Tensor:
        sharpness = self.log_sharpness.exp().to(one)
        # Divided by its slope at 1, so that a penalty means the same at any sharpness.
        return (sharpness * (one @ other.mT - 1)).exp() / sharpness

    def _near(self, z: Tensor, mean: Tensor, sums: Tensor) -> Tensor:
        """Of vectors ``[..., Q, H]``, the examples' mean and sums of classes ``[..., D, H]``: ``[..., Q, D]``."""
        return self.log_near.exp().to(z) * ((z - self.hub.to(z) * mean) @ F.normalize(sums, dim=-1).mT)

    def _vectors(self, x: Tensor) -> Tensor:
        z = F.normalize(x.flatten(1), dim=1)
        if self.training and self.noise:
            z = F.normalize(z + self.noise / math.sqrt(z.shape[1]) * torch.randn_like(z), dim=1)
        z = z - self.center
        return F.normalize(z + z @ self.change, dim=1)

    def extra_repr(self) -> str:  # noqa: D102
        return f"features={len(self.center)}, penalty={self.log_penalty.exp().item():.4g}"


def _evened(counts: Tensor) -> Tensor:
    """Factors of the rows of classes that have so many examples, ``[..., D]``.

    The fewer a class has, the smaller least squares leave its row: under a large penalty in proportion, under a small
    one not at all. The root lies between. An example that is left out is of such a class, among all others.
    """
    mean = counts.sum(-1, keepdim=True) / (counts > 0).sum(-1, keepdim=True)
    return (mean / counts.clamp(min=1)).sqrt()


def _centered(kernel: Tensor) -> Tensor:
    """As of features minus their mean, ``[N, N]``: what a free bias comes to."""
    rows = kernel.mean(0)
    return kernel - rows - rows.unsqueeze(1) + rows.mean()
