"""Implicit MAML (Rajeswaran, Finn, Kakade, Levine, NeurIPS 2019, https://arxiv.org/abs/1909.04630).

MAML whose inner loop is held near the initialization by a proximal term and whose outer gradient follows from where the
loop ends, not from how it got there: a linear system there, solved by conjugate gradient. Memory does not grow with the
inner steps. Choose it where a task needs many of them; with one or a few, MAML is exact and as cheap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.func import grad, grad_and_value, vjp

from innerloop.core.inner import SGD, InnerOptimizer, Parameters
from innerloop.core.likelihood import Likelihood
from innerloop.core.numbers import check_count, check_number
from innerloop.core.task import Examples, InputError, Task
from innerloop.learners.optimization.gradient import Adapted, GradientLearner


class IMAML(GradientLearner):
    """Implicit MAML: the inner loop minimizes support loss + proximal / 2 |phi - theta|^2.

    At its minimum ``d phi / d theta = (I + H / proximal)^-1`` with H the Hessian of the support loss there. What does
    not adapt, the likelihood's parameters included, has its outer gradient too: the direct one, and the one through the
    minimum. Both hold as far as the inner loop has converged: ``lr * (H + proximal)`` has to stay below 2, and about
    ``3 / (lr * proximal)`` steps come within a twentieth.

    Args:
        net: any module ``[N, *F] -> [N, P]``.
        steps: inner steps k.
        lr: inner learning rate; ignored if ``inner`` is given.
        proximal: lambda, how strongly a task is held near the initialization.
        cg_steps: iterations of conjugate gradient, which start at the first-order gradient: 0 leaves it at that.
        adapts: which parameters the inner loop changes, see :class:`~innerloop.learners.GradientLearner`.
        test_steps: inner steps outside training; default ``steps``.
        inner: an inner optimizer in place of plain gradient descent; one with parameters of its own is refused, as the
            minimum does not depend on them.
        shared_head: name of a final one-output layer repeated for each class.
        tempered: divide the logits of queries by a temperature that meta-training tasks tell, see
            :class:`~innerloop.learners.GradientLearner`.
        likelihood: default :class:`~innerloop.Categorical`; ``Gaussian(scale=1.0)`` for regression by squared error.

    Raises:
        InputError: for a proximal weight that is not positive, fewer than 0 iterations, nothing that adapts, or a
            learned inner optimizer.

    Example:
        >>> import innerloop as il
        >>> imaml = il.learners.IMAML(il.nets.mlp(1, 40, 1), steps=20, lr=0.1, likelihood=il.Gaussian(scale=1.0))
        >>> task = il.data.Sinusoid(shots=10, queries=5).draw(torch.Generator(), 1)
        >>> il.lift(imaml).backward(task).shape
        torch.Size([1])

    References:
        Rajeswaran, Finn, Kakade, Levine, *Meta-Learning with Implicit Gradients*, NeurIPS 2019,
        https://arxiv.org/abs/1909.04630.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        steps: int = 16,
        lr: float = 0.1,
        proximal: float = 2.0,
        cg_steps: int = 5,
        adapts: str | Sequence[str] = "all",
        test_steps: int | None = None,
        inner: InnerOptimizer | None = None,
        shared_head: str | None = None,
        tempered: bool = False,
        likelihood: Likelihood | None = None,
    ) -> None:
        check_number("proximal, which holds the inner loop,", proximal, "(0, inf)")
        check_count("cg_steps", cg_steps, 0)
        super().__init__(
            net,
            inner=inner or SGD(lr),
            steps=steps,
            test_steps=test_steps,
            adapts=adapts,
            shared_head=shared_head,
            tempered=tempered,
            likelihood=likelihood,
        )
        if not self.adapts:
            raise InputError("adapts='none' leaves nothing to hold near the initialization: use MAML, or adapt a part")
        if any(True for _ in self.inner.parameters()):
            raise InputError(
                f"the inner optimizer {type(self.inner).__name__} has parameters of its own, and no implicit "
                f"gradient: use SGD or Adam, or MAML"
            )
        self.proximal, self.cg_steps = proximal, cg_steps

    @torch.no_grad()
    def adapt(self, support: Examples, state: Adapted | None = None) -> Adapted:  # noqa: D102
        return super().adapt(support, state)

    def loss(self, task: Task) -> Tensor:
        """The query loss at phi, with the implicit gradient."""
        theta = self.initial(task.support.y.shape[1])
        adapted = self.adapt(task.support).parameters
        phi = {k: adapted[k] for k in self.adapts}
        fixed = self.fixed(phi, theta)

        def query_loss(phi: Parameters) -> Tensor:
            own = {**theta, **phi}
            raw = self.predict(self.state_of(own, task.support), task.query.x)
            return self.likelihood.nll(raw, task.query.y).mean()

        def support_slope(phi: Parameters) -> Parameters:
            return grad(self.support_loss)(phi, fixed, task.support)

        slope, value = grad_and_value(query_loss)(phi)
        with torch.no_grad():
            b = _flat(slope)
            # Linearized once: every product with the Hessian, which is symmetric, is then one backward pass.
            _, hessian = vjp(support_slope, phi)  # type: ignore[misc]
            v = _conjugate_gradient(
                lambda d: d + _flat(hessian(_like(d, phi))[0]) / self.proximal, b, start=b, steps=self.cg_steps
            )
        pull = v @ _flat({k: theta[k] for k in phi})
        if any(p.requires_grad for name, p in self.named_parameters() if name.removeprefix("net.") not in phi):
            pull = pull - v @ _flat(support_slope(phi)) / self.proximal
        # The value of the query loss, the gradient of the pull beside what is direct.
        return value + pull - pull.detach()

    def inner_gradient(self, phi: Parameters, own: Parameters, batch: Examples) -> Parameters:  # noqa: D102
        slope = super().inner_gradient(phi, own, batch)
        return {k: g + self.proximal * (phi[k] - own[k]) for k, g in slope.items()}

    def extra_repr(self) -> str:  # noqa: D102
        return f"proximal={self.proximal}, cg_steps={self.cg_steps}"


def _flat(parts: Parameters) -> Tensor:
    return torch.cat([p.flatten() for p in parts.values()])


def _like(vector: Tensor, parts: Parameters) -> Parameters:
    pieces = vector.split([p.numel() for p in parts.values()])
    return {k: piece.view_as(p) for (k, p), piece in zip(parts.items(), pieces, strict=True)}


def _conjugate_gradient(apply: Callable[[Tensor], Tensor], b: Tensor, start: Tensor, steps: int) -> Tensor:
    """An approximate solution of ``apply(x) = b``, for a symmetric map; stops where it is not positive definite."""
    if not steps:
        return start
    x, r = start, b - apply(start)
    d, rr, alive = r, r @ r, b.new_ones((), dtype=torch.bool)
    for _ in range(steps):
        image = apply(d)
        curvature = d @ image
        # False from the first direction on that curves downwards, and at the solution, where d is 0.
        alive = alive & (curvature > 0)
        step = torch.where(alive, rr / curvature, 0.0)
        x, r = x + step * d, r - step * image
        before, rr = rr, r @ r
        d = r + torch.where(alive, rr / before, 0.0) * d
    return x
