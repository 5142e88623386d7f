"""Digests of content: whether data are those that a run, or an evaluation, has seen."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor


def digest_of(*parts: Any) -> str:
    """16 hexadecimal digits that follow from tensors and arrays (type, shape, values), plain values and lists of these.

    Where a tensor lies does not count. What is neither is represented by its class alone, unless it has a ``digest``.

    Example:
        >>> digest_of(torch.zeros(2), {"a": (1, None)}) == digest_of(torch.zeros(2), {"a": [1, None]})
        True
        >>> digest_of(torch.zeros(2)) == digest_of(torch.zeros(2, 1))
        False
    """
    found = hashlib.sha256()
    for part in parts:
        _add(found, part)
    return found.hexdigest()[:16]


def _add(found: hashlib._Hash, part: Any) -> None:
    if isinstance(part, np.generic):
        part = part.item()
    if isinstance(part, np.ndarray):
        found.update(f"array {part.dtype} {part.shape};".encode())
        found.update(part.tobytes())
    elif isinstance(part, Tensor):
        values = part.detach().cpu().contiguous()
        found.update(f"tensor {values.dtype} {tuple(values.shape)};".encode())
        found.update(values.reshape(-1).view(torch.uint8).numpy().data)
    elif part is None or isinstance(part, (bool, int, float, str)):
        found.update(f"{type(part).__name__} {part!r};".encode())
    elif isinstance(part, Mapping):
        found.update(f"mapping {len(part)};".encode())
        for name in sorted(part, key=str):
            _add(found, str(name))
            _add(found, part[name])
    elif isinstance(part, (Sequence, set, frozenset)):
        found.update(f"list {len(part)};".encode())
        for entry in sorted(part, key=str) if isinstance(part, (set, frozenset)) else part:
            _add(found, entry)
    elif isinstance(own := getattr(part, "digest", None), str):
        found.update(f"{own};".encode())
    else:
        found.update(f"{type(part).__module__}.{type(part).__qualname__};".encode())
