"""Episodes with their evidence: what each support example does to some answers, exactly, by learning without it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

import torch
from torch import Tensor

from innerloop.core.task import InputError, Task
from innerloop.data.episodes import Sampler
from innerloop.evaluation.reports import plain
from innerloop.evidence.refits import answered, others
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
        try:
            found = _evidence(one, task, chosen)
        except InputError:
            # A transductive learner answers all queries together: no example speaks to one of them alone.
            continue
        chosen = found["queries"]
        names = names_of(sampler, one.report, number, task.query.y.shape[1])
        parts.append(f"<h3>{escape(one.name)}</h3>\n{_table(one.name, found, task, names)}")
        facts.append(_facts(one.name, number, found, task, names))
    if not parts:
        return None
    text = (
        "<p>Each number is what a support example adds to the log odds of the answer above it, against learning "
        "without that example: a refit, not an estimate. Above 0 (blue) it speaks for the answer, below 0 (orange) "
        "against it; ∞: without it the answer is impossible, its class has no other example. The queries are those "
        f"that {escape(subjects[0].name)} is most sure of and wrong, then its least sure right ones.</p>\n"
    )
    return Section("evidence", "Which examples decide", text + "".join(parts), facts)


def _evidence(one: Subject, task: Task, chosen: list[int] | None) -> dict[str, Any]:
    """Answers to some queries, and the evidence ``[N, Q]`` of each support example for them."""
    task = on_device(one.learner, task)
    support, count = task.support, len(task.support.x)
    if count < 2:
        raise InputError("one example has no others to learn from")
    whole = torch.arange(count, device=support.x.device).unsqueeze(0)
    logits = answered(one.learner, support, whole, task.query.x)[0].double().cpu()
    queries = _chosen(logits, task.query.y.cpu()) if chosen is None else chosen
    x = task.query.x[queries]
    without = answered(one.learner, support, others(count, support.x.device), x).double().cpu()
    said = logits[queries].argmax(1)
    own, left = _log_odds(logits[queries], said), _log_odds(without, said)
    return {
        "queries": queries,
        "said": said.tolist(),
        "probability": logits[queries].softmax(1).amax(1).tolist(),
        "evidence": torch.where(own == left, 0.0, own - left),
    }


def _chosen(logits: Tensor, y: Tensor) -> list[int]:
    """The surest wrong answers, half of the places at most, then the least sure right ones."""
    sure, right = logits.softmax(1).amax(1), logits.argmax(1) == y.argmax(1)
    wrong = [int(i) for i in sure.argsort(descending=True, stable=True) if not right[i]]
    doubted = [int(i) for i in sure.argsort(stable=True) if right[i]]
    some = wrong[: max(_QUERIES // 2, _QUERIES - len(doubted))]
    return some + doubted[: _QUERIES - len(some)]


def _log_odds(logits: Tensor, answers: Tensor) -> Tensor:
    """Of an answer against all others, ``[..., Q, D] -> [..., Q]``."""
    at = answers.expand(logits.shape[:-1]).unsqueeze(-1)
    own = logits.gather(-1, at)[..., 0]
    return own - logits.scatter(-1, at, -torch.inf).logsumexp(-1)


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
        truth, said = int(task.query.y[query].argmax()), found["said"][place]
        mark = "✓" if truth == said else "✗"
        words = f"{mark} {letter(said)}, {percent(found['probability'][place])}"
        shot = image(task.query.x[query], f"query of class {letter(truth)}, {names[truth]}") if pictures else ""
        about = f"query {query}, is {letter(truth)}"
        heads.append(f'<th scope="col">{shot}<b>{escape(words)}</b><small>{escape(about)}</small></th>')
    rows = []
    for place in order:
        kind = kinds[place]
        alt = f"support example of class {letter(kind)}, {names[kind]}"
        shot = image(task.support.x[place], alt) if pictures else ""
        head = f'<th scope="row">{shot}{letter(kind)} <small>{escape(names[kind])}</small></th>'
        rows.append(f"<tr>{head}{''.join(_cell(value, most, digits) for value in evidence[place].tolist())}</tr>\n")
    title = f"evidence in {name}"
    return (
        f'<div class="scroll" role="region" aria-label="{escape(title)}" tabindex="0"><table class="evidence">\n'
        f"<thead><tr>{''.join(heads)}</tr></thead>\n<tbody>\n{''.join(rows)}</tbody></table></div>\n"
    )


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
    return plain(
        {
            "learner": name,
            "task": number,
            "support": [names[kind] for kind in task.support.y.argmax(1).tolist()],
            "queries": [
                {
                    "query": query,
                    "class": names[truth[query]],
                    "answer": names[found["said"][place]],
                    "probability": found["probability"][place],
                    # JSON has no infinity: such an example is the only one of the answer's class.
                    "evidence": found["evidence"][:, place].tolist(),
                }
                for place, query in enumerate(found["queries"])
            ],
        }
    )
