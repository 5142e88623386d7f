"""Samplers: batches of tasks drawn as index arithmetic on tensors.

A draw reads the generator once, one row of uniform numbers a task, so the tasks of ``draw(g, 8)`` are those of
``draw(g, 3)`` followed by ``draw(g, 5)``, on every device.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from innerloop.core.facts import Facts, Kind
from innerloop.core.metric import Metric
from innerloop.core.numbers import check_count
from innerloop.core.targets import one_hot
from innerloop.core.task import Examples, InputError, Task
from innerloop.data.augment import Augment
from innerloop.data.digest import digest_of
from innerloop.data.pool import Pool, check_pool

#: Random numbers that are drawn at once for episodes: 64 MB.
_NUMBERS = 2**24
#: What the tasks of one draw of an evaluation take at most.
_BYTES = 2**28


def check_sampler_kind(value: Any, name: str) -> None:
    """Refuse what draws no tasks.

    Args:
        value: what was given.
        name: of the argument.

    Raises:
        InputError: naming it and the remedy.
    """
    if not isinstance(value, Sampler):
        raise InputError(
            f"{name} is a {type(value).__name__}: give what draws tasks, il.FewShot(pool, ways=5, shots=1, "
            f"queries=15), say"
        )


class Sampler(ABC):
    """Draws batches of tasks."""

    #: Whether targets are one-hot rows.
    classifies: bool = True
    #: What its tasks are judged by, where that is not accuracy (classes) or squared error (real targets).
    metric: Metric | None = None

    @abstractmethod
    def draw(self, generator: Generator, tasks: int) -> Task:
        """A batch of ``tasks`` tasks: a leading ``[T]`` on every leaf."""

    @property
    def facts(self) -> Facts:
        """What its tasks are made of; here as one task that is drawn shows."""
        return self.facts_of(self.plain(Generator().manual_seed(0), 1))

    def facts_of(self, tasks: Task) -> Facts:
        """What tasks are made of, as a batch that is at hand shows: the way of samplers that do not say it."""
        query = tasks.query
        shape = tuple(query.x.shape[2:])
        kind: Kind = "images" if len(shape) == 3 else "vectors"
        return Facts(kind, shape, query.y.shape[2], "classification" if self.classifies else "regression")

    def plain(self, generator: Generator, tasks: int) -> Task:
        """The tasks that :meth:`draw` would give, as they are before any augmentation."""
        return self.draw(generator, tasks)

    @property
    def augmented(self) -> bool:
        """Whether :meth:`draw` changes the images that :meth:`plain` gives."""
        own = vars(self).values()
        return any(isinstance(part, Augment) or (isinstance(part, Sampler) and part.augmented) for part in own)

    @property
    def digest(self) -> str:
        """Of the content and the options: samplers with one digest draw the same tasks from the same generator.

        It follows from the public attributes: numbers, words, tensors, pools, tables, and lists of these.
        """
        return digest_of(type(self).__qualname__, {k: v for k, v in vars(self).items() if not k.startswith("_")})

    def batches(self, generator: Generator, tasks: int) -> Iterator[Task]:
        """``tasks`` tasks as several draws, none of which takes much memory.

        They are the tasks of one draw, except where tasks drawn together share sizes that vary.
        """
        trial = Generator(generator.device).set_state(generator.get_state())
        bytes_ = sum(leaf.nbytes for part in self.draw(trial, 1) for leaf in part)
        size = max(1, _BYTES // max(1, bytes_))
        for start in range(0, tasks, size):
            yield self.draw(generator, min(size, tasks - start))


class Episodes(NamedTuple):
    """Episodes as indices into a pool: small, savable, comparable.

    Support and query are laid out example by example, the class running fastest: example i is of way ``i % ways``.
    """

    classes: Tensor
    """Class of each way, int64 ``[T, ways]``."""
    support: Tensor
    """Examples of the support set, int64 ``[T, shots * ways]``."""
    query: Tensor
    """Examples of the query set, int64 ``[T, queries * ways]``."""


class FewShot(Sampler):
    """N-way K-shot episodes from a pool, without replacement within an episode.

    Args:
        pool: the classes to draw from.
        ways: classes an episode (N).
        shots: support examples a class (K).
        queries: query examples a class (0 for methods that only train on the support set).
        augment: random change of each image, of support and query alike.
        support_augment: for the support set, in place of ``augment``.
        query_augment: for the query set, in place of ``augment``.

    Raises:
        InputError: if the pool has fewer classes than ``ways``, or a class fewer examples than ``shots + queries``.

    Example:
        >>> pool = Pool.of(torch.zeros(40, 1, 28, 28, dtype=torch.uint8), [i % 8 for i in range(40)])
        >>> task = FewShot(pool, ways=5, shots=1, queries=3).draw(torch.Generator().manual_seed(0), 2)
        >>> task.support.x.shape, task.query.y.shape
        (torch.Size([2, 5, 1, 28, 28]), torch.Size([2, 15, 5]))

    References:
        Vinyals et al., *Matching Networks for One Shot Learning*, NeurIPS 2016, https://arxiv.org/abs/1606.04080.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        ways: int,
        shots: int,
        queries: int,
        augment: Augment | None = None,
        support_augment: Augment | None = None,
        query_augment: Augment | None = None,
    ) -> None:
        check_pool(pool)
        for name, value, least in (("ways", ways, 1), ("shots", shots, 1), ("queries", queries, 0)):
            check_count(name, value, least)
        if pool.classes < ways:
            raise InputError(
                f"{ways} ways need {ways} classes, the pool has {pool.classes}: lower the ways or take a larger pool"
            )
        smallest = int(pool.sizes.min())
        if smallest < shots + queries:
            name = pool.names[int(pool.sizes.argmin())]
            raise InputError(
                f"{shots} shots and {queries} queries need {shots + queries} examples a class, class {name!r} has "
                f"{smallest}: lower one of them or leave the class out"
            )
        self.pool, self.ways, self.shots, self.queries = pool, ways, shots, queries
        self.support_augment = support_augment or augment
        self.query_augment = query_augment or augment

    @property
    def facts(self) -> Facts:  # noqa: D102
        return Facts(self.pool.kind, self.pool.shape, self.ways, "classification")

    @property
    def numbers(self) -> tuple[int, int]:
        """How many uniform numbers choose a task's classes, and how many its examples."""
        return self.pool.classes, self.ways * int(self.pool.sizes.max())

    @property
    def changes(self) -> tuple[int, ...]:
        """How many uniform numbers change a task's support images, and how many its query images."""
        return (
            self.shots * self.ways * (self.support_augment.size if self.support_augment else 0),
            self.queries * self.ways * (self.query_augment.size if self.query_augment else 0),
        )

    def uniform(self, generator: Generator, tasks: int) -> tuple[Tensor, ...]:
        """One read of the generator, split into the uses: classes, examples, support and query augmentation."""
        row = (*self.numbers, *self.changes)
        u = torch.rand(tasks, sum(row), generator=generator, device=generator.device).cpu()
        return u.split(row, 1)

    def choose(self, by_class: Tensor, by_example: Tensor) -> Episodes:
        """Episodes from uniform numbers for each class ``[T, classes]`` and each example of a way."""
        return self._examples(by_class.topk(self.ways, 1).indices, by_example)

    def _examples(self, classes: Tensor, by_example: Tensor) -> Episodes:
        sizes, starts = self.pool.sizes[classes], self.pool.starts[classes]
        rank = by_example.view(len(classes), self.ways, -1)
        absent = torch.arange(rank.shape[2]) >= sizes.unsqueeze(2)
        rank = rank.masked_fill(absent, -1.0)
        chosen = rank.topk(self.shots + self.queries, 2).indices + starts.unsqueeze(2)
        chosen = chosen.mT
        return Episodes(classes, chosen[:, : self.shots].flatten(1), chosen[:, self.shots :].flatten(1))

    def episodes(self, generator: Generator, tasks: int) -> Episodes:
        """The episodes that :meth:`draw` would give, as indices."""
        return _joined(self.choose(*self.uniform(generator, n)[:2]) for n in self._blocks(tasks))

    def _blocks(self, tasks: int) -> Iterator[int]:
        """``tasks`` as a sum of numbers of tasks, each so small that their random numbers fit easily."""
        size = max(1, _NUMBERS // sum(self.numbers))
        yield from [size] * (tasks // size)
        if tasks % size or not tasks:
            yield tasks % size

    def plain(self, generator: Generator, tasks: int) -> Task:  # noqa: D102
        return self.gather(self.episodes(generator, tasks))

    def gather(self, episodes: Episodes) -> Task:
        """The episodes' examples, unaugmented: a batch of tasks."""
        return Task(*(self._part(index) for index in episodes[1:]))

    def draw(self, generator: Generator, tasks: int) -> Task:  # noqa: D102
        by_class, by_example, *changes = self.uniform(generator, tasks)
        return self.changed(self.gather(self.choose(by_class, by_example)), changes)

    def changed(self, task: Task, changes: Sequence[Tensor]) -> Task:
        """The tasks augmented by uniform numbers, a part for each of :attr:`changes`."""
        augments = (self.support_augment, self.query_augment)
        return Task(*(augmented(part, a, u) for part, a, u in zip(task, augments, changes, strict=True)))

    def _part(self, index: Tensor) -> Examples:
        x = self.pool.get(index)
        rows = torch.eye(self.ways, dtype=x.dtype, device=x.device).repeat(index.shape[1] // self.ways, 1)
        return Examples(x, rows.expand(len(index), -1, -1))


class Batches(Sampler):
    """Plain batches over all classes of a pool, as tasks with an empty support set: supervised (pre-)training.

    Args:
        pool: the classes to tell apart.
        size: examples a batch.
        augment: random change of each image.

    Example:
        >>> pool = Pool.of(torch.zeros(6, 1, 28, 28, dtype=torch.uint8), [0, 1, 2, 0, 1, 2])
        >>> Batches(pool, size=4).draw(torch.Generator(), 1).query.y.shape
        torch.Size([1, 4, 3])
    """

    #: How often each example is drawn, every time augmented anew.
    _views = 1

    def __init__(self, pool: Pool, *, size: int, augment: Augment | None = None) -> None:
        check_pool(pool)
        check_count("the batch size", size, 1)
        if not pool.examples:
            raise InputError("the pool holds no example: batches need at least one")
        self.pool, self.size, self.augment = pool, size, augment

    @property
    def facts(self) -> Facts:  # noqa: D102
        pool = self.pool
        return Facts(pool.kind, pool.shape, pool.classes, "classification", pool.names)

    def uniform(self, generator: Generator, tasks: int) -> tuple[Tensor, ...]:
        """One read of the generator, split into the choice of examples and the augmentation of each view of them."""
        row = (self.size, *[self.size * (self.augment.size if self.augment else 0)] * self._views)
        u = torch.rand(tasks, sum(row), generator=generator, device=generator.device).cpu()
        return tuple(u.split(row, 1))

    def gather(self, u: Tensor) -> Task:
        """The examples that uniform numbers ``u [T, size]`` choose, unaugmented."""
        index = (u.double() * self.pool.examples).long()
        x = self.pool.get(index)
        query = Examples(x, one_hot(self.pool.labels(index), self.pool.classes).to(x))
        return Task(Examples(query.x[:, :0], query.y[:, :0]), query)

    def plain(self, generator: Generator, tasks: int) -> Task:  # noqa: D102
        return self.gather(self.uniform(generator, tasks)[0])

    def draw(self, generator: Generator, tasks: int) -> Task:  # noqa: D102
        chosen, change = self.uniform(generator, tasks)
        task = self.gather(chosen)
        return Task(task.support, augmented(task.query, self.augment, change))


def _joined(parts: Iterable[Episodes]) -> Episodes:
    return Episodes(*(torch.cat(part) for part in zip(*parts, strict=True)))


def augmented(part: Examples, augment: Augment | None, u: Tensor) -> Examples:
    """The images changed by the numbers ``u``, of which each image has ``augment.size``."""
    if augment is None or part.x.shape[1] == 0:
        return part
    flat = part.x.flatten(0, 1)
    changed = augment(flat, u.reshape(len(flat), augment.size).to(flat.device))
    return Examples(changed.view_as(part.x), part.y)
