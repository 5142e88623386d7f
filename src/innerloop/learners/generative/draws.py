"""A latent Gaussian, and draws from it: fresh in training, common random numbers otherwise."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from innerloop.core.numbers import check_count

_SEED = 20_100


class Normal(NamedTuple):
    """Independent Gaussians: mean and deviation, each ``[..., L]``."""

    mean: Tensor
    scale: Tensor

    @staticmethod
    def of(raw: Tensor) -> Normal:
        """From raw numbers ``[..., 2 L]``: deviations in (0.1, 1), so that neither they nor the divergence run away."""
        mean, spread = raw.chunk(2, -1)
        return Normal(mean, 0.1 + 0.9 * spread.sigmoid())

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density of ``z [S, L]``: ``[S]``."""
        return (-0.5 * ((z - self.mean) / self.scale) ** 2 - self.scale.log() - 0.5 * math.log(2 * math.pi)).sum(-1)

    def divergence(self, prior: Normal) -> Tensor:
        """KL(self | prior), in nats, ``[...]``."""
        ratio = (self.scale / prior.scale) ** 2
        return 0.5 * (ratio + ((self.mean - prior.mean) / prior.scale) ** 2 - 1 - ratio.log()).sum(-1)


class Draws(nn.Module):
    """Standard normal noise for ``S`` Monte-Carlo draws of a latent vector.

    In training mode each call draws anew. Otherwise the noise is one fixed table: a prediction is a function of its
    state and its input, the same under every way of lifting and after every save; and as all tasks share the noise,
    differences between them are not blurred by it.

    Args:
        size: length of the latent vector.
        train: draws S in training mode.
        test: draws S otherwise.

    Raises:
        InputError: for fewer than 1 draw.

    Example:
        >>> Draws(8, train=1, test=50).eval()(torch.zeros(8)).shape
        torch.Size([50, 8])
    """

    table: Tensor

    def __init__(self, size: int, *, train: int = 1, test: int = 50) -> None:
        super().__init__()
        check_count("the number of draws in training", train, 1)
        check_count("the number of draws otherwise", test, 1)
        self.size, self.train_draws, self.test_draws = size, train, test
        noise = torch.randn(test, size, generator=torch.Generator().manual_seed(_SEED), dtype=torch.float64)
        self.register_buffer("table", noise.to(torch.get_default_dtype()), persistent=False)

    def forward(self, like: Tensor) -> Tensor:
        """Noise ``[S, size]`` of the kind (dtype, device) of ``like``."""
        if self.training:
            return torch.randn(self.train_draws, self.size, dtype=like.dtype, device=like.device)
        return self.table.to(like)

    def each(self, like: Tensor) -> Tensor:
        """Noise ``[S, R, size]``, independent between the R rows of ``like [R, *F]`` and of its kind.

        Outside training a row's noise goes with its content: rows in another order have their noise in that order. Rows
        are told apart by their rank on a fixed axis, and take turns on the table, so beyond S rows some share noise.
        """
        if self.training:
            return torch.randn(self.train_draws, len(like), self.size, dtype=like.dtype, device=like.device)
        rows = like.flatten(1)
        axis = torch.arange(1, rows.shape[1] + 1, dtype=like.dtype, device=like.device).cos()
        rank = (rows @ axis).argsort().argsort()
        turns = torch.arange(self.test_draws, device=like.device).unsqueeze(1) + rank
        return self.table.to(like)[turns % self.test_draws]
