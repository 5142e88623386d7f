"""Prototypical Networks (Snell, Swersky, Zemel, NeurIPS 2017, https://arxiv.org/abs/1703.05175).

Each class is the mean of its support features, its prototype; a query belongs to the nearest one. The first thing to
try: nothing is tuned at test time, more examples are folded in exactly, and it trains fastest with many ways.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from innerloop.core.learner import Learner
from innerloop.core.likelihood import Categorical, Likelihood
from innerloop.core.task import Examples, InputError
from innerloop.learners.embedded import Embedded


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


class Prototypes(Learner):
    """The head of a prototypical network, on feature vectors.

    Args:
        distance: ``"euclidean"`` (squared) or ``"cosine"`` (similarity times ``scale``).
        scale: the logits are this times the negative squared distance (or the cosine).
        likelihood: default :class:`~innerloop.Categorical`.
    """

    def __init__(
        self,
        distance: Literal["euclidean", "cosine"] = "euclidean",
        scale: float | None = None,
        likelihood: Likelihood | None = None,
    ) -> None:
        super().__init__(likelihood or Categorical())
        if distance not in ("euclidean", "cosine"):
            raise InputError(f"distance {distance!r} is unknown; choose 'euclidean' or 'cosine'")
        if scale is not None and not (math.isfinite(scale) and scale > 0):
            raise InputError(f"the scale of the distance is {scale}; it must be positive and finite")
        self.distance = distance
        self.scale = scale if scale is not None else (1.0 if distance == "euclidean" else 10.0)

    def adapt(self, support: Examples, state: ClassSums | None = None) -> ClassSums:  # noqa: D102
        return ClassSums.of(self._vectors(support.x), support.y, state)

    def predict(self, state: ClassSums, x: Tensor) -> Tensor:  # noqa: D102
        z, prototypes = self._vectors(x), state.means
        if self.distance == "cosine":
            logits = F.normalize(z, dim=1) @ F.normalize(prototypes, dim=1).mT
        else:
            # Differences and not |z|^2 - 2 z.c + |c|^2, which loses the small distances that decide.
            logits = -(z.unsqueeze(1) - prototypes).square().sum(2)
        # A class that has no support example cannot be the answer.
        return (self.scale * logits).masked_fill(state.counts == 0, -math.inf).unsqueeze(0)

    def _vectors(self, x: Tensor) -> Tensor:
        z = x.flatten(1)
        return F.normalize(z, dim=1) if self.distance == "cosine" else z

    def extra_repr(self) -> str:  # noqa: D102
        return f"distance={self.distance!r}, scale={self.scale}"


class ProtoNet(Embedded):
    """Prototypical network: class means in a learned feature space, and a distance to them.

    Args:
        encoder: any module ``[N, *F] -> [N, H]``.
        distance: ``"euclidean"`` (squared, as in the paper) or ``"cosine"``.
        scale: factor of the logits; default 1 for squared distances, 10 for cosines.
        likelihood: default :class:`~innerloop.Categorical`.

    Example:
        >>> import torch, innerloop as il
        >>> learner = il.ProtoNet(il.nets.conv4())
        >>> support = il.Examples(torch.rand(5, 1, 28, 28), torch.eye(5))
        >>> learner.predict(learner.adapt(support), torch.rand(7, 1, 28, 28)).shape
        torch.Size([1, 7, 5])

    References:
        Snell, Swersky, Zemel, *Prototypical Networks for Few-shot Learning*, NeurIPS 2017,
        https://arxiv.org/abs/1703.05175.
    """

    network = "encoder"

    def __init__(
        self,
        encoder: nn.Module,
        *,
        distance: Literal["euclidean", "cosine"] = "euclidean",
        scale: float | None = None,
        likelihood: Likelihood | None = None,
    ) -> None:
        super().__init__(encoder, Prototypes(distance, scale, likelihood))
