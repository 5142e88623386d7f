"""Why an answer: the evidence of each example, exactly, by refits without it.

With few examples a refit is one pass, so what an example did to an answer is not estimated: the answer is computed
again without it. Head, hyperparameters and temperature stay as they were chosen with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from innerloop.core.task import Examples
from innerloop.evidence.refits import answered, others
from innerloop.evidence.shapley import example_values
from innerloop.learners.head import Head
from innerloop.learners.heads.gaussian import GaussianClasses
from innerloop.learners.heads.scaled import Scaled

Floats = npt.NDArray[np.float64]

#: Examples that a search for the smallest turning set tries to take away at a time.
_TRIED = 48


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
    """How near the example is, in the head's own features: a cosine, or minus a distance, ``[N]``."""
    labels: npt.NDArray[Any]
    """Of the examples, ``[N]``."""
    names: npt.NDArray[Any]
    """Of the examples, ``[N]``."""
    turn: Turn | None = None
    """For labels, what would have to go for another answer."""
    shapley: Floats | None = None
    """Shares of the probability less that of no example at all, ``[N]``, where they were asked for."""
    shapley_error: Floats | None = None
    """Their standard errors, ``[N]``: 0 where they are exact."""
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
        lines = [self._head()]
        titles = ("for it", "against it") if self.probability is not None else ("pulls up", "pulls down")
        for title, places in zip(titles, (self.supporting, self.opposing), strict=True):
            lines += [f"  {title}:"] if len(places) else []
            lines += [f"    {self._row(place)}" for place in places[: self.shown]]
        return "\n".join(lines + [f"  {line}" for line in self._foot()])

    def _head(self) -> str:
        if self.probability is None:
            return f"{self.answer:.6g}"
        return f"{self.answer}, probability {self.probability:.3f}"

    def _row(self, place: int) -> str:
        return f"{_signed(self.evidence[place])}  {self.labels[place]}  {self.names[place]}"

    def _foot(self) -> list[str]:
        lines = [f"nearest: {self.labels[self.nearest]}  {self.names[self.nearest]}"]
        if (other := self.nearest_other) is not None and other != self.nearest:
            lines.append(f"nearest of another label: {self.labels[other]}  {self.names[other]}")
        if self.turn is not None:
            gone = ", ".join(str(self.names[place]) for place in self.turn.without)
            lines.append(f"it would be {self.turn.answer} without {gone}")
        return lines

    def _repr_html_(self) -> str:
        finite = np.abs(self.evidence[np.isfinite(self.evidence)])
        most = float(finite.max(initial=0.0)) or 1.0
        rows = []
        for place in (*self.supporting[: self.shown], *self.opposing[: self.shown]):
            value = self.evidence[place]
            share = 100 * min(1.0, abs(value) / most)
            # Two colors that are told apart without red and green.
            color = "#0072b2" if value > 0 else "#d55e00"
            bar = f'<div style="background:{color};height:.8em;width:{share:.0f}%"></div>'
            cells = (escape(str(self.labels[place])), escape(str(self.names[place])), _signed(value))
            rows.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}<td style='width:8em'>{bar}</td></tr>")
        foot = "".join(f"<p>{escape(line)}</p>" for line in self._foot())
        return (
            f"<div><p><strong>{escape(self._head())}</strong></p><table><tr><th>label</th><th>example</th>"
            f"<th>evidence</th><th></th></tr>{''.join(rows)}</table>{foot}</div>"
        )


@dataclass(frozen=True)
class Explanation:
    """The reasons of some answers, in their order: a sequence of :class:`Reason`."""

    reasons: tuple[Reason, ...]
    method: Literal["leave-one-out"] = "leave-one-out"
    """How evidence was found: exactly, by refits without each example."""

    def __len__(self) -> int:
        return len(self.reasons)

    def __iter__(self) -> Iterator[Reason]:
        return iter(self.reasons)

    def __getitem__(self, place: int) -> Reason:
        return self.reasons[place]

    @property
    def evidence(self) -> Floats:
        """Of all queries, ``[Q, N]``."""
        return np.stack([reason.evidence for reason in self.reasons])

    def __str__(self) -> str:
        return "\n\n".join(map(str, self.reasons))

    def _repr_html_(self) -> str:
        return "".join(reason._repr_html_() for reason in self.reasons)


