"""A digest of a pool's content, by which evaluations know whether they saw the same examples."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from innerloop.data.mapped import MappedPool
from innerloop.data.pool import Pool

_KNOWN: WeakKeyDictionary[Pool, str] = WeakKeyDictionary()
#: Examples that are read at once, and of a mapped pool in all.
_BLOCK = 1024


def content_digest(pool: Pool) -> str:
    """A digest of a pool's examples, class sizes and names, computed once a pool.

    Of a mapped pool, whose examples may exceed what one wants to read, evenly spread examples stand for all.

    Example:
        >>> pool = Pool.of(torch.zeros(4, 2), [0, 0, 1, 1])
        >>> content_digest(pool) == content_digest(Pool.of(torch.ones(4, 2), [0, 0, 1, 1]))
        False
    """
    if pool not in _KNOWN:
        found = hashlib.sha256(json.dumps([pool.names, pool.sizes.tolist(), pool.shape]).encode())
        for index in _read(pool):
            # As they are read, so that bytes and the same examples as floats are one content.
            found.update(pool.get(index).detach().cpu().contiguous().numpy().data)
        _KNOWN[pool] = found.hexdigest()[:16]
    return _KNOWN[pool]


def _read(pool: Pool) -> Iterable[Tensor]:
    if isinstance(pool, MappedPool):
        return [torch.linspace(0, pool.examples - 1, min(_BLOCK, pool.examples), dtype=torch.float64).long()]
    return torch.arange(pool.examples).split(_BLOCK)
