"""Evidence as functions: the exact one by refits, and what takes none."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from innerloop.core.learner import Learner
from innerloop.core.task import Examples
from innerloop.evidence.judging import embedded
from innerloop.evidence.refits import answered, others

#: From a learner, a support set of N examples, Q queries and the class of each that is explained (int64 ``[Q]``) to
#: what each example is said to do for it, ``[Q, N]``: the more the higher, in any unit.
Evidence = Callable[[Learner, Examples, Tensor, Tensor], Tensor]


def left_out(learner: Learner, support: Examples, x: Tensor, answers: Tensor) -> Tensor:
    """The exact evidence: the log odds of each answer less those without an example, ``[Q, N]``.

    Infinite where the class is gone without it.

    Example:
        >>> import innerloop as il
        >>> support = Examples(torch.tensor([[1.0], [3.0], [8.0]]), torch.eye(2)[[0, 0, 1]])
        >>> left_out(il.learners.Prototypes(), support, torch.tensor([[4.0]]), torch.tensor([0]))
        tensor([[-3.,  5., inf]])
    """
    count = len(support.x)
    everything = torch.arange(count, device=support.x.device).unsqueeze(0)
    whole = log_odds(answered(learner, support, everything, x), answers)
    without = log_odds(answered(learner, support, others(count, support.x.device), x), answers)
    return torch.where(whole == without, 0.0, whole - without).mT


def resemblance(learner: Learner, support: Examples, x: Tensor, answers: Tensor) -> Tensor:
    """The cosine of a query and an example, of the encoder's features or as they are; minus it for other classes."""
    _, seen, z = embedded(learner, support, x)
    alike = F.normalize(z.flatten(1), dim=1) @ F.normalize(seen.x.flatten(1), dim=1).mT
    return torch.where(support.y.argmax(1) == answers.unsqueeze(1), alike, -alike)


#: Evidence without refits that any learner has.
CHEAP: dict[str, Evidence] = {"resemblance": resemblance}


def log_odds(raw: Tensor, answers: Tensor) -> Tensor:
    """Of a class against all others, ``[..., Q, D], [Q] -> [..., Q]``."""
    chosen = F.one_hot(answers, raw.shape[-1]).bool().expand_as(raw)
    rest = raw.masked_fill(chosen, -torch.inf).logsumexp(-1)
    return raw.masked_fill(~chosen, -torch.inf).amax(-1) - rest
