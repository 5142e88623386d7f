"""What a report is of: a learner with its scores, its answers, its history and its recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from innerloop.core.device import device_of
from innerloop.core.learner import Learner
from innerloop.core.task import Task, count, move, take
from innerloop.data.episodes import Episodes, FewShot, Sampler
from innerloop.evaluation.evaluate import evaluate
from innerloop.evaluation.reports import Report
from innerloop.evidence.answers import Answers, answers
from innerloop.training.history import History


@dataclass(frozen=True)
class Subject:
    """A learner that is reported on."""

    name: str
    learner: Learner
    """On the device where it was evaluated, in evaluation mode."""
    report: Report
    answers: Answers | None = None
    """To the queries of the same tasks, where both are of classes."""
    history: History | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    """What a run folder says of it: ``recipe``, ``versions``, ``device``, ``command``."""

    @property
    def recipe(self) -> dict[str, Any]:
        """Of its run; empty where there is none."""
        return dict(self.about.get("recipe", {}))


def look_at(
    name: str,
    learner: Learner,
    sampler: Sampler,
    *,
    tasks: int = 1000,
    seed: int = 0,
    device: torch.device | str | None = None,
    history: History | None = None,
    about: Mapping[str, Any] | None = None,
) -> Subject:
    """Evaluate a learner, and keep what it answers.

    Args:
        name: in the report.
        learner: any.
        sampler: draws the tasks.
        tasks: how many.
        seed: of the draw.
        device: where to run; default where the learner is.
        history: of its training.
        about: what its run folder says.

    Example:
        >>> import innerloop as il
        >>> maml = il.MAML(il.nets.mlp(1, 8, 1), lr=0.01, likelihood=il.Gaussian(scale=1.0))
        >>> look_at("MAML", maml, il.data.Sinusoid(), tasks=5).report.tasks
        5
    """
    report = evaluate(learner, sampler, tasks=tasks, seed=seed, device=device)
    told = None
    if sampler.classifies and learner.likelihood.classifies and tasks > 1:
        told = answers(learner, sampler, tasks=tasks, seed=seed, device=device)
    return Subject(name, learner.eval(), report, told, history, about or {})


def tasks_of(sampler: Sampler, report: Report, numbers: Sequence[int]) -> dict[int, Task]:
    """Some of the tasks that a report was made from, by number, on the CPU.

    Args:
        sampler: that they were drawn from.
        report: what :func:`innerloop.evaluate` gave.
        numbers: 0 to ``report.tasks - 1``.
    """
    wanted = sorted(set(numbers))
    if isinstance(sampler, FewShot) and report.indices is not None:
        tasks = sampler.gather(Episodes(*(part[wanted] for part in report.indices)))
        return {number: take(tasks, place) for place, number in enumerate(wanted)}
    found: dict[int, Task] = {}
    start = 0
    for batch in sampler.batches(torch.Generator().manual_seed(report.seed), report.tasks):
        size = count(batch)
        found |= {number: take(batch, number - start) for number in wanted if start <= number < start + size}
        start += size
        if len(found) == len(wanted):
            break
    return found


def names_of(sampler: Sampler, report: Report, number: int, classes: int) -> tuple[str, ...]:
    """The classes of a task, by the pool's names or the sampler's; numbers where nobody has named them."""
    if isinstance(sampler, FewShot) and report.indices is not None:
        return tuple(sampler.pool.names[c] for c in report.indices.classes[number].tolist())
    known = sampler.facts.classes
    return known if known is not None and len(known) == classes else tuple(f"class {k}" for k in range(classes))


def letter(index: int) -> str:
    """A, B, ..., Z, AA, AB, ...

    Example:
        >>> letter(0), letter(27)
        ('A', 'AB')
    """
    return (letter(index // 26 - 1) if index >= 26 else "") + chr(ord("A") + index % 26)


def on_device(learner: Learner, task: Task) -> Task:
    """A task where the learner is."""
    return move(task, device_of(learner))


def drawable(x: Tensor) -> bool:
    """Whether examples ``[N, *F]`` are images of 1 or 3 channels, 0 to 1."""
    return x.ndim == 4 and x.shape[1] in (1, 3) and float(x.min()) >= 0 and float(x.max()) <= 1
