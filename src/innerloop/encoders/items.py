"""What people have, one by one: pictures as paths, Pillow images, arrays or tensors; sentences as strings."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from scipy.sparse import issparse
from torch import Tensor

from innerloop.core.task import InputError
from innerloop.data.images import LIMIT, Fit, image_tensor, read_image

_CHANNELS = (1, 3, 4)
#: Bytes of pixels that a picture keeps, at most.
_SMALL = 2**18


@dataclass(frozen=True)
class Picture:
    """One picture, not decoded before it is asked for.

    Args:
        source: a path, a Pillow image, or pixels: ``[H, W]``, ``[H, W, C]`` or ``[C, H, W]`` with 1, 3 or 4 channels,
            bytes, booleans, or floats whose white is 1 (255 where one is larger).
        name: what messages call it.
    """

    source: Any
    name: str

    @cached_property
    def digest(self) -> bytes:
        """sha256 of its content."""
        if isinstance(self.source, (str, os.PathLike)):
            try:
                with open(self.source, "rb") as file:
                    return hashlib.file_digest(file, "sha256").digest()
            except OSError as error:
                raise InputError(f"{self.name} cannot be read ({error.strerror}): check the path") from None
        pixels = self.pixels(channels=3)
        if pixels.numel() <= _SMALL:
            # The encoder asks for them next.
            self.__dict__["_held"] = pixels
        return hashlib.sha256(pixels.numpy().data).digest()

    def pixels(
        self, *, size: int | None = None, channels: Literal[1, 3] = 3, fit: Fit = "squash", quick: bool = False
    ) -> Tensor:
        """As :func:`~innerloop.data.images.read_image` gives them: uint8 ``[channels, H, W]``."""
        if isinstance(self.source, (str, os.PathLike)):
            return read_image(self.source, size=size, channels=channels, fit=fit, quick=quick, name=self.name)
        if size is None and channels == 3 and "_held" in self.__dict__:
            return self.__dict__["_held"]
        return image_tensor(self.image(), size=size, channels=channels, fit=fit, name=self.name)

    def image(self) -> Image.Image:
        """As Pillow has it: of a path decoded and in color, as its viewer would show it."""
        if isinstance(self.source, Image.Image):
            width, height = self.source.size
            if not 0 < width * height <= LIMIT:
                raise InputError(f"{self.name} has {width}x{height} pixels: give at least 1 and at most {LIMIT}")
            return self.source
        if isinstance(self.source, (str, os.PathLike)):
            return Image.fromarray(self.pixels().permute(1, 2, 0).numpy())
        return _from_pixels(self.source, self.name)


def _from_pixels(source: Any, name: str) -> Image.Image:
    pixels = source.detach().cpu().numpy() if isinstance(source, Tensor) else np.asarray(source)
    first, last = (pixels.ndim == 3 and pixels.shape[axis] in _CHANNELS for axis in (0, 2))
    # Where both ends may be channels, each library has its custom.
    if first and (isinstance(source, Tensor) or not last):
        pixels = np.moveaxis(pixels, 0, 2)
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in _CHANNELS) or not pixels.size:
        raise InputError(
            f"{name} has shape {tuple(np.shape(source))}: give pixels [H, W], [H, W, C] or [C, H, W] with 1, 3 or 4 "
            f"channels"
        )
    if pixels.dtype.kind not in "buif":
        raise InputError(f"{name} has pixels of type {pixels.dtype}: give bytes, or floats from 0 to 1")
    if pixels.dtype != np.uint8:
        pixels = _as_bytes(pixels, name)
    gray = pixels.ndim == 3 and pixels.shape[2] == 1
    return Image.fromarray(pixels[..., 0] if gray else np.ascontiguousarray(pixels))


def _as_bytes(pixels: np.ndarray, name: str) -> np.ndarray:
    low, high = float(pixels.min()), float(pixels.max())
    if not (0 <= low <= high <= 255):
        raise InputError(f"{name} has pixels from {low:g} to {high:g}: give bytes from 0 to 255, or floats from 0 to 1")
    if pixels.dtype.kind == "b" or (pixels.dtype.kind == "f" and high <= 1):
        pixels = pixels.astype(np.float64) * 255
    return np.rint(pixels).astype(np.uint8)


def check_column(X: Any) -> None:
    """Refuse what is no column: one single input, what has no order, and what can be read only once.

    Raises:
        InputError: naming it and the remedy.
    """
    if isinstance(X, (str, bytes, os.PathLike, Image.Image)):
        raise InputError(f"X is one {type(X).__name__}, {str(X)[:40]!r}: give a list, even of this one alone")
    # A sparse matrix of some formats is a dictionary as well; scikit-learn has its own words for these.
    if isinstance(X, (Mapping, Set, Iterator)) and not issparse(X):
        raise InputError(f"X is a {type(X).__name__}: give a list, an array or a column")


def column(X: Any) -> list[Any]:
    """A list of whatever a person gave as one column: a list, an array, a column or a frame of one column.

    Raises:
        InputError: for a single string or a frame of several columns.
    """
    check_column(X)
    if hasattr(X, "columns") and hasattr(X, "shape"):
        if X.shape[1] != 1:
            raise InputError(f"X has {X.shape[1]} columns: give the one with pictures or sentences")
        X = X[X.columns[0]]
    if hasattr(X, "to_list"):
        return list(X.to_list())
    if isinstance(X, np.ndarray):
        if X.dtype.kind in "OU":
            if X.ndim != 1 and not (X.ndim == 2 and X.shape[1] == 1):
                raise InputError(f"X has shape {X.shape}: give one column of pictures or sentences")
            return list(X.ravel().tolist()) if X.dtype.kind == "U" else list(X.ravel())
        return list(X)
    if not isinstance(X, Iterable):
        raise InputError(f"X is a {type(X).__name__}: give a list, an array or a column")
    return list(X)


def pictures(X: Any) -> list[Picture]:
    """The pictures that a person gave.

    Args:
        X: a list or column of paths, Pillow images, arrays or tensors; or one array ``[N, H, W]``, ``[N, H, W, C]`` or
            ``[N, C, H, W]``.

    Raises:
        InputError: for what is none of these, with its place.
    """
    if isinstance(X, (np.ndarray, Tensor)) and X.ndim not in (3, 4) and not _objects(X):
        raise InputError(f"X has shape {tuple(X.shape)}: give pictures [N, H, W], [N, H, W, C] or [N, C, H, W]")
    found = []
    for place, item in enumerate(column(X)):
        if isinstance(item, (str, os.PathLike)):
            found.append(Picture(Path(item).expanduser(), str(item)))
        elif isinstance(item, (Image.Image, np.ndarray, Tensor)):
            found.append(Picture(item, f"picture {place}"))
        else:
            raise InputError(f"row {place} is a {type(item).__name__}: give paths, Pillow images, arrays or tensors")
    return found


def sentences(X: Any) -> list[str]:
    """The sentences that a person gave.

    Raises:
        InputError: for what is no string, or has no letter in it, with its place.
    """
    found = column(X)
    for place, item in enumerate(found):
        if not isinstance(item, str):
            raise InputError(f"row {place} is {_short(item)}, of type {type(item).__name__}: give strings only")
        if not item.strip():
            raise InputError(f"row {place} is empty: give a sentence, or leave the row out")
    return found


def kinds(items: Sequence[Any]) -> set[str]:
    """Which kinds of items there are: ``"path"``, ``"picture"``, ``"text"``, ``"row"`` and names of other types."""
    return {_kind(item) for item in items}


def _kind(item: Any) -> str:
    if isinstance(item, os.PathLike):
        return "path"
    if isinstance(item, str):
        return "path" if looks_like_image(item) else "text"
    if isinstance(item, Image.Image) or (isinstance(item, (np.ndarray, Tensor)) and item.ndim in (2, 3)):
        return "picture"
    if isinstance(item, (list, tuple, np.ndarray, Tensor)):
        return "row"
    return "number" if isinstance(item, (int, float, np.number)) else type(item).__name__


def looks_like_image(text: str) -> bool:
    """Whether a string is the path of a picture: by its ending."""
    ending = os.path.splitext(text)[1].lower()
    return " " not in ending and ending in _endings()


def _endings() -> frozenset[str]:
    Image.init()
    return frozenset(Image.registered_extensions())


def _objects(X: Any) -> bool:
    return isinstance(X, np.ndarray) and X.dtype.kind in "OU"


def _short(item: Any) -> str:
    text = repr(item)
    return text if len(text) < 40 else f"{text[:37]}..."


def as_float(features: Tensor) -> Tensor:
    """float32 on the CPU."""
    return features.detach().to("cpu", torch.float32)
