"""Pools: every class's examples, in memory, as one tensor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from innerloop.core.facts import Kind
from innerloop.core.labels import labels_of
from innerloop.core.targets import tensor_of
from innerloop.core.task import InputError, as_shares, warn_of_bytes
from innerloop.data.collect import collect
from innerloop.data.digest import digest_of
from innerloop.data.images import Fit, class_folders, read_image


def check_pool(value: Any) -> None:
    """Refuse what is no pool of examples: a whole data set with its splits, say.

    Raises:
        InputError: naming it and the remedy.

    Example:
        >>> check_pool([0, 1])
        Traceback (most recent call last):
        innerloop.core.task.InputError: a list is no pool of examples: give one split of a data set, pools.train, or il.Pool.of(x, labels)
    """  # noqa: E501
    if not isinstance(value, Pool):
        raise InputError(
            f"a {type(value).__name__} is no pool of examples: give one split of a data set, pools.train, or "
            f"il.Pool.of(x, labels)"
        )


@dataclass(frozen=True, eq=False)
class Pool:
    """Examples grouped by class; classes may differ in size.

    Args:
        x: all examples, class after class, ``[N, *F]``: uint8 images ``[N, C, H, W]`` (0 to 255) or float features.
        sizes: examples of each class, int64 ``[classes]``; their sum is N.
        names: one name a class, all different.

    Raises:
        InputError: if the parts do not fit together, a class is empty or repeated, or a feature is not finite.

    Example:
        >>> pool = Pool.of(torch.zeros(6, 1, 28, 28, dtype=torch.uint8), [0, 1, 0, 1, 1, 0])
        >>> pool.classes, pool.sizes.tolist(), pool.shape
        (2, [3, 3], (1, 28, 28))
    """

    x: Tensor
    sizes: Tensor
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        """Check the parts against each other."""
        if len(self.names) != len(self.sizes) or int(self.sizes.sum()) != len(self.x):
            raise InputError(
                f"a pool of {len(self.x)} examples has {len(self.sizes)} sizes that sum to {int(self.sizes.sum())} and "
                f"{len(self.names)} names: it needs one name and one size a class, and sizes that sum to the examples"
            )
        if len(self.sizes) and int(self.sizes.min()) < 1:
            raise InputError(f"class {self.names[int(self.sizes.argmin())]!r} has no example: leave it out of the pool")
        if len(set(self.names)) != len(self.names):
            seen: set[str] = set()
            twice = next(name for name in self.names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
            raise InputError(f"class {twice!r} stands twice in the pool: merge its examples or rename one")
        if self.x.dtype != torch.uint8 and not self.x.is_floating_point():
            raise InputError(f"a pool holds uint8 images or float features, not {self.x.dtype}: convert x first")
        if self.x.is_floating_point() and not torch.isfinite(self.x).all():
            bad = int((~torch.isfinite(self.x)).flatten(1).any(1).sum())
            raise InputError(f"{bad} of {len(self.x)} examples hold a value that is not finite: remove or impute them")
        warn_of_bytes(self.x)

    @classmethod
    def of(cls, x: Any, labels: Any, names: Sequence[str] | None = None) -> Pool:
        """Build a pool from examples in any order.

        Args:
            x: ``[N, *F]``, a tensor, a NumPy array or a list: uint8 images, or numbers.
            labels: N labels of any kind: whole numbers, words, booleans, one-hot rows (:func:`labels_of`).
            names: the name of each label that occurs, in sorted order; default the labels themselves.

        Raises:
            InputError: for labels that are none (a missing value, half a class), or not as many as the examples.

        Example:
            >>> Pool.of(torch.zeros(3, 2), ["owl", "cat", "owl"]).names
            ('cat', 'owl')
        """
        x = tensor_of(x)
        found, known = labels_of(labels)
        if len(found) != len(x):
            raise InputError(f"{len(x)} examples have {len(found)} labels: give each example one label")
        if isinstance(names, (str, Set, Mapping)):
            raise InputError(f"names={names!r} have no order: give a list of one name a class")
        if names is not None and len(names) != len(known):
            raise InputError(f"{len(names)} names for {len(known)} classes: give each label that occurs one name")
        order, sizes = torch.argsort(found, stable=True), torch.bincount(found, minlength=len(known))
        return cls(x[order.to(x.device)], sizes, tuple(map(str, names)) if names is not None else known)

    @classmethod
    def from_dataset(
        cls,
        dataset: Any,
        *,
        size: int | None = None,
        channels: int | None = None,
        fit: Fit = "squash",
        names: Sequence[str] | None = None,
    ) -> Pool:
        """Read a map-style ``torch.utils.data.Dataset`` of pairs ``(x, label)`` into memory.

        Args:
            dataset: has a length; an item begins with x, a Pillow image, a tensor or an array, all of one shape, and
                its label, of any kind (:func:`labels_of`).
            size: height and width to which Pillow images are resized, in pixels; default their own.
            channels: of Pillow images, 1 or 3; default those of the first.
            fit: how they come to that size, see :func:`innerloop.data.read_image`.
            names: the name of each label that occurs, in sorted order; default the ``classes`` that the data set says
                of itself, or the labels.

        Raises:
            InputError: for a data set without a length or items, items that are no pairs, or examples that differ in
                shape, each with the number of the item.

        Example:
            >>> dataset = torch.utils.data.TensorDataset(torch.rand(4, 3), torch.tensor([0, 1, 1, 0]))
            >>> Pool.from_dataset(dataset).sizes
            tensor([2, 2])
        """
        x, labels, known = collect(dataset, size, channels, fit)
        found = labels_of(labels)
        if names is None and known and all(name.isdigit() and int(name) < len(known) for name in found.names):
            names = [known[int(name)] for name in found.names]
        return cls.of(x, labels, names)

    @classmethod
    def from_folder(cls, root: str | PathLike[str], *, size: int = 84, channels: int = 3, fit: Fit = "squash") -> Pool:
        """Read image files, one folder a class, into memory: uint8 ``[N, channels, size, size]``.

        Args:
            root: each folder below it that holds images is a class, named by its path from here.
            size: height and width to which images are resized, in pixels.
            channels: 3 for colors, 1 for grays.
            fit: how they come to that size, see :func:`innerloop.data.read_image`.

        Raises:
            InputError: if there is no image, or one cannot be read.

        Example:
            >>> Pool.from_folder("photographs/train", size=64).names  # doctest: +SKIP
            ('crow', 'owl')
        """
        return cls.from_files(class_folders(root), size=size, channels=channels, fit=fit)

    @classmethod
    def from_files(
        cls, classes: Mapping[str, Sequence[Path]], *, size: int = 84, channels: int = 3, fit: Fit = "squash"
    ) -> Pool:
        """Read the image files of each class, as :meth:`from_folder` does."""
        sizes = torch.tensor([len(paths) for paths in classes.values()], dtype=torch.int64)
        x = torch.empty(int(sizes.sum()), channels, size, size, dtype=torch.uint8)
        for i, path in enumerate(path for paths in classes.values() for path in paths):
            x[i] = read_image(path, size=size, channels=channels, fit=fit)
        return cls(x, sizes, tuple(classes))

    @property
    def classes(self) -> int:
        """The number of classes."""
        return len(self.names)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape F of one example."""
        return tuple(self.x.shape[1:])

    @property
    def kind(self) -> Kind:
        """``"images"`` where an example has three axes, else ``"vectors"``."""
        return "images" if len(self.shape) == 3 else "vectors"

    @property
    def examples(self) -> int:
        """The number of examples N."""
        return int(self.sizes.sum())

    @cached_property
    def digest(self) -> str:
        """Of the examples, the classes and their names: another pool has another one."""
        return digest_of(self.x, self.sizes, self.names)

    @cached_property
    def starts(self) -> Tensor:
        """The index of each class's first example, int64 ``[classes]``."""
        return self.sizes.cumsum(0) - self.sizes

    def labels(self, index: Tensor) -> Tensor:
        """The class of each of the examples ``index [...]``."""
        return torch.searchsorted(self.starts, index.contiguous(), right=True) - 1

    def get(self, index: Tensor) -> Tensor:
        """The examples at ``index [...]`` as floats ``[..., *F]``; images in 0 to 1."""
        return as_shares(self.x[index.to(self.x.device)])

    def map(self, function: Callable[[Tensor], Tensor]) -> Pool:
        """A pool of the same classes with ``function`` applied to all examples at once (an encoder, say)."""
        return Pool(function(self.x), self.sizes, self.names)

    def only(self, names: Sequence[str]) -> Pool:
        """The pool of the named classes, in that order.

        Raises:
            InputError: naming the first class that the pool lacks.
        """
        chosen = self.positions(names)
        rows = [torch.arange(int(self.starts[c]), int(self.starts[c] + self.sizes[c])) for c in chosen]
        index = torch.cat(rows) if rows else torch.zeros(0, dtype=torch.int64)
        return Pool(self.x[index], self.sizes[chosen], tuple(names))

    def positions(self, names: Sequence[str]) -> list[int]:
        """The numbers of the named classes.

        Raises:
            InputError: naming the first class that the pool lacks.
        """
        position = {name: i for i, name in enumerate(self.names)}
        missing = [name for name in names if name not in position]
        if missing:
            raise InputError(
                f"class {missing[0]!r} (and {len(missing) - 1} more) is not in the pool of {self.classes} classes: "
                f"check the class list against the data"
            )
        return [position[name] for name in names]

    def rotated(self) -> Pool:
        """Four times the classes: each one as it is and turned by 90, 180 and 270 degrees (square images only)."""
        names = self.turned_names()
        return Pool(torch.cat([torch.rot90(self.x, k, (2, 3)) for k in range(4)]), self.sizes.repeat(4), names)

    def turned_names(self) -> tuple[str, ...]:
        """The names of :meth:`rotated`.

        Raises:
            InputError: if the examples are no square images.
        """
        if len(self.shape) != 3 or self.shape[1] != self.shape[2]:
            raise InputError(f"rotations need square images [C, S, S], the examples have shape {self.shape}")
        return tuple(name if k == 0 else f"{name}/rot{90 * k:03d}" for k in range(4) for name in self.names)

    def to(self, device: torch.device | str) -> Pool:
        """The pool with its examples on ``device``."""
        return Pool(self.x.to(device), self.sizes, self.names)
