"""Returns and advantages: time is the first axis everywhere."""

from __future__ import annotations

import torch
from torch import Tensor


def advantages(rewards: Tensor, values: Tensor, discount: float = 1.0, trace: float = 1.0) -> Tensor:
    """Generalized advantage estimates of episodes that all end after the last row.

    Args:
        rewards: ``[n, *B]``.
        values: what was expected from each step on, ``[n, *B]``.
        discount: gamma.
        trace: lambda; 1 for the whole return, 0 for one step and the value after it.

    Returns:
        ``[n, *B]``.

    Example:
        >>> advantages(torch.tensor([1.0, 1.0, 1.0]), torch.zeros(3))
        tensor([3., 2., 1.])

    References:
        Schulman et al., *High-Dimensional Continuous Control Using Generalized Advantage Estimation*, ICLR 2016,
        https://arxiv.org/abs/1506.02438.
    """
    after = torch.cat((values[1:], torch.zeros_like(values[:1])))
    total, rows = torch.zeros_like(values[0]), []
    for surprise in (rewards + discount * after - values).flip(0):
        total = surprise + discount * trace * total
        rows.append(total)
    return torch.stack(rows[::-1])
