"""A cache of prepared tensors: built once, checked whenever it is read, never in the way.

Caches live in ``$INNERLOOP_CACHE``, by default ``$XDG_CACHE_HOME/innerloop`` or ``~/.cache/innerloop``. Deleting the
folder is always safe.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor


def folder() -> Path:
    """The folder of all caches; it need not exist.

    Example:
        >>> folder()  # doctest: +SKIP
        PosixPath('/home/me/.cache/innerloop')
    """
    if own := os.environ.get("INNERLOOP_CACHE"):
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "innerloop"


def cached(name: str, recipe: Mapping[str, object], build: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors that ``build`` makes, from the cache if an earlier call with the same recipe left them there.

    Several processes may ask for the same tensors at once: each builds its own and the last file written stays. A
    damaged file is built anew, and where the folder cannot be written the tensors are built on every call; both with
    a warning.

    Args:
        name: the beginning of the file's name.
        recipe: all that the tensors depend on, as JSON values: a version number, options, digests of the sources.
        build: makes the tensors.

    Returns:
        The tensors by name, on the CPU.
    """
    key = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()
    path = folder() / f"{name}-{key[:16]}.safetensors"
    try:
        return _read(path, key)
    except OSError:
        pass
    except (SafetensorError, ValueError, KeyError) as error:
        warnings.warn(f"the cache file {path} is damaged ({error}) and is built anew", RuntimeWarning, stacklevel=2)
    tensors = {label: tensor.contiguous().cpu() for label, tensor in build().items()}
    try:
        _write(path, key, tensors)
    except OSError as error:
        warnings.warn(
            f"nothing can be cached in {path.parent} ({error.strerror or error}), so {name} is prepared anew on every "
            f"start: set INNERLOOP_CACHE to a folder that can be written",
            RuntimeWarning,
            stacklevel=2,
        )
    return tensors


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _read(path: Path, key: str) -> dict[str, Tensor]:
    # Read whole, not mapped: a file that is cut while in use would kill the process that has it mapped.
    data = path.read_bytes()
    tensors = safetensors.torch.load(data)
    metadata = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    if metadata["recipe"] != key or metadata["sha256"] != _digest(tensors):
        raise ValueError("its checksum does not match its content")
    return tensors


def _write(path: Path, key: str, tensors: dict[str, Tensor]) -> None:
    data = safetensors.torch.save(tensors, {"recipe": key, "sha256": _digest(tensors)})
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}-{uuid.uuid4().hex}.part")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
