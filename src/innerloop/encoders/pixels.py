"""Pictures as a network outside of this package gets them: values 0 to 1, standardized within the graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class Scaled(nn.Module):
    """A network on pictures whose channels are standardized first.

    Args:
        module: the network.
        channels: of a picture.
        mean: of each channel, which is subtracted.
        std: of each channel, which is divided by.

    Example:
        >>> Scaled(nn.Identity(), 1, (0.5,), (0.25,))(torch.ones(1, 1, 1, 1))
        tensor([[[[2.]]]])
    """

    mean: Tensor | None
    std: Tensor | None

    def __init__(
        self, module: nn.Module, channels: int, mean: Sequence[float] | None = None, std: Sequence[float] | None = None
    ) -> None:
        super().__init__()
        self.module = module
        for name, values in (("mean", mean), ("std", std)):
            given = None if values is None else torch.tensor(values).expand(channels).reshape(channels, 1, 1).clone()
            self.register_buffer(name, given)

    def forward(self, pixels: Tensor) -> Tensor:
        """Of pictures ``[n, C, H, W]``, values 0 to 1."""
        pixels = pixels if self.mean is None else pixels - self.mean
        found: Tensor = self.module(pixels if self.std is None else pixels / self.std)
        return found


def pixel_steps(size: int, channels: int, fit: str = "crop") -> tuple[dict[str, Any], ...]:
    """The steps from a picture to such values.

    Args:
        size: height and width in pixels.
        channels: 3 for colors, 1 for grays.
        fit: ``"crop"`` cuts the largest square from the middle first.

    Example:
        >>> [step["step"] for step in pixel_steps(28, 1)]
        ['grayscale', 'crop', 'resize', 'divide']
    """
    gray = ({"step": "grayscale"},) if channels == 1 else ({"step": "color", "order": "RGB"},)
    cut = ({"step": "crop", "to": "square"},) if fit == "crop" else ()
    return (*gray, *cut, {"step": "resize", "side": size}, {"step": "divide", "by": 255})
