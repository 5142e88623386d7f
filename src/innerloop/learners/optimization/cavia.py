"""CAVIA (Zintgraf, Shiarlis, Kurin, Hofmann, Whiteson, ICML 2019, https://arxiv.org/abs/1810.03642).

A task adapts a handful of context parameters, an extra input of the network that starts at zero, and nothing else; the
network is shared by all tasks and learned in the outer loop. Choose it for regression: it overfits less than MAML, it
bears a large inner rate, and an adapted task is one short vector that can be looked at.
"""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor, nn

from innerloop.core.construction import Recorded
from innerloop.core.facts import Facts, Networks
from innerloop.core.inner import SGD, InnerOptimizer
from innerloop.core.likelihood import Gaussian, Likelihood
from innerloop.core.numbers import check_count
from innerloop.core.task import InputError
from innerloop.learners.optimization.gradient import GradientLearner

#: Context parameters, where nobody says how many: the paper's for regression.
CONTEXT = 5


class Conditioned(Recorded):
    """A network of vectors that reads a context vector beside each input: ``[N, F] -> [N, P]``.

    Args:
        net: ``[N, F + context] -> [N, P]``.
        context: numbers in the context vector.
    """

    def __init__(self, net: nn.Module, context: int) -> None:
        super().__init__()
        check_count("context", context, 1)
        self.net = net
        # A parameter, as a task adapts it; without an outer gradient, as every task starts from zero.
        self.context = nn.Parameter(torch.zeros(context), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, F] -> [N, P]``."""
        return self.net(torch.cat((x, self.context.expand(len(x), -1)), 1))


class CAVIA(GradientLearner):
    """Fast context adaptation: the context parameters adapt, the network does not.

    Args:
        net: a network of vectors ``[N, F + context] -> [N, P]``: its last ``context`` inputs are the context.
        context: how many context parameters.
        steps: inner steps k.
        lr: inner learning rate; ignored if ``inner`` is given.
        first_order: take the inner gradients for constants.
        test_steps: inner steps outside training; default ``steps``.
        inner: an inner optimizer in place of plain gradient descent.
        likelihood: default ``Gaussian(scale=1.0)``, regression by squared error.

    Raises:
        InputError: for fewer than 1 context parameter.

    Example:
        >>> import torch, innerloop as il
        >>> cavia = il.learners.CAVIA(il.nets.mlp(1 + 5, 40, 40, 1), context=5)
        >>> cavia.adapt(il.Examples(torch.rand(10, 1), torch.rand(10, 1))).parameters["context"].shape
        torch.Size([5])

    References:
        Zintgraf, Shiarlis, Kurin, Hofmann, Whiteson, *Fast Context Adaptation via Meta-Learning*, ICML 2019,
        https://arxiv.org/abs/1810.03642.
    """

    objectives = ("regression",)

    def __init__(
        self,
        net: nn.Module,
        *,
        context: int = CONTEXT,
        steps: int = 1,
        lr: float = 1.0,
        first_order: bool = False,
        test_steps: int | None = None,
        inner: InnerOptimizer | None = None,
        likelihood: Likelihood | None = None,
    ) -> None:
        super().__init__(
            Conditioned(net, context),
            inner=inner or SGD(lr),
            steps=steps,
            test_steps=test_steps,
            adapts="context",
            first_order=first_order,
            likelihood=likelihood or Gaussian(scale=1.0),
        )

    @classmethod
    def from_facts(cls, facts: Facts, nets: Networks, **options: Any) -> Self:
        """On a network whose inputs are the task's columns and the context.

        Raises:
            InputError: for examples that are no vectors.
        """
        if len(facts.shape) != 1:
            raise InputError(f"CAVIA is for vectors, these examples are {facts.kind} of shape {facts.shape}: use maml")
        likelihood = options.get("likelihood") or Gaussian(scale=1.0)
        inputs = facts.shape[0] + options.get("context", CONTEXT)
        return cls(nets.classifier((inputs,), likelihood.size(facts.targets)), **options)

    def backbone(self) -> nn.Module:  # noqa: D102
        return self.net.get_submodule("net")
