"""Omniglot as the official one-shot protocol has it: trained on the background alphabets, judged within an alphabet.

Lake, Salakhutdinov and Tenenbaum, *Human-level concept learning through probabilistic program induction*, Science 2015,
https://doi.org/10.1126/science.aab3050.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from os import PathLike

import torch

from innerloop.core.numbers import check_count
from innerloop.core.task import InputError
from innerloop.data.drawers import TwoDrawers, alphabets
from innerloop.data.pool import Pool
from innerloop.data.pools import Pools
from innerloop.data.sets.omniglot import omniglot
from innerloop.data.source import Maker

#: Alphabets of Vinyals' validation set.
_VALIDATING = 5


class Alphabets(Pools):
    """Pools of characters, whose tasks stay within an alphabet and go from one drawer to another."""

    def makers(self, split: str) -> Mapping[str, Maker]:  # noqa: D102
        return {**super().makers(split), "episodes": partial(TwoDrawers, self.part(split))}


def omniglot_oneshot(
    root: str | PathLike[str],
    *,
    size: int = 32,
    symmetries: bool = True,
    held_out: int = 5,
    download: bool = False,
    cache: bool = True,
) -> Alphabets:
    """Omniglot's background alphabets to train and validate on, its evaluation alphabets to test.

    25 alphabets (792 characters) train, the five of Vinyals' validation set (172) validate, and the 20 evaluation
    alphabets (659) test: nothing of these is in training or in any choice. Tasks are those of
    :class:`innerloop.data.TwoDrawers`.

    Args:
        root: the folder that holds Omniglot, see :func:`innerloop.data.omniglot`.
        size: height and width in pixels; the originals have 105.
        symmetries: train on each alphabet in eight forms, turned by 90, 180 and 270 degrees and mirrored, as alphabets
            of their own. What is validated and tested on is upright.
        held_out: how many of the five alphabets validate, those of the fewest letters; the others train. With 1 there
            are 29 to train on, for a last run once all is chosen: one alphabet chooses nothing well.
        download: fetch what is missing.
        cache: keep the decoded images in the cache folder.

    Returns:
        The pools, named ``"omniglot_oneshot"``.

    Raises:
        InputError: as :func:`innerloop.data.omniglot`, and for a ``held_out`` outside 1 to 5.

    Example:
        >>> pools = omniglot_oneshot("data/omniglot")  # doctest: +SKIP
        >>> pools.train.classes, pools.val.classes, pools.test.classes  # doctest: +SKIP
        (6336, 172, 659)

    References:
        Lake et al., *Human-level concept learning through probabilistic program induction*, 2015,
        https://doi.org/10.1126/science.aab3050.
    """
    check_count("held_out", held_out, 1)
    if held_out > _VALIDATING:
        raise InputError(
            f"held_out is {held_out}; {_VALIDATING} background alphabets are there to validate: give 1 to {_VALIDATING}"
        )
    drawn = omniglot(root, split="background", size=size, rotations=False, download=download, cache=cache)
    train, val = drawn.train, drawn.val
    if held_out < _VALIDATING:
        found = sorted(alphabets(val).values(), key=len)
        everything = Pool(torch.cat((train.x, val.x)), torch.cat((train.sizes, val.sizes)), train.names + val.names)
        kept, more = ([val.names[place] for place in torch.cat(part)] for part in (found[:held_out], found[held_out:]))
        train, val = everything.only((*train.names, *more)), everything.only(kept)
    return Alphabets(eightfold(train) if symmetries else train, val, drawn.test, "omniglot_oneshot")


def eightfold(pool: Pool) -> Pool:
    """Eight times the classes: each as it is and turned by quarters, and the same of its mirror image.

    The mirror image of ``A/a`` is named ``A/a/mirror``, turned ones as by :meth:`innerloop.data.Pool.rotated`.

    Raises:
        InputError: for examples that are no square images.

    Example:
        >>> pool = Pool(torch.zeros(1, 1, 2, 2, dtype=torch.uint8), torch.tensor([1]), ("A/a",))
        >>> eightfold(pool).names[:4]
        ('A/a', 'A/a/mirror', 'A/a/rot090', 'A/a/mirror/rot090')
    """
    mirrored = tuple(f"{name}/mirror" for name in pool.names)
    return Pool(torch.cat((pool.x, pool.x.flip(-1))), pool.sizes.repeat(2), pool.names + mirrored).rotated()
