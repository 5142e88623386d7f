"""What clients send as examples and queries: checked, and images by their headers before anything is decoded."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import json
import math
import warnings
from typing import Any, NamedTuple

from torch import Tensor

from innerloop.core.plain import json_of
from innerloop.core.task import InputError
from innerloop.data.images import read_image
from innerloop.serve.kinds import KINDS
from innerloop.serve.models import Item
from innerloop.serve.settings import Settings

#: Formats that are read: the first bytes of each, and its media type.
_FORMATS = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"BM": "image/bmp",
    b"II*\x00": "image/tiff",
    b"MM\x00*": "image/tiff",
}


class Input(NamedTuple):
    """One example or query."""

    content: bytes
    """As it is kept."""
    media: str

    @property
    def digest(self) -> str:
        """sha256 of the content."""
        return hashlib.sha256(self.content).hexdigest()


def media_of(content: bytes, name: str) -> str:
    """The media type of an image, by its first bytes.

    Raises:
        InputError: for anything else.
    """
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    found = next((media for start, media in _FORMATS.items() if content.startswith(start)), None)
    if found is None:
        raise InputError(f"{name} is no image that is read here: give PNG, JPEG, WebP, GIF, BMP or TIFF")
    return found


def from_base64(text: str, name: str) -> bytes:
    """The bytes of an image that was sent as text, with or without ``data:image/...;base64,`` before it."""
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InputError(f"{name} is no base64: encode the bytes of the image file") from None


class Reader:
    """Reads the inputs of one request.

    Args:
        kind: of the task.
        settings: the limits.
    """

    def __init__(self, kind: str, settings: Settings) -> None:
        self._kind, self._settings = kind, settings
        self._pixels = settings.all_pixels
        self.field = KINDS[kind].field

    def read(self, value: Any, name: str) -> Input:
        """One input, as JSON has it; of an image its bytes will do.

        Raises:
            InputError: for what is no such input, or larger than the limits.
        """
        return Input(*getattr(self, f"_{self.field}")(value, name))

    def parsed(self, content: bytes) -> Any:
        """What was sent, from what was kept of it.

        Raises:
            ValueError: for what was never kept.
        """
        if self.field == "image":
            return content
        found = content.decode() if self.field == "text" else json.loads(content)
        return getattr(Item.model_validate({self.field: found}), self.field)

    def _image(self, value: Any, name: str) -> tuple[bytes, str]:
        from PIL import Image

        content = value if isinstance(value, bytes) else from_base64(value, name)
        media = media_of(content, name)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with Image.open(io.BytesIO(content), formats=[media.partition("/")[2].upper()]) as image:
                    width, height = image.size
        except Image.DecompressionBombError:
            raise InputError(f"{name} has very many pixels: {self._settings.pixels} are the limit") from None
        except Exception:
            # Pillow raises whatever a damaged header leads it to.
            raise InputError(f"{name} is damaged: its header cannot be read") from None
        if width * height > self._settings.pixels:
            raise InputError(f"{name} has {width}x{height} pixels: {self._settings.pixels} are the limit")
        self._pixels -= width * height
        if self._pixels < 0:
            raise InputError(
                f"the images of the request have more than {self._settings.all_pixels} pixels together, which is the "
                f"limit: send them in several requests"
            )
        return content, media

    def _text(self, value: Any, name: str) -> tuple[bytes, str]:
        if not isinstance(value, str) or not value.strip():
            raise InputError(f"{name} is empty: give a text")
        if len(value) > self._settings.text:
            raise InputError(f"{name} has {len(value)} characters: {self._settings.text} are the limit")
        return _encoded(value, name), "text/plain; charset=utf-8"

    def _vector(self, value: Any, name: str) -> tuple[bytes, str]:
        self._count(value, name)
        return json_of([_finite(one, name) for one in value]).encode(), "application/json"

    def _row(self, value: Any, name: str) -> tuple[bytes, str]:
        self._count(value, name)
        cells = list(value.values()) if isinstance(value, dict) else value
        for cell in cells:
            if isinstance(cell, str):
                _encoded(cell, name)
                if len(cell) > self._settings.text:
                    raise InputError(f"{name} has a cell of more than {self._settings.text} characters, the limit")
            elif cell is not None and not isinstance(cell, bool):
                _finite(cell, name)
        for column in value if isinstance(value, dict) else ():
            _encoded(column, name)
        return json_of(value).encode(), "application/json"

    def _count(self, value: Any, name: str) -> None:
        if not 1 <= len(value) <= self._settings.numbers:
            raise InputError(f"{name} has {len(value)} numbers: give at least 1 and at most {self._settings.numbers}")


def decoded(kind: str, content: bytes, name: str, pixels: int) -> Any:
    """What an encoder or a head takes of an input that was kept.

    Raises:
        InputError: for an image that is damaged, or has more pixels than the limit.
    """
    field = KINDS[kind].field
    if field == "image":
        found: Tensor = read_image(io.BytesIO(content), limit=pixels, name=name)
        return found
    return content.decode() if field == "text" else json.loads(content)


def _finite(value: Any, name: str) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number) or abs(number) > 1e30:
        raise InputError(f"{name} has a number beyond 1e30, or none at all: give finite numbers")
    return number


def _encoded(text: str, name: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise InputError(f"{name} has half a character (a lone surrogate): give text that is Unicode") from None
