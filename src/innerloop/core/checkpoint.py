"""Checkpoints: one safetensors file each, written atomically; nothing in it is executed when it is read."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from innerloop.core.task import InputError

#: Version of the layout of checkpoints and run folders.
FORMAT = 1


def write_atomically(path: Path, write: Callable[[str], None]) -> None:
    """Call ``write(temporary path)``, then move the file into place: readers see the old file or the new one."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        write(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_text_atomically(path: Path, text: str) -> None:
    """Write a text file so that readers see the old text or the new one."""
    write_atomically(path, lambda temporary: _write_text(temporary, text))


def _write_text(path: str, text: str) -> None:
    Path(path).write_text(text)


def save(path: str | Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Write named tensors and JSON facts as one file, atomically.

    Args:
        path: the file; its folder must exist.
        tensors: by name, on any device.
        facts: anything that JSON takes.
    """
    flat = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    metadata = {"format": str(FORMAT), "facts": json.dumps(facts)}
    write_atomically(Path(path), lambda temporary: save_file(flat, temporary, metadata))


def load(path: str | Path, device: torch.device | str = "cpu") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what :func:`save` wrote: tensors and facts.

    Raises:
        InputError: if the file is missing, truncated, not a checkpoint, or of another version.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no checkpoint at {path}: give the run folder that `innerloop train --out` wrote")
    try:
        with safe_open(str(path), framework="pt", device=str(device)) as file:
            metadata = file.metadata() or {}
            # Copies, since the file's own layout is not aligned: kernels would round such tensors differently.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(
            f"the checkpoint {path} ({path.stat().st_size} bytes) cannot be read ({error}): it is corrupt or "
            f"truncated; use another checkpoint of the run or train again"
        ) from None
    if metadata.get("format") != str(FORMAT):
        raise InputError(
            f"the checkpoint {path} has format {metadata.get('format')}, this version of innerloop reads {FORMAT}: "
            f"use the version that wrote it, or train again"
        )
    return tensors, json.loads(metadata["facts"])


def load_weights(module: nn.Module, tensors: dict[str, Tensor], where: str | Path) -> None:
    """Load weights by name, all of them and no others.

    Raises:
        InputError: naming the first weight that is missing, unknown or of another shape.
    """
    own = module.state_dict()
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


def save_state(path: str | Path, state: Any) -> None:
    """Save a learner's adapted state (any pytree of tensors), to be served or folded on later."""
    leaves, _ = pytree.tree_flatten(state)
    save(path, {f"{i}": leaf for i, leaf in enumerate(leaves)}, {"leaves": len(leaves)})


def load_state(path: str | Path, like: Any) -> Any:
    """Read a state saved by :func:`save_state`; ``like`` is any state of the same learner, it gives the structure.

    Raises:
        InputError: if the file holds another number of tensors than ``like``.
    """
    tensors, facts = load(path)
    leaves, structure = pytree.tree_flatten(like)
    if facts.get("leaves") != len(leaves):
        raise InputError(f"the state {path} has {facts.get('leaves')} tensors, the learner's has {len(leaves)}")
    return pytree.tree_unflatten([tensors[f"{i}"] for i in range(len(leaves))], structure)
