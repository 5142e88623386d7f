"""A small transposed-convolution network, from vectors to images."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from innerloop.core.construction import Recorded
from innerloop.core.numbers import check_count
from innerloop.core.task import InputError


class Decoder(Recorded):
    """Vectors to images: a linear layer to a quarter of the side, and two transposed convolutions that double it.

    No normalization and no bound on what comes out: a likelihood reads it (as logits of pixels, say).

    Args:
        inputs: numbers in a vector.
        shape: of one image ``(C, S, S)``; S need not be a multiple of 4, what juts out is cut off.
        width: filters between the layers.

    Raises:
        InputError: for images that are not square.

    Example:
        >>> import torch
        >>> Decoder(80, (1, 28, 28))(torch.zeros(5, 80)).shape
        torch.Size([5, 1, 28, 28])
    """

    def __init__(self, inputs: int, shape: Sequence[int], width: int = 32) -> None:
        super().__init__()
        if len(shape) != 3 or shape[1] != shape[2]:
            raise InputError(f"the decoder gives square images (C, S, S), not {tuple(shape)}: pad or resize them")
        check_count("inputs", inputs, 1)
        check_count("width", width, 1)
        self.shape, self.width, self.side = tuple(shape), width, -(-shape[1] // 4)
        self.start = nn.Linear(inputs, 2 * width * self.side**2)
        self.first = nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1)
        self.second = nn.ConvTranspose2d(width, shape[0], 4, stride=2, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        """``[N, inputs] -> [N, C, S, S]``."""
        x = F.elu(self.start(z)).view(len(z), 2 * self.width, self.side, self.side)
        x = self.second(F.elu(self.first(x)))
        return x[:, :, : self.shape[1], : self.shape[2]]
