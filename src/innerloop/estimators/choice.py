"""Which head a few examples speak for: chosen by exact leave-one-out, with an estimate that knows it was chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from innerloop.core.task import Examples
from innerloop.encoders.base import Encoder
from innerloop.encoders.incontext import InContextHead
from innerloop.estimators.called import Called
from innerloop.estimators.estimate import FEW, estimate
from innerloop.estimators.temperature import temperature
from innerloop.estimators.unlabeled import SOFT_MEANS, soft_means
from innerloop.evaluation.stats import share_interval
from innerloop.evidence import Ranks, conformal_ranks, joined_misfits, leave_one_out, ranks
from innerloop.evidence.conformal import misfits
from innerloop.learners.head import Head
from innerloop.learners.heads.block import Blocks
from innerloop.learners.heads.gaussian import GaussianClasses
from innerloop.learners.heads.logistic import LogisticRegression
from innerloop.learners.heads.nearest import NearestNeighbor
from innerloop.learners.heads.primed import Primed
from innerloop.learners.heads.prototypes import Prototypes
from innerloop.learners.heads.ridge import Ridge
from innerloop.learners.heads.scaled import Scaled

#: The heads by name, in the order that decides between equally good ones.
HEADS: dict[str, Callable[[], Head]] = {
    "ridge": Ridge,
    "logistic": LogisticRegression,
    "prototypes": lambda: Prototypes(distance="cosine"),
    "gaussian": GaussianClasses,
    "prototypes-euclidean": Prototypes,
    "nearest": NearestNeighbor,
    "nearest-euclidean": lambda: NearestNeighbor(distance="euclidean"),
}
#: What is taken where every class has a single example, so that nothing can be left out.
SINGLE = "prototypes"

#: Numbers that all refits of a head may hold together, for it to be tried, and for one that is asked for by name.
_TRIED, _ASKED = 2**23, 2**24
#: Numbers that a head without refits may hold, for it to be tried.
_LARGEST = 2**26
_DRAWS = 500
#: Margins of heads that are sure without limit.
_FAR = 1e6
#: Numbers that ranking queries holds at a time, roughly.
_AT_ONCE = 2**20


class Choice(NamedTuple):
    """The head, and what leave-one-out says of it."""

    name: str
    accuracy: float
    """Expected share of right answers; NaN where nothing can be left out."""
    interval: tuple[float, float]
    """95 %."""
    temperature: float
    """What its logits are divided by."""


def ready(head: Head) -> Head:
    """A head in float64, for evaluation."""
    return head.double().eval().requires_grad_(False)


def closed(head: Head) -> bool:
    """Whether leave-one-out takes no refits."""
    if isinstance(head, (Primed, Blocks)):
        return closed(head.head)
    return type(head).held_out is not Head.held_out and not isinstance(head, LogisticRegression)


def joins(head: Head) -> bool:
    """Whether it tells in closed form what a query among the examples would change."""
    return joins(head.head) if isinstance(head, (Primed, Blocks)) else type(head).joined is not Head.joined


def candidates(
    examples: int,
    classes: int,
    features: int,
    heads: Mapping[str, Callable[[], Head]] = HEADS,
    single: str = SINGLE,
) -> dict[str, Head]:
    """The heads that are tried on so many examples: those that need refits for few examples only.

    Args:
        examples: N.
        classes: D.
        features: H.
        heads: by name, in the order that decides between equally good ones.
        single: the one that is taken where nothing can be left out.
    """
    made = {name: ready(make()) for name, make in heads.items()}
    made = {name: head for name, head in made.items() if reads(head, classes)}
    sizes = {name: head.numbers(examples, classes, features) for name, head in made.items()}
    if isinstance(made.get(single), InContextHead) and examples * sizes[single] > _ASKED:
        # It is the best where there are many rows, and cannot be compared on all of them in a moment.
        return {single: made[single]}
    return {
        name: head
        for name, head in made.items()
        if name == single or (sizes[name] <= _LARGEST if closed(head) else examples * sizes[name] <= _TRIED)
    }


def _heads(encoder: Encoder | None) -> Mapping[str, Callable[[], Head]]:
    """All heads by name: the encoder's own, then the usual ones, which are for features of one unit."""
    if encoder is None:
        return HEADS
    return encoder.heads() if encoder.kind == "table" else {**encoder.heads(), **HEADS}


