"""Relation Networks (Sung et al., CVPR 2018, https://arxiv.org/abs/1711.06025).

A learned module scores how strongly a query relates to a support example; a class's confidence is the sum of the
scores of its support examples; where classes have different numbers of these, it is their mean times the average
number, since scores may be negative, and no class must win by having few. Choose it where no fixed distance fits the
features; it costs a small network a pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from innerloop.core.likelihood import Categorical, Likelihood
from innerloop.core.task import Examples, InputError, join
from innerloop.learners.embedded import Embedded, composed
from innerloop.learners.heads.exchanged import Exchanging
from innerloop.nets.relation import RelationModule


class Relations(Exchanging):
    """The head of a relation network, on feature maps.

    Args:
        relation: a module ``[A, C, s, s], [B, C, s, s] -> [A, B]``, a score for each pair; default
            :class:`~innerloop.nets.RelationModule` for ``features``.
        combine: ``"scores"``: a class's confidence is the sum of the relation scores over its support examples;
            ``"features"``: the support features of a class are summed first, and one score is its confidence (as
            published; for classes of as many examples each).
        exchange: in meta-training let support and query examples change places: every part of a task's examples that
            is as large as the support set, in their order, is the support set once and the rest are queries, and the
            loss is the mean. As many pairs from fewer images, for tasks with few queries. Outside training the score of
            a pair is then the mean of both orders, of which the module has seen either.
        features: shape of one feature map ``(C, s, s)``; default the encoder's.
        likelihood: default :class:`~innerloop.Categorical` on the confidences; ``Gaussian(scale=1.0)`` is the paper's
            squared error against the one-hot row.

    Raises:
        InputError: for an unknown ``combine``, or neither a relation module nor the shape of the features.
    """

    maps = pairwise = True

    def __init__(
        self,
        relation: nn.Module | None = None,
        *,
        combine: Literal["scores", "features"] = "scores",
        exchange: bool = False,
        features: Sequence[int] | None = None,
        likelihood: Likelihood | None = None,
    ) -> None:
        super().__init__(likelihood or Categorical())
        if combine not in ("scores", "features"):
            raise InputError(f"combine={combine!r} is unknown; choose 'scores' or 'features'")
        if relation is None and features is None:
            raise InputError(
                "the shape of the feature maps is unknown: pass features=nets.feature_size(encoder, shape), or "
                "relation=nets.RelationModule(...)"
            )
        self.relation = relation if relation is not None else RelationModule(features or ())
        self.combine, self.exchange = combine, exchange

    def adapt(self, support: Examples, state: Examples | None = None) -> Examples:  # noqa: D102
        z, y = support
        if self.combine == "features":
            # One summed map a class; classes are their own rows from here on.
            z, y = torch.einsum("nd,n...->d...", y, z), torch.eye(y.shape[1], dtype=y.dtype, device=y.device)
            return Examples(z, y) if state is None else Examples(state.x + z, y)
        return join(state, support)

    def predict(self, state: Examples, x: Tensor) -> Tensor:  # noqa: D102
        scores = self._scores(x, state.x) @ state.y
        return (scores if self.combine == "features" else scores * evened(state.y.sum(0))).unsqueeze(0)

    def held_out(self, support: Examples) -> Tensor | None:
        """A score is of a pair: without an example its column is gone."""
        if self.combine == "features" or len(support.x) < 2:
            return None
        x, y = support
        scores = self._scores(x, x)
        return (scores - torch.diag(scores.diagonal())) @ y * evened(y.sum(0) - y)

    def _scores(self, a: Tensor, b: Tensor) -> Tensor:
        """``[A, C, s, s], [B, C, s, s] -> [A, B]``."""
        scores: Tensor = self.relation(a, b)
        # Of summed features the module has seen one order alone.
        one_order = self.training or not self.exchange or self.combine == "features"
        return scores if one_order else (scores + self.relation(b, a).mT) / 2


def evened(counts: Tensor) -> Tensor:
    """Factors ``[..., D]`` that make sums over so many examples a class sums over classes of one size."""
    present = (counts > 0).sum(-1, keepdim=True).clamp(min=1)
    return counts.sum(-1, keepdim=True) / present / counts.clamp(min=1)


class RelationNet(Embedded[Relations]):
    """Relation network: a learned score for each pair of query and support example, summed over the class's examples.

    Args:
        encoder: any module that gives feature maps ``[N, C, s, s]``, such as ``nets.conv4(maps=True, pools=2)``.

    Example:
        >>> import torch, innerloop as il
        >>> learner = il.RelationNet(il.nets.conv4(maps=True, pools=2))
        >>> support = il.Examples(torch.rand(5, 1, 28, 28), torch.eye(5))
        >>> learner.predict(learner.adapt(support), torch.rand(7, 1, 28, 28)).shape
        torch.Size([1, 7, 5])

    References:
        Sung et al., *Learning to Compare: Relation Network for Few-Shot Learning*, CVPR 2018,
        https://arxiv.org/abs/1711.06025.
    """

    @composed(Relations)
    def __init__(self) -> None: ...
