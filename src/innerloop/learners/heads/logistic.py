"""Logistic regression, solved (Cox, JRSS B 1958; as a head that is solved and differentiated: Lee et al., CVPR 2019).

The linear classifier of the largest penalized likelihood. The problem is convex, so it is not trained but solved: a
fixed number of Newton steps in the space of the examples. Meta-training needs the gradient of the solution alone,
which a last step from it gives, without a graph of the steps before.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from innerloop.core.likelihood import Categorical, Likelihood
from innerloop.core.numbers import check_count, check_number
from innerloop.core.repeat import repeated
from innerloop.core.task import Examples, InputError, join
from innerloop.learners.head import Head
from innerloop.learners.heads.ridge import LinearFit

#: Numbers of the dense systems of a Newton step, classes times examples squared, that fit into the memory at hand.
MOST = 2**24
_SHRINKS = 8


class LogisticRegression(Head):
    """Softmax regression on features of unit length, at the optimum: penalized weights, a free bias.

    Args:
        C: what the examples' losses, summed, count beside half the squared weights, as in scikit-learn.
        normalize: whether features are scaled to unit length first.
        steps: Newton steps, a fixed number, so that tasks can be lifted; default 8, and 15 where C is above 100, which
            reach the optimum to rounding.
        likelihood: default :class:`~innerloop.Categorical`.

    Raises:
        InputError: for a C that is not positive or too few steps; and from ``adapt`` for a support set of which classes
            times examples squared are more than 2^24: 457 examples of 80 classes.

    Example:
        >>> head = LogisticRegression()
        >>> state = head.adapt(Examples(torch.eye(2), torch.eye(2)))
        >>> head.predict(state, torch.eye(2)).argmax(2)
        tensor([[0, 1]])

    References:
        Lee, Maji, Ravichandran, Soatto, *Meta-Learning with Differentiable Convex Optimization*, CVPR 2019,
        https://arxiv.org/abs/1904.03758. Tian et al., *Rethinking Few-Shot Image Classification: a Good Embedding Is
        All You Need?*, ECCV 2020, https://arxiv.org/abs/2003.11539. Rasmussen, Williams, *Gaussian Processes for
        Machine Learning*, 2006 (the Newton step).
    """

    def __init__(
        self,
        *,
        C: float = 100.0,
        normalize: bool = True,
        steps: int | None = None,
        likelihood: Likelihood | None = None,
    ) -> None:
        super().__init__(likelihood or Categorical())
        check_number("C", C, "(0, inf)")
        steps = _enough(C) if steps is None else steps
        check_count("the number of Newton steps", steps, 1)
        self.C, self.normalize, self.steps = C, normalize, steps

    def adapt(self, support: Examples, state: LinearFit | None = None) -> LinearFit:  # noqa: D102
        support = join(state.examples if state else None, support)
        z, y = self._vectors(support.x), support.y
        # A graph takes any number of examples.
        if not torch.compiler.is_exporting() and y.numel() * len(y) > MOST:
            raise InputError(
                f"the support set has {y.shape[0]} examples of {y.shape[1]} classes: logistic regression holds classes "
                f"times examples squared, at most {MOST} numbers; take Ridge, or fewer examples"
            )
        problem = _Problem(z @ z.mT, y.mT.clone(), torch.ones_like(y[:, 0]), self.C)
        with torch.no_grad():
            dual, bias = problem.solved(self.steps)
        # The step from the optimum is zero, and its gradient that of the optimum.
        more, shift = problem.newton(dual, bias)
        return LinearFit(support, (dual + more) @ z, bias + shift)

    def predict(self, state: LinearFit, x: Tensor) -> Tensor:  # noqa: D102
        logits = F.linear(self._vectors(x), state.weight, state.bias)
        # A class that has no support example cannot be the answer.
        return logits.masked_fill(state.examples.y.sum(0) == 0, -math.inf).unsqueeze(0)

    @torch.no_grad()
    def held_out(self, support: Examples) -> Tensor:
        """By refits in which one example counts nothing, all at once in the space of the examples."""
        z, y = self._vectors(support.x), support.y
        counts = 1 - torch.eye(len(y), dtype=y.dtype, device=y.device)
        found = []
        for part in counts.split(max(1, MOST // (y.numel() * len(y)))):
            problem = _Problem(z @ z.mT, y.mT, part, self.C)
            dual, bias = problem.solved(self.steps + 1)
            logits = (dual @ problem.gram + bias.unsqueeze(-1)).masked_fill(problem.absent.unsqueeze(-1), -math.inf)
            found.append(torch.where(part.unsqueeze(-2) == 0, logits, torch.zeros_like(logits)).sum(-1))
        return torch.cat(found)

    def numbers(self, examples: int, classes: int, features: int) -> int:
        """The systems of a Newton step, one a class, are the most."""
        return examples * features + 3 * classes * examples**2

    def _vectors(self, x: Tensor) -> Tensor:
        z = x.flatten(1)
        return F.normalize(z, dim=1) if self.normalize else z

    def extra_repr(self) -> str:  # noqa: D102
        return f"C={self.C}, steps={self.steps}"


class _Problem(NamedTuple):
    """Softmax regression on N examples of D classes, in their space, for any number of ways to count them at once.

    Weights are ``dual @ z``, ``dual [..., D, N]``; the optimum has ``dual = C counts (y - p)``, which sums over the
    examples to 0.
    """

    gram: Tensor
    """``[N, N]``."""
    y: Tensor
    """``[D, N]``."""
    counts: Tensor
    """How much each example counts, ``[..., N]``."""
    C: float

    @property
    def absent(self) -> Tensor:
        """Classes of which no example counts, bool ``[..., D]``."""
        return F.linear(self.counts, self.y) == 0

    def solved(self, steps: int) -> tuple[Tensor, Tensor]:
        """Dual ``[..., D, N]`` and bias ``[..., D]`` after so many Newton steps from zero."""
        bias = torch.zeros_like(F.linear(self.counts, self.y))
        dual = bias.unsqueeze(-1) * self.y
        dual, bias = repeated(lambda d, b: self._along(d, b, *self.newton(d, b)), (dual, bias), steps)
        return dual, bias

    def newton(self, dual: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """The step to the optimum of the second-order model.

        The curvature of softmax is a diagonal less an outer product an example, so its system falls into one of N
        equations for each class, and one that joins them (Rasmussen and Williams 2006, algorithm 3.3), here with a
        free bias.
        """
        absent, counts = self.absent, self.C * self.counts.unsqueeze(-2)
        p = (dual @ self.gram + bias.unsqueeze(-1)).masked_fill(absent.unsqueeze(-1), -math.inf).softmax(-2)
        wrong = counts * (self.y - p) - dual
        with torch.no_grad():
            roots = (counts * p).sqrt()
            eye = torch.eye(p.shape[-1], dtype=p.dtype, device=p.device)
            inner = eye + roots.unsqueeze(-1) * self.gram * roots.unsqueeze(-2)
            each = torch.linalg.solve_triangular(torch.linalg.cholesky(inner), torch.diag_embed(roots), upper=False)
            each = each.mT @ each
            # An example that does not count has no curvature.
            joint = torch.linalg.cholesky(each.sum(-3) + torch.diag_embed((self.counts == 0).to(p)))
            ones = each.sum(-1)
            shared = torch.cholesky_solve(ones.mT, joint)
            # A shift of all biases changes nothing, nor does that of an absent class: both are fixed at 0.
            rows = torch.diag_embed(ones.sum(-1) + absent.to(p)) - ones @ shared + 1 / p.shape[-2]
        bent = (each @ (wrong @ self.gram.detach()).unsqueeze(-1)).squeeze(-1)
        along = torch.cholesky_solve(bent.sum(-2).unsqueeze(-1), joint)
        left = (wrong - bent + dual).sum(-1) + (ones @ along).squeeze(-1)
        shift = torch.linalg.solve(rows, left)
        along = along + shared @ shift.unsqueeze(-1)
        return wrong - bent - ones * shift.unsqueeze(-1) + (each @ along.unsqueeze(-3)).squeeze(-1), shift

    def _along(self, dual: Tensor, bias: Tensor, step: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
        """The best of the whole step and its halves, quarters, ...: a whole one may overshoot where C is large."""
        sizes = 0.5 ** torch.arange(_SHRINKS, dtype=dual.dtype, device=dual.device)
        here, there = dual @ self.gram, step @ self.gram
        logits, more = here + bias.unsqueeze(-1), there + shift.unsqueeze(-1)
        # Sizes come last: [..., D, N, sizes].
        logits = logits.unsqueeze(-1) + more.unsqueeze(-1) * sizes
        losses = logits.masked_fill(self.absent[..., None, None], -math.inf).logsumexp(-3)
        losses = losses - (self.y.unsqueeze(-1) * logits).sum(-3)
        linear, square = (dual * there).sum((-2, -1)), 0.5 * (step * there).sum((-2, -1))
        size = linear.unsqueeze(-1) * sizes + square.unsqueeze(-1) * sizes.square()
        losses = self.C * (losses * self.counts.unsqueeze(-1)).sum(-2) + size
        best = F.one_hot(losses.argmin(-1), _SHRINKS).to(sizes) @ sizes
        return dual + best[..., None, None] * step, bias + best.unsqueeze(-1) * shift


def _enough(C: float) -> int:
    """Newton steps from zero that reach the optimum to rounding."""
    return 8 if C <= 100 else 15
