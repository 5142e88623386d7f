"""Digests of content: the same for the same values, whatever file or machine they came from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

import torch
from torch import Tensor


def digest_of(tensors: Iterable[Tensor], *plain: object) -> str:
    """Sixteen hexadecimal digits for tensors (types, shapes, values) and plain values that JSON takes.

    Example:
        >>> import torch
        >>> digest_of([torch.zeros(2)], "a") == digest_of([torch.zeros(2)], "a")
        True
        >>> digest_of([torch.zeros(2)]) == digest_of([torch.zeros(2, 1)])
        False
    """
    found = hashlib.sha256(json.dumps(plain, sort_keys=True).encode())
    for tensor in tensors:
        found.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        # In pieces: a mapped pool is larger than memory.
        for piece in flat.split(2**24):
            found.update(piece.view(torch.uint8).numpy().data)
    return found.hexdigest()[:16]
