"""What methods that generate features share: the network that makes them, and the head that they serve."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from innerloop.core.learner import Learner
from innerloop.core.likelihood import Likelihood
from innerloop.core.task import InputError
from innerloop.learners.heads.prototypes import Prototypes
from innerloop.nets.mlp import mlp


def head_or_prototypes(head: Learner | None, scale: float | None, likelihood: Likelihood | None) -> Learner:
    """The head that is given, or else prototypes with these options.

    Raises:
        InputError: for both.
    """
    if head is None:
        return Prototypes(scale=scale, likelihood=likelihood)
    if scale is not None or likelihood is not None:
        raise InputError(
            f"scale and likelihood are those of the default head, and {type(head).__name__} is given: give it its own"
        )
    return head


class FeatureGenerator(nn.Module):
    """A new feature from a real one, a context and noise: the real one and a learned change, which starts small.

    Args:
        features: H, numbers in a feature.
        noise: numbers of noise.
        context: numbers of context.
        hidden: units of both hidden layers; default H.
        start: factor of the last layer's initial weights.
    """

    def __init__(
        self, features: int, noise: int, context: int = 0, hidden: int | None = None, start: float = 0.1
    ) -> None:
        super().__init__()
        width = hidden or features
        self.change = mlp(features + context + noise, width, width, features)
        with torch.no_grad():
            for parameter in self.change[-1].parameters():
                parameter.mul_(start)

    def forward(self, z: Tensor, noise: Tensor, context: Tensor | None = None) -> Tensor:
        """``[N, *H], [S, noise], [context] -> [S * N, *H]``: under each noise, the features running fastest."""
        rows = z.flatten(1)
        parts = [rows.repeat(len(noise), 1), noise.repeat_interleave(len(rows), 0)]
        if context is not None:
            parts.append(context.expand(len(parts[0]), -1))
        return (parts[0] + self.change(torch.cat(parts, 1))).unflatten(1, z.shape[1:])
