"""Pools kept in the cache of prepared tensors."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import numpy
import torch
from torch import Tensor

from innerloop.core.cache import cached
from innerloop.data.pool import Pool
from innerloop.data.pools import Pools


def cached_pools(name: str, recipe: Mapping[str, object], build: Callable[[], Pools]) -> Pools:
    """Pools kept by :func:`cached`: the same arguments, but ``build`` makes pools."""

    def tensors() -> dict[str, Tensor]:
        made = build()
        parts: dict[str, Tensor] = {}
        for split in ("train", "val", "test"):
            pool: Pool = getattr(made, split)
            parts |= {f"{split}.x": pool.x, f"{split}.sizes": pool.sizes, f"{split}.names": _encode(pool.names)}
        return parts

    parts = cached(name, recipe, tensors)
    train, val, test = (
        Pool(parts[f"{split}.x"], parts[f"{split}.sizes"], _decode(parts[f"{split}.names"]))
        for split in ("train", "val", "test")
    )
    return Pools(train, val, test, name)


def _encode(names: tuple[str, ...]) -> Tensor:
    return torch.from_numpy(numpy.frombuffer(json.dumps(names).encode(), dtype=numpy.uint8).copy())


def _decode(text: Tensor) -> tuple[str, ...]:
    return tuple(json.loads(text.numpy().tobytes()))
