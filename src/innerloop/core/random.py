"""Randomness that follows from (seed, use, step): nothing random depends on what was drawn before."""

from __future__ import annotations

import hashlib
from numbers import Integral

import torch

from innerloop.core.task import InputError

#: Seeds lie below it: what a generator of PyTorch takes.
SEEDS = 2**64


def mix(seed: int, use: str, step: int) -> int:
    """A seed of its own for each use and step.

    Example:
        >>> mix(0, "train", 3) == mix(0, "train", 3) != mix(0, "train", 4)
        True
    """
    digest = hashlib.blake2b(f"{seed}/{use}/{step}".encode(), digest_size=7).digest()
    return int.from_bytes(digest, "big")


def generator(seed: int, use: str, step: int) -> torch.Generator:
    """A generator of its own for each use and step."""
    return torch.Generator().manual_seed(mix(seed, use, step))


def seeded(seed: int) -> torch.Generator:
    """A generator with a user's seed.

    Raises:
        InputError: for anything but a whole number from 0 to 2**64 - 1.
    """
    seed = int(seed) if isinstance(seed, Integral) and not isinstance(seed, bool) else seed
    check_seed(seed)
    return torch.Generator().manual_seed(seed)


def check_seed(seed: int) -> None:
    """Refuse what is no seed.

    Raises:
        InputError: for anything but a whole number from 0 to 2**64 - 1.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < SEEDS:
        raise InputError(f"seed={seed!r} is no seed: give a whole number from 0 to 2**64 - 1")
