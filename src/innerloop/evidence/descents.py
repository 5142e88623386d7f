"""Refits of learners that adapt by gradient steps: from one start, the first step of all of them is taken at once.

The gradient of a mean over some examples is the mean of theirs, where no layer ties the examples of a batch together.
At the first step all refits stand at the same parameters, so each example's gradient there is worked out once, and
the first step of every refit is a mean of those. From the second on each refit stands elsewhere and takes its own.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from innerloop.core import norm
from innerloop.core.inner import Parameters
from innerloop.core.layout import fast_layout
from innerloop.core.learner import Learner
from innerloop.core.task import Examples
from innerloop.evidence.folding import sees_alone
from innerloop.learners.optimization.gradient import Adapted, GradientLearner
from innerloop.learners.optimization.imaml import IMAML

#: Numbers of gradients that are held at a time, half a GiB in float32.
_HELD = 2**27

Rows = dict[str, Tensor]


def shares_first_step(learner: Learner, support: Examples, examples: int) -> bool:
    """Whether each refit's first step is a mean of the gradients that single examples have at the start.

    Args:
        learner: any, in evaluation mode.
        support: of the task.
        examples: of each refit.
    """
    return (
        isinstance(learner, GradientLearner)
        and learner.inner_loss is None
        and _plain(type(learner))
        and learner.test_steps > 0
        and bool(learner.adapts)
        and (learner.batch_size is None or learner.batch_size >= examples)
        and len(support.x) * sum(p.numel() for p in _phi(learner, support).values()) <= _HELD
        and sees_alone(learner.net, support.x)
    )


def example_gradients(learner: GradientLearner, own: Parameters, support: Examples) -> Rows:
    """The inner gradient of each example alone, at the parameters that a task has: ``[N, ...]`` by name.

    Args:
        learner: in evaluation mode. Where its layers tie a batch together, a loss is that of the example among all.
        own: the parameters of a task, as ``initial`` and ``adapt`` give them.
        support: N examples.
    """
    phi = {k: own[k].detach() for k in learner.adapts}
    own = {k: p.detach() for k, p in own.items()}

    if not sees_alone(learner.net, support.x):
        # Of each example's loss in the company of all, by one pass back for each.
        fixed = learner.fixed(phi, own)

        def losses(phi: Parameters) -> Tensor:
            return learner.likelihood.nll(learner.raw({**fixed, **phi}, support.x), support.y)

        found: Rows = torch.func.jacrev(losses)(phi)
        return learner.of_ways(found, support.y.shape[1])

    def one(x: Tensor, y: Tensor) -> Parameters:
        return learner.inner_gradient(phi, own, Examples(x.unsqueeze(0), y.unsqueeze(0)))

    with torch.no_grad():
        return torch.func.vmap(one)(*support)


def raw_of_descents(
    learner: GradientLearner, support: Examples, subsets: Tensor, x: Tensor, loop: bool, chunk: int
) -> Tensor:
    """Raw predictions ``[B, S, Q, P]`` of what is learned from each of some subsets.

    Args:
        learner: one that :func:`shares_first_step`.
        support: of the task.
        subsets: int64 ``[B, M]``.
        x: queries ``[B, Q, *F]``, or ``[1, Q, *F]`` for all.
        loop: whether one after the other is faster than all at once.
        chunk: how many at once.
    """
    own = {k: p.detach() for k, p in learner.initial(support.y.shape[1]).items()}
    start, each = Adapted(own, []), example_gradients(learner, own, support)
    flat = torch.cat([g.flatten(1) for g in each.values()], 1)
    sizes = [g[0].numel() for g in each.values()]
    weights = flat.new_zeros(len(subsets), len(flat)).scatter_add_(
        1, subsets, flat.new_full((), 1 / subsets.shape[1]).expand(subsets.shape)
    )

    def run(weight: Tensor, subset: Tensor, x: Tensor) -> Tensor:
        mean = (weight @ flat).split(sizes)
        first = {k: part.view(g.shape[1:]) for part, (k, g) in zip(mean, each.items(), strict=True)}
        # One after the other, so that the memory is that of one.
        kept = Examples(support.x[subset], support.y[subset])
        for phi in learner.path(kept, learner.test_steps, start, first):  # noqa: B007
            pass
        return learner.predict(learner.state_of(phi, kept, []), x)

    return _mapped(run, weights, subsets, x, loop, min(chunk, max(1, _HELD // (8 * sum(sizes)))))


def _mapped(
    run: Callable[[Tensor, Tensor, Tensor], Tensor], weights: Tensor, subsets: Tensor, x: Tensor, loop: bool, size: int
) -> Tensor:
    alike = len(x) == 1
    if loop:
        with norm.fused():
            asked = [fast_layout(part) for part in x]
            return torch.stack(
                [run(w, s, asked[0 if alike else row]) for row, (w, s) in enumerate(zip(weights, subsets, strict=True))]
            )
    return torch.func.vmap(run, in_dims=(0, 0, None if alike else 0), chunk_size=size)(
        weights, subsets, x[0] if alike else x
    )


def _phi(learner: GradientLearner, support: Examples) -> Parameters:
    own = learner.initial(support.y.shape[1])
    return {k: own[k] for k in learner.adapts}


def _plain(kind: type[GradientLearner]) -> bool:
    """Whether a class leaves alone what makes the inner gradient a mean over examples."""
    return (
        kind.adapt in (GradientLearner.adapt, IMAML.adapt)
        and kind.path is GradientLearner.path
        and kind.inner_gradient in (GradientLearner.inner_gradient, IMAML.inner_gradient)
        and kind.support_loss is GradientLearner.support_loss
    )
