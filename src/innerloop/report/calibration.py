"""How sure the learners are, and whether they may be: reliability, and risk against coverage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from innerloop.evaluation.resampling import Estimate
from innerloop.evidence.answers import Answers
from innerloop.evidence.selective import risk_coverage
from innerloop.evidence.uncertainty import Calibration, calibration_of_answers
from innerloop.report.plots import COLORS, INK, STYLES, Plot, label, panel
from innerloop.report.section import Section, cell, row_name, table
from innerloop.report.subject import Subject

#: Points of a curve of risk against coverage.
_POINTS = 200


def calibration_section(subjects: Sequence[Subject]) -> Section | None:
    """Calibration error with its interval, likelihood and Brier score; the diagram, and the risk of the surest."""
    told = {one.name: one.answers for one in subjects if one.answers is not None}
    if not told:
        return None
    found = {name: calibration_of_answers(one) for name, one in told.items()}
    rows = []
    for name, one in found.items():
        error = one.reliability
        corrected = _words(Estimate(error.debiased, error.interval), digits=4)
        rows.append(
            [
                row_name(name),
                cell(f"{error.error:.4f}", f"without noise {corrected}"),
                cell(*_lines(one.nll)),
                cell(*_lines(one.brier)),
            ]
        )
    text = (
        "<p>Probabilities as the learner gives them, with no temperature. Calibration error: the mean distance between "
        "confidence and share of right answers over 15 bins; noise makes it too large, so that the second line is "
        "without noise, with its 95 % interval. Log loss and Brier score: 0 is best.</p>\n"
    )
    columns = ["Learner", "Calibration error", "Log loss, nats", "Brier score"]
    plots = (_diagram(found), _risk(told))
    body = text + table("calibration", columns, rows)
    facts = {name: one.json() for name, one in found.items()}
    return Section("calibration", "How sure, and how often right", body, facts, plots)


def _diagram(found: Mapping[str, Calibration]) -> Plot:
    figure, axes = panel("confidence", "share of right answers")
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, alpha=0.6, label="as sure as right")
    words = []
    for i, (name, one) in enumerate(found.items()):
        shown, color = one.reliability, COLORS[i % len(COLORS)]
        axes.plot(shown.confidence, shown.accuracy, STYLES[i % 4], color=color, label=label(name))
        axes.scatter(shown.confidence, shown.accuracy, s=8 + 160 * shown.share, color=color, alpha=0.8, linewidth=0)
        gap = float((shown.share * (shown.confidence - shown.accuracy)).sum())
        words.append(
            f"{name} is {abs(100 * gap):.1f} points {'more' if gap > 0 else 'less'} sure than right on average"
        )
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.04)
    axes.legend(frameon=False, labelcolor=INK, fontsize="small")
    return Plot("reliability", f"Reliability: the larger a point, the more answers. {'; '.join(words)}.", figure)


def _risk(told: Mapping[str, Answers]) -> Plot:
    figure, axes = panel("share of queries that are answered, the surest first", "share of wrong answers")
    words = []
    for i, (name, one) in enumerate(told.items()):
        coverage, risk = risk_coverage(one.proba.amax(-1).numpy(), one.right.numpy())
        step = max(1, len(coverage) // _POINTS)
        kept = [*range(step - 1, len(coverage) - 1, step), len(coverage) - 1]
        axes.plot(coverage[kept], risk[kept], STYLES[i % 4], color=COLORS[i % len(COLORS)], label=label(name))
        half = risk[(len(risk) - 1) // 2]
        words.append(f"{name}: {100 * risk[-1]:.2f} % wrong of all answers, {100 * half:.2f} % of the surer half")
    axes.set_xlim(0, 1.02)
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, labelcolor=INK, fontsize="small")
    return Plot("risk", f"Risk against coverage. {'; '.join(words)}.", figure)


def _lines(one: Estimate) -> tuple[str, str]:
    return f"{one.value:.4f}", f"{one.interval[0]:.4f} to {one.interval[1]:.4f}"


def _words(one: Estimate, digits: int) -> str:
    return f"{one.value:.{digits}f}, {one.interval[0]:.{digits}f} to {one.interval[1]:.{digits}f}"
