"""One's own network as an encoder."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from innerloop.core.device import find_device
from innerloop.core.task import InputError
from innerloop.encoders.base import Each, Network
from innerloop.encoders.items import Picture
from innerloop.encoders.pixels import Scaled, pixel_steps


def weights_digest(module: nn.Module) -> str:
    """sha256 of a network's parts and of all its weights.

    Example:
        >>> weights_digest(nn.Flatten())[:8]
        '1bc176a3'
    """
    digest = hashlib.sha256(repr(module).encode())
    for name, tensor in module.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


class Module(Each):
    """A torch module that turns pictures ``[n, C, size, size]``, values 0 to 1, into features.

    Args:
        module: the network; it runs in evaluation mode.
        size: height and width that pictures are cut and resized to, in pixels.
        channels: 3 for colors, 1 for grays.
        mean: of each channel, which is subtracted.
        std: of each channel, which is divided by.
        cache: the folder that features are kept in beside memory.
        device: what the network runs on.

    Raises:
        InputError: for what is no module, at ``transform`` for a picture that cannot be read.

    Example:
        >>> import numpy as np
        >>> net = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten())
        >>> Module(net, size=8, channels=1).transform([np.full((9, 9), 255, dtype=np.uint8)])
        array([[1., 1., 1., 1.]], dtype=float32)
    """

    name = "module"
    kind = "images"

    def __init__(
        self,
        module: nn.Module,
        *,
        size: int = 84,
        channels: int = 3,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
        cache: str | Path | None = None,
        device: str = "cpu",
    ) -> None:
        super().__init__(cache=cache, device=device)
        self.module = module
        self.size = size
        self.channels = channels
        self.mean = mean
        self.std = std

    @property
    def features(self) -> int:  # noqa: D102
        with torch.inference_mode():
            return self._encode([torch.zeros(self.channels, self.size, self.size)]).shape[1]

    def network(self) -> Network:  # noqa: D102
        pixels = torch.zeros(1, self.channels, self.size, self.size)
        return Network(
            Scaled(self.module.eval(), self.channels, self.mean, self.std),
            {"pixels": pixels},
            pixel_steps(self.size, self.channels),
        )

    def _fingerprint(self) -> str:
        if not isinstance(self.module, nn.Module):
            raise InputError(f"module={self.module!r} is no torch module: give one, or the name of an encoder")
        return f"{weights_digest(self.module)} {self.size} {self.channels} {self.mean} {self.std}"

    def _prepare(self, item: Picture) -> Tensor:
        return item.pixels(size=self.size, channels=1 if self.channels == 1 else 3, fit="crop").float() / 255

    def _encode(self, prepared: list[Any]) -> Tensor:
        device = find_device(self.device)
        found: Tensor = self.network().module.to(device)(torch.stack(prepared).to(device))
        return found.flatten(1)
