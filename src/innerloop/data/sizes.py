"""Samplers whose tasks differ in size: one size for all tasks of a draw, another for the next draw."""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterator

import torch
from torch import Generator

from innerloop.core.numbers import check_count, ends
from innerloop.core.task import InputError, Task
from innerloop.data.episodes import Sampler

#: A number of examples, or the smallest and the largest one (inclusive) that it is drawn between.
Size = int | tuple[int, int]
#: As ``Size``; without a largest one the support set and a total decide.
OpenSize = int | tuple[int, int | None]


class Sized(Sampler, ABC):
    """A sampler that draws how many support and query examples its tasks have.

    All tasks of one ``draw`` share both numbers, so a batch of tasks is a plain tensor. They are the first thing read
    from the generator (nothing is read where they are fixed). Averages over sizes therefore need many draws:
    :meth:`batches` makes them, ``together`` tasks each.

    Args:
        shots: support examples a task.
        queries: query examples a task; an upper limit of ``None`` is what ``total`` leaves.
        total: most examples of a task, where ``queries`` has no upper limit of its own.
        together: tasks of one draw of :meth:`batches`.

    Raises:
        InputError: for sizes that are negative, empty, or above the total.
    """

    def __init__(self, shots: Size, queries: OpenSize, total: int | None, together: int) -> None:
        low, high = ends("shots", shots, 0)
        most: int | None
        if isinstance(queries, tuple | list) and list(queries[1:]) == [None]:
            check_count("the smallest of queries", queries[0], 0)
            least, most = queries[0], None
        else:
            least, most = ends("queries", queries, 0)
        check_count("total", total, 0, optional=True)
        if most is None and (total is None or high + least > total):
            raise InputError(
                f"{high} shots and {least} queries do not fit a total of {total} examples: lower one of them, or raise "
                f"the total"
            )
        check_count("together", together, 1)
        self.shots, self.queries, self.total, self.together = shots, queries, total, together
        self._limits = low, high, least, most

    @property
    def largest(self) -> int:
        """The most examples that a task can have, support and query together."""
        _, high, _, most = self._limits
        return high + most if most is not None else self.total or 0

    def sizes(self, generator: Generator) -> tuple[int, int]:
        """The numbers of support and query examples of the next tasks."""
        low, high, least, most = self._limits
        if low == high and least == most:
            return low, least
        u, v = torch.rand(2, generator=generator, device=generator.device, dtype=torch.float64).tolist()
        shots = low + int(u * (high - low + 1))
        most = most if most is not None else (self.total or 0) - shots
        return shots, least + int(v * (most - least + 1))

    def batches(self, generator: Generator, tasks: int) -> Iterator[Task]:
        """``tasks`` tasks in draws of ``together``, each with sizes of its own, where sizes vary."""
        low, high, least, most = self._limits
        if low == high and least == most:
            yield from super().batches(generator, tasks)
            return
        for start in range(0, tasks, self.together):
            yield self.draw(generator, min(self.together, tasks - start))
