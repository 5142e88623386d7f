"""MAML (Finn, Abbeel, Levine, ICML 2017, https://arxiv.org/abs/1703.03400).

Learn an initialization from which a few gradient steps on the support set solve a task; the outer gradient goes through
those steps. Choose it for any differentiable model, regression included, where a distance between examples is no use.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from innerloop.core.inner import SGD, InnerOptimizer, LearnedRates
from innerloop.core.likelihood import Likelihood
from innerloop.learners.optimization.adapting import names
from innerloop.learners.optimization.gradient import GradientLearner


class MAML(GradientLearner):
    """Model-agnostic meta-learning: k inner gradient steps, second order by default.

    Args:
        net: any module ``[N, *F] -> [N, P]``.
        steps: inner steps k.
        lr: inner learning rate alpha; ignored if ``inner`` is given.
        first_order: take the inner gradients for constants (FOMAML).
        learn_lr: learn a rate for each tensor of parameters, starting at ``lr``.
        adapts: which parameters the inner loop changes: ``"all"``, ``"head"`` (ANIL), ``"body"`` (BOIL), ``"none"``, or
            patterns of names.
        test_steps: inner steps outside training; default ``steps``.
        inner: an inner optimizer in place of plain gradient descent.
        shared_head: name of a final one-output layer repeated for each class: any number of ways from one model
            (Ye, Chao, *How to Train Your MAML to Excel in Few-Shot Classification*, ICLR 2022,
            https://arxiv.org/abs/2106.16245).
        inner_loss: what the inner loop descends, in place of the mean negative log likelihood: a function or module of
            raw predictions ``[N, P]`` and target rows ``[N, D]`` that gives a scalar.
        lr_ways: number of ways that the inner rate is for, see :class:`~innerloop.learners.GradientLearner`.
        tempered: divide the logits of queries by a temperature that meta-training tasks tell, see
            :class:`~innerloop.learners.GradientLearner`.
        body_from: share of the training from which the body adapts; before it the head alone, see
            :class:`~innerloop.learners.GradientLearner`.
        likelihood: default :class:`~innerloop.Categorical`; ``Gaussian(scale=1.0)`` for regression by squared error.

    Example:
        >>> import torch, innerloop as il
        >>> maml = il.MAML(il.nets.mlp(1, 40, 40, 1), steps=1, lr=0.01, likelihood=il.Gaussian(scale=1.0))
        >>> support = il.Examples(torch.ones(3, 1), torch.ones(3, 1))
        >>> maml.predict(maml.adapt(support), torch.ones(2, 1)).shape
        torch.Size([1, 2, 1])

    References:
        Finn, Abbeel, Levine, *Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks*, ICML 2017,
        https://arxiv.org/abs/1703.03400.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        steps: int = 1,
        lr: float = 0.4,
        first_order: bool = False,
        learn_lr: bool = False,
        adapts: str | Sequence[str] = "all",
        test_steps: int | None = None,
        inner: InnerOptimizer | None = None,
        shared_head: str | None = None,
        inner_loss: Callable[[Tensor, Tensor], Tensor] | None = None,
        lr_ways: int | None = None,
        tempered: bool = False,
        body_from: float = 0.0,
        likelihood: Likelihood | None = None,
    ) -> None:
        super().__init__(
            net,
            inner=inner or (LearnedRates(names(net, adapts, shared_head), lr) if learn_lr else SGD(lr)),
            steps=steps,
            test_steps=test_steps,
            adapts=adapts,
            first_order=first_order,
            shared_head=shared_head,
            inner_loss=inner_loss,
            lr_ways=lr_ways,
            tempered=tempered,
            body_from=body_from,
            likelihood=likelihood,
        )
