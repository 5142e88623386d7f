"""Why one answer, as a typed result: the evidence of each example, what turns it, and how cheap ways agree."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt

from innerloop.evidence.agreement import Agreement

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Turn:
    """Examples without which the answer is another one."""

    without: tuple[int, ...]
    """Their places. A greedy search found them: none of them can stay, and a smaller set may still exist."""
    answer: Any
    """What the answer is then, by a refit."""


@dataclass(frozen=True)
class Reason:
    """Why one query gets its answer."""

    answer: Any
    """The label, or the predicted number."""
    probability: float | None
    """Of the label."""
    evidence: Floats
    """What each example adds: to the log odds of the label, or to the number, against being left out, ``[N]``.

    Above 0 it speaks for the label (pulls the number up); infinite where the label is gone without it.
    """
    shift: Floats
    """The same for the probability of the label, ``[N]``."""
    similarity: Floats
    """How near the example is, in the learner's own features: a cosine, or minus a distance, ``[N]``."""
    labels: npt.NDArray[Any]
    """Of the examples, ``[N]``."""
    names: npt.NDArray[Any]
    """Of the examples, ``[N]``."""
    turn: Turn | None = None
    """For labels, what would have to go for another answer."""
    shapley: Floats | None = None
    """Shares of the probability less that of no example at all (of the number less the examples' mean), where they
    were asked for: of each example ``[N]``, or of each group."""
    shapley_error: Floats | None = None
    """Their standard errors: 0 where they are exact."""
    groups: tuple[tuple[int, ...], ...] | None = None
    """Places of the examples of each group that shares are of; ``None`` where they are of single examples."""
    cheap: Mapping[str, Floats] = field(default_factory=dict)
    """Evidence that takes no refit, by its name (:mod:`innerloop.evidence.cheap`), ``[N]`` each, of any unit."""
    agreement: Mapping[str, Agreement] = field(default_factory=dict)
    """How each cheap evidence ranks the examples beside the exact one."""
    shown: int = 5
    """Examples in each list of the text."""

    @property
    def nearest(self) -> int:
        """The place of the most similar example."""
        return int(self.similarity.argmax())

    @property
    def nearest_other(self) -> int | None:
        """The place of the most similar example of another label."""
        other = np.flatnonzero(self.labels != self.answer)
        return int(other[self.similarity[other].argmax()]) if self.probability is not None and len(other) else None

    @property
    def contradicting(self) -> int | None:
        """The place of the example whose evidence is most against the answer (pulls the number down most)."""
        least = int(self.evidence.argmin())
        return least if self.evidence[least] < 0 else None

    @property
    def supporting(self) -> npt.NDArray[np.intp]:
        """Places of examples that speak for the answer, the strongest first."""
        order = np.argsort(-self.evidence, kind="stable")
        return order[self.evidence[order] > 0]

    @property
    def opposing(self) -> npt.NDArray[np.intp]:
        """Places of examples that speak against the answer, the strongest first."""
        order = np.argsort(self.evidence, kind="stable")
        return order[self.evidence[order] < 0]

    def __str__(self) -> str:
        return _text(self)

    def _repr_html_(self) -> str:
        return _html(self)

    def json(self) -> dict[str, Any]:
        """Plain values; what is infinite is the word ``"inf"`` or ``"-inf"``, as JSON has no such number."""
        turn = None if self.turn is None else {"without": list(self.turn.without), "answer": _plain(self.turn.answer)}
        found: dict[str, Any] = {
            "answer": _plain(self.answer),
            "probability": self.probability,
            "evidence": _plain(self.evidence),
            "shift": _plain(self.shift),
            "similarity": _plain(self.similarity),
            "labels": _plain(self.labels),
            "names": _plain(self.names),
            "nearest": self.nearest,
            "nearest_other": self.nearest_other,
            "contradicting": self.contradicting,
            "turn": turn,
        }
        if self.shapley is not None:
            found |= {"shapley": _plain(self.shapley), "shapley_error": _plain(self.shapley_error)}
            found |= {"groups": [list(group) for group in self.groups]} if self.groups is not None else {}
        found["cheap"] = {
            name: {"evidence": _plain(values), **{k: _plain(v) for k, v in self.agreement[name]._asdict().items()}}
            for name, values in self.cheap.items()
        }
        return found


