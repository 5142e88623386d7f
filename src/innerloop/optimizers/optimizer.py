"""A learned rule as an ordinary optimizer of PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from innerloop.core.inner import InnerOptimizer, LearnedRates
from innerloop.core.numbers import check_number
from innerloop.core.task import InputError
from innerloop.optimizers.guarded import Guarded


class LearnedOptimizer(torch.optim.Optimizer):
    """Runs an update rule as a ``torch.optim.Optimizer``: parameter groups, schedulers, ``state_dict``.

    The rule sees each tensor by itself, so it must be one that needs no names: :class:`~innerloop.optimizers.MLPRule`,
    :class:`~innerloop.optimizers.LSTMRule`, ``inner.SGD``, ``inner.Adam``. The state holds what the rule remembers of
    each tensor; the rule's own weights are in ``rule.state_dict()``.

    Args:
        params: parameters, named or not, or groups of them, each with an ``lr`` of its own if wanted.
        rule: the update rule. Its weights are constants here.
        lr: factor of the rule's step: 1 is the step as trained. Schedulers change this one.

    Raises:
        InputError: for a rule that is none or that needs names, or a negative rate.

    Example:
        >>> import innerloop as il
        >>> net = il.nets.mlp(2, 8, 1)
        >>> optimizer = LearnedOptimizer(net.parameters(), il.optimizers.MLPRule())
        >>> net(torch.ones(4, 2)).square().mean().backward()
        >>> optimizer.step()
        >>> sorted(optimizer.state[net[0].bias]["memory"])
        ['momenta', 'second', 'step']
    """

    def __init__(self, params: ParamsT, rule: InnerOptimizer, lr: float = 1.0) -> None:
        if not isinstance(rule, InnerOptimizer):
            raise InputError(f"the rule is a {type(rule).__name__}; it must be an inner optimizer such as MLPRule()")
        if isinstance(rule, LearnedRates):
            raise InputError(
                "LearnedRates holds a rate for each name, and an optimizer knows none: give MLPRule() or Adam()"
            )
        check_number("lr, the factor of the steps as trained,", lr, "[0, inf)")
        self.rule = rule
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step of every parameter that has a gradient.

        Args:
            closure: computes the loss anew; called with gradients on. A guarded rule needs it.

        Returns:
            what the closure returned.

        Raises:
            InputError: for a guarded rule without a loss to watch.
        """
        if closure is None and isinstance(self.rule, Guarded):
            raise InputError("a guarded rule watches the loss: give step(closure), which computes and returns it")
        with torch.enable_grad():
            loss = closure() if closure is not None else None
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state, tensor = self.state[p], {"": p}
                if not state:
                    state["memory"] = self.rule.init(tensor)
                if isinstance(loss, Tensor):
                    state["memory"] = self.rule.told(loss.detach(), state["memory"])
                new, state["memory"] = self.rule.update({"": p.grad}, tensor, state["memory"])
                # At a weight of 1 this is the new value, to the bit.
                p.lerp_(new[""], group["lr"])
        return loss
