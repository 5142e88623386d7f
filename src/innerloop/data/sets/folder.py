"""Images of one's own: one folder a class."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import torch

from innerloop.core.random import seeded
from innerloop.core.task import InputError
from innerloop.data.cache import cached_pools
from innerloop.data.images import Fit, class_folders
from innerloop.data.pool import Pool
from innerloop.data.pools import Pools
from innerloop.data.splits import SPLITS, shared


def folder(
    root: str | PathLike[str],
    *,
    size: int = 84,
    channels: int = 3,
    fit: Fit = "squash",
    shares: Sequence[float] = (0.6, 0.2, 0.2),
    seed: int = 0,
    cache: bool = True,
) -> Pools:
    """Image files, one folder a class, as pools of uint8 ``[N, channels, size, size]`` in memory.

    Where the folder holds ``train``, ``val`` and ``test``, their classes are the splits; otherwise the classes are
    split by their shares. For more images than fit into memory: :func:`innerloop.data.write_images`.

    Args:
        root: the folder of the class folders, or of ``train``, ``val`` and ``test``, which hold these.
        size: height and width to which images are resized, in pixels.
        channels: 3 for colors, 1 for grays.
        fit: ``"squash"`` or ``"crop"``, see :func:`innerloop.data.read_image`.
        shares: of the classes for training, validation and test.
        seed: of the shuffle that splits the classes.
        cache: keep the decoded images in the cache folder.

    Returns:
        The pools, named ``"folder"``; a class is named by the path of its folder.

    Raises:
        InputError: if there is no image, one cannot be read, a split would be left without a class, or a class stands
            in two splits.

    Example:
        >>> pools = folder("photographs")  # doctest: +SKIP
        >>> pools.train.classes, pools.test.shape  # doctest: +SKIP
        (12, (3, 84, 84))
    """
    root = Path(root).expanduser()
    given = all((root / split).is_dir() for split in SPLITS)
    found = {split: class_folders(root / split) for split in SPLITS} if given else _split(root, shares, seed)

    def build() -> Pools:
        train, val, test = (Pool.from_files(found[split], size=size, channels=channels, fit=fit) for split in SPLITS)
        return Pools(train, val, test, "folder")

    if not cache:
        return build()
    listed = {
        split: {name: [stamp(path) for path in paths] for name, paths in classes.items()}
        for split, classes in found.items()
    }
    recipe = {"version": 1, "size": size, "channels": channels, "fit": fit}
    digest = hashlib.sha256(json.dumps(listed).encode()).hexdigest()
    return cached_pools("folder", {**recipe, "files": digest}, build)


def _split(root: Path, shares: Sequence[float], seed: int) -> dict[str, dict[str, list[Path]]]:
    """The classes of each split."""
    classes = class_folders(root)
    counts = shared(len(classes), shares)
    if min(counts) < 1:
        raise InputError(
            f"{root} holds {len(classes)} classes, which leaves {counts[0]}, {counts[1]} and {counts[2]} for train, "
            f"val and test: add classes, change the shares, or read them all with Pool.from_folder"
        )
    names = list(classes)
    order = torch.randperm(len(names), generator=seeded(seed)).split(counts)
    return {
        split: {names[i]: classes[names[i]] for i in sorted(part.tolist())}
        for split, part in zip(SPLITS, order, strict=True)
    }


def stamp(path: Path) -> tuple[str, int, int]:
    """What changes when a file does: its path, size and time.

    Raises:
        InputError: for a file that is not there.
    """
    try:
        stat = path.stat()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check the path and its rights") from error
    return str(path), stat.st_size, stat.st_mtime_ns
