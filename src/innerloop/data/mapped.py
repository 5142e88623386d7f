"""Pools larger than memory: one file of examples, mapped, of which only what is drawn is read.

A folder holds ``x.bin``, all examples one after the other, class after class, and ``pool.json`` with their type, their
shape and the names and sizes of the classes.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from innerloop.core.files import write_text_atomically
from innerloop.core.task import InputError, as_shares, warn_of_bytes
from innerloop.data.digest import digest_of
from innerloop.data.images import Fit, class_folders, read_image
from innerloop.data.pool import Pool
from innerloop.data.pools import Pools

_DTYPES = {"uint8": torch.uint8, "float16": torch.float16, "float32": torch.float32, "float64": torch.float64}
#: Bytes of an example below which reading ahead costs more than it saves: it fetches 128 kB around each one.
_SMALL = 2**16


@dataclass(frozen=True, eq=False)
class MappedPool(Pool):
    """A pool whose examples stay in a file. Made by :func:`open_pool`.

    A choice of classes (:meth:`only`) and quarter turns (:meth:`rotated`) copy nothing: they are made when examples are
    read.

    Args:
        x: all examples of the file, ``[M, *F]``.
        sizes: examples of each class, int64 ``[classes]``.
        names: one name a class.
        where: where in ``x`` each class begins, int64 ``[classes]``.
        turns: quarter turns of each class's images, int64 ``[classes]``.
        content: sha256 of the file, as recorded when it was written.
    """

    where: Tensor
    turns: Tensor
    content: str

    def __post_init__(self) -> None:
        """Nothing to check: the values were when they were written, the parts when the file was opened."""

    @cached_property
    def digest(self) -> str:
        """Of the file as it was written, and of the choice of its classes; the file is not read again for it."""
        return digest_of(self.content, self.sizes, self.names, self.where, self.turns)

    def get(self, index: Tensor) -> Tensor:
        """The examples at ``index [...]`` as floats ``[..., *F]``; images in 0 to 1."""
        chosen = self.labels(index)
        x = as_shares(self.x[self.where[chosen] + index - self.starts[chosen]])
        for quarter in (1, 2, 3):
            turned = self.turns[chosen] == quarter
            if turned.any():
                x[turned] = torch.rot90(x[turned], quarter, (-2, -1))
        return x

    def only(self, names: Sequence[str]) -> MappedPool:
        """The pool of the named classes, in that order.

        Raises:
            InputError: naming the first class that the pool lacks.
        """
        chosen = self.positions(names)
        return MappedPool(
            self.x, self.sizes[chosen], tuple(names), self.where[chosen], self.turns[chosen], self.content
        )

    def rotated(self) -> MappedPool:
        """Four times the classes: each one as it is and turned by 90, 180 and 270 degrees (square images only)."""
        names, quarters = self.turned_names(), torch.arange(4).repeat_interleave(self.classes)
        turns = (self.turns.repeat(4) + quarters) % 4
        return MappedPool(self.x, self.sizes.repeat(4), names, self.where.repeat(4), turns, self.content)

    def map(self, function: Callable[[Tensor], Tensor]) -> Pool:
        """Refused: it would take the whole file into memory."""
        raise InputError(
            f"a mapped pool of {self.examples} examples is not changed at once: il.evaluate embeds those that it "
            f"needs; to keep features of all, write them with data.write_pool"
        )

    def to(self, device: torch.device | str) -> Pool:
        """The pool itself for the CPU; refused for other devices, to which tasks move as they are drawn."""
        if torch.device(device).type != "cpu":
            raise InputError(f"a mapped pool stays in its file, not on {device}: give the device to fit and evaluate")
        return self


def write_pool(folder: str | Path, classes: Iterable[tuple[str, Tensor | Iterable[Tensor]]]) -> MappedPool:
    """Write a mapped pool, block by block; memory holds one block.

    Args:
        folder: made if missing; must not hold a pool yet.
        classes: for each class its name and its examples: a tensor ``[n, *F]``, or blocks of these. uint8 images
            ``[n, C, H, W]`` (0 to 255) or float features, all of one type and shape.

    Returns:
        The pool, opened.

    Raises:
        InputError: if blocks differ in type or shape, a value is not finite, a class is empty or stands twice, there is
            none, or the folder holds a pool.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> pool = write_pool(folder, [("a", torch.zeros(3, 1, 8, 8)), ("b", iter([torch.ones(2, 1, 8, 8)]))])
        >>> pool.names, pool.examples, pool.get(torch.tensor([0, 4])).mean((1, 2, 3))
        (('a', 'b'), 5, tensor([0., 1.]))
    """
    folder = Path(folder).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"the folder {folder} cannot be made ({error.strerror}): give another one") from None
    if (folder / "pool.json").exists():
        raise InputError(f"{folder} already holds a pool: give another folder, or delete this one first")
    sizes: dict[str, int] = {}
    kind: tuple[torch.dtype, torch.Size] | None = None
    part, written = folder / "x.bin.part", hashlib.sha256()
    try:
        with part.open("wb") as file:
            for name, examples in classes:
                if name in sizes:
                    raise InputError(f"class {name!r} stands twice: write all its examples at once, or rename one")
                sizes[name] = 0
                for block in [examples] if isinstance(examples, Tensor) else examples:
                    kind = kind or (block.dtype, block.shape[1:])
                    _check_block(name, block, *kind)
                    data = block.contiguous().numpy(force=True).data
                    written.update(data)
                    file.write(data)
                    sizes[name] += len(block)
                if not sizes[name]:
                    raise InputError(f"class {name!r} has no example: leave it out of the pool")
            if kind is None:
                raise InputError("there is no class to write: a pool needs at least one")
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, folder / "x.bin")
    except OSError as error:
        raise InputError(
            f"{part} cannot be written ({error.strerror or error}): make room, or give another folder"
        ) from error
    finally:
        part.unlink(missing_ok=True)
    word = next(word for word, dtype in _DTYPES.items() if dtype == kind[0])
    facts = {"format": 1, "dtype": word, "shape": list(kind[1]), "names": list(sizes), "sizes": list(sizes.values())}
    facts["sha256"] = written.hexdigest()
    write_text_atomically(folder / "pool.json", json.dumps(facts) + "\n")
    return open_pool(folder)


def _check_block(name: str, block: Tensor, dtype: torch.dtype, shape: torch.Size) -> None:
    if dtype not in _DTYPES.values():
        raise InputError(f"a pool holds uint8 images or float features, not {dtype}: convert the examples first")
    if block.dtype != dtype or block.shape[1:] != shape:
        raise InputError(
            f"class {name!r} has examples {block.dtype} {tuple(block.shape[1:])}, the first class {dtype} "
            f"{tuple(shape)}: bring all to one type and shape"
        )
    if not torch.isfinite(block).all():
        raise InputError(f"class {name!r} holds a value that is not finite: remove or impute it")
    warn_of_bytes(block)


def write_images(
    folder: str | Path, source: str | Path, *, size: int = 84, channels: int = 3, fit: Fit = "squash"
) -> MappedPool:
    """Write a mapped pool from a folder of class folders of images; memory holds one image.

    Args:
        folder: of the pool, as in :func:`write_pool`.
        source: each folder below it that holds images is a class, named by its path from here.
        size: height and width to which images are resized, in pixels.
        channels: 3 for colors, 1 for grays.
        fit: how they come to that size, see :func:`innerloop.data.read_image`.

    Returns:
        The pool, opened: uint8 ``[channels, size, size]``.

    Raises:
        InputError: if there is no image, or one cannot be read.

    Example:
        >>> write_images("pool/train", "images/train", size=84)  # doctest: +SKIP
    """

    def images(paths: list[Path]) -> Iterator[Tensor]:
        return (read_image(path, size=size, channels=channels, fit=fit).unsqueeze(0) for path in paths)

    found = class_folders(source)
    return write_pool(folder, ((name, images(paths)) for name, paths in found.items()))


def open_pool(folder: str | Path) -> MappedPool:
    """Open a pool that :func:`write_pool` or :func:`write_images` wrote; nothing of its examples is read yet.

    Raises:
        InputError: if there is none, or it is damaged or truncated.

    Example:
        >>> open_pool("pool/train")  # doctest: +SKIP
    """
    path, data = Path(folder) / "pool.json", Path(folder) / "x.bin"
    if not path.is_file():
        raise InputError(f"{folder} holds no mapped pool ({path.name} is missing): write one with data.write_pool")
    try:
        facts = json.loads(path.read_text())
        dtype, shape, names = _DTYPES[facts["dtype"]], [int(n) for n in facts["shape"]], tuple(map(str, facts["names"]))
        sizes, content = torch.tensor(facts["sizes"], dtype=torch.int64), str(facts["sha256"])
        if any(not isinstance(n, int) for n in (*facts["shape"], *facts["sizes"])) or min(shape, default=1) < 1:
            raise ValueError("its shape and sizes must be whole numbers above 0")
        if facts["format"] != 1 or sizes.shape != (len(set(names)),) or len(names) != len(sizes) or sizes.min() < 1:
            raise ValueError("its names and sizes do not fit together")
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check its rights") from None
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise InputError(f"{path} cannot be read ({error!r}): it is damaged; write the pool again") from None
    found, wanted = data.stat().st_size if data.is_file() else 0, int(sizes.sum()) * prod(shape) * dtype.itemsize
    if found != wanted:
        raise InputError(
            f"{data} has {found} bytes, its {int(sizes.sum())} examples need {wanted}: it is truncated or damaged; "
            f"write the pool again"
        )
    x = _mapped(data, dtype, prod(shape) * dtype.itemsize).view(-1, *shape)
    return MappedPool(x, sizes, names, sizes.cumsum(0) - sizes, torch.zeros_like(sizes), content)


def _mapped(path: Path, dtype: torch.dtype, each: int) -> Tensor:
    try:
        with path.open("rb") as file:
            # Read-only: the system would have to promise memory for a mapping that can be written.
            memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check its rights") from None
    if each < _SMALL and hasattr(mmap, "MADV_RANDOM"):
        memory.madvise(mmap.MADV_RANDOM)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given buffer is not writable")
        return torch.frombuffer(memory, dtype=dtype)


def mapped(root: str | Path, *, rotations: bool = False) -> Pools:
    """The mapped pools in the folders ``train``, ``val`` and ``test``.

    Args:
        root: the folder of these three.
        rotations: add each class turned by 90, 180 and 270 degrees as three more, in all three.

    Returns:
        The pools, named ``"mapped"``.

    Raises:
        InputError: if one is missing or damaged, or they do not fit together.

    Example:
        >>> mapped("pool").train.classes  # doctest: +SKIP
        1000
    """
    pools: list[Pool] = [open_pool(Path(root) / split) for split in ("train", "val", "test")]
    train, val, test = (pool.rotated() for pool in pools) if rotations else pools
    return Pools(train, val, test, "mapped")