def named_heads(encoder: Encoder | None) -> Mapping[str, Callable[[], Head]]:
    """Those, and the one that is taken only if it is asked for."""
    return {**_heads(encoder), SOFT_MEANS: soft_means(encoder)}


def candidates_for(examples: int, classes: int, features: int, encoder: Encoder | None) -> dict[str, Head]:
    """The heads that are tried on so many examples of an encoder's features, see :func:`candidates`."""
    single = encoder.single if encoder is not None else SINGLE
    return candidates(examples, classes, features, _heads(encoder), single)


def reads(head: Head, classes: int) -> bool:
    """Whether a head takes so many classes."""
    return not isinstance(head, InContextHead) or classes <= head.classes


def joining(heads: Mapping[str, Head]) -> dict[str, Head]:
    """Those that tell in closed form what a query among the examples would change; else those of cheap refits."""
    found = {name: head for name, head in heads.items() if joins(head)}
    return found or {
        name: head for name, head in heads.items() if closed(head) or (isinstance(head, Scaled) and closed(head.head))
    }


def countable(y: Tensor, heads: Mapping[str, Head]) -> Tensor:
    """Which examples can be told once they are left out, bool ``[N]``.

    Those that are not the only one of their class; all where the heads have examples of their own of each class.
    """
    return y @ y.sum(0) > (0.5 if _primed(heads) else 1.5)


def _primed(heads: Mapping[str, Head]) -> bool:
    return all(isinstance(head, Primed) and bool((head.y.sum(0) > 0).all()) for head in heads.values())


def choose(heads: Mapping[str, Head], support: Examples, single: str = SINGLE) -> Choice:
    """The head that tells most examples right that were left out; the first of those that tell equally many.

    A head that an encoder brings and names (``single``) was made for its features, which a few examples more or less do
    not refute: another one is taken only where it tells more right by more than a standard error of the difference.
    Examples that are the only one of their class are not counted. Where no class has two, it is ``single``, or the
    first of all.

    The accuracy of the best of several heads is too good: it was chosen on the same examples. With up to 60 examples it
    is read from what leave-one-out says by :mod:`innerloop.estimators.estimate`. With more it is that of choosing on a
    bootstrap sample of the examples and scoring on the rest (Tsamardinos, Greasidou, Borboudakis, *Bootstrapping the
    out-of-sample predictions for efficient and accurate cross-validation*, Machine Learning 2018), which needs no
    further refits.
    """
    rows = countable(support.y, heads).nonzero().squeeze(1)
    if not len(rows):
        name = single if single in heads else next(iter(heads))
        return Choice(name, float("nan"), (0.0, 1.0), temperature(heads[name], support))
    if len(heads) == 1:
        (head,) = heads.values()
        rows = _sample(head, support, rows)
    raws = {name: leave_one_out(head, support, rows) for name, head in heads.items()}
    truth = support.y[rows].argmax(1)
    right = np.stack([(raw.argmax(1) == truth).numpy() for raw in raws.values()]).astype(np.float64)
    best = int(right.sum(1).argmax())
    if single != SINGLE and single in heads:
        own = list(heads).index(single)
        apart = right[best] - right[own]
        best = best if apart.sum() > len(apart) ** 0.5 * apart.std() else own
    name = list(heads)[best]
    divisor = temperature(heads[name], support, raws[name], support.y[rows])
    accuracy = _corrected(right, best)
    if len(rows) <= FEW:
        margins = -misfits(raws[name], support.y[rows]).clamp(-_FAR, _FAR).numpy()
        order = [best, *(other for other in range(len(right)) if other != best)]
        # A name is an example more.
        counts = support.y.sum(0).round().long().numpy() + _primed(heads)
        return Choice(name, *estimate(right[order] > 0, margins, counts, support.x[0].numel(), accuracy), divisor)
    return Choice(name, accuracy, share_interval(accuracy, len(rows)), divisor)


