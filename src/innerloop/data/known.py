"""A fixed list of tasks: what multi-task learning trains on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Generator, Tensor

from innerloop.core.facts import Facts, Kind, Objective
from innerloop.core.numbers import check_count
from innerloop.core.random import seeded
from innerloop.core.task import Examples, InputError, Task, as_shares
from innerloop.data.episodes import Sampler


class HasTasks(Protocol):
    """Rows, task after task, as :class:`innerloop.data.TableTasks` has them."""

    @property
    def x(self) -> Tensor:
        """Inputs, ``[N, F]``."""

    @property
    def y(self) -> Tensor:
        """Targets, ``[N, D]``."""

    @property
    def sizes(self) -> Tensor:
        """Rows of each task."""

    @property
    def splits(self) -> dict[str, Tensor]:
        """Which tasks each split has."""

    @property
    def classifies(self) -> bool:
        """Whether targets are one-hot rows."""


class KnownTasks(Sampler):
    """Known tasks, each with all its examples; a draw takes some examples of a task.

    A draw of as many tasks as there are has each of them once, in their order. Any other number is drawn at random,
    with replacement.

    Args:
        sets: the examples of each task: x ``[N, *F]`` and y ``[N, D]``, D the same for all.
        queries: query examples a draw.
        shots: support examples a draw; 0 for learners that train on queries alone.
        named: append the task's name to its targets, a one-hot row over all tasks: y has ``D + tasks`` columns. It is
            what :class:`innerloop.MultiTask` trains on.
        classifies: whether targets are one-hot rows.
        kind: of input; default images where an example has three axes, else vectors.

    Raises:
        InputError: for no task, negative sizes, tasks of other shapes than the first, or one with too few examples.

    Example:
        >>> import innerloop as il
        >>> sines = KnownTasks.of(il.data.Sinusoid(shots=50, queries=0), 8, queries=10, named=True)
        >>> sines.draw(torch.Generator(), 8).query.y.shape
        torch.Size([8, 10, 9])
    """

    def __init__(
        self,
        sets: Sequence[Examples],
        *,
        queries: int,
        shots: int = 0,
        named: bool = False,
        classifies: bool = True,
        kind: Kind | None = None,
    ) -> None:
        check_count("the number of known tasks", len(sets), 1)
        check_count("shots", shots, 0)
        check_count("queries", queries, 0)
        first = sets[0]
        for i, part in enumerate(sets):
            if part.x.shape[1:] != first.x.shape[1:] or part.y.shape[1:] != first.y.shape[1:]:
                raise InputError(
                    f"known task {i} has examples {tuple(part.x.shape[1:])} with targets {tuple(part.y.shape[1:])}, "
                    f"the first one {tuple(first.x.shape[1:])} and {tuple(first.y.shape[1:])}: all need the same"
                )
            if len(part.x) < shots + queries:
                raise InputError(
                    f"known task {i} has {len(part.x)} examples, {shots} shots and {queries} queries need "
                    f"{shots + queries}: lower one of them or leave the task out"
                )
        self.x, self.y = torch.cat([part.x for part in sets]), torch.cat([part.y for part in sets])
        self.sizes = torch.tensor([len(part.x) for part in sets])
        self.shots, self.queries, self.named, self.classifies = shots, queries, named, classifies
        self._kind: Kind = kind or ("images" if first.x.ndim == 4 else "vectors")

    @classmethod
    def of(cls, sampler: Sampler, tasks: int, *, seed: int = 0, **options: Any) -> KnownTasks:
        """``tasks`` tasks that a sampler draws once; support and query are one set. ``options`` are the class's."""
        check_count("tasks", tasks, 1)
        (xs, ys), (xq, yq) = sampler.draw(seeded(seed), tasks)
        sets = [Examples(*both) for both in zip(torch.cat((xs, xq), 1), torch.cat((ys, yq), 1), strict=True)]
        return cls(sets, **{"classifies": sampler.classifies, "kind": sampler.facts.kind, **options})

    @classmethod
    def table(
        cls, table: HasTasks, split: str = "train", *, shots: int = 0, queries: int, **options: Any
    ) -> KnownTasks:
        """The tasks of a table's split that have enough rows, each with all of them."""
        sizes, starts = table.sizes, table.sizes.cumsum(0) - table.sizes
        members = [int(m) for m in table.splits[split] if sizes[m] >= shots + queries]
        rows = [slice(int(starts[m]), int(starts[m] + sizes[m])) for m in members]
        sets = [Examples(table.x[part], table.y[part]) for part in rows]
        options = {"classifies": table.classifies, "kind": "table", **options}
        return cls(sets, shots=shots, queries=queries, **options)

    @property
    def tasks(self) -> int:
        """How many tasks are known."""
        return len(self.sizes)

    @property
    def targets(self) -> int:
        """Columns D of a task's targets, its name left out."""
        return self.y.shape[1]

    @property
    def facts(self) -> Facts:
        """What its tasks are made of; with ``named``, how many they are."""
        objective: Objective = "classification" if self.classifies else "regression"
        tasks = self.tasks if self.named else None
        return Facts(self._kind, tuple(self.x.shape[1:]), self.targets, objective, tasks=tasks)

    def draw(self, generator: Generator, tasks: int) -> Task:  # noqa: D102
        largest = int(self.sizes.max())
        u = torch.rand(tasks, 1 + largest, generator=generator, device=generator.device, dtype=torch.float64).cpu()
        task = torch.arange(tasks) if tasks == self.tasks else (u[:, 0] * self.tasks).long()
        absent = torch.arange(largest) >= self.sizes[task].unsqueeze(1)
        starts = (self.sizes.cumsum(0) - self.sizes)[task].unsqueeze(1)
        chosen = u[:, 1:].masked_fill(absent, -1).topk(self.shots + self.queries, 1).indices + starts
        return Task(self._part(chosen[:, : self.shots], task), self._part(chosen[:, self.shots :], task))

    def _part(self, index: Tensor, task: Tensor) -> Examples:
        index = index.to(self.x.device)
        x = as_shares(self.x[index])
        y = self.y[index].to(x.dtype)
        if self.named:
            names = torch.nn.functional.one_hot(task, self.tasks).to(y)
            y = torch.cat((y, names.unsqueeze(1).expand(-1, y.shape[1], -1)), 2)
        return Examples(x, y)
