"""Image files: one reader for all of them, right for every mode that Pillow knows, and folders of one class each."""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from innerloop.core.numbers import check_count
from innerloop.core.task import InputError
from innerloop.data.walk import files_below

if TYPE_CHECKING:
    from PIL import Image

#: How an image comes to its size: both sides on their own, or the shorter side, and then the middle is cut out.
Fit = Literal["squash", "crop"]

#: The most pixels of a file that is decoded: one of 100 megapixels takes 300 MB.
LIMIT = 100_000_000
_WHITES = (1.0, 255.0, 65_535.0, 2.0**31 - 1)
# Pillow lists these, but reads them only with a plug-in or by running another program.
_LEFT_OUT = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})
#: Endings of images that Pillow does not read by itself.
FOREIGN = frozenset({".heic", ".heif", ".jxl", ".svg", ".dng", ".cr2", ".nef", ".arw"})


def read_image(
    source: str | os.PathLike[str] | IO[bytes],
    *,
    size: int | None = None,
    channels: int = 3,
    fit: Fit = "squash",
    white: float | None = None,
    limit: int = LIMIT,
    quick: bool = False,
    name: str | None = None,
) -> Tensor:
    """Read one image, as its viewer would show it.

    Turned as its EXIF orientation says; what is transparent stands on white; of an animation the first frame. 16-bit
    grays keep their scale. Integers of 32 bits and floats have no white of their own: it is the smallest of 1 (floats
    only), 255, 65,535 and 2^31 - 1 that no value exceeds.

    Args:
        source: a path or an open file.
        size: height and width to resize to, in pixels; default its own.
        channels: 3 for colors, 1 for grays.
        fit: how it comes to that size: ``"squash"`` both sides, or ``"crop"``: the shorter side, and the middle is cut
            out.
        white: the value that is white, for 32-bit integers and floats.
        limit: the most pixels of a file; a larger one is refused by its header, before it is decoded.
        quick: decode a JPEG that is several times larger than ``size`` at a half, a quarter or an eighth of its size,
            at least twice ``size``: much faster, with differences that are hardly seen.
        name: what a message calls it; default the path.

    Returns:
        uint8 ``[channels, H, W]``, 0 black to 255 white.

    Raises:
        InputError: naming the file, if it is missing, damaged, truncated, too large or no image, or has values below
            black or above white.

    Example:
        >>> import io, PIL.Image
        >>> file = io.BytesIO()
        >>> PIL.Image.new("RGBA", (4, 2), (255, 0, 0, 0)).save(file, "PNG")
        >>> read_image(file, size=3).shape, int(read_image(file).min())
        (torch.Size([3, 3, 3]), 255)
    """
    from PIL import Image

    name = name or (str(source) if isinstance(source, (str, os.PathLike)) else str(getattr(source, "name", "the file")))
    with _refused(name), warnings.catch_warnings():
        # Of large images the limit is here; a file whose notes are damaged is read or refused.
        warnings.simplefilter("ignore")
        with Image.open(source, formats=_formats()) as image:
            _check_size(name, *image.size, limit)
            if quick and size is not None:
                image.draft(None, (2 * size, 2 * size))
            image.load()
            return image_tensor(image, size=size, channels=channels, fit=fit, white=white, name=name)


def image_tensor(
    image: Image.Image,
    *,
    size: int | None = None,
    channels: int = 3,
    fit: Fit = "squash",
    white: float | None = None,
    name: str = "the image",
) -> Tensor:
    """A Pillow image as :func:`read_image` gives it: uint8 ``[channels, H, W]``.

    Raises:
        InputError: for sizes that cannot be, a mode without colors, or values below black or above white.
    """
    from PIL import Image, ImageOps

    if channels not in (1, 3):
        raise InputError(f"channels is {channels!r}; it must be 1 or 3")
    check_count("size", size, 1, optional=True)
    if fit not in get_args(Fit):
        raise InputError(f"fit={fit!r} is unknown; choose one of {', '.join(get_args(Fit))}")
    with _refused(name):
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I") or image.mode == "F":
            image = Image.fromarray(_bytes(image, white, name))
        elif image.has_transparency_data:
            # La and RGBa, whose colors are multiplied by their share, become what they stand for first.
            image = image.convert({"La": "LA", "RGBa": "RGBA"}.get(image.mode, image.mode)).convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        elif image.mode == "LAB":
            image = image.convert("RGB")
        # One-bit images and palettes are resized without antialiasing, hence the detour by grays or colors.
        image = image.convert("RGB" if channels == 3 else "L")
        if size is not None and fit == "crop":
            image = ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)
        elif size is not None:
            image = image.resize((size, size), Image.Resampling.LANCZOS)
    pixels = np.array(image).reshape(image.size[1], image.size[0], channels)
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


class Glance(NamedTuple):
    """What a file of a picture is, and how it looks from afar."""

    format: str
    """As Pillow calls it: ``"JPEG"``."""
    mode: str
    width: int
    height: int
    frames: int
    gray: Tensor
    """uint8 ``[side, side]``."""


