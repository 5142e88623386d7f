"""Which support example has a wrong label: scores of suspicion, by exact refits and without any.

The plain one asks what all others say of an example's label. It has a blind spot: a wrong label spoils its new class
too, so that right examples of that class look strange. To relabel asks the whole support set instead: how much better
does each example fit all others once this one has another label? That is the likelihood ratio of "this one is wrong"
against "none is", by leave-one-out.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from innerloop.core.learner import Learner
from innerloop.core.task import Examples
from innerloop.evidence.cheap import cheap_evidence
from innerloop.evidence.conformal import misfits
from innerloop.evidence.refits import answered, at_once, leave_one_out, others
from innerloop.learners.head import Head

#: From a learner and a support set of N examples to a number for each, ``[N]``: the higher the less it fits.
Suspicion = Callable[[Learner, Examples], Tensor]

#: Log probabilities below are as good as none.
_LEAST = -1e4


def self_confidence(learner: Learner, support: Examples, temperature: float = 1.0) -> Tensor:
    """Minus the log probability of an example's label by what has learned from it too: no refit."""
    raw = answered(learner, support, torch.arange(len(support.x), device=support.x.device).unsqueeze(0), support.x)[0]
    return -_own(raw / temperature, support.y)


def by_others(learner: Learner, support: Examples, temperature: float = 1.0) -> Tensor:
    """Minus the log probability of an example's label by what has learned from all others: N refits."""
    return -_own(leave_one_out(learner, support) / temperature, support.y)


def margin(learner: Learner, support: Examples, temperature: float = 1.0) -> Tensor:
    """How far the likeliest other class lies above an example's label, by what has learned from all others."""
    return misfits(leave_one_out(learner, support), support.y) / temperature


def influence(learner: Learner, support: Examples, temperature: float = 1.0) -> Tensor:
    """How much less an example and all others are at odds without it: N (N - 1) / 2 refits.

    It is what the log likelihood of the others, each by the rest, gains where the example is left out, and what its own
    label loses. The first alone is how far the example harms; an example that is merely odd does not harm.
    """
    x, y = support
    count = len(x)
    alone = _own(leave_one_out(learner, support) / temperature, y)
    rest = others(count, x.device)
    if closed(learner):

        def left(kept: Tensor) -> Tensor:
            return leave_one_out(learner, Examples(x[kept], y[kept]))

        size = at_once(count * (count + x[0].numel()))
        raw = torch.cat([torch.func.vmap(left)(part) for part in rest.split(size)])
        found = _own(raw / temperature, y[rest])
    else:
        pairs = torch.combinations(torch.arange(count, device=x.device))
        there = torch.ones(len(pairs), count, dtype=torch.bool, device=x.device).scatter(1, pairs, False)
        raw = answered(learner, support, there.nonzero()[:, 1].view(len(pairs), -1), x)
        table = alone.new_zeros(count, count)
        for one, other in (pairs.mT, pairs.mT.flip(0)):
            table[one, other] = _own(raw[torch.arange(len(pairs)), other] / temperature, y[other])
        found = table.gather(1, rest)
    return (found - alone[rest]).sum(1) - alone


def relabel(learner: Learner, support: Examples, temperature: float = 1.0) -> Tensor:
    """The log likelihood ratio of an example having its likeliest other label against its own: N^2 refits.

    The likelihood is that of all examples, each by the others. For heads whose leave-one-out is a closed form it takes
    milliseconds.
    """
    raw = leave_one_out(learner, support) / temperature
    return relabeled(learner, support, likeliest_other(raw, support.y), temperature)


def likeliest_other(raw: Tensor, y: Tensor) -> Tensor:
    """The class that each example would have if not its own, ``[N, D], [N, D] -> [N]``."""
    return raw.masked_fill(y > 0, -torch.inf).argmax(1)


