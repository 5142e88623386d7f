"""Multi-layer perceptrons."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from torch import nn

from innerloop.core.task import InputError
from innerloop.nets.sizes import check_sizes


def mlp(*sizes: int, activation: Callable[[], nn.Module] = nn.ReLU, dropout: float = 0.0) -> nn.Sequential:
    """Linear layers with an activation between them: ``[N, sizes[0]] -> [N, sizes[-1]]``.

    Args:
        sizes: widths from input to output, at least two.
        activation: makes an activation module.
        dropout: probability after each hidden activation.

    Example:
        >>> sum(p.numel() for p in mlp(1, 40, 40, 1).parameters())
        1761
    """
    if len(sizes) < 2:
        raise InputError(f"an mlp needs at least an input and an output width; got {sizes}")
    check_sizes("the perceptron", sizes, dropout)
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(pairwise(sizes)):
        layers.append(nn.Linear(a, b))
        if i < len(sizes) - 2:
            layers.append(activation())
            if dropout:
                layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers)
