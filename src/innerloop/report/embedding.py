"""Where a learner sees the examples of a task: its features in two dimensions."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from innerloop.core.learner import Learner
from innerloop.core.task import InputError, Task
from innerloop.data.episodes import Sampler
from innerloop.evidence.judging import embedded, judging
from innerloop.evidence.layers import input_of_head
from innerloop.evidence.plane import plane
from innerloop.report.plots import COLORS, INK, Plot, label, panel
from innerloop.report.section import Section
from innerloop.report.subject import Subject, letter, names_of, on_device, tasks_of

#: Classes that letters and colors tell apart.
_MOST = 26


def embedding_section(subjects: list[Subject], sampler: Sampler, number: int = 0) -> Section | None:
    """A map of each learner's features of one task, support and queries."""
    if not sampler.classifies:
        return None
    plots, facts = [], {}
    for place, one in enumerate(subjects):
        task = tasks_of(sampler, one.report, [number])[number]
        found = features_of(one.learner, on_device(one.learner, task))
        if found is None or task.query.y.shape[1] > _MOST:
            continue
        names = names_of(sampler, one.report, number, task.query.y.shape[1])
        spread, share = plane(torch.cat(found).numpy())
        # Points that are all alike lie on any map.
        at, share = torch.from_numpy(spread), 1.0 if math.isnan(share) else share
        own = at[: len(found[0])], at[len(found[0]) :]
        plots.append(_map(f"map-{place}", one.name, task, own, share, names))
        facts[one.name] = {
            "task": number,
            "classes": list(names),
            "share_of_spread": share,
            "support": [[*point, kind] for point, kind in _rows(own[0], task.support.y)],
            "queries": [[*point, kind] for point, kind in _rows(own[1], task.query.y)],
        }
    if not plots:
        return None
    body = (
        "<p>The features of one test task that the learner decides by, along the two directions in which they spread "
        "most (principal components): distances beyond these two are not seen. Large letters in a circle are support "
        "examples, small ones queries; a letter is a class.</p>\n"
    )
    return Section("map", "A task as the learner sees it", body, facts, tuple(plots))


def features_of(learner: Learner, task: Task) -> tuple[Tensor, Tensor] | None:
    """What a learner decides by: support ``[N, H]`` and queries ``[Q, H]``, double precision; ``None`` where it hides.

    Of a learner with an encoder its features; of another what enters the last layer of its network, as adapted to the
    task.
    """
    with judging(learner):
        if learner.split()[0] is not None:
            _, support, x = embedded(learner, task.support, task.query.x)
            if support.x is task.support.x:
                return None
            found = [support.x, x]
        else:
            try:
                found = input_of_head(learner, learner.adapt(task.support), [task.support.x, task.query.x])
            except InputError:
                return None
    pairs = [part.detach().flatten(1).double().cpu() for part in found]
    sizes = {part.shape[1] for part in pairs}
    whole = [len(task.support.x), len(task.query.x)] == [len(part) for part in pairs]
    good = whole and len(sizes) == 1 and min(sizes) > 1 and all(bool(part.isfinite().all()) for part in pairs)
    return (pairs[0], pairs[1]) if good else None


def _map(name: str, title: str, task: Task, at: tuple[Tensor, Tensor], share: float, names: tuple[str, ...]) -> Plot:
    figure, axes = panel("", "", (5.0, 4.2))
    every = torch.cat(at)
    for row, (points, part) in enumerate(zip(at, task, strict=True)):
        for (across, up), kind in _rows(points, part.y):
            color = COLORS[kind % len(COLORS)]
            box = {"boxstyle": "circle,pad=0.25", "facecolor": "none", "edgecolor": color} if row == 0 else None
            size, weight = (11, "bold") if row == 0 else (8, "normal")
            axes.text(
                across, up, letter(kind), color=color, fontsize=size, fontweight=weight, ha="center", va="center",
                bbox=box, clip_on=True, zorder=3 if row == 0 else 2,
            )  # fmt: skip
    for setter, values in ((axes.set_xlim, every[:, 0]), (axes.set_ylim, every[:, 1])):
        low, high = float(values.min()), float(values.max())
        room = 0.08 * (high - low) or 1.0
        setter(low - room, high + room)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(label(title), color=INK, fontsize="medium")
    nearest = _nearest(at, task)
    classes = ", ".join(f"{letter(i)} {text}" for i, text in enumerate(names))
    caption = (
        f"{title}: {100 * share:.0f} % of the spread lies in these two directions; {100 * nearest:.0f} % of the "
        f"queries have the middle of their own class nearest here. {classes}."
    )
    return Plot(name, caption, figure)


def _nearest(at: tuple[Tensor, Tensor], task: Task) -> float:
    """The share of queries whose own class has the nearest mean support point on the map."""
    y = task.support.y.double().cpu()
    means = y.mT @ at[0] / y.sum(0).clamp(min=1).unsqueeze(1)
    return float((torch.cdist(at[1], means).argmin(1) == task.query.y.argmax(1).cpu()).double().mean())


def _rows(points: Tensor, y: Tensor) -> list[tuple[list[float], int]]:
    return list(zip(points.tolist(), y.argmax(1).tolist(), strict=True))
