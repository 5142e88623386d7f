"""What would have to go for another answer: a small set of examples, found by refits without them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

#: Examples that the search tries to take away at a time.
_TRIED = 48

#: The answer to the query by what is learned from each of some subsets of one size: int64 ``[B, M]`` to ``[B, D]``.
Refit = Callable[[Tensor], Tensor]


def log_odds(raw: Tensor, answers: Tensor) -> Tensor:
    """Of an answer against all others, from logits: ``[..., Q, D]`` and classes ``[Q]`` to ``[..., Q]``."""
    chosen = F.one_hot(answers, raw.shape[-1]).bool().expand_as(raw)
    own = raw.masked_fill(~chosen, -torch.inf).amax(-1)
    rest = raw.masked_fill(chosen, -torch.inf).logsumexp(-1)
    return own - rest


def added_odds(raw: Tensor, without: Tensor, answers: Tensor) -> Tensor:
    """What each example adds to the log odds of answers: those by all examples less those without it, ``[N, Q]``.

    Infinite where a class is gone without the example: for the answer if it is the answer's, against it if another's.

    Args:
        raw: logits by all examples, ``[Q, D]``.
        without: by all but each of them, ``[N, Q, D]``.
        answers: the class of each query, int64 ``[Q]``.
    """
    odds, left = log_odds(raw, answers), log_odds(without, answers)
    return torch.where(odds == left, 0.0, odds - left)


def turning(refit: Refit, y: Tensor, answer: int, without: Tensor) -> tuple[tuple[int, ...], int] | None:
    """Examples to take away for another answer, and that one: the strongest at each step, then those that may stay.

    Args:
        refit: of the query.
        y: one-hot rows of the examples, ``[N, D]``.
        answer: the class that the query gets from all of them.
        without: logits by what is learned from all but each example, ``[N, D]``.

    Returns:
        their places and the other class; ``None`` where two examples that are left still give the answer.
    """
    count, class_ = len(y), torch.tensor([answer], device=y.device)
    if count < 3:
        return None
    there = torch.ones(count, dtype=torch.bool, device=y.device)
    own = (y.argmax(1) == answer).nonzero().squeeze(1)
    gone: list[int] = []
    order = log_odds(without.unsqueeze(1), class_)[:, 0].argsort()
    # Without all of its own examples a class is no answer: no search needs more.
    while len(gone) < len(own):
        options = [int(place) for place in order[:_TRIED] if there[place]]
        if not options or count - len(gone) < 3:
            return None
        if gone:
            keeps = there.repeat(len(options), 1)
            keeps[torch.arange(len(options)), options] = False
            raw = _refitted(refit, keeps)
        else:
            raw = without[options]
        odds = log_odds(raw.unsqueeze(1), class_)[:, 0]
        best = int(odds.argmin())
        gone.append(options[best])
        there[options[best]] = False
        if int(raw[best].argmax()) != answer:
            break
    else:
        gone, there = own.tolist(), torch.ones(count, dtype=torch.bool, device=y.device)
        there[own] = False
    for place in gone[:-1]:
        # Taken away early, it may not be needed any more.
        there[place] = True
        if len(gone) > 1 and int(_refitted(refit, there[None])[0].argmax()) != answer:
            gone = [other for other in gone if other != place]
        else:
            there[place] = False
    final = int(_refitted(refit, there[None])[0].argmax())
    return (tuple(gone), final) if final != answer else None


def _refitted(refit: Refit, keeps: Tensor) -> Tensor:
    """By what is learned from subsets of one size, bool ``[B, N]``: ``[B, D]``."""
    return refit(keeps.nonzero()[:, 1].view(len(keeps), -1))
