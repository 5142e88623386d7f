"""How a temperature changes with the ways and the shots of a task, learned from tasks of one size.

A task of many classes holds tasks of fewer, and its support and query sets tasks of other shots: what is known of it
tells the temperatures of these as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from innerloop.core.task import Examples, Task

#: The temperature of some tasks, from 1 on; ``None`` where they have no finite answer.
Fitted = Callable[[list[Task]], float | None]
#: How much more of a temperature may come from shots than is left where they are many.
_MOST = 100.0


class ByWays(nn.Module):
    """How a temperature changes with the number of ways: as a power of it, 1 before it was found.

    The gradient of a mean over the examples of C classes moves the row of each by 1/C of what its own examples say, so
    that an inner loop of few steps leads to logits that are the smaller the more ways there are.

    Example:
        >>> by_ways = ByWays()
        >>> by_ways.fit(20, 0.5, 5, 2.0)
        >>> [by_ways(ways).item() for ways in (5, 20, 40)]
        [4.0, 1.0, 0.5]
    """

    #: Learners are kept that were trained before there was such a thing.
    optional = True
    ways: Tensor
    power: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("ways", torch.ones(()))
        self.register_buffer("power", torch.zeros(()))

    def reset(self) -> None:
        """The same temperature for any number of ways."""
        self.power.fill_(0.0)

    def learn(self, tasks: Sequence[Task], temperature: float, fitted: Fitted) -> None:
        """Find the temperature of these tasks in parts of fewer ways, where there are enough.

        Args:
            tasks: each of as many ways.
            temperature: theirs.
            fitted: finds that of others.
        """
        ways = tasks[0].support.y.shape[1]
        fewer = round(math.sqrt(ways))
        if 2 <= fewer < ways:
            other = fitted([part for task in tasks for part in parted(task, fewer)])
            self.fit(ways, temperature, fewer, other or temperature)

    def fit(self, ways: int, temperature: float, fewer: int, other: float) -> None:
        """Learn from temperatures for two numbers of ways. That of the first is what the power is a factor of."""
        self.ways.fill_(ways)
        self.power.fill_(math.log(other / temperature) / math.log(fewer / ways))

    def forward(self, ways: int) -> Tensor:
        """The factor of the temperature for a number of ways, a scalar."""
        return (ways / self.ways) ** self.power


class ByShots(nn.Module):
    """How a temperature changes with the number of shots: a part falls as one over that; none before it was found.

    What a few examples say of a class differs from the next few by a variance of one over their number.

    Example:
        >>> by_shots = ByShots()
        >>> by_shots.fit(3, 2.0, 1, 4.0)
        >>> [round(by_shots(torch.tensor(shots)).item(), 3) for shots in (1, 3, 10)]
        [2.0, 1.0, 0.65]
    """

    #: Learners are kept that were trained before there was such a thing.
    optional = True
    shots: Tensor
    noise: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("shots", torch.ones(()))
        self.register_buffer("noise", torch.zeros(()))

    def reset(self) -> None:
        """The same temperature for any number of shots."""
        self.noise.fill_(0.0)

    def learn(self, tasks: Sequence[Task], temperature: float, fitted: Fitted) -> None:
        """Find the temperature of these tasks at another number of shots.

        That is one; of tasks of one it is more, half of the queries beside it, where there are two a class at least.

        Args:
            tasks: each of as many shots.
            temperature: theirs.
            fitted: finds that of others.
        """
        shots, queries = (round(float(shots_of(part))) for part in tasks[0])
        other = 1 if shots > 1 else shots + queries // 2
        if other != shots:
            found = fitted([with_shots(task, other) for task in tasks])
            self.fit(shots, temperature, other, found or temperature)

    def fit(self, shots: int, temperature: float, others: int, other: float) -> None:
        """Learn from temperatures for two numbers of shots. That of the first is what the factor belongs to.

        Where fewer shots have no higher temperature, there is no such part.
        """
        falls = (other - temperature) / (1 / others - 1 / shots)
        rest = temperature - falls / shots
        self.shots.fill_(shots)
        self.noise.fill_(0.0 if falls <= 0 else _MOST if rest <= falls / _MOST else falls / rest)

    def forward(self, shots: Tensor) -> Tensor:
        """The factor of the temperature for a number of shots, a scalar."""
        return (1 + self.noise / shots.clamp_min(1)) / (1 + self.noise / self.shots)


def shots_of(part: Examples) -> Tensor:
    """Examples a class, in the mean over classes, a scalar."""
    return part.y.sum() / part.y.shape[1]


def parted(task: Task, ways: int) -> Iterator[Task]:
    """A task of many classes as tasks of fewer, each of which has ``ways`` classes that follow each other.

    Classes that are left over are in none.

    Example:
        >>> part = Examples(torch.arange(10.0).view(10, 1), torch.eye(5).repeat(2, 1))
        >>> [one.query.x.flatten().tolist() for one in parted(Task(part, part), 2)]
        [[0.0, 1.0, 5.0, 6.0], [2.0, 3.0, 7.0, 8.0]]
    """
    for start in range(0, task.support.y.shape[1] - ways + 1, ways):
        kept = [part.y[:, start : start + ways].any(1) for part in task]
        yield Task(
            *(Examples(part.x[one], part.y[one, start : start + ways]) for part, one in zip(task, kept, strict=True))
        )


def with_shots(task: Task, shots: int) -> Task:
    """A task with another number of support examples a class: without the last ones, or with the first query ones.

    Queries that are support examples now are none any more.

    Example:
        >>> support = Examples(torch.arange(2.0).view(2, 1), torch.eye(2))
        >>> query = Examples(torch.arange(2.0, 8.0).view(6, 1), torch.eye(2).repeat(3, 1))
        >>> [part.x.flatten().tolist() for part in with_shots(Task(support, query), 2)]
        [[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0]]
    """
    # Which of its class an example is, from 1, those of the support set first.
    rows = torch.cat([part.y for part in task])
    own, asked = (rows.cumsum(0) * rows).sum(1).split([len(part.y) for part in task])
    kept, moved = own <= shots, asked <= shots
    return Task(
        Examples(*(torch.cat([a[kept], b[moved]]) for a, b in zip(*task, strict=True))),
        Examples(*(b[~moved] for b in task.query)),
    )


def learn_temperature(
    temperature: Tensor, sizes: Sequence[ByWays | ByShots], tasks: Sequence[Task], fitted: Fitted
) -> None:
    """Find the temperature of tasks, and how it changes with their sizes; 1 for all where no query has a finite answer.

    Args:
        temperature: gets it, a scalar.
        sizes: learn from it, in this order.
        tasks: of one size.
        fitted: finds the temperature of tasks by what is known so far.
    """
    temperature.fill_(1.0)
    for by in sizes:
        by.reset()
    best = fitted(list(tasks))
    if best is not None:
        for by in sizes:
            by.learn(tasks, best, fitted)
        temperature.fill_(best)
