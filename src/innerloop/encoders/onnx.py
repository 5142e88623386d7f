"""A network in an ONNX file as an encoder, whatever library trained it; onnxruntime runs it."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from innerloop.core.task import InputError
from innerloop.encoders.base import Each
from innerloop.encoders.items import Picture

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class _Opened(NamedTuple):
    """A file that was read."""

    session: Any
    digest: str
    """sha256 of the file and of those that its weights are in."""
    input: str
    bytes: bool
    """Whether it takes whole numbers from 0 to 255, not floats from 0 to 1."""
    batch: int | None
    """How many pictures it takes at a time, where that is fixed."""
    channels: int
    height: int | None
    width: int | None


class ONNX(Each):
    """A network in an ONNX file that turns pictures into features: its first output, all axes but the first in a row.

    Pictures are brought to the input that the file declares: ``[N, C, H, W]``, channels first, of floats from 0 to 1
    (from which ``mean`` and ``std`` make what it was trained on), or of bytes.

    Args:
        model: the file.
        size: height and width in pixels, where the file leaves them open.
        mean: of each channel, which is subtracted; ImageNet's is (0.485, 0.456, 0.406).
        std: of each channel, which is divided by; ImageNet's is (0.229, 0.224, 0.225).
        cache: the folder that features are kept in beside memory.
        device: ``"cpu"``, or ``"cuda"`` with onnxruntime's package for it.

    Raises:
        InputError: at ``transform``: for a file that is not there or is none of ONNX, an input that is no picture, a
            picture that cannot be read, or if onnxruntime is not installed.

    Example:
        >>> ONNX("net.onnx", size=224).transform(["a.png"])
        Traceback (most recent call last):
            ...
        innerloop.core.task.InputError: there is no file net.onnx: check the path of the ONNX model
    """

    name = "onnx"
    kind = "images"

    def __init__(
        self,
        model: str | Path,
        *,
        size: int | None = None,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
        cache: str | Path | None = None,
        device: str = "cpu",
    ) -> None:
        super().__init__(cache=cache, device=device)
        self.model = model
        self.size = size
        self.mean = mean
        self.std = std

    @property
    def features(self) -> int:  # noqa: D102
        height, width = self._shape()
        return self._encode([np.zeros((self._opened().channels, height, width), np.uint8)]).shape[1]

    def _opened(self) -> _Opened:
        path = Path(self.model).expanduser()
        if not path.is_file():
            raise InputError(f"there is no file {self.model}: check the path of the ONNX model")
        said = path.stat()
        return _read(path, said.st_mtime_ns, said.st_size, self.device, torch.get_num_threads())

    def _shape(self) -> tuple[int, int]:
        found = self._opened()
        if found.height and found.width:
            if self.size and (self.size, self.size) != (found.height, found.width):
                raise InputError(
                    f"size={self.size}, and {self.model} takes pictures of {found.height} x {found.width}: leave size= "
                    f"out"
                )
            return found.height, found.width
        if not self.size:
            raise InputError(f"{self.model} takes pictures of any size: give size= that it was trained on, in pixels")
        return found.height or self.size, found.width or self.size

    def _fingerprint(self) -> str:
        found = self._opened()
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is None:
                continue
            if found.bytes:
                raise InputError(f"{self.model} takes bytes, which have no {name}: leave {name}= out")
            if len(values) not in (1, found.channels):
                raise InputError(
                    f"{name}={values!r}: {self.model} has {found.channels} channels, give a value for each"
                )
        if self.std is not None and not all(value > 0 for value in self.std):
            raise InputError(f"std={self.std!r}: deviations are above 0")
        return f"{found.digest} {self._shape()} {self.mean} {self.std}"

    def _prepare(self, item: Picture) -> Any:
        height, width = self._shape()
        wanted: Literal[1, 3] = 1 if self._opened().channels == 1 else 3
        if height == width:
            return item.pixels(size=height, channels=wanted, fit="crop").numpy()
        whole = item.pixels(channels=wanted).numpy()
        picture = Image.fromarray(whole[0] if wanted == 1 else np.ascontiguousarray(whole.transpose(1, 2, 0)))
        pixels = np.asarray(ImageOps.fit(picture, (width, height), Image.Resampling.BILINEAR))
        return pixels[None] if wanted == 1 else pixels.transpose(2, 0, 1)

    def _encode(self, prepared: list[Any]) -> Tensor:
        found = self._opened()
        pixels = np.stack(prepared)
        if not found.bytes:
            pixels = pixels.astype(np.float32) / 255
            if self.mean is not None:
                pixels = pixels - np.asarray(self.mean, np.float32)[:, None, None]
            if self.std is not None:
                pixels = pixels / np.asarray(self.std, np.float32)[:, None, None]
        count = len(pixels)
        size = found.batch or count
        if short := -count % size:
            pixels = np.concatenate((pixels, np.repeat(pixels[-1:], short, 0)))
        parts = [pixels[start : start + size] for start in range(0, len(pixels), size)]
        try:
            made = [found.session.run(None, {found.input: part})[0] for part in parts]
        except Exception as error:
            raise InputError(
                f"{self.model} cannot be run on pictures {tuple(parts[0].shape)} ({_first(error)}): give the size= "
                f"that it was trained on"
            ) from None
        if any(np.ndim(part) < 1 or len(part) != size for part in made):
            raise InputError(
                f"the first output of {self.model} has shape {np.shape(made[0])} for {size} pictures: export a network "
                f"whose first output has a row for each"
            )
        rows = np.concatenate([np.reshape(part, (size, -1)) for part in made])[:count]
        return torch.from_numpy(rows.astype(np.float32))


@lru_cache(maxsize=4)
def _read(path: Path, written: int, length: int, device: str, threads: int) -> _Opened:
    """``written`` and ``length``: of the file, so that one that was replaced is read again."""
    try:
        import onnxruntime
    except ImportError:
        raise InputError("an ONNX file needs onnxruntime: pip install 'innerloop[export]'") from None
    provider = _PROVIDERS.get(device.partition(":")[0])
    if provider not in onnxruntime.get_available_providers():
        raise InputError(f"onnxruntime does not run on device={device!r} here: give 'cpu', or install onnxruntime-gpu")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 4
    try:
        session = onnxruntime.InferenceSession(path, options, providers=[provider])
    except Exception as error:
        raise InputError(f"{path} cannot be read as an ONNX model ({_first(error)}): export it again") from None
    first, *more = session.get_inputs()
    shape = [side if isinstance(side, int) else None for side in first.shape or ()]
    if more or len(shape) != 4 or shape[1] not in (1, 3) or first.type not in ("tensor(float)", "tensor(uint8)"):
        declared = ", ".join(f"{one.name} {one.type} {one.shape}" for one in (first, *more))
        raise InputError(
            f"{path} takes {declared}, and an encoder of pictures one input [N, C, H, W] of floats or bytes, channels "
            f"first, 1 or 3 of them: export it so"
        )
    batch, channels, height, width = shape
    whole = hashlib.sha256(path.read_bytes())
    for place in _beside(path):
        whole.update(place.read_bytes())
    assert channels is not None
    pixels = first.type == "tensor(uint8)"
    return _Opened(session, whole.hexdigest(), first.name, pixels, batch, channels, height, width)


def _beside(path: Path) -> list[Path]:
    """The files beside a model that hold its weights, where they are not in it."""
    try:
        import onnx
    except ImportError:
        # As torch and onnx name it.
        return [place for place in (path.with_name(path.name + ".data"),) if place.is_file()]
    graph = onnx.load(str(path), load_external_data=False).graph
    found = {entry.value for tensor in graph.initializer for entry in tensor.external_data if entry.key == "location"}
    return [path.parent / name for name in sorted(found)]


def _first(error: Exception) -> str:
    """The first line of a message, cut."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
