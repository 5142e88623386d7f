"""A picture of one's own, a path, a Pillow image or an array, as pixels, or as it looks from afar."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from innerloop.core.task import InputError
from innerloop.data.images import Fit, Glance, glance, image_tensor, read_image

if TYPE_CHECKING:
    from PIL import Image


def pixels_of(item: Any, name: str, *, size: int, channels: int, fit: Fit = "squash") -> Tensor:
    """uint8 ``[channels, size, size]``.

    Raises:
        InputError: as :func:`innerloop.data.read_image`.
    """
    if isinstance(item, os.PathLike):
        return read_image(item, size=size, channels=channels, fit=fit)
    return image_tensor(_image(item, name), size=size, channels=channels, fit=fit, name=name)


def seen(item: Any, name: str) -> tuple[Glance, str]:
    """How a picture looks from afar, and the digest of its content.

    Raises:
        InputError: for one that cannot be read.
    """
    if isinstance(item, os.PathLike):
        found = glance(item)
        with open(item, "rb") as file:
            return found, hashlib.file_digest(file, "sha256").hexdigest()
    image = _image(item, name)
    gray = image_tensor(image, size=32, channels=1, name=name)[0]
    digest = hashlib.sha256(f"{image.mode} {image.size}".encode() + image.tobytes()).hexdigest()
    return Glance("", image.mode, *image.size, 1, gray), digest


def _image(item: Any, name: str) -> Image.Image:
    from PIL import Image

    if isinstance(item, Image.Image):
        return item
    values = np.asarray(item)
    if values.ndim == 3 and values.shape[0] in (1, 3, 4) and values.shape[2] not in (1, 3, 4):
        values = np.moveaxis(values, 0, 2)
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] not in (1, 3, 4)) or not values.size:
        raise InputError(f"{name} has shape {np.shape(item)}: a picture is [H, W], [H, W, C] or [C, H, W]")
    low, high = float(values.min()), float(values.max())
    if not 0 <= low <= high <= 255:
        raise InputError(f"{name} has values from {low:g} to {high:g}: give bytes, or floats from 0 to 1")
    if values.dtype.kind == "b" or (values.dtype.kind == "f" and high <= 1):
        values = values * 255.0
    values = np.rint(values).astype(np.uint8)
    return Image.fromarray(
        values[..., 0] if values.ndim == 3 and values.shape[2] == 1 else np.ascontiguousarray(values)
    )