def relabeled(learner: Learner, support: Examples, codes: Tensor, temperature: float = 1.0) -> Tensor:
    """What the log likelihood of all examples, each by the others, gains where one has another label, ``[N]``.

    Args:
        learner: deterministic, in evaluation mode.
        support: of N examples.
        codes: the other label of each, int64 ``[N]``.
        temperature: that logits are divided by.

    Example:
        >>> import innerloop as il
        >>> x = torch.tensor([[0.0], [0.2], [0.4], [3.0], [3.2], [0.1]])
        >>> support = Examples(x, torch.eye(2)[[0, 0, 0, 1, 1, 1]])
        >>> gain = relabeled(il.learners.Prototypes(), support, torch.tensor([1, 1, 1, 0, 0, 0]))
        >>> int(gain.argmax())
        5
    """
    x, y = support
    count, classes = y.shape
    eye = torch.eye(classes, dtype=y.dtype, device=y.device)
    places = torch.arange(count, device=y.device)

    def total(place: Tensor, code: Tensor) -> Tensor:
        rows = torch.where((places == place).unsqueeze(1), eye[code], y)
        return _own(leave_one_out(learner, Examples(x, rows)) / temperature, rows).sum()

    if closed(learner):
        # A closed form holds about as many numbers as there are pairs of examples.
        parts = zip(
            *(part.split(at_once(count * (count + classes + x[0].numel()))) for part in (places, codes)), strict=True
        )
        after = torch.cat([torch.func.vmap(total)(*part) for part in parts])
    else:
        after = torch.stack([total(*one) for one in zip(places, codes, strict=True)])
    return after - _own(leave_one_out(learner, support) / temperature, y).sum()


#: By name, from the cheapest to the dearest; all but the first by refits.
SUSPICIONS: dict[str, Suspicion] = {
    "self-confidence": self_confidence,
    "leave-one-out": by_others,
    "margin": margin,
    "influence": influence,
    "relabel": relabel,
}


def refits_of(name: str, count: int) -> int:
    """How many refits a score of :data:`SUSPICIONS` takes of N examples, where no closed form saves them."""
    more = {"self-confidence": 1 - count, "influence": count * (count - 1) // 2, "relabel": count * count}
    return count + more.get(name, 0)


def closed(learner: Learner) -> bool:
    """Whether leave-one-out of a learner on features is a closed form."""
    return isinstance(learner, Head) and type(learner).held_out is not Head.held_out


def by_evidence(learner: Learner, support: Examples) -> dict[str, Tensor]:
    """How much more the examples of the likeliest other class speak for it than those of its own for its own, ``[N]``.

    By each evidence that the learner has without refits (:func:`~innerloop.evidence.cheap_evidence`), as the mean of a
    class's examples, since the class of a wrong label has one more. What an example says of itself is left out.
    """
    x, y = support
    count, classes = y.shape
    others_of = y * (1 - torch.eye(count, dtype=y.dtype, device=y.device)).unsqueeze(2)
    said = [cheap_evidence(learner, support, x, torch.full((count,), code, device=y.device)) for code in range(classes)]
    found = {}
    for name in said[0]:
        each = torch.stack([one[name] for one in said], 2)
        mean = torch.where(others_of > 0, each, 0).sum(1) / others_of.sum(1).clamp(min=1)
        found[name] = misfits(mean, y)
    return found


def mislabeled(y: Tensor, wrong: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Give some examples another class's label: the rows ``[N, D]`` then, and which ones, bool ``[N]``.

    Args:
        y: one-hot rows ``[N, D]`` of two classes at least.
        wrong: how many; which, and of which class they then are, is drawn evenly.
        generator: of the draw.
    """
    count, classes = y.shape
    places = torch.randperm(count, generator=generator)[:wrong]
    steps = torch.randint(1, classes, (wrong,), generator=generator)
    codes = y.argmax(1).cpu()
    codes[places] = (codes[places] + steps) % classes
    rows = torch.eye(classes, dtype=y.dtype)[codes].to(y.device)
    return rows, torch.zeros(count, dtype=torch.bool).scatter(0, places, True)


def _own(raw: Tensor, y: Tensor) -> Tensor:
    """The log probability of each example's own label, ``[N, D], [N, D] -> [N]``, also of a class that is gone."""
    log_p = raw.double().log_softmax(-1).clamp(min=_LEAST)
    return torch.where(y > 0, log_p, 0.0).sum(-1)
