"""Streams: batches that come one after the other, and the held-out examples of each task.

A family of streams draws one from a seed: the order of the classes, the examples and all else that is random.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Literal, get_args

import torch
from torch import Generator, Tensor

from innerloop.core.facts import Facts, Kind, Objective
from innerloop.core.numbers import check_count
from innerloop.core.random import seeded
from innerloop.core.targets import one_hot
from innerloop.core.task import Examples, InputError, Task
from innerloop.data.digest import digest_of
from innerloop.data.episodes import Sampler
from innerloop.data.pool import Pool, check_pool
from innerloop.data.source import Description, Maker

#: ``"class"``: new classes, told apart from all; ``"task"``: new classes, told apart from those of their own task;
#: ``"domain"``: the same targets, other inputs.
Scenario = Literal["class", "domain", "task"]


@dataclass(frozen=True, eq=False)
class Stream:
    """A sequence of batches, each from one task.

    Args:
        batches: in the order of training; all of them share F and D.
        tasks: the task of each batch, from 0, never decreasing.
        held_out: the test examples of each task.
        scenario: ``"class"``, ``"domain"`` or ``"task"`` (the answer is then looked for among the task's own classes).
        classifies: whether targets are one-hot rows.

    Raises:
        InputError: if the parts do not fit together.

    Example:
        >>> batch = Examples(torch.zeros(2, 3), torch.eye(2))
        >>> stream = Stream([batch, batch], [0, 1], [batch, batch])
        >>> stream.length, stream.targets
        (2, 2)
    """

    batches: list[Examples]
    tasks: list[int]
    held_out: list[Examples]
    scenario: Scenario = "class"
    classifies: bool = True

    def __post_init__(self) -> None:
        """Check the parts against each other."""
        if self.scenario not in get_args(Scenario):
            raise InputError(f"scenario {self.scenario!r} is unknown; choose one of {', '.join(get_args(Scenario))}")
        if len(self.batches) != len(self.tasks) or sorted(set(self.tasks)) != list(range(len(self.held_out))):
            raise InputError(
                f"{len(self.batches)} batches have {len(self.tasks)} task numbers and {len(self.held_out)} held-out "
                f"sets: give each batch its task, from 0, and each task a held-out set"
            )
        if self.tasks != sorted(self.tasks):
            raise InputError("the tasks of a stream come one after the other: sort the batches by task")

    @property
    def length(self) -> int:
        """T, the number of tasks."""
        return len(self.held_out)

    @property
    def targets(self) -> int:
        """D, the columns of a target: all classes of the stream."""
        return self.held_out[0].y.shape[1]

    @property
    def own(self) -> Tensor | None:
        """Which columns belong to each task, bool ``[T, D]``; ``None`` unless the scenario restricts the answer."""
        if self.scenario != "task":
            return None
        return torch.stack([part.y.sum(0) > 0 for part in self.held_out])

    def map(self, function: Callable[[Tensor], Tensor]) -> Stream:
        """The stream with ``function`` (an encoder, say) applied to all inputs, 512 at a time."""
        parts = [*self.batches, *self.held_out]
        x = torch.cat([function(piece) for piece in torch.cat([part.x for part in parts]).split(512)])
        sizes = [len(part.x) for part in parts]
        mapped = [Examples(z, part.y) for z, part in zip(x.split(sizes), parts, strict=True)]
        cut = len(self.batches)
        return Stream(mapped[:cut], self.tasks, mapped[cut:], self.scenario, self.classifies)


class StreamFamily(ABC):
    """Draws streams; as a source, each stream is a task: its batches are the support set, what it held out the queries.

    All streams of a family have the same sizes.
    """

    @abstractmethod
    def draw(self, seed: int) -> Stream:
        """The stream of a seed."""

    @property
    def facts(self) -> Facts:
        """Of its streams."""
        return self._first[0]

    def makers(self, split: str) -> Mapping[str, Maker]:
        """Whole streams as tasks."""
        streams: Maker = partial(Streams, self, split)
        return {"stream": streams, "episodes": streams}

    def part(self, split: str) -> StreamFamily:
        """The family: each split has seeds of its own."""
        return self

    def describe(self) -> Description:
        """One stream."""
        row = {name: getattr(self.draw(0), name) for name in ("length", "targets", "scenario")}
        return Description(self.facts, [{"split": "all", **row}], self.digest)

    @property
    def digest(self) -> str:
        """Of its first stream."""
        return self._first[1]

    @cached_property
    def _first(self) -> tuple[Facts, str]:
        stream = self.draw(0)
        shape = tuple(stream.batches[0].x.shape[1:])
        kind: Kind = "images" if len(shape) == 3 else "vectors"
        objective: Objective = "classification" if stream.classifies else "regression"
        return Facts(kind, shape, stream.targets, objective), digest_of(stream.batches, stream.held_out)


class Streams(Sampler):
    """Streams as tasks: all batches in their order are the support set, all held-out examples the queries.

    Args:
        family: of the streams.
        split: ``"train"``, ``"val"`` or ``"test"``: each has other streams.

    Example:
        >>> Streams(Sines(tasks=2, shots=4, held_out=3)).draw(Generator(), 5).query.x.shape
        torch.Size([5, 6, 1])
    """

    def __init__(self, family: StreamFamily, split: str = "train") -> None:
        self.family, self.split = family, split
        self.classifies = family.facts.objective == "classification"

    @property
    def facts(self) -> Facts:
        """Those of the family."""
        return self.family.facts

    @property
    def digest(self) -> str:
        """That of the family, and the split."""
        return f"{self.family.digest}-{self.split}"

    def draw(self, generator: Generator, tasks: int) -> Task:  # noqa: D102
        # Three ranges of seeds, one a split.
        first = ("train", "val", "test").index(self.split) * 2**29
        seeds = torch.randint(2**29, (tasks,), generator=generator, device=generator.device).tolist()
        drawn = [self.family.draw(first + seed) for seed in seeds]

        def joined(parts: Callable[[Stream], list[Examples]]) -> Examples:
            x, y = ([torch.cat([part[leaf] for part in parts(stream)]) for stream in drawn] for leaf in (0, 1))
            return Examples(torch.stack(x), torch.stack(y))

        return Task(joined(lambda stream: stream.batches), joined(lambda stream: stream.held_out))


class Split(StreamFamily):
    """A pool's classes, a few at a time: split Omniglot, split CIFAR, split digits.

    Args:
        pool: the classes.
        classes: how many of them a stream has, drawn at random; ``None`` for all.
        per_task: classes that come together.
        shots: training examples a class, each seen once.
        held_out: test examples a class.
        batch: examples a batch; the examples of a task come in random order.
        scenario: ``"class"``, ``"task"``, or ``"domain"``: the target is then the class's place within its task.

    Raises:
        InputError: if the pool has too few classes or examples, or tasks would differ in size.

    Example:
        >>> pool = Pool.of(torch.rand(40, 8), [i % 4 for i in range(40)])
        >>> stream = Split(pool, per_task=2, shots=6, held_out=4, batch=3).draw(0)
        >>> stream.length, len(stream.batches), stream.targets
        (2, 8, 4)
    """

    def __init__(
        self,
        pool: Pool,
        *,
        classes: int | None = None,
        per_task: int = 1,
        shots: int = 15,
        held_out: int = 5,
        batch: int = 1,
        scenario: Scenario = "class",
    ) -> None:
        check_pool(pool)
        classes = pool.classes if classes is None else classes
        for name, value in (("per_task", per_task), ("shots", shots), ("held_out", held_out), ("batch", batch)):
            check_count(name, value, 1)
        if not per_task <= classes <= pool.classes or classes % per_task:
            raise InputError(
                f"a stream of {classes} classes, {per_task} a task, from a pool of {pool.classes}: take a multiple of "
                f"{per_task} that the pool has"
            )
        smallest = int(pool.sizes.min())
        if smallest < shots + held_out:
            raise InputError(
                f"{shots} training and {held_out} held-out examples need {shots + held_out} a class, class "
                f"{pool.names[int(pool.sizes.argmin())]!r} has {smallest}: lower one of them or leave the class out"
            )
        self.pool, self.classes, self.per_task, self.shots = pool, classes, per_task, shots
        self.held_out, self.batch, self.scenario = held_out, batch, scenario

    def draw(self, seed: int) -> Stream:  # noqa: D102
        generator = seeded(seed)
        order = torch.randperm(self.pool.classes, generator=generator)[: self.classes]
        columns = self.per_task if self.scenario == "domain" else self.classes
        batches: list[Examples] = []
        tasks: list[int] = []
        held_out: list[Examples] = []
        for task, group in enumerate(order.split(self.per_task)):
            first = 0 if self.scenario == "domain" else task * self.per_task
            train, test = [], []
            for column, c in enumerate(group.tolist(), first):
                chosen = torch.randperm(int(self.pool.sizes[c]), generator=generator) + self.pool.starts[c]
                row = one_hot(torch.tensor([column]), columns)
                train += [(int(i), row) for i in chosen[: self.shots]]
                test += [(int(i), row) for i in chosen[self.shots : self.shots + self.held_out]]
            mixed = torch.randperm(len(train), generator=generator).tolist()
            part = self._examples([train[i] for i in mixed])
            batches += batches_of(part, self.batch)
            tasks += [task] * (len(batches) - len(tasks))
            held_out.append(self._examples(test))
        return Stream(batches, tasks, held_out, self.scenario)

    def _examples(self, chosen: list[tuple[int, Tensor]]) -> Examples:
        x = self.pool.get(torch.tensor([i for i, _ in chosen]))
        return Examples(x, torch.cat([row for _, row in chosen]).to(x))


class Sines(StreamFamily):
    """Sine waves of random amplitude and phase, each on a piece of the line of its own (regression).

    Task t of T is the wave on ``[-5 + 10 t / T, -5 + 10 (t + 1) / T]`` in a random order of the pieces; the input is x
    alone, so one function fits all tasks, as in the sequences of Javed and White.

    Args:
        tasks: T.
        shots: training points a task.
        held_out: test points a task.
        batch: points a batch.

    Example:
        >>> stream = Sines(tasks=4, shots=20).draw(0)
        >>> stream.length, stream.classifies
        (4, False)
    """

    def __init__(self, *, tasks: int = 10, shots: int = 100, held_out: int = 50, batch: int = 10) -> None:
        for name, value in (("tasks", tasks), ("shots", shots), ("held_out", held_out), ("batch", batch)):
            check_count(name, value, 1)
        self.tasks, self.shots, self.held_out, self.batch = tasks, shots, held_out, batch

    def draw(self, seed: int) -> Stream:  # noqa: D102
        generator = seeded(seed)
        batches: list[Examples] = []
        tasks: list[int] = []
        held_out: list[Examples] = []
        for task, piece in enumerate(torch.randperm(self.tasks, generator=generator).tolist()):
            amplitude, phase = (torch.rand(2, generator=generator) * torch.tensor([4.9, math.pi])).tolist()
            u = torch.rand(self.shots + self.held_out, 1, generator=generator)
            x = -5 + 10 * (piece + u) / self.tasks
            y = (0.1 + amplitude) * torch.sin(x - phase)
            batches += batches_of(Examples(x[: self.shots], y[: self.shots]), self.batch)
            tasks += [task] * (len(batches) - len(tasks))
            held_out.append(Examples(x[self.shots :], y[self.shots :]))
        return Stream(batches, tasks, held_out, "domain", classifies=False)


def batches_of(part: Examples, size: int) -> list[Examples]:
    """A set in batches of ``size``, in its order."""
    return [Examples(x, y) for x, y in zip(part.x.split(size), part.y.split(size), strict=True)]
