"""Logistic regression, solved (Cox, JRSS B 1958; as a head that is solved and differentiated: Lee et al., CVPR 2019).

The linear classifier of the largest penalized likelihood. The problem is convex, so it is not trained but solved: a
fixed number of Newton steps in the space of the examples. Meta-training needs the gradient of the solution alone,
which a last step from it gives, without a graph of the steps before.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from innerloop.core.likelihood import Categorical, Likelihood
from innerloop.core.task import Examples, InputError, join
from innerloop.learners.head import Head
from innerloop.learners.heads.ridge import LinearFit

#: Unknowns of a Newton step, examples times classes, of which a dense system fits into the memory and the time at hand.
MOST = 1024
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
        InputError: for a C that is not positive or too few steps; and from ``adapt`` for a support set whose examples
            times classes are more than 1024.

    Example:
        >>> head = LogisticRegression()
        >>> state = head.adapt(Examples(torch.eye(2), torch.eye(2)))
        >>> head.predict(state, torch.eye(2)).argmax(2)
        tensor([[0, 1]])

    References:
        Lee, Maji, Ravichandran, Soatto, *Meta-Learning with Differentiable Convex Optimization*, CVPR 2019,
        https://arxiv.org/abs/1904.03758. Tian et al., *Rethinking Few-Shot Image Classification: a Good Embedding Is
        All You Need?*, ECCV 2020, https://arxiv.org/abs/2003.11539.
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
        if not (math.isfinite(C) and C > 0):
            raise InputError(f"C is {C}; it must be positive and finite")
        steps = (8 if C <= 100 else 15) if steps is None else steps
        if steps < 1:
            raise InputError(f"{steps} Newton steps solve nothing; give at least 1")
        self.C, self.normalize, self.steps = C, normalize, steps

    def adapt(self, support: Examples, state: LinearFit | None = None) -> LinearFit:  # noqa: D102
        support = join(state.examples if state else None, support)
        z, y = self._vectors(support.x), support.y
        if y.numel() > MOST:
            raise InputError(
                f"the support set has {y.shape[0]} examples of {y.shape[1]} classes: logistic regression solves for at "
                f"most {MOST} numbers, examples times classes; take Ridge, or fewer examples"
            )
        gram = z @ z.mT
        dual, bias = y.new_zeros(y.shape), y.new_zeros(y.shape[1])
        with torch.no_grad():
            for _ in range(self.steps):
                towards = self._newton(gram.detach(), y, dual, bias)
                dual, bias = self._along(gram.detach(), y, (dual, bias), towards)
        more, shift = self._newton(gram, y, dual, bias)
        return LinearFit(support, (dual + more).mT @ z, bias + shift)

    def predict(self, state: LinearFit, x: Tensor) -> Tensor:  # noqa: D102
        logits = F.linear(self._vectors(x), state.weight, state.bias)
        # A class that has no support example cannot be the answer.
        return logits.masked_fill(state.examples.y.sum(0) == 0, -math.inf).unsqueeze(0)

    def numbers(self, examples: int, classes: int, features: int) -> int:
        """The dense system of a Newton step is the most."""
        return examples * features + 3 * (examples * classes) ** 2

    def _newton(self, gram: Tensor, y: Tensor, dual: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """The step to the optimum of the second-order model; weights are ``dual.mT @ z``, the optimum has
        ``dual = C (y - p)``, whose sum over examples is 0.
        """
        n, d = y.shape
        absent = y.sum(0) == 0
        p = (gram @ dual + bias).masked_fill(absent, -math.inf).softmax(1)
        identity = torch.eye(d, dtype=y.dtype, device=y.device)
        curves = self.C * (torch.diag_embed(p) - p.unsqueeze(2) * p.unsqueeze(1)).detach()
        own = torch.eye(n, dtype=y.dtype, device=y.device)
        top = torch.einsum("nij,nm->nimj", curves, gram.detach()) + torch.einsum("nm,ij->nimj", own, identity)
        # A shift of all biases changes nothing, nor does that of an absent class: the last rows fix both at 0.
        gauge = torch.full_like(identity, 1 / d) + torch.diag(absent.to(y))
        bottom = torch.cat((identity.repeat(1, n), gauge), 1)
        system = torch.cat((torch.cat((top.reshape(n * d, n * d), curves.reshape(n * d, d)), 1), bottom))
        wrong = torch.cat(((self.C * (y - p) - dual).flatten(), -dual.sum(0)))
        step = torch.linalg.solve(system, wrong)
        return step[: n * d].view(n, d), step[n * d :]

    def _along(
        self, gram: Tensor, y: Tensor, start: tuple[Tensor, Tensor], step: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """The best of the whole step and its halves, quarters, ...: a whole one may overshoot where C is large."""
        sizes = 0.5 ** torch.arange(_SHRINKS, dtype=y.dtype, device=y.device)
        duals, biases = (a + sizes.view(-1, *[1] * a.ndim) * b for a, b in zip(start, step, strict=True))
        logits = gram @ duals + biases.unsqueeze(1)
        size = 0.5 * (duals * (gram @ duals)).sum((1, 2))
        losses = logits.masked_fill(y.sum(0) == 0, -math.inf).logsumexp(2) - (y * logits).sum(2)
        best = F.one_hot((self.C * losses.sum(1) + size).argmin(), _SHRINKS).to(y)
        return torch.einsum("s,snd->nd", best, duals), best @ biases

    def _vectors(self, x: Tensor) -> Tensor:
        z = x.flatten(1)
        return F.normalize(z, dim=1) if self.normalize else z

    def extra_repr(self) -> str:  # noqa: D102
        return f"C={self.C}, steps={self.steps}"
