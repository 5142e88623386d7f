"""Runs that differ in their seed alone: the mean over seeds, which rows of single runs do not tell."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from typing import Any

from innerloop.core.metric import Metric
from innerloop.evaluation.reports import plain
from innerloop.evaluation.seeds import OverSeeds, over_seeds
from innerloop.report.section import Section, cell, plain_cell, row_name, table
from innerloop.report.subject import Subject


def seeds_section(subjects: Sequence[Subject]) -> Section | None:
    """The mean over the runs of each recipe that stands there with several seeds, and paired differences of these."""
    groups = {name: group for name, group in grouped(subjects).items() if len(group) > 1}
    if not groups or subjects[0].report.tasks < 2:
        return None
    found = {name: over_seeds([one.report for one in group]) for name, group in groups.items()}
    (first, own), *others = groups.items()
    for name, group in others:
        if _seeds(group) == _seeds(own):
            pair = ([one.report for one in own], [one.report for one in group])
            found[f"{first} less {name}"] = over_seeds(*pair)
    rows = [[row_name(name, f"{one.seeds} seeds, {one.tasks} tasks"), *_cells(one)] for name, one in found.items()]
    metric = subjects[0].report.metric
    heads = ["Recipe", escape(metric.called[0].upper() + metric.called[1:]), "Deviation of seeds", "Of tasks", "Each"]
    text = (
        "<p>Intervals of 95 % for another seed of training and other tasks of this test set; open: other classes, "
        "too. A difference is of the same seeds and tasks.</p>\n"
    )
    facts: dict[str, Any] = {name: one.json() for name, one in found.items()}
    return Section("seeds", "Over seeds", text + table("seeds", heads, rows), plain(facts))


def grouped(subjects: Sequence[Subject]) -> dict[str, list[Subject]]:
    """Runs by their recipe but for its seed, in their order; one without a recipe stands alone."""
    found: dict[str, list[Subject]] = {}
    for one in subjects:
        recipe = one.recipe
        # Where it ran, and where its data lay, change nothing of what is learned.
        training = {name: value for name, value in recipe.get("training", {}).items() if name != "device"}
        kept = {name: value for name, value in recipe.items() if name not in ("seed", "root")}
        found.setdefault(json.dumps({**kept, "training": training} if recipe else one.name), []).append(one)
    called: dict[str, list[Subject]] = {}
    for group in found.values():
        recipe = group[0].recipe
        name = f"{recipe['learner']} on {recipe['data']}" if recipe else group[0].name
        # Two recipes of one learner are told apart by a run.
        called[name if name not in called else f"{name} as {group[0].name}"] = group
    return called


def _seeds(group: Sequence[Subject]) -> list[int]:
    return [one.recipe["seed"] for one in group]


def _cells(one: OverSeeds) -> list[str]:
    metric: Metric = one.metric
    signed = one.difference
    low, high = (metric.shown(end, sign=signed) for end in one.interval)
    lines = [f"{low} to {high}"]
    if one.open_interval is not None:
        lines.append("open {} to {}".format(*(metric.shown(end, sign=signed) for end in one.open_interval)))
    unit = metric.points if signed else metric.unit
    return [
        cell(f"{metric.shown(one.value, sign=signed)}{f' {unit}' if unit else ''}", *lines),
        plain_cell(metric.shown(one.of_seeds)),
        plain_cell(metric.shown(one.of_episodes)),
        plain_cell(", ".join(metric.shown(value, sign=signed) for value in one.each)),
    ]
