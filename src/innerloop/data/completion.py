"""Images as functions of the pixel: complete each one from some of its pixels."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from innerloop.core.facts import Facts
from innerloop.core.task import Examples, InputError, Task
from innerloop.data.pool import Pool, check_pool
from innerloop.data.sizes import OpenSize, Size, Sized


class Completion(Sized):
    """Image completion: a task is one image of a pool, an example is one of its pixels.

    Inputs are the pixel's row and column, each from -1 (top, left) to 1; targets are its channels, 0 to 1 for a pool of
    bytes. Support and query pixels of a task differ. All tasks of one draw share their numbers.

    Args:
        pool: images ``[C, H, W]``; their classes play no part.
        shots: support pixels a task: a number, or the smallest and the largest one (inclusive). Default: a hundredth to
            a half of the image.
        queries: query pixels a task, likewise; an upper limit of ``None`` is all others. Default: exactly all others.
        together: tasks of one draw of :meth:`batches`.

    Raises:
        InputError: if the pool holds no images, or the sizes exceed them.

    Example:
        >>> pool = il.data.Pool.of(torch.zeros(6, 1, 8, 8, dtype=torch.uint8), [0, 1, 0, 1, 1, 0])
        >>> task = Completion(pool, shots=10).draw(torch.Generator().manual_seed(0), 2)
        >>> task.support.x.shape, task.query.y.shape
        (torch.Size([2, 10, 2]), torch.Size([2, 54, 1]))

    References:
        Garnelo et al., *Conditional Neural Processes*, ICML 2018, https://arxiv.org/abs/1807.01613.
    """

    classifies = False

    def __init__(
        self, pool: Pool, *, shots: Size | None = None, queries: OpenSize | None = None, together: int = 16
    ) -> None:
        check_pool(pool)
        if len(pool.shape) != 3:
            raise InputError(f"completion needs images [C, H, W], the pool's examples have shape {pool.shape}")
        _, height, width = pool.shape
        pixels = height * width
        shots = shots if shots is not None else (max(1, pixels // 100), max(1, pixels // 2))
        super().__init__(shots, queries if queries is not None else (0, None), pixels, together)
        if self.largest > pixels:
            raise InputError(
                f"shots={shots!r} and queries={queries!r} need up to {self.largest} pixels, an image has {pixels}: "
                f"lower one of them"
            )
        self.pool, self.rest = pool, queries is None
        rows, columns = torch.linspace(-1, 1, height), torch.linspace(-1, 1, width)
        #: The inputs of all pixels, row by row, ``[H * W, 2]``: predict at these for a whole image.
        self.grid = torch.cartesian_prod(rows, columns).to(pool.x.device)

    @property
    def facts(self) -> Facts:  # noqa: D102
        return Facts("functions", (2,), self.pool.shape[0], "regression")

    def sizes(self, generator: Generator) -> tuple[int, int]:  # noqa: D102
        shots, queries = super().sizes(generator)
        return shots, len(self.grid) - shots if self.rest else queries

    def draw(self, generator: Generator, tasks: int) -> Task:  # noqa: D102
        shots, queries = self.sizes(generator)
        pixels = len(self.grid)
        u = torch.rand(tasks, 1 + pixels, generator=generator, device=generator.device, dtype=torch.float64)
        u = u.to(self.grid.device)
        images = self.pool.get((u[:, 0] * self.pool.examples).long()).flatten(2).mT
        chosen = u[:, 1:].argsort(1)

        def part(index: Tensor) -> Examples:
            return Examples(self.grid[index].to(images.dtype), images.take_along_dim(index.unsqueeze(2), 1))

        return Task(part(chosen[:, :shots]), part(chosen[:, shots : shots + queries]))
