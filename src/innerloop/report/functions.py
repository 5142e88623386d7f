"""Regression tasks to look at: the function that was learned from a few points, with its spread."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import torch
from torch import Tensor

from innerloop.core.likelihood import Likelihood
from innerloop.core.task import Examples, Task
from innerloop.data.episodes import Sampler
from innerloop.evaluation.reports import plain
from innerloop.evidence.judging import judging
from innerloop.report.plots import COLORS, INK, STYLES, Plot, label, panel
from innerloop.report.section import Section
from innerloop.report.subject import Subject, on_device, tasks_of
from innerloop.report.worst import worst_tasks

#: Points of a curve, values that the distribution function is read at, and learners in one plot.
_POINTS, _VALUES, _LEARNERS = 160, 241, 4


def functions_section(subjects: Sequence[Subject], sampler: Sampler) -> Section | None:
    """The first two tasks, and the two on which the first learner is worst."""
    if sampler.classifies:
        return None
    report = subjects[0].report
    numbers = list(dict.fromkeys([n for n in (0, 1) if n < report.tasks] + worst_tasks(report, 2)))
    tasks = tasks_of(sampler, report, numbers)
    plots, facts = [], []
    for number in numbers:
        task = tasks[number]
        flat = task.query.x.ndim == 2 and task.query.x.shape[1] == 1 and task.query.y.shape[1] == 1
        plot, values = (_curve if flat else _scatter)(subjects[:_LEARNERS], number, task)
        plots.append(plot)
        facts.append({"task": number, **values})
    spread = any(one.learner.likelihood.spreads for one in subjects)
    text = (
        "<p>What is learned from the support points (filled) beside the query points (hollow), which the learner does "
        f"not see.{' Within the band lie 95 % of the values, as the learner says.' if spread else ''} The first two "
        f"tasks, and the two on which {escape(subjects[0].name)} is worst.</p>\n"
    )
    return Section("functions", "Tasks and what was learned of them", text, plain(facts), tuple(plots))


def _curve(subjects: Sequence[Subject], number: int, task: Task) -> tuple[Plot, dict[str, object]]:
    (xs, ys), (xq, yq) = ((part.x[:, 0].double(), part.y[:, 0].double()) for part in task)
    ends = torch.cat((xs, xq))
    grid = torch.linspace(float(ends.min()), float(ends.max()), _POINTS)
    figure, axes = panel("x", "y")
    facts: dict[str, object] = {"x": grid.tolist()}
    for i, one in enumerate(subjects):
        mean, low, high = predicted(one, task, grid.unsqueeze(1))
        color = COLORS[i % len(COLORS)]
        if low is not None and high is not None:
            axes.fill_between(grid, low, high, color=color, alpha=0.18, linewidth=0)
        axes.plot(grid, mean, STYLES[i % 4], color=color, label=label(one.name))
        facts[one.name] = {
            "mean": mean.tolist(),
            "low": None if low is None else low.tolist(),
            "high": None if high is None else high.tolist(),
        }
    axes.plot(xq, yq, "o", markersize=3, markerfacecolor="none", markeredgecolor=INK, alpha=0.6, label="query")
    axes.plot(xs, ys, "o", markersize=5, color=INK, label="support")
    axes.legend(frameon=False, labelcolor=INK, fontsize="small")
    return Plot(f"task-{number}", f"Task {number}: {_scores(subjects, number)}.", figure), facts


def _scatter(subjects: Sequence[Subject], number: int, task: Task) -> tuple[Plot, dict[str, object]]:
    figure, axes = panel("true value", "predicted value")
    true = task.query.y[:, 0].double()
    axes.plot([float(true.min()), float(true.max())], [float(true.min()), float(true.max())], color=INK, linewidth=0.8)
    facts: dict[str, object] = {"true": true.tolist()}
    for i, one in enumerate(subjects):
        mean, _, _ = predicted(one, task, task.query.x)
        axes.plot(true, mean, "o^sv"[i % 4], markersize=4, color=COLORS[i % len(COLORS)], label=label(one.name))
        facts[one.name] = {"mean": mean.tolist()}
    axes.legend(frameon=False, labelcolor=INK, fontsize="small")
    return Plot(f"task-{number}", f"Task {number}, its queries: {_scores(subjects, number)}.", figure), facts


def predicted(one: Subject, task: Task, x: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The first target at ``x [N, *F]``: means, and the ends of the central 95 % where the spread is predicted."""
    moved = on_device(one.learner, Task(task.support, Examples(x.to(task.support.x), task.query.y[:0])))
    likelihood = one.learner.likelihood
    with judging(one.learner):
        raw = one.learner.predict(one.learner.adapt(moved.support), moved.query.x)
        mean = likelihood.mean(raw)[:, 0].double().cpu()
        if not likelihood.spreads:
            return mean, None, None
        known = torch.cat((task.support.y[:, 0], task.query.y[:, 0])).double()
        low, high = _ends(likelihood, raw, torch.cat((known, mean)), task.query.y.shape[1])
    return mean, low, high


def _ends(likelihood: Likelihood, raw: Tensor, known: Tensor, columns: int) -> tuple[Tensor, Tensor]:
    """Where the distribution function of the first target reaches 2.5 and 97.5 %, within 3 ranges of what is known."""
    least, most = float(known.min()), float(known.max())
    room = (most - least) or 1.0
    values = torch.linspace(least - room, most + room, _VALUES, dtype=raw.dtype, device=raw.device)
    cdf = torch.stack([likelihood.cdf(raw, v.expand(raw.shape[1], columns))[:, 0] for v in values])
    low, high = (_where(values.double().cpu(), cdf.double().cpu(), level) for level in (0.025, 0.975))
    return low, high


def _where(values: Tensor, cdf: Tensor, level: float) -> Tensor:
    """Where rising functions ``[V, N]`` of values ``[V]`` reach a level, between the two values about it: ``[N]``."""
    after = (cdf < level).sum(0).clamp(1, len(values) - 1)
    before = after - 1
    one, two = (cdf.gather(0, place.unsqueeze(0))[0] for place in (before, after))
    share = ((level - one) / (two - one).clamp(min=1e-12)).clamp(0, 1)
    return values[before] + share * (values[after] - values[before])


def _scores(subjects: Sequence[Subject], number: int) -> str:
    parts = []
    for one in subjects:
        metric = one.report.metric
        value = float(one.report.per_task[metric.name][number])
        parts.append(f"{one.name} has a {metric.called} of {metric.shown(value)}")
    return "; ".join(parts)