def _text(reason: Reason) -> str:
    """A few lines: the answer, what speaks for and against it, what is nearest, what would turn it."""
    lines = [_head(reason)]
    titles = ("for it", "against it") if reason.probability is not None else ("pulls up", "pulls down")
    for title, places in zip(titles, (reason.supporting, reason.opposing), strict=True):
        lines += [f"  {title}:"] if len(places) else []
        lines += [f"    {_row(reason, place)}" for place in places[: reason.shown]]
    return "\n".join(lines + [f"  {line}" for line in _foot(reason)])


def _html(reason: Reason) -> str:
    """A table with a bar for each example; whatever comes from the data is escaped."""
    finite = np.abs(reason.evidence[np.isfinite(reason.evidence)])
    most = float(finite.max(initial=0.0)) or 1.0
    rows = []
    for place in (*reason.supporting[: reason.shown], *reason.opposing[: reason.shown]):
        value = reason.evidence[place]
        share = 100 * min(1.0, abs(value) / most)
        # Two colors that are told apart without red and green.
        color = "#0072b2" if value > 0 else "#d55e00"
        bar = f'<div style="background:{color};height:.8em;width:{share:.0f}%"></div>'
        cells = (escape(str(reason.labels[place])), escape(str(reason.names[place])), _signed(value))
        rows.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}<td style='width:8em'>{bar}</td></tr>")
    foot = "".join(f"<p>{escape(line)}</p>" for line in _foot(reason))
    return (
        f"<div><p><strong>{escape(_head(reason))}</strong></p><table><tr><th>label</th><th>example</th>"
        f"<th>evidence</th><th></th></tr>{''.join(rows)}</table>{foot}</div>"
    )


def _head(reason: Reason) -> str:
    if reason.probability is None:
        return f"{reason.answer:.6g}"
    return f"{reason.answer}, probability {reason.probability:.3f}"


def _row(reason: Reason, place: int) -> str:
    return f"{_signed(reason.evidence[place])}  {reason.labels[place]}  {reason.names[place]}"


def _foot(reason: Reason) -> list[str]:
    lines = [f"nearest: {reason.labels[reason.nearest]}  {reason.names[reason.nearest]}"]
    if (other := reason.nearest_other) is not None and other != reason.nearest:
        lines.append(f"nearest of another label: {reason.labels[other]}  {reason.names[other]}")
    if reason.turn is not None:
        gone = ", ".join(str(reason.names[place]) for place in reason.turn.without)
        lines.append(f"it would be {reason.turn.answer} without {gone}")
    if reason.shapley is not None and reason.shapley_error is not None:
        lines.append(_shares(reason))
    told = {name: found.spearman for name, found in reason.agreement.items() if not math.isnan(found.spearman)}
    if told:
        words = ", ".join(f"{name} {value:+.2f}" for name, value in told.items())
        lines.append(f"without refits, rank correlation with this: {words}")
    return lines


def _shares(reason: Reason) -> str:
    assert reason.shapley is not None
    assert reason.shapley_error is not None
    order = np.argsort(-np.abs(reason.shapley), kind="stable")[: reason.shown]
    parts = []
    for place in order:
        who = reason.names[place] if reason.groups is None else f"group {place}"
        error = reason.shapley_error[place]
        parts.append(f"{who} {_signed(reason.shapley[place])}" + (f" ± {error:.3f}" if error else ""))
    return f"Shapley shares: {', '.join(parts)}"


def _signed(value: float) -> str:
    return f"{value:+.3f}"


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [_plain(one) for one in value.tolist()]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value if isinstance(value, int | float | str | bool | None) else str(value)