def explain_classes(
    head: Head,
    support: Examples,
    x: Tensor,
    *,
    classes: npt.NDArray[Any],
    names: npt.NDArray[Any],
    similarity: Floats,
    temperature: float = 1.0,
    shown: int = 5,
    turn: bool = True,
    shapley: bool = False,
) -> Explanation:
    """Why a head gives queries their classes.

    Args:
        head: deterministic, in evaluation mode.
        support: features ``[N, H]``, one-hot rows ``[N, D]``.
        x: queries ``[Q, H]``.
        classes: the labels of the columns, ``[D]``.
        names: of the examples, ``[N]``.
        similarity: of queries and examples, ``[Q, N]``.
        temperature: that logits are divided by.
        shown: examples in each list of the text.
        turn: whether to search what would have to go for another answer.
        shapley: whether to share the probabilities out too.

    Example:
        >>> import innerloop as il
        >>> support = Examples(torch.tensor([[1.0], [3.0], [8.0]]), torch.eye(2)[[0, 0, 1]])
        >>> found = explain_classes(
        ...     il.learners.Prototypes(),
        ...     support,
        ...     torch.tensor([[5.2]]),
        ...     classes=np.array(["low", "high"]),
        ...     names=np.array(["one", "three", "eight"]),
        ...     similarity=np.array([[-4.2, -2.2, -2.8]]),
        ... )
        >>> print(found)
        high, probability 0.917
          for it:
            +inf  high  eight
            +5.400  low  one
          against it:
            -7.400  low  three
          nearest: low  three
          it would be low without eight
    """
    with torch.no_grad():
        raw = head.predict(head.adapt(support), x)[0] / temperature
        without = answered(head, support, others(len(support.x)), x) / temperature
    answers = raw.argmax(1)
    odds, left = _log_odds(raw, answers), _log_odds(without, answers)
    evidence = torch.where(odds == left, 0, odds - left)
    proba = raw.softmax(1).gather(1, answers.unsqueeze(1))[:, 0]
    index = answers.view(1, -1, 1).expand(len(without), -1, 1)
    shift = proba - without.softmax(2).gather(2, index)[:, :, 0]
    shares = example_values(head, support, x, answers, temperature=temperature) if shapley else None
    labels, plain = classes[support.y.argmax(1).numpy()], classes.tolist()
    reasons = []
    for row, answer in enumerate(answers.tolist()):
        turned = _turn(head, support, x[row : row + 1], answer, evidence[:, row]) if turn else None
        reasons.append(
            Reason(
                plain[answer],
                float(proba[row]),
                evidence[:, row].double().numpy(),
                shift[:, row].double().numpy(),
                similarity[row],
                labels,
                names,
                turned and Turn(turned[0], plain[turned[1]]),
                shares.values[row].numpy() if shares else None,
                shares.error[row].numpy() if shares else None,
                shown,
            )
        )
    return Explanation(tuple(reasons))


def explain_numbers(
    predicted: Floats, without: Floats, targets: Floats, *, names: npt.NDArray[Any], similarity: Floats, shown: int = 5
) -> Explanation:
    """Why queries get their numbers.

    Args:
        predicted: with all examples, ``[Q]``.
        without: with all but each of them, ``[N, Q]``.
        targets: of the examples, ``[N]``.
        names: of the examples, ``[N]``.
        similarity: of queries and examples, ``[Q, N]``.
        shown: examples in each list of the text.

    Example:
        >>> found = explain_numbers(
        ...     np.array([2.0]),
        ...     np.array([[3.0], [1.0]]),
        ...     np.array([1.0, 3.0]),
        ...     names=np.array(["a", "b"]),
        ...     similarity=np.array([[-1.0, -2.0]]),
        ... )
        >>> found[0].supporting.tolist(), found[0].contradicting
        ([1], 0)
    """
    evidence = predicted[:, None] - without.T
    return Explanation(
        tuple(
            Reason(float(one), None, evidence[row], evidence[row], similarity[row], targets, names, shown=shown)
            for row, one in enumerate(predicted)
        )
    )


