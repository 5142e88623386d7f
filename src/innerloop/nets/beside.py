"""What a network makes of an example, and the example itself, in one vector."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from innerloop.core.construction import Recorded
from innerloop.nets.sizes import check_sizes


class Beside(Recorded, nn.Module):
    """The features of an encoder, then the numbers of the example itself: ``[N, *F] -> [N, features + inputs]``.

    Args:
        encoder: ``[N, *F] -> [N, *H]``.
        features: all numbers of one example's features.
        inputs: all numbers of one example, or its shape.

    Example:
        >>> Beside(nn.Linear(3, 2), features=2, inputs=3)(torch.ones(4, 3)).shape
        torch.Size([4, 5])
    """

    def __init__(self, encoder: nn.Module, *, features: int, inputs: int | Sequence[int]) -> None:
        super().__init__()
        inputs = inputs if isinstance(inputs, int) else math.prod(inputs)
        check_sizes("the features and the example", (features, inputs))
        self.encoder = encoder
        self.features = features + inputs

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return torch.cat((self.encoder(x).flatten(1), x.flatten(1)), 1)
