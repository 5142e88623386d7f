"""Handwritten digits, small ones that come with scikit-learn or MNIST, and streams of them at rising angles."""

from __future__ import annotations

import gzip
import math
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from innerloop.core.random import seeded
from innerloop.core.targets import one_hot
from innerloop.core.task import Examples, InputError
from innerloop.data.streams import Stream, StreamFamily, batches_of


class Images(NamedTuple):
    """Images ``[N, S, S]`` in 0 to 1 with labels ``[N]``: those to train on, and those held out."""

    x: Tensor
    y: Tensor
    held_out_x: Tensor
    held_out_y: Tensor


def digits() -> Images:
    """scikit-learn's digits, 8x8 pixels: a fifth of each class is held out, always the same.

    Example:
        >>> [tuple(part.shape) for part in digits()]
        [(1442, 8, 8), (1442,), (355, 8, 8), (355,)]
    """
    from sklearn.datasets import load_digits

    found = load_digits()
    x = torch.tensor(found.images, dtype=torch.float32) / 16
    y = torch.tensor(found.target)
    # By class, every fifth example: the writers come one after the other in the file.
    rank = torch.zeros_like(y)
    for label in range(10):
        rank[y == label] = torch.arange(int((y == label).sum()))
    test = rank % 5 == 4
    return Images(x[~test], y[~test], x[test], y[test])


def mnist(path: str | Path) -> Images:
    """MNIST from an ``.npz`` file (``x_train``, ``y_train``, ``x_test``, ``y_test``) or a folder of its four idx files.

    Args:
        path: the file, or the folder with ``train-images-idx3-ubyte`` and so on, gzipped or not.

    Raises:
        InputError: if something is missing or unreadable.
    """
    path = Path(path).expanduser()
    try:
        if path.is_dir():
            parts = [
                _idx(path, f"{split}-{kind}-ubyte")
                for split in ("train", "t10k")
                for kind in ("images-idx3", "labels-idx1")
            ]
        else:
            # Opened here: NumPy leaves the file of a damaged archive open.
            with path.open("rb") as stream, np.load(stream) as file:
                parts = [file[name] for name in ("x_train", "y_train", "x_test", "y_test")]
    except (OSError, KeyError, ValueError, TypeError, EOFError, IndexError, zlib.error, zipfile.BadZipFile) as error:
        raise InputError(
            f"no MNIST at {path} ({error}): give an .npz file with x_train, y_train, x_test and y_test, or a folder "
            f"with the four idx files"
        ) from None
    x, y, xt, yt = (torch.from_numpy(np.array(part)) for part in parts)
    return Images(x.float() / 255, y.long(), xt.float() / 255, yt.long())


def _idx(folder: Path, name: str) -> np.ndarray:
    plain = folder / name
    data = plain.read_bytes() if plain.exists() else gzip.decompress((folder / f"{name}.gz").read_bytes())
    axes = data[3]
    shape = np.frombuffer(data, ">i4", axes, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(shape)


class Rotated(StreamFamily):
    """Images turned by another angle in each task; the classes stay (domain-incremental).

    Task t of T turns by an angle drawn from ``most * [t / T, (t + 1) / T]``, as in rotated MNIST.

    Args:
        images: from :func:`digits` or :func:`mnist`.
        tasks: T.
        shots: training images a task, drawn from all of them.
        held_out: test images a task, the same ones in each task; ``None`` for all.
        batch: examples a batch.
        most: the largest angle, in degrees.
        shuffle: tasks in random order and not by rising angle.

    Example:
        >>> stream = Rotated(digits(), tasks=3, shots=20).draw(0)
        >>> stream.length, len(stream.batches), stream.batches[0].x.shape
        (3, 6, torch.Size([10, 64]))

    References:
        Lopez-Paz, Ranzato, *Gradient Episodic Memory for Continual Learning*, NeurIPS 2017,
        https://arxiv.org/abs/1706.08840.
    """

    def __init__(
        self,
        images: Images,
        *,
        tasks: int = 20,
        shots: int = 200,
        held_out: int | None = None,
        batch: int = 10,
        most: float = 180.0,
        shuffle: bool = False,
    ) -> None:
        x, y, test, _ = images
        held_out = len(test) if held_out is None else held_out
        for name, value, least, limit in (
            ("tasks", tasks, 1, math.inf), ("batch", batch, 1, math.inf),
            ("shots", shots, 1, len(x)), ("held_out", held_out, 1, len(test)),
        ):  # fmt: skip
            if not least <= value <= limit:
                raise InputError(f"{name} is {value}; it must lie in {least} to {limit}")
        self.images, self.tasks, self.shots, self.held_out = images, tasks, shots, held_out
        self.batch, self.most, self.shuffle = batch, most, shuffle
        self.classes = int(y.max()) + 1

    def draw(self, seed: int) -> Stream:  # noqa: D102
        generator = seeded(seed)
        angles = self.most * (torch.arange(self.tasks) + torch.rand(self.tasks, generator=generator)) / self.tasks
        if self.shuffle:
            angles = angles[torch.randperm(self.tasks, generator=generator)]
        x, y, test_x, test_y = self.images
        few = torch.randperm(len(test_x), generator=generator)[: self.held_out]
        batches, held_out = [], []
        for angle in angles.tolist():
            chosen = torch.randperm(len(x), generator=generator)[: self.shots]
            batches.append(batches_of(self._turned(x[chosen], y[chosen], angle), self.batch))
            held_out.append(self._turned(test_x[few], test_y[few], angle))
        tasks = [task for task, part in enumerate(batches) for _ in part]
        return Stream([batch for part in batches for batch in part], tasks, held_out, "domain")

    def _turned(self, x: Tensor, y: Tensor, degrees: float) -> Examples:
        a = math.radians(degrees)
        turn = torch.tensor([[math.cos(a), -math.sin(a), 0.0], [math.sin(a), math.cos(a), 0.0]])
        images = x.unsqueeze(1)
        grid = F.affine_grid(turn.expand(len(x), 2, 3), list(images.shape), align_corners=False)
        return Examples(F.grid_sample(images, grid, align_corners=False).flatten(1), one_hot(y, self.classes))
