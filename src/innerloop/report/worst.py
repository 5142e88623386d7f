"""Where a learner is worst: tasks, with their classes and what was confused, and classes over all tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
import torch

from innerloop.core.task import Task
from innerloop.data.episodes import FewShot, Sampler
from innerloop.evaluation.reports import Report, plain
from innerloop.report.plots import image
from innerloop.report.section import Section, cell, plain_cell, row_name, table
from innerloop.report.subject import Subject, drawable, names_of, tasks_of

#: Tasks, confusions of each, and classes that are shown of a learner.
_TASKS, _CONFUSED, _CLASSES = 5, 3, 8


def worst_section(subjects: Sequence[Subject], sampler: Sampler) -> Section | None:
    """The worst tasks of each learner and, where tasks are drawn from a pool of classes, its worst classes."""
    parts, facts = [], {}
    for place, one in enumerate(subjects):
        numbers = worst_tasks(one.report)
        if not numbers:
            continue
        tasks = tasks_of(sampler, one.report, numbers)
        found = [_task(one, sampler, number, tasks[number]) for number in numbers]
        key = f"worst-{place}"
        parts.append(f'<h3 id="{key}">{escape(one.name)}: worst tasks</h3>\n{_tasks_table(key, one.report, found)}')
        facts[one.name] = {"tasks": [{k: v for k, v in row.items() if k != "pictures"} for row in found]}
        classes = worst_classes(one, sampler)
        if classes:
            key = f"classes-{place}"
            parts.append(f'<h3 id="{key}">{escape(one.name)}: worst classes</h3>\n{_classes_table(key, classes)}')
            facts[one.name]["classes"] = classes[:_CLASSES]
    if not parts:
        return None
    return Section("worst", "Where it is worst", "".join(parts), plain(facts))


def worst_tasks(report: Report, most: int = _TASKS) -> list[int]:
    """The tasks with the worst values of what they are judged by, the worst first; those without a value come first."""
    values = report.metric.sign * np.asarray(report.per_task[report.metric.name], dtype=np.float64)
    order = np.argsort(np.where(np.isfinite(values), values, -np.inf), kind="stable")
    return [int(number) for number in order[:most]]


def _task(one: Subject, sampler: Sampler, number: int, task: Task) -> dict[str, Any]:
    value = float(one.report.per_task[one.report.metric.name][number])
    found: dict[str, Any] = {"task": number, one.report.metric.name: value, "confused": [], "pictures": []}
    if one.answers is None:
        return found
    names = names_of(sampler, one.report, number, task.query.y.shape[1])
    found["classes"] = list(names)
    truth, said = one.answers.y[number].argmax(1).tolist(), one.answers.proba[number].argmax(1).tolist()
    sizes, mixed = Counter(truth), Counter((a, b) for a, b in zip(truth, said, strict=True) if a != b)
    kinds = task.support.y.argmax(1)
    for (a, b), times in mixed.most_common(_CONFUSED):
        found["confused"].append({"class": names[a], "taken_for": names[b], "times": times, "of": sizes[a]})
        if drawable(task.support.x) and bool((kinds == a).any() and (kinds == b).any()):
            shown = (task.support.x[(kinds == kind).nonzero()[0, 0]] for kind in (a, b))
            alts = (f"support example of {names[a]}", f"support example of {names[b]}")
            found["pictures"].append([image(x, alt) for x, alt in zip(shown, alts, strict=True)])
    return found


def _tasks_table(key: str, report: Report, rows: Sequence[dict[str, Any]]) -> str:
    metric = report.metric
    classes = any("classes" in row for row in rows)
    cells = []
    for row in rows:
        value = row[metric.name]
        shown = f"{metric.shown(value)}{f' {metric.unit}' if metric.unit else ''}" if np.isfinite(value) else "no value"
        one = [row_name(f"task {row['task']}"), cell(shown)]
        if classes:
            one += [
                f"<td>{_confusions(row)}</td>",
                f"<td><small>{escape(', '.join(row.get('classes', [])))}</small></td>",
            ]
        cells.append(one)
    called = metric.called
    heads = ["Task", escape(called[0].upper() + called[1:])] + (["Taken for another", "Classes"] if classes else [])
    return table(key, heads, cells)


def _confusions(row: dict[str, Any]) -> str:
    parts = []
    pictures = row["pictures"] or [None] * len(row["confused"])
    for one, pair in zip(row["confused"], pictures, strict=False):
        words = f"{one['class']} taken for {one['taken_for']}, {one['times']} of {one['of']}"
        shots = f'<span class="pair">{pair[0]}<span aria-hidden="true">→</span>{pair[1]}</span>' if pair else ""
        parts.append(f'<div class="confused">{shots}<span>{escape(words)}</span></div>')
    return "".join(parts) or "nothing"


def worst_classes(one: Subject, sampler: Sampler) -> list[dict[str, Any]]:
    """Over all tasks the share of right answers for each class of a pool, the worst first; and its usual mix-up."""
    if one.answers is None or not isinstance(sampler, FewShot) or one.report.indices is None:
        return []
    classes = one.report.indices.classes
    truth = classes.gather(1, one.answers.y.argmax(-1))
    said = classes.gather(1, one.answers.proba.argmax(-1))
    right = one.answers.right
    found = []
    for kind in torch.unique(truth).tolist():
        asked = truth == kind
        wrong = Counter(said[asked & ~right].tolist()).most_common(1)
        row = {
            "class": sampler.pool.names[kind],
            "right": float(right[asked].double().mean()),
            "queries": int(asked.sum()),
            "taken_for": sampler.pool.names[wrong[0][0]] if wrong else None,
            "times": wrong[0][1] if wrong else 0,
        }
        found.append(row)
    return sorted(found, key=lambda row: row["right"])


def _classes_table(key: str, rows: Sequence[dict[str, Any]]) -> str:
    heads = ["Class", "Right answers", "Queries", "Most often taken for"]
    cells = [
        [
            row_name(row["class"]),
            cell(f"{100 * row['right']:.1f} %"),
            plain_cell(row["queries"]),
            plain_cell(f"{row['taken_for']}, {row['times']} times" if row["taken_for"] else "none"),
        ]
        for row in rows[:_CLASSES]
    ]
    return table(key, heads, cells)
