"""Checkpoints: one safetensors file each, written atomically, with a checksum that is verified when it is read.

Nothing in it is executed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialized
from torch import Tensor, nn

from innerloop.core.files import write_atomically
from innerloop.core.task import InputError

#: Version of the layout of checkpoints and run folders.
FORMAT = 2


def save(path: str | Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write named tensors and JSON facts as one file, atomically, with their checksum.

    Args:
        path: the file; its folder must exist.
        tensors: by name, on any device.
        facts: anything that JSON takes.

    Raises:
        InputError: if it cannot be written; a file that was there before is left as it was.
    """
    flat = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    text = json.dumps(facts)
    metadata = {"format": str(FORMAT), "facts": text, "sha256": checksum(flat, text)}
    write_atomically(Path(path), lambda temporary: write_tensors(temporary, flat, metadata))


def write_tensors(path: str | Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file under this name alone.

    The library writes a temporary file beside it first, of a name that nobody sweeps up if the process is killed.
    """
    Path(path).write_bytes(serialized(tensors, metadata))


def checksum(tensors: Mapping[str, Tensor], text: str = "") -> str:
    """A digest of a text and of each tensor's name, type, shape and every bit."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def load(path: str | Path, device: torch.device | str = "cpu") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what :func:`save` wrote: tensors and facts.

    Raises:
        InputError: if the file is missing, truncated, changed by as little as a bit, not a checkpoint, or of another
            version.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no checkpoint at {path}: give the run folder that `innerloop train --out` wrote")
    tensors, metadata = read_tensors(path)
    if metadata.get("format") != str(FORMAT):
        raise InputError(
            f"the checkpoint {path} has format {metadata.get('format')}, this version of innerloop reads {FORMAT}: "
            f"use the version that wrote it, or train again"
        )
    text = metadata.get("facts", "")
    if metadata.get("sha256") != checksum(tensors, text):
        raise InputError(
            f"the checkpoint {path} is not what was written (its checksum differs): it is corrupt or truncated; use "
            f"another checkpoint of the run or train again"
        )
    return {name: tensor.to(device) for name, tensor in tensors.items()}, json.loads(text)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a safetensors file, and what its header says beside them.

    Raises:
        InputError: if it cannot be read.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            # Copies, since the file's own layout is not aligned: kernels would round such tensors differently.
            return {name: file.get_tensor(name).clone() for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        size = f"{path.stat().st_size} bytes" if path.is_file() else "no file"
        raise InputError(
            f"the checkpoint {path} ({size}) cannot be read ({error}): it is corrupt or truncated; use another "
            f"checkpoint of the run or train again"
        ) from None


def read_facts(path: Path) -> dict[str, Any]:
    """The facts of a checkpoint by its header alone: quick, for those who look on, and without a look at the checksum.

    Returns:
        what :func:`save` was given; empty where there is no such file, or none that can be read.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            found = json.loads((file.metadata() or {}).get("facts", "{}"))
    except (SafetensorError, OSError, ValueError, RuntimeError):
        return {}
    return found if isinstance(found, dict) else {}


def with_optional(module: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, and for each part of the module that is optional and absent as a whole what it was built with.

    Parts whose ``optional`` is true came later than some files: without them a learner is as it was.
    """
    own, found = module.state_dict(), dict(tensors)
    for prefix, part in module.named_modules():
        names = [name for name in own if name.startswith(f"{prefix}.")] if getattr(part, "optional", False) else []
        if not any(name in tensors for name in names):
            found |= {name: own[name] for name in names}
    return found


def load_weights(module: nn.Module, tensors: dict[str, Tensor], where: str | Path) -> None:
    """Load weights by name, all of them and no others.

    Optional parts may be absent, see :func:`with_optional`.

    Raises:
        InputError: naming the first weight that is missing, unknown or of another shape.
    """
    own, tensors = module.state_dict(), with_optional(module, tensors)
    for name in sorted(own.keys() | tensors.keys()):
        if name not in tensors or name not in own:
            side = "lacks" if name not in tensors else "has, and the learner has not,"
            raise InputError(f"the checkpoint {where} {side} the weight {name!r}: it belongs to another recipe")
        if own[name].shape != tensors[name].shape:
            raise InputError(
                f"weight {name!r} has shape {tuple(tensors[name].shape)} in {where}, {tuple(own[name].shape)} in the "
                f"learner: it belongs to another recipe"
            )
    module.load_state_dict(tensors)


def pack(prefix: str, tree: Any) -> tuple[dict[str, Tensor], Any]:
    """Split a nest of dicts, lists and leaves into named tensors and JSON with references to them."""
    tensors: dict[str, Tensor] = {}

    def walk(node: Any) -> Any:
        if isinstance(node, Tensor):
            name = f"{prefix}.{len(tensors)}"
            tensors[name] = node
            return {"tensor": name}
        if isinstance(node, dict):
            return {"dict": [[key, walk(value)] for key, value in node.items()]}
        if isinstance(node, list | tuple):
            return {"list": [walk(value) for value in node]}
        return {"value": node}

    return tensors, walk(tree)


def unpack(tensors: dict[str, Tensor], tree: Any) -> Any:
    """The nest that :func:`pack` split; tuples come back as lists."""
    if "tensor" in tree:
        return tensors[tree["tensor"]]
    if "dict" in tree:
        return {key: unpack(tensors, value) for key, value in tree["dict"]}
    if "list" in tree:
        return [unpack(tensors, value) for value in tree["list"]]
    return tree["value"]