def likeness(head: Head, known: Tensor, x: Tensor) -> Floats:
    """How near queries ``[Q, H]`` are to examples ``[N, H]`` in a head's own features: ``[Q, N]``.

    Cosines, for heads on features of unit length; minus Euclidean distances for others, and on tables (columns
    standardized by the examples, a gap is the mean).

    Example:
        >>> import innerloop as il
        >>> head = il.learners.Prototypes(distance="cosine")
        >>> likeness(head, torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[3.0, 0.0]]))
        array([[1., 0.]])
    """
    known, x = known.double(), x.double()
    parts, power = getattr(head, "parts", None), getattr(head, "power", 1.0)
    if parts:
        known, x = (
            torch.cat(
                [
                    share**0.5 * F.normalize(z.sign()[:, start:stop] * z.abs()[:, start:stop] ** power, dim=1)
                    for start, stop, share in parts
                ],
                1,
            )
            for z in (known, x)
        )
    if isinstance(head, Scaled) or not bool(known.isfinite().all() and x.isfinite().all()):
        mean = known.nanmean(0).nan_to_num()
        spread = (known - mean).square().nanmean(0).sqrt().nan_to_num()
        spread = torch.where(spread > 0, spread, 1)
        known, x = (((part - mean) / spread).nan_to_num() for part in (known, x))
    elif (
        getattr(head, "distance", "cosine") == "cosine"
        and getattr(head, "normalize", True)
        and not isinstance(head, GaussianClasses)
    ):
        found: Floats = (F.normalize(x, dim=1) @ F.normalize(known, dim=1).mT).numpy()
        return found
    apart: Floats = -torch.cdist(x, known, compute_mode="donot_use_mm_for_euclid_dist").numpy()
    return apart


def _log_odds(raw: Tensor, answers: Tensor) -> Tensor:
    """Of an answer against all others, ``[..., Q, D] -> [..., Q]``."""
    chosen = F.one_hot(answers, raw.shape[-1]).bool().expand_as(raw)
    own = raw.masked_fill(~chosen, -torch.inf).amax(-1)
    rest = raw.masked_fill(chosen, -torch.inf).logsumexp(-1)
    return own - rest


def _turn(
    head: Head, support: Examples, query: Tensor, answer: int, evidence: Tensor
) -> tuple[tuple[int, ...], int] | None:
    """Examples to take away for another answer, and that one: the strongest at each step, then those that may stay."""
    count = len(support.x)
    if count < 3:
        return None
    there = torch.ones(count, dtype=torch.bool)
    own = (support.y.argmax(1) == answer).nonzero().squeeze(1)
    gone: list[int] = []
    tried = evidence.argsort(descending=True)[:_TRIED]
    # Without all of its own examples a class is no answer: no search needs more.
    while len(gone) < len(own):
        options = [int(place) for place in tried if there[place]]
        if not options or count - len(gone) < 3:
            return None
        keeps = there.repeat(len(options), 1)
        keeps[torch.arange(len(options)), options] = False
        raw = _raw(head, support, keeps, query)
        odds = _log_odds(raw, torch.tensor([answer]))[:, 0]
        best = int(odds.argmin())
        gone.append(options[best])
        there[options[best]] = False
        if int(raw[best, 0].argmax()) != answer:
            break
    else:
        gone, there = own.tolist(), torch.ones(count, dtype=torch.bool)
        there[own] = False
    for place in gone[:-1]:
        # Taken away early, it may not be needed any more.
        there[place] = True
        if len(gone) > 1 and int(_raw(head, support, there[None], query)[0, 0].argmax()) != answer:
            gone = [other for other in gone if other != place]
        else:
            there[place] = False
    final = int(_raw(head, support, there[None], query)[0, 0].argmax())
    return (tuple(gone), final) if final != answer else None


def _raw(head: Head, support: Examples, keeps: Tensor, x: Tensor) -> Tensor:
    """By what is learned from subsets of one size, bool ``[B, N]``: ``[B, Q, D]``."""
    return answered(head, support, keeps.nonzero()[:, 1].view(len(keeps), -1), x)


def _signed(value: float) -> str:
    return f"{value:+.3f}"
