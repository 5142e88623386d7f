"""Few-shot tasks that were drawn before: the same with fewer shots or wrong labels, or within a group of classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Generator, Tensor

from innerloop.core.facts import Facts
from innerloop.core.numbers import check_count, check_number
from innerloop.core.random import seeded
from innerloop.core.task import InputError, Task
from innerloop.data.episodes import Episodes, FewShot
from innerloop.data.pool import Pool


class Fixed(FewShot):
    """Episodes that are given, in their order; nothing is drawn.

    Args:
        pool: what their indices mean.
        episodes: of one size.

    Raises:
        InputError: for episodes whose sizes do not fit together.

    Example:
        >>> pool = Pool.of(torch.zeros(40, 1, 8, 8, dtype=torch.uint8), [i % 8 for i in range(40)])
        >>> drawn = FewShot(pool, ways=5, shots=2, queries=3).episodes(torch.Generator().manual_seed(0), 10)
        >>> tasks = Fixed(pool, drawn)
        >>> tasks.ways, tasks.shots, tasks.queries, len(tasks.given.classes)
        (5, 2, 3, 10)
    """

    def __init__(self, pool: Pool, episodes: Episodes) -> None:
        ways = episodes.classes.shape[1]
        sizes = [part.shape[1] for part in episodes[1:]]
        if len({len(part) for part in episodes}) != 1 or not sizes[0] or any(size % ways for size in sizes):
            raise InputError(
                f"episodes of {ways} classes have support sets of {sizes[0]} and query sets of {sizes[1]} examples: "
                f"give the same number of examples of each class, and as many rows of each part"
            )
        self.pool, self.given = pool, episodes
        self.ways, self.shots, self.queries = ways, sizes[0] // ways, sizes[1] // ways
        self.support_augment = self.query_augment = None

    @property
    def facts(self) -> Facts:  # noqa: D102
        return Facts(self.pool.kind, self.pool.shape, self.ways, "classification")

    def episodes(self, generator: Generator, tasks: int) -> Episodes:
        """The first ``tasks`` of them.

        Raises:
            InputError: if there are fewer.
        """
        if tasks > len(self.given.classes):
            raise InputError(f"{tasks} tasks are asked for, {len(self.given.classes)} are given: ask for as many")
        return Episodes(*(part[:tasks] for part in self.given))

    def draw(self, generator: Generator, tasks: int) -> Task:  # noqa: D102
        return self.gather(self.episodes(generator, tasks))


def nested(pool: Pool, shots: Sequence[int], *, ways: int, queries: int, tasks: int, seed: int = 0) -> dict[int, Fixed]:
    """The same tasks at several numbers of shots: the same classes and queries, more shots being the fewer and some.

    Differences along a curve are then those of the number of examples alone.

    Args:
        pool: of the classes.
        shots: numbers of support examples a class.
        ways: classes a task.
        queries: query examples a class.
        tasks: how many.
        seed: of the draw.

    Raises:
        InputError: for sizes that the pool cannot give.

    Example:
        >>> pool = Pool.of(torch.zeros(80, 1, 8, 8, dtype=torch.uint8), [i % 8 for i in range(80)])
        >>> found = nested(pool, [1, 5], ways=5, queries=3, tasks=4)
        >>> bool((found[5].given.support[:, :5] == found[1].given.support).all())
        True
    """
    if not shots:
        raise InputError("no number of shots is given: give one or more, such as 1, 5")
    for number in shots:
        check_count("shots", number, 1)
    whole = FewShot(pool, ways=ways, shots=max(shots), queries=queries)
    drawn = whole.episodes(seeded(seed), tasks)
    return {
        number: Fixed(pool, Episodes(drawn.classes, drawn.support[:, : number * ways].contiguous(), drawn.query))
        for number in shots
    }


def mislabeled(tasks: Fixed, share: float, seed: int = 0) -> Fixed:
    """The same tasks with wrong labels in their support sets, the queries as they were.

    So many support examples trade their labels that none of them keeps its own; each class still has as many. Where the
    share is no whole number of examples, tasks have one more or less, so that the share holds over all of them.

    Args:
        tasks: with right labels.
        share: of the support examples of a task that are labeled wrongly, 0 to 0.5.
        seed: of the choice.

    Raises:
        InputError: for a share out of range, or so few examples that not even two can trade.

    Example:
        >>> pool = Pool.of(torch.zeros(80, 1, 8, 8, dtype=torch.uint8), [i % 8 for i in range(80)])
        >>> right = nested(pool, [5], ways=5, queries=3, tasks=4)[5]
        >>> wrong = mislabeled(right, 0.2)
        >>> (wrong.pool.labels(wrong.given.support) != right.pool.labels(right.given.support)).sum(1)
        tensor([5, 5, 5, 5])
    """
    check_number("the share of wrong labels", share, "[0, 0.5]")
    size = tasks.shots * tasks.ways
    if 0 < share * size < 2:
        raise InputError(
            f"{share:g} of {size} support examples are fewer than the two that can trade their labels: take more shots"
        )
    generator = seeded(seed)
    ways, rows = torch.arange(size) % tasks.ways, []
    for number, row in enumerate(tasks.given.support):
        count = int((number + 1) * share * size + 1e-9) - int(number * share * size + 1e-9)
        # Two classes can only trade in pairs.
        count -= count % 2 if tasks.ways == 2 else 0
        order = row.clone()
        if count:
            places = _traded(ways, count, generator)
            order[places[0]] = row[places[1]]
        rows.append(order)
    return Fixed(tasks.pool, Episodes(tasks.given.classes, torch.stack(rows), tasks.given.query))


def _traded(ways: Tensor, count: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Places, and the places whose examples they get, none of the same class."""
    while True:
        chosen = torch.randperm(len(ways), generator=generator)[:count]
        # In an order by class, half a turn takes every example to another class where none has more than half.
        if int(torch.bincount(ways[chosen]).max()) * 2 <= count:
            chosen = chosen[ways[chosen].argsort(stable=True)]
            return chosen, chosen.roll(count // 2)


def within(
    pool: Pool, groups: Iterable[Sequence[str]], *, ways: int, shots: int, queries: int, tasks: int, seed: int = 0
) -> Fixed:
    """Tasks whose classes all come from one group: letters of one script, kinds of one family. The groups take turns.

    Args:
        pool: of the classes.
        groups: names of classes; those with fewer than ``ways`` are left out.
        ways: classes a task.
        shots: support examples a class.
        queries: query examples a class.
        tasks: how many.
        seed: of the draw.

    Raises:
        InputError: if no group has so many classes.

    Example:
        >>> pool = Pool.of(torch.zeros(80, 1, 8, 8, dtype=torch.uint8), [i % 8 for i in range(80)])
        >>> groups = [("0", "1", "2"), ("3", "4", "5", "6")]
        >>> found = within(pool, groups, ways=3, shots=1, queries=1, tasks=4)
        >>> sorted(found.given.classes[0].tolist()), int(found.given.classes[1].min())
        ([0, 1, 2], 3)
    """
    usable = [torch.tensor(pool.positions(group)) for group in groups if len(group) >= ways]
    if not usable:
        raise InputError(f"no group has {ways} classes: lower the ways, or take tasks of all classes")
    generator, drawn = seeded(seed), []
    for number in range(tasks):
        group = usable[number % len(usable)]
        classes = group[torch.rand(len(group), generator=generator).topk(ways).indices]
        picked = [
            pool.starts[c] + torch.randperm(int(pool.sizes[c]), generator=generator)[: shots + queries] for c in classes
        ]
        if any(len(part) < shots + queries for part in picked):
            raise InputError(f"{shots} shots and {queries} queries need {shots + queries} examples of each class")
        rows = torch.stack(picked, 1)
        drawn.append(Episodes(classes, rows[:shots].flatten(), rows[shots:].flatten()))
    return Fixed(pool, Episodes(*(torch.stack(part) for part in zip(*drawn, strict=True))))
