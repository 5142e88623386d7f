"""What an inner loop is made of: a network with other parameters, a gradient that is differentiated again, a rule."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import grad
from torch.utils import _pytree as pytree

from innerloop.core import batched
from innerloop.core.attention import plain_attention
from innerloop.core.construction import Recorded
from innerloop.core.numbers import check_number
from innerloop.core.patches import by_patches
from innerloop.core.swap import swapped
from innerloop.core.task import InputError

Parameters = dict[str, Tensor]


def call(net: nn.Module, parameters: Parameters, *inputs: Any) -> Any:
    """The network's outputs with other values of the parameters that are named, the rest as it has them.

    Raises:
        InputError: for a name that the network does not have.
    """
    with swapped(net, parameters), plain_attention():
        return net(*inputs)


def gradient(loss: Callable[..., Tensor], at: Parameters, *rest: Any, through: Iterable[Tensor] = ()) -> Parameters:
    """The gradient of ``loss(at, *rest)`` by ``at``, as ``torch.func.grad`` gives it.

    In a plain loop autograd itself gives it, without the layers that a transform puts around every operation.

    Args:
        loss: gives a scalar.
        at: by what to differentiate.
        rest: further arguments.
        through: tensors that the loss reads beside its arguments and that an outer gradient may want.
    """
    if by_patches() and batched.single():
        with plain_attention():
            return batched.gradient(loss, at, rest, through)
    if torch._C._functorch.peek_interpreter_stack() is not None or torch.is_inference_mode_enabled():
        with plain_attention():
            return grad(loss)(at, *rest)
    read = (leaf for leaf in pytree.tree_leaves((at, rest, list(through))) if isinstance(leaf, Tensor))
    graph = torch.is_grad_enabled() and any(leaf.requires_grad for leaf in read)
    with torch.enable_grad(), plain_attention():
        at = {k: p if graph and p.requires_grad else p.detach().requires_grad_() for k, p in at.items()}
        found = torch.autograd.grad(
            loss(at, *rest), list(at.values()), create_graph=graph, allow_unused=True, materialize_grads=True
        )
    return dict(zip(at, found, strict=True))


class InnerOptimizer(Recorded, ABC):
    """An update rule for the inner loop. A rule that is itself learned has parameters of its own."""

    @abstractmethod
    def init(self, parameters: Parameters) -> Any:
        """The memory before the first step."""

    @abstractmethod
    def update(self, gradients: Parameters, parameters: Parameters, memory: Any) -> tuple[Parameters, Any]:
        """One step: the new parameters and the new memory."""

    def told(self, loss: Tensor, memory: Any) -> Any:
        """The memory of a rule that has learned the loss, a scalar, at the parameters that its next step starts from.

        Training runs and :class:`~innerloop.optimizers.LearnedOptimizer` tell it; most rules do not listen.
        """
        return memory


def positive(name: str, value: float) -> None:
    """Refuse what is no positive and finite number.

    Raises:
        InputError: naming it.
    """
    check_number(f"the inner optimizer's {name}", value, "(0, inf)")


def not_negative(name: str, value: float) -> None:
    """Refuse what is no finite number of at least 0.

    Raises:
        InputError: naming it.
    """
    check_number(f"the inner optimizer's {name}", value, "[0, inf)")


def decay(name: str, value: float) -> None:
    """Refuse what is no decay of a running mean.

    Raises:
        InputError: naming it.
    """
    check_number(f"the inner optimizer's {name}", value, "[0, 1)")


def pair(name: str, values: object) -> None:
    """Refuse what is no two decays of running means.

    Raises:
        InputError: naming them.
    """
    if not (isinstance(values, tuple | list) and len(values) == 2):
        raise InputError(f"the inner optimizer's {name}s are {values!r}; they must be two numbers in [0, 1)")
    for number, value in enumerate(values, 1):
        decay(f"{name} {number}", value)


def root(x: Tensor) -> Tensor:
    """Square root whose derivative at 0 is 0 instead of infinite: a zero gradient must not make the outer one NaN."""
    zero = x == 0
    return x.masked_fill(zero, 1.0).sqrt().masked_fill(zero, 0.0)
