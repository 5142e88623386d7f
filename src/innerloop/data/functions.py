"""Families of functions: regression tasks that are drawn, not collected."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

from innerloop.core.facts import Facts
from innerloop.core.numbers import check_count
from innerloop.core.task import Examples, InputError, Task
from innerloop.data.episodes import Sampler


class Sinusoid(Sampler):
    """Sine waves ``a sin(x - p)``: amplitude a ~ U(0.1, 5), phase p ~ U(0, pi), x ~ U(-5, 5).

    Args:
        shots: support points a task.
        queries: query points a task.
        amplitude: the lowest and the highest a, in the units of y.
        phase: the lowest and the highest p, in radians.
        inputs: the lowest and the highest x, in radians.

    Raises:
        InputError: for no support point, or a range that does not rise.

    Example:
        >>> Sinusoid(shots=10, queries=15).draw(torch.Generator(), 4).query.y.shape
        torch.Size([4, 15, 1])

    References:
        Finn, Abbeel, Levine, *Model-Agnostic Meta-Learning*, ICML 2017, https://arxiv.org/abs/1703.03400.
    """

    classifies = False

    def __init__(
        self,
        *,
        shots: int = 10,
        queries: int = 10,
        amplitude: tuple[float, float] = (0.1, 5.0),
        phase: tuple[float, float] = (0.0, math.pi),
        inputs: tuple[float, float] = (-5.0, 5.0),
    ) -> None:
        check_count("shots", shots, 1)
        check_count("queries", queries, 0)
        for name, pair in (("amplitude", amplitude), ("phase", phase), ("inputs", inputs)):
            if len(pair) != 2 or not (math.isfinite(pair[0]) and math.isfinite(pair[1]) and pair[0] <= pair[1]):
                raise InputError(f"the {name} of a sinusoid lies in {pair}: give its lowest and its highest value")
        self.shots, self.queries = shots, queries
        self.amplitude, self.phase, self.inputs = amplitude, phase, inputs

    @property
    def facts(self) -> Facts:  # noqa: D102
        return Facts("functions", (1,), 1, "regression")

    def draw(self, generator: Generator, tasks: int) -> Task:  # noqa: D102
        u = torch.rand(tasks, 2 + self.shots + self.queries, generator=generator, device=generator.device)
        amplitude, phase = _scaled(u[:, :1], self.amplitude), _scaled(u[:, 1:2], self.phase)
        x = _scaled(u[:, 2:], self.inputs)
        y = amplitude * torch.sin(x - phase)

        def part(columns: slice) -> Examples:
            return Examples(_column(x[:, columns]), _column(y[:, columns]))

        return Task(part(slice(self.shots)), part(slice(self.shots, None)))


def _scaled(u: Tensor, ends: tuple[float, float]) -> Tensor:
    return ends[0] + (ends[1] - ends[0]) * u


def _column(values: Tensor) -> Tensor:
    return values.unsqueeze(-1)
