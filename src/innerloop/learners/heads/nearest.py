"""The nearest neighbor (Cover and Hart, 1967): a query is of the class of the most similar support example."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from innerloop.core.likelihood import Categorical, Likelihood
from innerloop.core.task import Examples, join
from innerloop.learners.head import Head, Joined, distance_scale
from innerloop.learners.heads.prototypes import squares


class NearestNeighbor(Head):
    """The logit of a class is the similarity of its most similar support example.

    Args:
        distance: ``"euclidean"`` (squared) or ``"cosine"``.
        scale: factor of the logits, which are minus the squared distances or the cosines; default 1 for squared
            distances, 10 for cosines.
        likelihood: default :class:`~innerloop.Categorical`.

    Raises:
        InputError: for an unknown distance, or a scale that is not positive.

    Example:
        >>> head = NearestNeighbor()
        >>> state = head.adapt(Examples(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.eye(2)))
        >>> head.predict(state, torch.tensor([[3.0, 0.0]]))
        tensor([[[10.,  0.]]])

    References:
        Cover, Hart, *Nearest Neighbor Pattern Classification*, IEEE Transactions on Information Theory 1967.
    """

    def __init__(
        self,
        *,
        distance: Literal["euclidean", "cosine"] = "cosine",
        scale: float | None = None,
        likelihood: Likelihood | None = None,
    ) -> None:
        super().__init__(likelihood or Categorical())
        self.scale = distance_scale(distance, scale)
        self.distance = distance

    def adapt(self, support: Examples, state: Examples | None = None) -> Examples:  # noqa: D102
        return join(state, support)

    def predict(self, state: Examples, x: Tensor) -> Tensor:  # noqa: D102
        return self._best(self._similarities(x, state.x), state.y).unsqueeze(0)

    def held_out(self, support: Examples) -> Tensor:
        """No example is its own neighbor."""
        itself = torch.eye(len(support.x), dtype=torch.bool, device=support.x.device)
        z = support.x.flatten(1)
        near = self._similarities(z, z) if self.distance == "cosine" else -self.scale * squares(z, z)
        return self._best(near.masked_fill(itself, -math.inf), support.y)

    def joined(self, support: Examples, x: Tensor) -> Joined:
        """The query is one neighbor more."""
        plain, asked = self.held_out(support), self._similarities(x, support.x)
        others = torch.cat((plain.expand(len(x), *plain.shape), self._best(asked, support.y).unsqueeze(1)), 1)
        own = torch.maximum(others[:, :-1], asked.unsqueeze(2))
        return Joined(others, torch.cat((own, others[:, -1:]), 1))

    def _similarities(self, x: Tensor, known: Tensor) -> Tensor:
        z, known = x.flatten(1), known.flatten(1)
        if self.distance == "cosine":
            return self.scale * F.normalize(z, dim=1) @ F.normalize(known, dim=1).mT
        # Differences and not |z|^2 - 2 z.k + |k|^2, which loses the small distances that decide.
        return -self.scale * (z.unsqueeze(1) - known).square().sum(2)

    def _best(self, similarities: Tensor, y: Tensor) -> Tensor:
        """The largest of each class, ``[Q, N] -> [Q, D]``; a class without an example cannot be the answer."""
        return similarities.unsqueeze(1).masked_fill(y.mT == 0, -math.inf).amax(2)

    def numbers(self, examples: int, classes: int, features: int) -> int:
        """Every pair's differences are the most."""
        return examples * examples * (features + classes)

    def extra_repr(self) -> str:  # noqa: D102
        return f"distance={self.distance!r}, scale={self.scale}"
