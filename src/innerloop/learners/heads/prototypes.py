"""Prototypes: each class is the mean of its support features."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from innerloop.core.likelihood import Categorical, Likelihood
from innerloop.core.task import Examples, InputError, Task
from innerloop.learners.head import Joined, distance_scale, required
from innerloop.learners.heads.exchanged import Exchanging


class ClassSums(NamedTuple):
    """Sums ``[D, H]`` and counts ``[D]`` of each class's features: a state that folds exactly."""

    sums: Tensor
    counts: Tensor

    @classmethod
    def of(cls, z: Tensor, y: Tensor, state: ClassSums | None = None) -> ClassSums:
        """Of features ``z [N, H]`` with one-hot rows ``y [N, D]``, added to those of ``state``."""
        sums, counts = y.mT @ z, y.sum(0)
        return cls(sums, counts) if state is None else cls(state.sums + sums, state.counts + counts)

    @property
    def means(self) -> Tensor:
        """The mean feature of each class, ``[D, H]``; zeros for a class without examples."""
        return self.sums / self.counts.clamp(min=1e-12).unsqueeze(1)


class Prototypes(Exchanging):
    """A query belongs to the class whose mean support feature, its prototype, is nearest.

    Args:
        distance: ``"euclidean"`` (squared, as in the paper) or ``"cosine"``.
        scale: factor of the logits, which are minus the squared distances or the cosines; default 1 for squared
            distances, 10 for cosines.
        center: outside training subtract the mean of the meta-training features, which :meth:`calibrate` finds, before
            features are scaled to unit length (SimpleShot): for cosines alone, as it changes no distance.
        exchange: in meta-training let support and query examples change places: every part of a task's examples that
            is as large as the support set, in their order, is the support set once and the rest are queries, and the
            loss is the mean. More comparisons from the same features, for tasks with few queries.
        features: H, numbers in a feature vector; only a ``center`` needs it.
        likelihood: default :class:`~innerloop.Categorical`.

    Raises:
        InputError: for an unknown distance, a scale that is not positive, or a center of Euclidean distances.

    Example:
        >>> head = Prototypes(distance="cosine")
        >>> state = head.adapt(Examples(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.eye(2)))
        >>> head.predict(state, torch.tensor([[3.0, 0.0]]))
        tensor([[[10.,  0.]]])

    References:
        Snell, Swersky, Zemel, *Prototypical Networks for Few-shot Learning*, NeurIPS 2017,
        https://arxiv.org/abs/1703.05175. Wang et al., *SimpleShot: Revisiting Nearest-Neighbor Classification for
        Few-Shot Learning*, 2019, https://arxiv.org/abs/1911.04623.
    """

    center: Tensor | None

    def __init__(
        self,
        *,
        distance: Literal["euclidean", "cosine"] = "euclidean",
        scale: float | None = None,
        center: bool = False,
        exchange: bool = False,
        features: int | None = None,
        likelihood: Likelihood | None = None,
    ) -> None:
        super().__init__(likelihood or Categorical())
        self.scale = distance_scale(distance, scale)
        if center and distance != "cosine":
            raise InputError(f"a center changes no {distance} distance: take distance='cosine', or leave it out")
        self.distance, self.exchange = distance, exchange
        self.register_buffer("center", torch.zeros(required(features, self)) if center else None)

    @property
    def looks(self) -> bool:  # noqa: D102
        return self.center is not None

    @torch.no_grad()
    def calibrate(self, tasks: Iterable[Task]) -> None:
        """Keep the mean of the meta-training features, where one is wanted."""
        if self.center is None:
            return
        total, seen = torch.zeros_like(self.center), 0
        for part in (part for task in tasks for part in task):
            z = part.x.flatten(0, 1).flatten(1)
            total, seen = total + z.sum(0), seen + len(z)
        if seen:
            self.center.copy_(total / seen)

    def adapt(self, support: Examples, state: ClassSums | None = None) -> ClassSums:  # noqa: D102
        return ClassSums.of(self._vectors(support.x), support.y, state)

    def predict(self, state: ClassSums, x: Tensor) -> Tensor:  # noqa: D102
        return self._logits(self._vectors(x), state).unsqueeze(0)

    def held_out(self, support: Examples) -> Tensor:
        """An example is missing from its own class's sum alone."""
        z, y = self._vectors(support.x), support.y
        whole = ClassSums.of(z, y)
        # One row of sums for each example, of its own class without it.
        rest = ClassSums(y @ whole.sums - z, y @ whole.counts - 1)
        own = self._similarity(z.unsqueeze(1), rest.means.unsqueeze(1)).squeeze(1)
        own = (self.scale * own).masked_fill(rest.counts.unsqueeze(1) < 0.5, -math.inf)
        if self.distance == "cosine":
            return torch.where(y > 0, own, self._logits(z, whole))
        # No gradient passes here, so that no array of all differences is needed.
        return torch.where(
            y > 0, own, (-self.scale * squares(z, whole.means)).masked_fill(whole.counts == 0, -math.inf)
        )

    def held_out_pairs(self, support: Examples) -> Tensor:
        """The other one is missing from its own class's sum."""
        z, y = self._vectors(support.x), support.y
        whole = ClassSums.of(z, y)
        rest = ClassSums(y @ whole.sums - z, y @ whole.counts - 1)
        other = (self.scale * self._similarity(z, rest.means)).masked_fill(rest.counts < 0.5, -math.inf)
        return torch.where(y > 0, other.unsqueeze(2), self.held_out(support).unsqueeze(1))

    def joined(self, support: Examples, x: Tensor) -> Joined:
        """The query adds itself to a sum and one to its count."""
        z, y, queries = self._vectors(support.x), support.y, self._vectors(x)
        whole = ClassSums.of(z, y)
        plain, asked = self.held_out(support), self._logits(queries, whole).unsqueeze(1)
        others = torch.cat((plain.expand(len(x), *plain.shape), asked), 1)
        # Distances are the same from any point, and lose least from one in the middle.
        center = z.mean(0) if self.distance == "euclidean" else torch.zeros_like(z[0])
        z, queries = z - center, queries - center
        sums, counts = y.mT @ z, whole.counts + 1
        # Products of an example, and squared lengths, with the sums that it is not in and the query is, [Q, N, D].
        cross = z @ queries.mT
        along = (z @ sums.mT - y * z.square().sum(1, keepdim=True)) + cross.mT.unsqueeze(2)
        length = sums.square().sum(1) + 2 * queries @ sums.mT + queries.square().sum(1, keepdim=True)
        less = y * (2 * (z @ sums.mT + cross.mT.unsqueeze(2)) - z.square().sum(1, keepdim=True))
        length = (length.unsqueeze(1) - less).clamp(min=0)
        if self.distance == "cosine":
            own = self.scale * along / length.sqrt().clamp(min=1e-12)
        else:
            mean = (counts - y).unsqueeze(0)
            own = -self.scale * (z.square().sum(1, keepdim=True) - 2 * along / mean + length / mean.square())
        return Joined(others, torch.cat((own, asked), 1))

    def _logits(self, z: Tensor, state: ClassSums) -> Tensor:
        # A class that has no support example cannot be the answer.
        return (self.scale * self._similarity(z, state.means)).masked_fill(state.counts == 0, -math.inf)

    def _similarity(self, z: Tensor, prototypes: Tensor) -> Tensor:
        """Of vectors ``[..., Q, H]`` and prototypes ``[..., D, H]``: ``[..., Q, D]``."""
        if self.distance == "cosine":
            return F.normalize(z, dim=-1) @ F.normalize(prototypes, dim=-1).mT
        # Differences and not |z|^2 - 2 z.c + |c|^2, which loses the small distances that decide.
        return -(z.unsqueeze(-2) - prototypes.unsqueeze(-3)).square().sum(-1)

    def _vectors(self, x: Tensor) -> Tensor:
        z = x.flatten(1)
        # In training the features still move, and the encoder finds a center of its own.
        z = z if self.center is None or self.training else z - self.center
        return F.normalize(z, dim=1) if self.distance == "cosine" else z

    def numbers(self, examples: int, classes: int, features: int) -> int:
        """Every pair's differences are the most."""
        return examples * classes * (features + 1)

    def extra_repr(self) -> str:  # noqa: D102
        return f"distance={self.distance!r}, scale={self.scale}"


def squares(a: Tensor, b: Tensor) -> Tensor:
    """Squared distances of all pairs, ``[M, H], [N, H] -> [M, N]``, by their differences, without an array of these."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist").square()
