"""CIFAR-FS: the 100 classes of CIFAR-100, 600 photographs each, split 64 / 16 / 20 for few-shot learning.

Bertinetto, Henriques, Torr and Vedaldi, *Meta-learning with differentiable closed-form solvers*, ICLR 2019,
https://arxiv.org/abs/1805.08136.
"""

from __future__ import annotations

import hashlib
import json
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor

from innerloop.core.task import InputError
from innerloop.data.cache import cached_pools
from innerloop.data.images import read_image
from innerloop.data.pool import Pool
from innerloop.data.pools import Pools

_SPLITS = ("train", "val", "test")
_SIDE = 32
_ACROSS = 20


def cifar_fs(root: str | PathLike[str], *, cache: bool = True) -> Pools:
    """CIFAR-FS as pools of ``[N, 3, 32, 32]`` uint8 images.

    Args:
        root: the folder of one sheet a class, ``SPLIT/CLASS.webp`` with SPLIT one of train, val and test: tiles of
            32x32 pixels, 20 to a row; and of ``index.json``, an object from each class to its ``split`` and its number
            of tiles ``n``.
        cache: keep the decoded images (185 MB) in the cache folder.

    Returns:
        The pools, named ``"cifar_fs"``; classes are named as the sheets.

    Raises:
        InputError: if the folder or a sheet is missing or damaged, or does not fit the index.

    Example:
        >>> pools = cifar_fs("data/cifar_fs")  # doctest: +SKIP
        >>> pools.train.classes, pools.test.shape  # doctest: +SKIP
        (64, (3, 32, 32))

    References:
        Bertinetto et al., *Meta-learning with differentiable closed-form solvers*, 2019,
        https://arxiv.org/abs/1805.08136. Images: Krizhevsky, *Learning Multiple Layers of Features from Tiny Images*,
        2009, https://www.cs.toronto.edu/~kriz/cifar.html.
    """
    root = Path(root).expanduser()
    sheets = _sheets(root)

    def build() -> Pools:
        pools = {}
        for split in _SPLITS:
            chosen = {name: count for name, (part, count) in sheets.items() if part == split}
            x = torch.cat([_tiles(_path(root, split, name), count) for name, count in chosen.items()])
            pools[split] = Pool(x, torch.tensor(list(chosen.values())), tuple(chosen))
        return Pools(pools["train"], pools["val"], pools["test"], "cifar_fs")

    if not cache:
        return build()
    found = [(name, part, count, _stamp(_path(root, part, name))) for name, (part, count) in sheets.items()]
    recipe = {"version": 1, "sheets": hashlib.sha256(json.dumps(found).encode()).hexdigest()}
    return cached_pools("cifar_fs", recipe, build)


def _sheets(root: Path) -> dict[str, tuple[str, int]]:
    """The split and the number of tiles of each class, by name."""
    index = root / "index.json"
    if not root.is_dir():
        raise InputError(f"the CIFAR-FS folder {root} does not exist: give the folder that holds index.json")
    if not index.is_file():
        raise InputError(f"{index} is missing: give the folder that holds it beside train, val and test")
    try:
        listed = json.loads(index.read_text("utf-8"))
        sheets = {name: (str(listed[name]["split"]), int(listed[name]["n"])) for name in sorted(listed)}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f'{index} cannot be read ({error!r}): it must be an object {{CLASS: {{"split": ..., "n": ...}}}}'
        ) from error
    for name, (split, count) in sheets.items():
        if split not in _SPLITS or count < 1:
            raise InputError(
                f"{index} gives class {name!r} the split {split!r} and {count} tiles: the split must be one of "
                f"{', '.join(_SPLITS)}, the tiles at least 1"
            )
    empty = [split for split in _SPLITS if all(part != split for part, _ in sheets.values())]
    if empty:
        raise InputError(f"{index} names no class of the split {empty[0]!r}: each of train, val and test needs some")
    return sheets


def _path(root: Path, split: str, name: str) -> Path:
    return root / split / f"{name}.webp"


def _stamp(sheet: Path) -> tuple[int, int]:
    if not sheet.is_file():
        raise InputError(f"the sheet {sheet} is missing: index.json names it, copy the data set again")
    stat = sheet.stat()
    return stat.st_size, stat.st_mtime_ns


def _tiles(sheet: Path, count: int) -> Tensor:
    """The images of one class, ``[count, 3, 32, 32]``."""
    _stamp(sheet)
    pixels = read_image(sheet)
    height, width = pixels.shape[1:]
    rows = -(-count // _ACROSS)
    if (height, width) != (rows * _SIDE, _ACROSS * _SIDE):
        raise InputError(
            f"the sheet {sheet} has {width}x{height} pixels; {count} tiles of {_SIDE}x{_SIDE}, {_ACROSS} to a row, "
            f"need {_ACROSS * _SIDE}x{rows * _SIDE}: copy the data set again"
        )
    tiles = pixels.view(3, rows, _SIDE, _ACROSS, _SIDE).permute(1, 3, 0, 2, 4).reshape(-1, 3, _SIDE, _SIDE)
    return tiles[:count].clone()