def conformal(
    heads: Mapping[str, Head], support: Examples, x: Tensor, *, by_class: bool = False, names: Called | None = None
) -> Ranks:
    """The ranks of queries by the head that is best for the examples and the query, chosen anew for each class.

    By closed forms where all heads have them, by refits of each pair of query and class elsewhere.

    Args:
        heads: that are chosen from.
        support: the examples.
        x: queries ``[Q, H]``.
        by_class: as in :func:`innerloop.evidence.conformal_ranks`.
        names: of the classes; whether they are believed is asked anew too.
    """
    with torch.no_grad():
        if not all(joins(head) for head in heads.values()):
            more, classes = len(support.x) + 1, support.y.shape[1]
            sizes = [(head, head.numbers(more, classes, support.x[0].numel())) for head in heads.values()]
            numbers = sum(size * (1 if closed(head) else more) for head, size in sizes)
            return conformal_ranks(held_out(heads, names), support, x, by_class=by_class, numbers=numbers)
        size = max(1, _AT_ONCE // (len(support.y) * support.y.shape[1]))
        found = [ranks(_misfits(heads, support, part, names), support.y, by_class=by_class) for part in x.split(size)]
        return Ranks(torch.cat([part.worse for part in found]), found[0].among)


def _misfits(heads: Mapping[str, Head], support: Examples, x: Tensor, names: Called | None) -> Tensor:
    """``[Q, N + 1, D]``, with the names of the classes where the examples and the query speak for them."""
    if names is None:
        return _best(heads, support, x)
    believed = names.believed_with(support, x).unsqueeze(1)
    primed = {name: names.primed(head) for name, head in heads.items()}
    if believed.all():
        return _best(primed, support, x)
    plain = _best(heads, support, x)
    return torch.where(believed, _best(primed, support, x), plain) if believed.any() else plain


def _best(heads: Mapping[str, Head], support: Examples, x: Tensor) -> Tensor:
    """The misfits by the head of most right answers, the first of equals: ``[Q, N + 1, D]``."""
    best = most = None
    for head in heads.values():
        joined = head.joined(support, x)
        assert joined is not None
        misfit = joined_misfits(joined, support.y)
        if len(heads) == 1:
            return misfit
        right = ((misfit < 0) & misfit.isfinite()).sum(1, keepdim=True)
        if best is None or most is None:
            best, most = misfit, right
        else:
            best, most = torch.where(right > most, misfit, best), torch.maximum(right, most)
    assert best is not None
    return best


def held_out(heads: Mapping[str, Head], names: Called | None = None) -> Callable[[Examples], Tensor]:
    """The logits of left-out examples by the head that is best for the examples at hand, whatever their order.

    For conformal ranks, which are exact only where the choice is made anew with each query among the examples; so is
    whether the ``names`` of the classes are believed.
    """
    primed = {} if names is None else {name: names.primed(head) for name, head in heads.items()}

    def logits(part: Examples) -> Tensor:
        plain = best(heads, part)
        if names is None:
            return plain
        return torch.where(names.believed(part), best(primed, part), plain)

    def best(heads: Mapping[str, Head], part: Examples) -> Tensor:
        raw = torch.stack([leave_one_out(head, part) for head in heads.values()])
        right = ((raw.argmax(2) == part.y.argmax(1)) & countable(part.y, heads)).sum(1)
        # The first of equals has the most.
        order = torch.arange(len(heads) - 1, -1, -1, device=right.device)
        best = (right * len(heads) + order).argmax()
        return raw.gather(0, best.view(1, 1, 1).expand(1, *raw.shape[1:]))[0]

    return logits


def _sample(head: Head, support: Examples, rows: Tensor) -> Tensor:
    """The examples that are left out of a head that was asked for: all that there is time to refit it for."""
    if closed(head):
        return rows
    examples, classes = support.y.shape
    most = max(8, _ASKED // head.numbers(examples, classes, support.x[0].numel()))
    return rows if len(rows) <= most else rows[torch.linspace(0, len(rows) - 1, most).round().long()]


def _corrected(right: npt.NDArray[np.float64], best: int) -> float:
    """The share of right answers of what would have been chosen, on examples that had no part in the choice."""
    apparent = float(right[best].mean())
    if len(right) == 1:
        return apparent
    count = right.shape[1]
    drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), _DRAWS)
    chosen = (drawn @ right.T).argmax(1)
    rest = drawn == 0
    tries = rest.sum()
    return min(apparent, float((right[chosen] * rest).sum() / tries)) if tries else apparent
