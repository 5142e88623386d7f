"""BOIL (Oh, Yoo, Kim, Yun, ICLR 2021, https://arxiv.org/abs/2008.08882).

The mirror image of ANIL: the inner loop changes every layer but the last, which is learned in the outer loop and fixed
within a task, so that a task must move the features to the classifier. Choose it where tasks come from another domain
than those of meta-training, for which features do have to change.
"""

from __future__ import annotations

from torch import nn

from innerloop.core.inner import SGD, InnerOptimizer
from innerloop.core.likelihood import Likelihood
from innerloop.learners.optimization.gradient import GradientLearner


class BOIL(GradientLearner):
    """Body only update in the inner loop: the head does not adapt.

    Args:
        net: any module ``[N, *F] -> [N, P]``; its head is the last layer that has parameters.
        steps: inner steps k.
        lr: inner learning rate; ignored if ``inner`` is given.
        first_order: take the inner gradients for constants.
        test_steps: inner steps outside training; default ``steps``.
        inner: an inner optimizer in place of plain gradient descent.
        tempered: divide the logits of queries by a temperature that meta-training tasks tell, see
            :class:`~innerloop.learners.GradientLearner`.
        likelihood: default :class:`~innerloop.Categorical`; ``Gaussian(scale=1.0)`` for regression by squared error.

    Example:
        >>> import torch, innerloop as il
        >>> boil = il.learners.BOIL(il.nets.mlp(8, 32, 5), lr=0.5)
        >>> list(boil.adapt(il.Examples(torch.rand(5, 8), torch.eye(5))).parameters)
        ['0.weight', '0.bias']

    References:
        Oh, Yoo, Kim, Yun, *BOIL: Towards Representation Change for Few-shot Learning*, ICLR 2021,
        https://arxiv.org/abs/2008.08882.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        steps: int = 1,
        lr: float = 0.5,
        first_order: bool = False,
        test_steps: int | None = None,
        inner: InnerOptimizer | None = None,
        tempered: bool = False,
        likelihood: Likelihood | None = None,
    ) -> None:
        super().__init__(
            net,
            inner=inner or SGD(lr),
            steps=steps,
            test_steps=test_steps,
            adapts="body",
            first_order=first_order,
            tempered=tempered,
            likelihood=likelihood,
        )
