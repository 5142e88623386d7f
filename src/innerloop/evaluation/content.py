"""Digests of episodes, by which evaluations know whether they saw the same tasks."""

from __future__ import annotations

import hashlib
from weakref import WeakKeyDictionary

import torch

from innerloop.core import distributed
from innerloop.data.digest import digest_of
from innerloop.data.episodes import Episodes
from innerloop.data.pool import Pool

#: What is known, by pool and digest of the indices: a run's validations have the same episodes.
_KNOWN: WeakKeyDictionary[Pool, dict[str, str]] = WeakKeyDictionary()
#: Examples that are read at once.
_BLOCK = 1024


def episodes_digest(pool: Pool, episodes: Episodes) -> str:
    """A digest of episodes: of their indices, and of the examples that these mean.

    Examples count as they are read, and only those that are used: bytes and the same images as floats, in memory or in
    a mapped file, are the same tasks, however large the pool is. In a process group the first rank reads them.

    Example:
        >>> import innerloop as il
        >>> pools = [il.Pool.of(torch.full((8, 2), value), [0, 1] * 4) for value in (0.0, 1.0)]
        >>> samplers = [il.FewShot(pool, ways=2, shots=1, queries=1) for pool in pools]
        >>> one, other = (sampler.episodes(torch.Generator().manual_seed(0), 3) for sampler in samplers)
        >>> torch.equal(one.query, other.query), episodes_digest(pools[0], one) == episodes_digest(pools[1], other)
        (True, False)
    """
    return distributed.first(lambda: _digest(pool, episodes))


def _digest(pool: Pool, episodes: Episodes) -> str:
    known, key = _KNOWN.setdefault(pool, {}), digest_of(list(episodes))
    if key not in known:
        found = hashlib.sha256(key.encode())
        for index in torch.cat([part.flatten() for part in episodes[1:]]).unique().split(_BLOCK):
            found.update(pool.get(index).detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        known[key] = found.hexdigest()[:16]
    return known[key]
