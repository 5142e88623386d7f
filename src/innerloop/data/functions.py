"""Families of functions: regression tasks that are drawn, not collected."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

from innerloop.core.facts import Facts
from innerloop.core.task import Examples, InputError, Task
from innerloop.data.episodes import Sampler


class Sinusoid(Sampler):
    """Sine waves ``a sin(x - p)``: amplitude a ~ U(0.1, 5), phase p ~ U(0, pi), x ~ U(-5, 5).

    Args:
        shots: support points a task.
        queries: query points a task.

    Example:
        >>> Sinusoid(shots=10, queries=15).draw(torch.Generator(), 4).query.y.shape
        torch.Size([4, 15, 1])

    References:
        Finn, Abbeel, Levine, *Model-Agnostic Meta-Learning*, ICML 2017, https://arxiv.org/abs/1703.03400.
    """

    classifies = False

    def __init__(self, *, shots: int = 10, queries: int = 10) -> None:
        if shots < 1 or queries < 0:
            raise InputError(f"a sinusoid task has {shots} shots and {queries} queries; it needs at least 1 and 0")
        self.shots, self.queries = shots, queries

    @property
    def facts(self) -> Facts:  # noqa: D102
        return Facts("functions", (1,), 1, "regression")

    def draw(self, generator: Generator, tasks: int) -> Task:  # noqa: D102
        u = torch.rand(tasks, 2 + self.shots + self.queries, generator=generator, device=generator.device)
        amplitude, phase = 0.1 + 4.9 * u[:, :1], math.pi * u[:, 1:2]
        x = 10 * u[:, 2:] - 5
        y = amplitude * torch.sin(x - phase)

        def part(columns: slice) -> Examples:
            return Examples(_column(x[:, columns]), _column(y[:, columns]))

        return Task(part(slice(self.shots)), part(slice(self.shots, None)))


def _column(values: Tensor) -> Tensor:
    return values.unsqueeze(-1)
