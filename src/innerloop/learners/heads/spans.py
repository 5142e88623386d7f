"""Spans of classes: a query belongs to the class whose examples, added up, come nearest to it (Naseem et al., 2010).

The span of a few examples says more of a class than their mean: it holds every mixture of what was seen. A feature
vector of unit length falls into the part that a class's examples explain, by ridge regression on them alone, and what
is left over. How much no class explains is also the sharpest sign that a query is of none.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from innerloop.core.likelihood import Categorical, Likelihood
from innerloop.core.numbers import check_number
from innerloop.core.task import Examples, join
from innerloop.learners.head import Head, Joined


class Spans(Head):
    """The logit of a class is the share of a query's squared length that its examples explain, times a scale.

    For long feature vectors: where a class has as many examples as a vector has numbers, it explains everything.

    Args:
        penalty: of the ridge regression of a vector of unit length on a class's examples.
        scale: factor of the logits.
        likelihood: default :class:`~innerloop.Categorical`.

    Raises:
        InputError: for a penalty or a scale that is not positive and finite.

    Example:
        >>> head = Spans(scale=1.0)
        >>> state = head.adapt(Examples(torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]]), torch.eye(2)))
        >>> head.predict(state, torch.tensor([[3.0, 0.0, 0.0]]))
        tensor([[[0.9091, 0.0000]]])

    References:
        Naseem, Togneri, Bennamoun, *Linear Regression for Face Recognition*, IEEE Transactions on Pattern Analysis and
        Machine Intelligence 2010.
    """

    def __init__(self, *, penalty: float = 0.1, scale: float = 10.0, likelihood: Likelihood | None = None) -> None:
        super().__init__(likelihood or Categorical())
        for name, value in (("penalty", penalty), ("scale", scale)):
            check_number(f"the {name} of the spans", value, "(0, inf)")
        self.penalty, self.scale = penalty, scale

    def adapt(self, support: Examples, state: Examples | None = None) -> Examples:  # noqa: D102
        return join(state, support)

    def predict(self, state: Examples, x: Tensor) -> Tensor:  # noqa: D102
        z, y = self._vectors(state.x), state.y
        cross = self._vectors(x) @ z.mT
        return (self.scale * ((cross @ self._inverse(z, y)) * cross @ y)).masked_fill(y.sum(0) == 0, -math.inf)[None]

    def held_out(self, support: Examples) -> Tensor:
        """By the diagonal of the inverse: what is left over of an example that the others of its class explain."""
        z, y = self._vectors(support.x), support.y
        inverse, gram = self._inverse(z, y), z @ z.mT
        own = (gram.diagonal() + self.penalty - 1 / inverse.diagonal()).unsqueeze(1)
        found = torch.where(y > 0, own, (gram @ inverse) * gram @ y)
        return (self.scale * found).masked_fill(y.sum(0) - y == 0, -math.inf)

    def joined(self, support: Examples, x: Tensor) -> Joined:
        """The query is a direction more in the span of its class."""
        z, y, queries = self._vectors(support.x), support.y, self._vectors(x)
        inverse, gram, cross = self._inverse(z, y), z @ z.mT, queries @ z.mT
        plain, change = self.held_out(support), cross @ inverse
        asked = change * cross @ y
        # What of the query itself its class leaves over, and the part of an example along that: [Q, D], [Q, N, D].
        left = queries.square().sum(1, keepdim=True) + self.penalty - asked
        parts = torch.zeros(len(x), y.shape[1], len(z), dtype=z.dtype, device=z.device)
        parts.index_add_(1, y.argmax(1), change.unsqueeze(2) * gram)
        along = cross.unsqueeze(2) - parts.mT
        others = ((gram @ inverse) * gram @ y) + along.square() / left.unsqueeze(1)
        diagonal = inverse.diagonal() + change.square() / (left @ y.mT)
        same = (gram.diagonal() + self.penalty - 1 / diagonal).unsqueeze(2)
        own = self.scale * torch.where(y > 0, same, others)
        asked = (self.scale * asked).masked_fill(y.sum(0) == 0, -math.inf).unsqueeze(1)
        return Joined(torch.cat((plain.expand(len(x), *plain.shape), asked), 1), torch.cat((own, asked), 1))

    def _inverse(self, z: Tensor, y: Tensor) -> Tensor:
        """Of every class's system at once: between examples of different classes it is zero."""
        same = z @ z.mT * (y @ y.mT)
        return torch.linalg.inv(same + self.penalty * torch.eye(len(z), dtype=z.dtype, device=z.device))

    def _vectors(self, x: Tensor) -> Tensor:
        return F.normalize(x.flatten(1), dim=1)

    def extra_repr(self) -> str:  # noqa: D102
        return f"penalty={self.penalty}, scale={self.scale}"
