"""ANIL (Raghu, Raghu, Bengio, Vinyals, ICLR 2020, https://arxiv.org/abs/1909.09157).

MAML whose inner loop changes the last layer alone: almost no inner loop. The features serve every task as they are and
are learned in the outer loop. Choose it where features need not change with the task (most few-shot classification): it
scores about what MAML does, its inner gradients are cheap, and an adapted task is one small layer.
"""

from __future__ import annotations

from torch import nn

from innerloop.core.inner import SGD, InnerOptimizer
from innerloop.core.likelihood import Likelihood
from innerloop.learners.optimization.gradient import GradientLearner


class ANIL(GradientLearner):
    """Almost no inner loop: only the head adapts.

    Args:
        net: any module ``[N, *F] -> [N, P]``; its head is the last layer that has parameters.
        steps: inner steps k; 0 is multi-task learning.
        lr: inner learning rate; ignored if ``inner`` is given.
        first_order: take the inner gradients for constants.
        test_steps: inner steps outside training; default ``steps``.
        inner: an inner optimizer in place of plain gradient descent.
        shared_head: name of a final one-output layer repeated for each class.
        lr_ways: number of ways that the inner rate is for, see :class:`~innerloop.learners.GradientLearner`.
        tempered: divide the logits of queries by a temperature that meta-training tasks tell, see
            :class:`~innerloop.learners.GradientLearner`.
        likelihood: default :class:`~innerloop.Categorical`; ``Gaussian(scale=1.0)`` for regression by squared error.

    Example:
        >>> import torch, innerloop as il
        >>> anil = il.ANIL(il.nets.mlp(8, 32, 5), steps=5, lr=0.1)
        >>> list(anil.adapt(il.Examples(torch.rand(5, 8), torch.eye(5))).parameters)
        ['2.weight', '2.bias']

    References:
        Raghu, Raghu, Bengio, Vinyals, *Rapid Learning or Feature Reuse? Towards Understanding the Effectiveness of
        MAML*, ICLR 2020, https://arxiv.org/abs/1909.09157.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        steps: int = 5,
        lr: float = 0.1,
        first_order: bool = False,
        test_steps: int | None = None,
        inner: InnerOptimizer | None = None,
        shared_head: str | None = None,
        lr_ways: int | None = None,
        tempered: bool = False,
        likelihood: Likelihood | None = None,
    ) -> None:
        super().__init__(
            net,
            inner=inner or SGD(lr),
            steps=steps,
            test_steps=test_steps,
            adapts="head",
            first_order=first_order,
            shared_head=shared_head,
            lr_ways=lr_ways,
            tempered=tempered,
            likelihood=likelihood,
        )
