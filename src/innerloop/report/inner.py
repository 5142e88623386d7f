"""What adaptation does: step by step where there is an inner loop, and layer by layer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from innerloop.core.task import InputError
from innerloop.data.episodes import Sampler
from innerloop.evaluation.reports import plain
from innerloop.evidence.adaptation import MEASURES, PARTS, Adaptation, adaptation
from innerloop.evidence.layers import LayerChange, layer_change
from innerloop.learners.optimization.gradient import GradientLearner
from innerloop.report.plots import COLORS, INK, STYLES, Plot, label, panel
from innerloop.report.section import Section
from innerloop.report.subject import Subject

#: Tasks that are followed step by step.
_TASKS = 50


def inner_section(subjects: Sequence[Subject], sampler: Sampler) -> Section | None:
    """Of learners with an inner loop: each step on the support and query set, and each layer before and after."""
    steps: dict[str, Adaptation] = {}
    layers: dict[str, LayerChange] = {}
    for one in subjects:
        if not isinstance(one.learner, GradientLearner):
            continue
        tasks, seed = min(_TASKS, one.report.tasks), one.report.seed
        try:
            steps[one.name] = adaptation(one.learner, sampler, tasks=tasks, seed=seed)
            layers[one.name] = layer_change(one.learner, sampler, tasks=tasks, seed=seed)
        except InputError:
            # With too few queries layers cannot be compared.
            continue
    if not steps:
        return None
    measure = "accuracy" if sampler.classifies else "mse"
    plots = [_steps(steps, measure)] + ([_layers(layers)] if layers else [])
    body = (
        "<p>First: what each inner step does to support and query sets. Second: how alike each layer's representation "
        "of the queries is before and after the inner loop (linear CKA, unbiased): at 1 the layer reuses what "
        "meta-training gave it. Bars and bands are 95 % intervals over tasks.</p>\n"
    )
    facts = {
        name: {"steps": found.json(), "layers": layers[name].json() if name in layers else None}
        for name, found in steps.items()
    }
    return Section("inner", "What adaptation does", body, plain(facts), tuple(plots))


def _steps(steps: dict[str, Adaptation], measure: str) -> Plot:
    called = MEASURES[measure][0]
    figure, axes = panel("inner step", called)
    words = []
    for i, (name, found) in enumerate(steps.items()):
        across = range(found.steps + 1)
        for part, style in zip(PARTS, STYLES, strict=False):
            mean, ends = found.mean(part, measure), found.intervals(part, measure)
            color = COLORS[i % len(COLORS)]
            axes.plot(across, mean, style, color=color, marker=".", label=label(f"{name}, {part}"))
            axes.fill_between(across, ends[:, 0], ends[:, 1], color=color, alpha=0.15, linewidth=0)
        axes.axvline(found.test_steps, color=INK, linewidth=0.6, alpha=0.5)
        query, last = found.mean("query", measure), found.test_steps
        words.append(
            f"{name}: {query[0]:.3f} before and {query[last]:.3f} after {last} step{'s' * (last != 1)} on the queries"
        )
    axes.legend(frameon=False, labelcolor=INK, fontsize="small")
    return Plot(
        "steps",
        f"{called.capitalize()} by inner step; the line is where the learner stops. {'; '.join(words)}.",
        figure,
    )


def _layers(layers: dict[str, LayerChange]) -> Plot:
    figure, axes = panel("layer", "CKA, before and after")
    words = []
    for i, (name, found) in enumerate(layers.items()):
        mean, ends = found.mean, found.intervals
        across = [place + 0.08 * i for place in range(len(mean))]
        # Where a layer changes nothing, its mean and its interval are rounded apart.
        errors = [np.nan_to_num(np.maximum(part, 0)) for part in (mean - ends[:, 0], ends[:, 1] - mean)]
        color = COLORS[i % len(COLORS)]
        axes.errorbar(across, mean, errors, fmt=f"o{STYLES[i % 4]}", color=color, label=label(name), markersize=4)
        least = int(np.where(np.isfinite(mean), mean, np.inf).argmin())
        words.append(f"{name} changes {found.layers[least]} most ({mean[least]:.3f})")
    longest = max(layers.values(), key=lambda found: len(found.layers))
    axes.set_xticks(range(len(longest.layers)), [label(text) for text in longest.layers], rotation=45, ha="right")
    axes.set_ylim(top=1.05)
    axes.legend(frameon=False, labelcolor=INK, fontsize="small")
    return Plot("layers", f"Layers before and after adaptation: {'; '.join(words)}.", figure)
