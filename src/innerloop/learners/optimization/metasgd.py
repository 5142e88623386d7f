"""Meta-SGD (Li, Zhou, Chen, Li, 2017, https://arxiv.org/abs/1707.09835).

MAML that learns, beside where a task starts, how far and in which direction each number moves: a rate of its own for
every parameter, trained with the initialization. Choose it where one step has to do; it doubles the meta-parameters.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from innerloop.core.inner import LearnedRates
from innerloop.core.lazy import check_materialized
from innerloop.core.likelihood import Likelihood
from innerloop.learners.optimization.adapting import names
from innerloop.learners.optimization.gradient import GradientLearner


class MetaSGD(GradientLearner):
    """Meta-SGD: a learned inner rate for each number.

    Args:
        net: any module ``[N, *F] -> [N, P]``.
        steps: inner steps k; the paper takes one.
        lr: the rate that each number starts from.
        adapts: which parameters the inner loop changes, see :class:`~innerloop.learners.GradientLearner`.
        first_order: take the inner gradients for constants.
        test_steps: inner steps outside training; default ``steps``.
        shared_head: name of a final one-output layer repeated for each class.
        lr_ways: number of ways that the inner rate is for, see :class:`~innerloop.learners.GradientLearner`.
        tempered: divide the logits of queries by a temperature that meta-training tasks tell, see
            :class:`~innerloop.learners.GradientLearner`.
        likelihood: default :class:`~innerloop.Categorical`; ``Gaussian(scale=1.0)`` for regression by squared error.

    Example:
        >>> import innerloop as il
        >>> learner = il.MetaSGD(il.nets.mlp(1, 40, 1), likelihood=il.Gaussian(scale=1.0))
        >>> sum(p.numel() for p in learner.parameters()) == 2 * sum(p.numel() for p in learner.net.parameters())
        True

    References:
        Li, Zhou, Chen, Li, *Meta-SGD: Learning to Learn Quickly for Few-Shot Learning*, 2017,
        https://arxiv.org/abs/1707.09835.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        steps: int = 1,
        lr: float = 0.05,
        adapts: str | Sequence[str] = "all",
        first_order: bool = False,
        test_steps: int | None = None,
        shared_head: str | None = None,
        lr_ways: int | None = None,
        tempered: bool = False,
        likelihood: Likelihood | None = None,
    ) -> None:
        # A rate for each number has the shapes of the parameters.
        check_materialized(net)
        chosen = names(net, adapts, shared_head)
        super().__init__(
            net,
            inner=LearnedRates({k: p for k, p in net.named_parameters() if k in chosen}, lr, per="number"),
            steps=steps,
            test_steps=test_steps,
            adapts=adapts,
            first_order=first_order,
            shared_head=shared_head,
            lr_ways=lr_ways,
            tempered=tempered,
            likelihood=likelihood,
        )
