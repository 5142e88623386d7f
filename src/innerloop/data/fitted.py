"""Images of one data set in the form of another: its size, its channels, its ground; and turned or inverted ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from innerloop.core.task import InputError, as_shares
from innerloop.data.pool import Pool

#: What a color weighs in a gray, ITU-R BT.601, as in Pillow.
_GRAY = (0.299, 0.587, 0.114)
_AT_ONCE = 1024


def fitted(pool: Pool, shape: Sequence[int]) -> Pool:
    """The images in another size and number of channels: colors to grays, grays to three equal channels.

    Sizes change by averaging over what a pixel covers (bilinear, antialiased); a pool that has the shape is returned as
    it is.

    Args:
        pool: of images ``[C, H, W]`` with 1 or 3 channels.
        shape: ``(C, H, W)`` that is wanted.

    Raises:
        InputError: for examples that are no images, or channels that are not 1 or 3.

    Example:
        >>> pool = Pool.of(torch.full((4, 3, 32, 32), 255, dtype=torch.uint8), [0, 0, 1, 1])
        >>> gray = fitted(pool, (1, 28, 28))
        >>> gray.shape, int(gray.x.min())
        ((1, 28, 28), 255)
    """
    wanted = tuple(shape)
    if pool.shape == wanted:
        return pool
    if len(pool.shape) != 3 or len(wanted) != 3 or {pool.shape[0], wanted[0]} - {1, 3}:
        raise InputError(
            f"examples of shape {pool.shape} cannot be fitted to {wanted}: both must be images [C, H, W] with 1 or 3 "
            f"channels"
        )
    return changed(pool, lambda x: _fit(x, wanted))


def inverted(pool: Pool) -> Pool:
    """The negatives: light for dark.

    Example:
        >>> inverted(Pool.of(torch.zeros(2, 1, 4, 4, dtype=torch.uint8), [0, 1])).x.unique().tolist()
        [255]
    """
    return changed(pool, lambda x: 255 - x if x.dtype == torch.uint8 else 1 - x)


def turned(pool: Pool, quarters: int = 1) -> Pool:
    """The images turned by so many quarter turns, against the clock.

    Example:
        >>> turned(Pool.of(torch.zeros(2, 1, 4, 6), [0, 1])).shape
        (1, 6, 4)
    """
    return changed(pool, lambda x: torch.rot90(x, quarters, (-2, -1)))


def changed(pool: Pool, function: Callable[[Tensor], Tensor]) -> Pool:
    """The same classes with ``function`` applied to the images ``[n, C, H, W]``, some at a time.

    Raises:
        InputError: for examples that are no images.
    """
    if len(pool.shape) != 3:
        raise InputError(f"examples of shape {pool.shape} are no images [C, H, W]: leave the change out")
    if type(pool) is Pool:
        return replace(pool, x=torch.cat([function(part) for part in pool.x.split(_AT_ONCE)]))
    # Of a mapped pool, x is the whole file: only `get` knows which examples are meant, and how they are turned.
    index = torch.arange(pool.examples).split(_AT_ONCE)
    return Pool(torch.cat([function(pool.get(part)) for part in index]), pool.sizes, pool.names)


def _fit(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    values = as_shares(x)
    if shape[0] == 1 and values.shape[1] == 3:
        values = (values * torch.tensor(_GRAY, device=x.device).view(3, 1, 1)).sum(1, keepdim=True)
    values = values.expand(-1, shape[0], -1, -1)
    if tuple(values.shape[2:]) != shape[1:]:
        values = F.interpolate(values, shape[1:], mode="bilinear", antialias=True, align_corners=False)
    return (values * 255).round().clamp(0, 255).to(torch.uint8) if x.dtype == torch.uint8 else values
