"""Around an inner optimizer: rates that change, clipped gradients, groups of parameters with rules of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from innerloop.core.inner.base import InnerOptimizer, Parameters, not_negative, positive, root
from innerloop.core.task import InputError


class Scheduled(InnerOptimizer):
    """A rule whose steps are stretched by a factor each, as ``torch.optim.lr_scheduler.LambdaLR`` does with a rate.

    Args:
        rule: whose steps.
        factors: of the first step, the second, ...; the last one stays.

    Raises:
        InputError: for no factor, or one that is negative or not finite.

    Example:
        >>> from innerloop.core.inner import SGD
        >>> halving = Scheduled(SGD(lr=1.0), [1.0, 0.5])
        >>> w, memory = {"w": torch.tensor([8.0])}, halving.init({"w": torch.tensor([8.0])})
        >>> for _ in range(3):
        ...     w, memory = halving.update({"w": torch.tensor([2.0])}, w, memory)
        >>> w["w"].item()
        4.0
    """

    def __init__(self, rule: InnerOptimizer, factors: Sequence[float]) -> None:
        super().__init__()
        if not isinstance(factors, Sequence) or not len(factors):
            raise InputError(f"the factors are {factors!r}: give a list of numbers, one a step, such as [1.0, 0.5]")
        for factor in factors:
            not_negative("factor", factor)
        self.rule, self.factors = rule, tuple(factors)

    def init(self, parameters: Parameters) -> tuple[int, Any]:  # noqa: D102
        return 0, self.rule.init(parameters)

    def update(  # noqa: D102
        self, gradients: Parameters, parameters: Parameters, memory: tuple[int, Any]
    ) -> tuple[Parameters, tuple[int, Any]]:
        step, inner = memory
        factor = self.factors[min(step, len(self.factors) - 1)]
        # Every rule here moves in proportion to its rate, and what it remembers does not depend on the rate.
        new, inner = self.rule.update(gradients, parameters, inner)
        return {k: p + factor * (new[k] - p) for k, p in parameters.items()}, (step + 1, inner)


class Clipped(InnerOptimizer):
    """A rule that sees clipped gradients, as by ``torch.nn.utils.clip_grad_norm_`` or ``clip_grad_value_``.

    Args:
        rule: that is given them.
        norm: the largest length of all gradients together.
        value: the largest size of each number.

    Raises:
        InputError: for neither or both, or one that is not positive.

    Example:
        >>> from innerloop.core.inner import SGD
        >>> w = {"w": torch.tensor([1.0])}
        >>> Clipped(SGD(lr=1.0), value=0.25).update({"w": torch.tensor([8.0])}, w, None)[0]
        {'w': tensor([0.7500])}
    """

    def __init__(self, rule: InnerOptimizer, norm: float | None = None, value: float | None = None) -> None:
        super().__init__()
        if (norm is None) == (value is None):
            raise InputError(
                f"norm={norm}, value={value}: give one of them, the norm of all gradients or a number's size"
            )
        if norm is not None:
            positive("limit of gradients", norm)
        if value is not None:
            positive("limit of gradients", value)
        self.rule, self.norm, self.value = rule, norm, value

    def init(self, parameters: Parameters) -> Any:  # noqa: D102
        return self.rule.init(parameters)

    def update(self, gradients: Parameters, parameters: Parameters, memory: Any) -> tuple[Parameters, Any]:  # noqa: D102
        if self.value is not None:
            clipped = {k: g.clamp(-self.value, self.value) for k, g in gradients.items()}
        elif self.norm is None or not gradients:
            clipped = gradients
        else:
            squares = torch.stack([g.square().sum() for g in gradients.values()])
            # What torch adds to the norm, so that both round alike.
            share = (self.norm / (root(squares.sum()) + 1e-6)).clamp(max=1.0)
            clipped = {k: g * share for k, g in gradients.items()}
        return self.rule.update(clipped, parameters, memory)


class Groups(InnerOptimizer):
    """Groups of parameters with a rule each, as an optimizer's parameter groups.

    Args:
        rules: by a pattern of names; a parameter follows the first that fits.

    Raises:
        InputError: for no rule, and at the first step for a parameter that no pattern fits.

    Example:
        >>> from innerloop.core.inner import SGD, Adam
        >>> rule = Groups({"out.*": SGD(lr=0.5), "*": Adam(lr=0.01)})
        >>> w = {"out.bias": torch.tensor([1.0]), "body.bias": torch.tensor([1.0])}
        >>> new, _ = rule.update({k: torch.ones(1) for k in w}, w, rule.init(w))
        >>> {k: round(p.item(), 3) for k, p in new.items()}
        {'out.bias': 0.5, 'body.bias': 0.99}
    """

    def __init__(self, rules: Mapping[str, InnerOptimizer]) -> None:
        super().__init__()
        if not isinstance(rules, Mapping) or not rules:
            raise InputError(
                f"the groups are {rules!r}: give a rule for each pattern of names, such as {{'*': SGD(0.1)}}"
            )
        self.patterns, self.rules = tuple(rules), nn.ModuleList(rules.values())

    def init(self, parameters: Parameters) -> tuple[Any, ...]:  # noqa: D102
        parts = self._parts(parameters)
        return tuple(self._rule(i).init(part) for i, part in enumerate(parts))

    def update(  # noqa: D102
        self, gradients: Parameters, parameters: Parameters, memory: tuple[Any, ...]
    ) -> tuple[Parameters, tuple[Any, ...]]:
        new, memories = dict(parameters), []
        for i, part in enumerate(self._parts(parameters)):
            moved, kept = (
                self._rule(i).update({k: gradients[k] for k in part}, part, memory[i]) if part else ({}, memory[i])
            )
            new.update(moved)
            memories.append(kept)
        return new, tuple(memories)

    def _rule(self, index: int) -> InnerOptimizer:
        rule = self.rules[index]
        assert isinstance(rule, InnerOptimizer)
        return rule

    def _parts(self, parameters: Parameters) -> list[Parameters]:
        parts: list[Parameters] = [{} for _ in self.patterns]
        for name, value in parameters.items():
            place = next((i for i, pattern in enumerate(self.patterns) if fnmatchcase(name, pattern)), None)
            if place is None:
                raise InputError(
                    f"no group of the inner optimizer fits the parameter {name!r}: its patterns are "
                    f"{', '.join(map(repr, self.patterns))}; add '*' for all others"
                )
            parts[place][name] = value
        return parts
