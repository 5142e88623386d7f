"""Batches of images without labels: what self-supervised pre-training learns from."""

from __future__ import annotations

import torch
from torch import Generator

from innerloop.core.facts import Facts
from innerloop.core.task import Examples, InputError, Task
from innerloop.data.augment import Augment
from innerloop.data.episodes import Batches, augmented
from innerloop.data.pool import Pool


class Turned(Batches):
    """Images turned by 0, 90, 180 and 270 degrees, as tasks with an empty support set: the turn is the class.

    What :meth:`plain` gives is upright: running statistics are to serve the images as they are.

    Args:
        pool: its images, square ones; the labels are not used.
        size: images a batch; each is in it four times.
        augment: random change of each image before it is turned.

    Raises:
        InputError: for a size below 1, or images that are not square.

    Example:
        >>> pool = Pool.of(torch.zeros(6, 1, 28, 28, dtype=torch.uint8), [0, 1, 2, 0, 1, 2])
        >>> Turned(pool, size=5).draw(torch.Generator(), 1).query.y.shape
        torch.Size([1, 20, 4])
    """

    def __init__(self, pool: Pool, *, size: int, augment: Augment | None = None) -> None:
        super().__init__(pool, size=size, augment=augment)
        if len(pool.shape) != 3 or pool.shape[1] != pool.shape[2]:
            raise InputError(f"turns need square images [C, S, S], the examples have shape {pool.shape}")

    @property
    def facts(self) -> Facts:  # noqa: D102
        return Facts("images", self.pool.shape, 4, "classification")

    def draw(self, generator: Generator, tasks: int) -> Task:  # noqa: D102
        x = super().draw(generator, tasks).query.x
        turned = torch.stack([x.rot90(turn, (-2, -1)) for turn in range(4)], 2).flatten(1, 2)
        y = torch.eye(4, dtype=x.dtype, device=x.device).repeat(self.size, 1).expand(tasks, -1, -1)
        return Task(Examples(turned[:, :0], y[:, :0]), Examples(turned, y))


class Views(Batches):
    """Two augmented views of each image, one in the support and one in the query set: the image is the class.

    So a batch is a task of ``size`` ways and one shot made without labels, which any metric-based learner takes too.

    Args:
        pool: its images; the labels are not used.
        size: images a batch.
        augment: random change of each view.

    Raises:
        InputError: for fewer than 2 images a batch, or no augmentation: both views would be the same.

    Example:
        >>> pool = Pool.of(torch.zeros(6, 1, 28, 28, dtype=torch.uint8), [0, 1, 2, 0, 1, 2])
        >>> Views(pool, size=5, augment=Augment(shift=2)).draw(torch.Generator(), 1).support.y.shape
        torch.Size([1, 5, 5])
    """

    _views = 2

    def __init__(self, pool: Pool, *, size: int, augment: Augment | None) -> None:
        super().__init__(pool, size=size, augment=augment)
        if size < 2 or augment is None:
            raise InputError(
                f"views of {size} images with augment={augment}: give at least 2 images a batch, or none is told from "
                f"another, and an augmentation, or both views are the same"
            )

    @property
    def facts(self) -> Facts:  # noqa: D102
        return Facts(self.pool.kind, self.pool.shape, self.size, "classification")

    def draw(self, generator: Generator, tasks: int) -> Task:  # noqa: D102
        chosen, *changes = self.uniform(generator, tasks)
        x = self.gather(chosen).query.x
        images = Examples(x, torch.eye(self.size, dtype=x.dtype, device=x.device).expand(tasks, -1, -1))
        return Task(*(augmented(images, self.augment, change) for change in changes))
