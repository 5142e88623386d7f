"""The size of an encoder's feature vectors."""

from __future__ import annotations

import math

from torch import nn

from innerloop.task import InputError


def vector_size(encoder: nn.Module, features: int | None = None) -> int:
    """H, as given or as the encoder says.

    Raises:
        InputError: if neither does.

    Example:
        >>> import innerloop as il
        >>> vector_size(il.nets.conv4())
        64
    """
    size = features or math.prod(getattr(encoder, "features", (0,)))
    if not size:
        raise InputError(f"{type(encoder).__name__} does not say the size of its features: pass features=")
    return int(size)
