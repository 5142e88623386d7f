"""Episodes with their evidence: what each support example does to some answers, exactly, by learning without it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from html import escape
from typing import Any

import torch
from torch import Tensor

from innerloop.core.task import InputError, Task
from innerloop.data.episodes import Sampler
from innerloop.evidence.judging import judging
from innerloop.evidence.why import explain
from innerloop.report.plots import image
from innerloop.report.section import Section
from innerloop.report.subject import Subject, drawable, letter, names_of, on_device, tasks_of

#: Queries that are explained, support examples that are shown of each learner, and learners.
_QUERIES, _ROWS, _LEARNERS = 4, 30, 4


def evidence_section(subjects: Sequence[Subject], sampler: Sampler, number: int = 0) -> Section | None:
    """For some queries of one task, what each support example adds to the answer of each learner."""
    if not sampler.classifies:
        return None
    parts, facts, chosen = [], [], None
    for one in subjects[:_LEARNERS]:
        task = tasks_of(sampler, one.report, [number])[number]
        names = names_of(sampler, one.report, number, task.query.y.shape[1])
        try:
            found = _evidence(one, task, names, chosen)
        except InputError:
            # A transductive learner answers all queries together: no example speaks to one of them alone.
            continue
        chosen = found["queries"]
        parts.append(f"<h3>{escape(one.name)}</h3>\n{_table(one.name, found, task, names)}")
        facts.append(_facts(one.name, number, found, task, names))
    if not parts:
        return None
    text = (
        "<p>Each number is what a support example adds to the log odds of the answer above it, against learning "
        "without that example: a refit, not an estimate. Above 0 (blue) it speaks for the answer, below 0 (orange) "
        "against it; ∞: without it the answer is impossible, its class has no other example. The queries are those "
        f"that {escape(subjects[0].name)} is most sure of and wrong, then its least sure right ones. The last row: the "
        "fewest examples that were found without which the answer is another.</p>\n"
    )
    return Section("evidence", "Which examples decide", text + "".join(parts), facts)


def _evidence(one: Subject, task: Task, names: Sequence[str], chosen: list[int] | None) -> dict[str, Any]:
    """Some queries, the answers to them, and why, with the classes by their places."""
    moved = on_device(one.learner, task)
    if chosen is None:
        with judging(one.learner):
            proba = one.learner.proba(one.learner.adapt(moved.support), moved.query.x).double().cpu()
        chosen = _chosen(proba, task.query.y)
    called = _called(task, names)
    found = explain(
        one.learner, moved.support, moved.query.x[chosen], names=[f"{mark} {name}" for mark, name in called],
    )  # fmt: skip
    evidence = torch.from_numpy(found.evidence).mT
    return {"queries": chosen, "why": found, "evidence": evidence, "marks": [mark for mark, _ in called]}


def _called(task: Task, names: Sequence[str]) -> list[tuple[str, str]]:
    """Support examples as A1, A2, B1, ..., each with the name of its class."""
    found, seen = [], Counter[int]()
    for kind in task.support.y.argmax(1).tolist():
        seen[kind] += 1
        found.append((f"{letter(kind)}{seen[kind]}", names[kind]))
    return found


def _chosen(proba: Tensor, y: Tensor) -> list[int]:
    """The surest wrong answers, half of the places at most, then the least sure right ones."""
    sure, right = proba.amax(1), proba.argmax(1) == y.argmax(1)
    wrong = [int(i) for i in sure.argsort(descending=True, stable=True) if not right[i]]
    doubted = [int(i) for i in sure.argsort(stable=True) if right[i]]
    some = wrong[: max(_QUERIES // 2, _QUERIES - len(doubted))]
    return some + doubted[: _QUERIES - len(some)]


def _table(name: str, found: dict[str, Any], task: Task, names: Sequence[str]) -> str:
    evidence: Tensor = found["evidence"]
    pictures = drawable(task.support.x)
    finite = evidence[evidence.isfinite()].abs()
    most = float(finite.max()) if len(finite) else 1.0
    # Where all amounts are small, two digits show none of them.
    digits = min(6, max(2, 1 - math.floor(math.log10(most)))) if most > 0 else 2
    kinds = task.support.y.argmax(1).tolist()
    strength = evidence.abs().amax(1)
    kept = strength.argsort(descending=True, stable=True)[:_ROWS].tolist()
    order = sorted(kept, key=lambda place: (kinds[place], place))
    heads = [f'<th scope="col">support example<small>{len(order)} of {len(evidence)}, by class</small></th>']
    for place, query in enumerate(found["queries"]):
        truth, said = int(task.query.y[query].argmax()), int(found["why"][place].answer)
        mark = "✓" if truth == said else "✗"
        words = f"{mark} {letter(said)}, {percent(found['why'][place].probability)}"
        shot = image(task.query.x[query], f"query of class {letter(truth)}, {names[truth]}") if pictures else ""
        about = f"query {query}, is {letter(truth)}"
        heads.append(f'<th scope="col">{shot}<b>{escape(words)}</b><small>{escape(about)}</small></th>')
    rows = []
    for place in order:
        kind = kinds[place]
        alt = f"support example of class {letter(kind)}, {names[kind]}"
        shot = image(task.support.x[place], alt) if pictures else ""
        head = f'<th scope="row">{shot}{found["marks"][place]} <small>{escape(names[kind])}</small></th>'
        rows.append(f"<tr>{head}{''.join(_cell(value, most, digits) for value in evidence[place].tolist())}</tr>\n")
    title = f"evidence in {name}"
    turns = "".join(f"<td>{escape(_turn(found, place))}</td>" for place in range(len(found["queries"])))
    foot = f'<tr><th scope="row">it would be</th>{turns}</tr>'
    rows.append(foot)
    agreed = [
        f"{way} {one.spearman:+.2f}" for way, one in found["why"].agreement.items() if one.spearman == one.spearman
    ]
    words = f"<p><small>Without refits, rank correlation with these: {escape(', '.join(agreed))}.</small></p>\n"
    return (
        f'<div class="scroll" role="region" aria-label="{escape(title)}" tabindex="0"><table class="evidence">\n'
        f"<thead><tr>{''.join(heads)}</tr></thead>\n<tbody>\n{''.join(rows)}</tbody></table></div>\n"
    )


def _turn(found: dict[str, Any], place: int) -> str:
    """What the answer would be without which examples."""
    turn = found["why"][place].turn
    if turn is None:
        return ""
    return f"{letter(int(turn.answer))} without {', '.join(found['marks'][at] for at in turn.without)}"


def _cell(value: float, most: float, digits: int) -> str:
    share = 1.0 if math.isinf(value) else abs(value) / most if most > 0 else 0.0
    color = "0 114 178" if value > 0 else "213 94 0"
    return f'<td style="background:rgb({color}/{0.55 * share:.2f})">{amount(value, digits)}</td>'


def amount(value: float, digits: int = 2) -> str:
    """A signed amount: ``+0.53``, ``−1.20``, ``+∞``.

    Example:
        >>> amount(0.526), amount(float("inf")), amount(-0.001)
        ('+0.53', '+∞', '0.00')
    """
    if math.isinf(value):
        return "+∞" if value > 0 else "\N{MINUS SIGN}∞"
    text = f"{value:+.{digits}f}"
    return f"{0:.{digits}f}" if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")


def percent(share: float) -> str:
    r"""A share in percent; one that would round to all or nothing, and is not, says so.

    Example:
        >>> [percent(share).replace("\xa0", " ") for share in (0.634, 0.9996, 1.0, 0.001)]
        ['63 %', '>99 %', '100 %', '<1 %']
    """
    if 0.995 <= share < 1:
        return ">99\N{NO-BREAK SPACE}%"
    return "<1\N{NO-BREAK SPACE}%" if 0 < share < 0.005 else f"{100 * share:.0f}\N{NO-BREAK SPACE}%"


def _facts(name: str, number: int, found: dict[str, Any], task: Task, names: Sequence[str]) -> dict[str, Any]:
    truth = task.query.y.argmax(1).tolist()
    queries = []
    for place, query in enumerate(found["queries"]):
        why = found["why"][place].json()
        turn = why["turn"] and {**why["turn"], "answer": names[why["turn"]["answer"]]}
        labels = [names[kind] for kind in why["labels"]]
        said = {"answer": names[why["answer"]], "labels": labels, "turn": turn}
        queries.append({"query": query, "class": names[truth[query]], **why, **said})
    return {"learner": name, "task": number, "queries": queries}
