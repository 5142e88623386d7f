"""Tasks whose support set is a stream: one class after the other."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from innerloop.core.facts import Facts
from innerloop.core.numbers import check_count
from innerloop.core.targets import one_hot
from innerloop.core.task import Examples, Task
from innerloop.data.augment import Augment
from innerloop.data.episodes import FewShot, Sampler, augmented
from innerloop.data.pool import Pool


class ClassStream(Sampler):
    """Streams of classes, each class's examples together, and queries of all of them: what OML is meta-trained on.

    Without a remember set a target has a column for each class of the stream. With one, the queries also hold random
    examples of any class of the pool, and a target has a column for each of the pool's classes.

    Args:
        pool: the classes to draw from.
        ways: classes of a stream.
        shots: support examples a class.
        queries: query examples a class of the stream.
        remember: query examples of any class.
        augment: random change of each image.

    Raises:
        InputError: if the pool cannot give as many, or ``remember`` is negative.

    Example:
        >>> pool = Pool.of(torch.zeros(40, 8), [i % 8 for i in range(40)])
        >>> task = ClassStream(pool, ways=3, shots=2, queries=1).draw(torch.Generator(), 1)
        >>> task.support.y[0].argmax(1).tolist(), task.query.y.shape
        ([0, 0, 1, 1, 2, 2], torch.Size([1, 3, 3]))

    References:
        Javed, White, *Meta-Learning Representations for Continual Learning*, NeurIPS 2019,
        https://arxiv.org/abs/1905.12588.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        ways: int = 20,
        shots: int = 5,
        queries: int = 1,
        remember: int = 0,
        augment: Augment | None = None,
    ) -> None:
        check_count("remember", remember, 0)
        self._episodes = FewShot(pool, ways=ways, shots=shots, queries=queries)
        self.pool, self.ways, self.shots, self.queries = pool, ways, shots, queries
        self.remember, self.augment = remember, augment

    @property
    def facts(self) -> Facts:  # noqa: D102
        pool = self.pool
        if self.remember:
            return Facts(pool.kind, pool.shape, pool.classes, "classification", pool.names)
        return Facts(pool.kind, pool.shape, self.ways, "classification")

    def _uniform(self, generator: Generator, tasks: int) -> tuple[Tensor, ...]:
        """One read of the generator, split into the uses: classes, examples, remember set, augmentation of each set."""
        largest, size = int(self.pool.sizes.max()), self.augment.size if self.augment else 0
        queries = self.queries * self.ways + self.remember
        row = (self.pool.classes, self.ways * largest, self.remember, self.shots * self.ways * size, queries * size)
        return torch.rand(tasks, sum(row), generator=generator, device=generator.device).cpu().split(row, 1)

    def _gather(self, by_class: Tensor, by_example: Tensor, by_rest: Tensor) -> Task:
        chosen = self._episodes.choose(by_class, by_example)
        # In an episode the class runs fastest, in a stream the example does.
        support = chosen.support.unflatten(1, (self.shots, self.ways)).mT.flatten(1)
        query = torch.cat((chosen.query, (by_rest.double() * self.pool.examples).long()), 1)
        if self.remember:
            rows = [one_hot(self.pool.labels(index), self.pool.classes) for index in (support, query)]
        else:
            eye = torch.eye(self.ways).expand(len(support), -1, -1)
            rows = [eye.repeat_interleave(self.shots, 1), eye.repeat(1, self.queries, 1)]
        inputs = [self.pool.get(index) for index in (support, query)]
        return Task(*(Examples(x, y.to(x)) for x, y in zip(inputs, rows, strict=True)))

    def plain(self, generator: Generator, tasks: int) -> Task:  # noqa: D102
        return self._gather(*self._uniform(generator, tasks)[:3])

    def draw(self, generator: Generator, tasks: int) -> Task:  # noqa: D102
        *chosen, support, query = self._uniform(generator, tasks)
        parts = zip(self._gather(*chosen), (support, query), strict=True)
        return Task(*(augmented(part, self.augment, change) for part, change in parts))
