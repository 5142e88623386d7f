"""Soft k-means: prototypes that examples without a label refine."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from innerloop.core.likelihood import Categorical, Likelihood
from innerloop.core.numbers import check_count, check_number
from innerloop.core.task import Examples, join
from innerloop.learners.head import Head, distance_scale

#: Similarity at which an unlabelled example is as much of no class as of one: chosen on 40 kinds of groceries.
_OUTSIDE = 0.2


class SoftMeansState(NamedTuple):
    """The examples, and what follows from them."""

    examples: Examples
    center: Tensor
    """What is taken off the features, ``[H]``."""
    means: Tensor
    """The prototypes, ``[D, H]``."""
    counts: Tensor
    """Labelled examples of each class, ``[D]``."""


class SoftMeans(Head):
    """Prototypes, refined by examples without a label: each of these counts for every class as much as it is like it.

    A row of zeros in y stands for an example without a label. Cosines are of features of unit length less the mean of
    the unlabelled ones, which says where all classes lie. Where all examples have a label it is :class:`Prototypes`.

    Args:
        distance: ``"cosine"`` or ``"euclidean"`` (squared, as in the paper).
        scale: factor of the logits, which are minus the squared distances or the cosines; default 1 for squared
            distances, 10 for cosines.
        steps: rounds of refinement.
        outside: the similarity (a cosine, or minus a squared distance) at which an unlabelled example is as much of no
            class as of one; ``-inf``: all are of some class. Default 0.2 for cosines, ``-inf`` for distances.
        likelihood: default :class:`~innerloop.Categorical`.

    Raises:
        InputError: for an unknown distance, a scale that is not positive, a negative number of steps, or an ``outside``
            that is no number or infinitely high.

    Example:
        >>> head = SoftMeans(distance="euclidean")
        >>> x, y = torch.tensor([[0.0], [4.0], [2.0], [6.0]]), torch.tensor([[1.0, 0], [0, 1], [0, 0], [0, 0]])
        >>> head.adapt(Examples(x, y)).means.round(decimals=2)
        tensor([[0.6700],
                [4.4000]])

    References:
        Ren et al., *Meta-Learning for Semi-Supervised Few-Shot Classification*, ICLR 2018,
        https://arxiv.org/abs/1803.00676.
    """

    def __init__(
        self,
        *,
        distance: Literal["euclidean", "cosine"] = "cosine",
        scale: float | None = None,
        steps: int = 1,
        outside: float | None = None,
        likelihood: Likelihood | None = None,
    ) -> None:
        super().__init__(likelihood or Categorical())
        self.scale = distance_scale(distance, scale)
        check_count("steps, the rounds of refinement,", steps, 0)
        check_number("outside, a similarity or -inf,", outside, "[-inf, inf)", optional=True)
        self.distance, self.steps = distance, steps
        self.outside = outside if outside is not None else (_OUTSIDE if distance == "cosine" else -math.inf)

    def adapt(self, support: Examples, state: SoftMeansState | None = None) -> SoftMeansState:  # noqa: D102
        known = None if state is None else state.examples
        examples = join(known, Examples(support.x.flatten(1), support.y))
        x, y = examples
        free = 1 - y.sum(1)
        center = torch.zeros_like(x[0])
        if self.distance == "cosine":
            # A few say little of the mean: as if each class had one more at the origin.
            center = free @ F.normalize(x, dim=1) / (free.sum() + y.shape[1])
        z = self._vectors(x, center)
        sums, counts = y.mT @ z, y.sum(0)
        means = sums / counts.clamp(min=1e-12).unsqueeze(1)
        for _ in range(self.steps):
            share = self._shares(z, means, counts) * free.unsqueeze(1)
            means = (sums + share.mT @ z) / (counts + share.sum(0)).clamp(min=1e-12).unsqueeze(1)
        return SoftMeansState(examples, center, means, counts)

    def predict(self, state: SoftMeansState, x: Tensor) -> Tensor:  # noqa: D102
        logits = self.scale * self._similarity(self._vectors(x.flatten(1), state.center), state.means)
        # A class that has no labelled example cannot be the answer.
        return logits.masked_fill(state.counts == 0, -math.inf).unsqueeze(0)

    def numbers(self, examples: int, classes: int, features: int) -> int:
        """Every pair's differences are the most."""
        return examples * classes * (features + 1)

    def _shares(self, z: Tensor, means: Tensor, counts: Tensor) -> Tensor:
        """How much each example is of each class, ``[N, D]``: at most 1 in sum."""
        least = torch.finfo(z.dtype).min / 2
        logits = (self.scale * self._similarity(z, means)).masked_fill(counts == 0, least)
        if self.outside > -math.inf:
            logits = torch.cat((logits, torch.full_like(logits[:, :1], self.scale * self.outside)), 1)
        return logits.softmax(1)[:, : counts.shape[0]].masked_fill(counts == 0, 0)

    def _vectors(self, x: Tensor, center: Tensor) -> Tensor:
        if self.distance == "euclidean":
            return x
        return F.normalize(F.normalize(x, dim=1) - center, dim=1)

    def _similarity(self, z: Tensor, means: Tensor) -> Tensor:
        if self.distance == "cosine":
            return z @ F.normalize(means, dim=1).mT
        # Differences and not |z|^2 - 2 z.c + |c|^2, which loses the small distances that decide.
        return -(z.unsqueeze(1) - means).square().sum(2)

    def extra_repr(self) -> str:  # noqa: D102
        return f"distance={self.distance!r}, scale={self.scale}, steps={self.steps}, outside={self.outside}"