def glance(source: str | os.PathLike[str] | IO[bytes], *, side: int = 32, name: str | None = None) -> Glance:
    """Read all of a picture, but only small and gray: several times faster than :func:`read_image` for JPEG.

    Raises:
        InputError: as :func:`read_image`.

    Example:
        >>> import io, PIL.Image
        >>> file = io.BytesIO()
        >>> PIL.Image.new("P", (40, 20)).save(file, "GIF")
        >>> glance(file)[:5]
        ('GIF', 'P', 40, 20, 1)
    """
    from PIL import Image

    name = name or (str(source) if isinstance(source, (str, os.PathLike)) else str(getattr(source, "name", "the file")))
    with _refused(name), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(source, formats=_formats()) as image:
            kind, mode, (width, height) = image.format or "", image.mode, image.size
            _check_size(name, width, height, LIMIT)
            frames = int(getattr(image, "n_frames", 1))
            # JPEG is decoded at an eighth of its size, from all of its bytes.
            image.draft("L", (2 * side, 2 * side))
            image.load()
            return Glance(kind, mode, width, height, frames, image_tensor(image, size=side, channels=1, name=name)[0])


def _check_size(name: str, width: int, height: int, limit: int) -> None:
    if width * height > limit:
        raise InputError(
            f"{name} has {width}x{height} = {width * height} pixels, more than the limit of {limit}: make it smaller, "
            f"or raise the limit"
        )


@contextmanager
def _refused(name: str) -> Iterator[None]:
    """Whatever Pillow raises on a file that it cannot read, as a refusal that names it."""
    from PIL import Image, features

    try:
        yield
    except InputError:
        raise
    except (
        OSError,
        EOFError,
        SyntaxError,
        ValueError,
        IndexError,
        struct.error,
        zlib.error,
        Image.DecompressionBombError,
    ) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise InputError(f"{name} cannot be read ({error.strerror}): check the path and its rights") from error
        if name.lower().endswith(".webp") and not features.check("webp"):
            raise InputError("this build of Pillow reads no WebP images: install Pillow from its wheel") from error
        raise InputError(f"{name} is not a readable image ({error}): repair it or take it out") from error


def _bytes(image: Image.Image, white: float | None, name: str) -> np.ndarray:
    """Grays of more than 8 bits as bytes."""
    values = np.asarray(image).astype(np.float64)
    possible = _WHITES if image.mode == "F" else _WHITES[1:]
    if image.mode.startswith("I;16"):
        white = 65_535.0
    if not np.isfinite(values).all():
        raise InputError(f"{name} has pixels that are not finite: repair it or take it out")
    low, high = float(values.min(initial=0)), float(values.max(initial=0))
    chosen = white if white is not None else next((value for value in possible if high <= value), possible[-1])
    if low < 0 or high > chosen:
        raise InputError(
            f"{name} has pixels from {low:g} to {high:g}; they must lie between 0, black, and {chosen:g}, white: give "
            f"white=, or save it with 8 or 16 bits"
        )
    if isinstance(clear := image.info.get("transparency"), int):
        values[values == clear] = chosen
    return np.rint(values * (255 / chosen)).astype(np.uint8)


def class_folders(root: str | os.PathLike[str]) -> dict[str, list[Path]]:
    """The image files of each class: a folder below ``root`` that holds images, named by its path from there.

    Linked folders count; what begins with a dot, ``__MACOSX`` and ``Thumbs.db`` do not.

    Raises:
        InputError: if there is no such folder, or images lie in ``root`` itself.

    Example:
        >>> class_folders("images/train")  # doctest: +SKIP
        {'birds/crow': [PosixPath('images/train/birds/crow/0.png'), ...], ...}
    """
    root = Path(root).expanduser()
    found: dict[str, list[Path]] = {}
    for path in _images(root):
        found.setdefault(path.parent.relative_to(root).as_posix(), []).append(path)
    stray = found.pop(".", [])
    if not found:
        raise InputError(f"{root} holds no folder with images: give the folder that holds one folder for each class")
    if stray:
        raise InputError(
            f"{stray[0]} lies beside the folders of the classes (and {len(stray) - 1} more): move it into one of them, "
            f"or away"
        )
    return found


def _images(folder: Path) -> Iterator[Path]:
    """All image files below a folder, in the order of their paths."""
    for path in files_below(folder):
        ending = path.suffix.lower()
        if ending in picture_endings():
            yield path
        elif ending in FOREIGN:
            raise InputError(f"{path} is in a format that Pillow does not read: save it as PNG or JPEG")


@lru_cache
def _formats() -> tuple[str, ...]:
    from PIL import Image

    Image.init()
    return tuple(kind for kind in Image.OPEN if kind not in _LEFT_OUT)


@lru_cache
def picture_endings() -> frozenset[str]:
    """The endings of the files that are read, with their dots, in lower case."""
    from PIL import Image

    known, formats = Image.registered_extensions(), _formats()
    return frozenset(ending for ending, kind in known.items() if kind in formats)
