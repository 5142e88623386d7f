"""Tables of a report page, and the words in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

from innerloop.core.task import InputError
from innerloop.evaluation.compare import Comparison, compare
from innerloop.evaluation.reports import Report
from innerloop.report.section import Section, cell, row_name, table

#: Reports by learner, then by protocol: ``results["ProtoNet"]["5-way 1-shot"]``. The first learner is the one compared.
Results = Mapping[str, Mapping[str, Report]]


class Pair(NamedTuple):
    """The first learner and another on the same tasks; a positive difference is in favor of the first."""

    protocol: str
    first: str
    second: str
    comparison: Comparison


def pairs(results: Results) -> list[Pair]:
    """The first learner against each other one, task by task.

    Raises:
        InputError: if two learners differ in their protocols or saw different tasks.
    """
    if not results or not all(results.values()):
        raise InputError("a report needs at least one learner with at least one protocol")
    (first, own), *others = results.items()
    found = []
    for protocol, a in own.items():
        for second, theirs in others:
            b = theirs.get(protocol)
            if b is None or a.episodes != b.episodes or theirs.keys() != own.keys():
                raise InputError(
                    f"{first!r} and {second!r} were not evaluated on the same {protocol!r} tasks: give both the same "
                    f"samplers, seed and number of tasks"
                )
            found.append(Pair(protocol, first, second, compare(a, b)))
    return found


def score_text(report: Report) -> str:
    """The metric's mean with half of its closed 95 % interval: ``"97.86 ± 0.21 %"``, or ``"0.0123 ± 0.0010"``."""
    return report.metric.text(report.value, report.interval)


def cell_text(report: Report) -> list[str]:
    """The lines of a table cell: the score, its open 95 % interval, the calibration error, and what is to be noted."""
    metric, lines = report.metric, [score_text(report)]
    if report.open_interval is not None:
        low, high = report.open_interval
        lines += [f"open {metric.shown(low)} to {metric.shown(high)}{f' {metric.unit}' if metric.unit else ''}"]
    if report.calibration_error is not None:
        lines += [f"ECE {report.calibration_error:.3f}"]
    return lines + report.notes


def policy_text(report: Report) -> str:
    """The norm policy and whether the score is transductive: ``"norm running, not transductive"``."""
    return f"norm {report.norm}, {'' if report.transductive else 'not '}transductive"


def difference_text(comparison: Comparison) -> tuple[str, str, str, str]:
    """Mean difference, its 95 % interval, the p value, and wins/ties/losses, as shown in tables."""
    gap, metric = comparison.difference, comparison.metric
    shown = (metric.shown(x, sign=True).replace("-", "\N{MINUS SIGN}") for x in (gap.mean, *gap.interval))
    mean, low, high = shown
    p = f"{gap.p_value:.3f}" if gap.p_value >= 0.001 else "<0.001"
    counts = f"{gap.wins}/{gap.tasks - gap.wins - gap.losses}/{gap.losses}"
    return f"{mean}{f' {metric.points}' if metric.points else ''}", f"{low} to {high}", p, counts


def summary(results: Results) -> str:
    """The result in one sentence, by the first protocol."""
    (first, own), *others = results.items()
    protocol, report = next(iter(own.items()))
    rest = (" and " if len(others) < 3 else ", ").join(
        f"{other} {score_text(theirs[protocol])}" for other, theirs in others
    )
    called = report.metric.called
    article = "an" if called[0].lower() in "aeiou" else "a"
    text = f"{first} reaches {article} {called} of {score_text(report)} on {report.tasks} unseen {protocol} tasks"
    return f"{text} (mean and 95 % interval{f'; on the same tasks {rest}' if rest else ''})."


def results_section(results: Results, compared: Sequence[Pair]) -> Section:
    """All scores, and below them the first learner against the others, task by task."""
    facts = {
        "scores": [
            {"learner": name, "protocol": protocol, **report.json()}
            for name, reports in results.items()
            for protocol, report in reports.items()
        ],
        "differences": [
            {"protocol": one.protocol, "first": one.first, "second": one.second, **one.comparison.json()}
            for one in compared
        ],
    }
    return Section("results", "Results", results_table(results, compared), facts)


def results_table(results: Results, compared: Sequence[Pair]) -> str:
    """All scores, and below them the first learner against the others, task by task."""
    protocols = next(iter(results.values()))
    report = next(iter(protocols.values()))
    rows = []
    for name, reports in results.items():
        about = policy_text(next(iter(reports.values())))
        rows.append([row_name(name, about), *(cell(*_named(each, report)) for each in reports.values())])
    called = report.metric.called
    opened = (
        " Open: the 95 % interval where the classes are random draws, too (other classes)."
        if any(one.open_interval is not None for reports in results.values() for one in reports.values())
        else ""
    )
    error = " ECE: expected calibration error, 0 is best." if report.calibration_error is not None else ""
    text = (
        f"<p>{escape(called[0].upper() + called[1:])} over {report.tasks} tasks, the same for every row, with its "
        f"closed 95 % interval (other tasks from this test set).{opened}{error} A row is one training run: no interval "
        f"covers the training seed.</p>\n{table('results', ['Learner', *map(escape, protocols)], rows)}"
    )
    if compared:
        first, rows = escape(compared[0].first), []
        for one in compared:
            mean, ends, p, counts = difference_text(one.comparison)
            other = one.comparison.metric.name != report.metric.name
            on = f"{one.protocol}, {one.comparison.metric.called}" if other else one.protocol
            cells = (cell(mean, ends), f"<td>{escape(p)}</td>", f"<td>{counts}</td>")
            rows.append([row_name(one.second, on), *cells])
        columns = ["Against", "Difference, 95 % interval", "p", "Wins/<wbr>ties/<wbr>losses"]
        text += (
            f'<h3 id="paired">{first} against each baseline, task by task</h3>\n<p>Paired differences on the same '
            f"tasks; above 0 is better for {first}. p: two-sided paired t test.</p>\n{table('paired', columns, rows)}"
        )
    return text


def _named(report: Report, first: Report) -> list[str]:
    """The lines of a cell, with the name of what is shown where it is not what the heading says."""
    lines = cell_text(report)
    return lines if report.metric.name == first.metric.name else [*lines, report.metric.called]
