"""Differentiable inner optimizers: pure functions of gradients, parameters and memory.

Each equals its ``torch.optim`` namesake step by step, and a gradient passes through every step.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from numbers import Real
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import grad
from torch.utils import _pytree as pytree

from innerloop.core.attention import plain_attention
from innerloop.core.construction import Recorded
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


def positive(name: str, value: float) -> None:
    """Refuse what is no positive and finite number.

    Raises:
        InputError: naming it.
    """
    if not (_number(value) and value > 0):
        raise InputError(f"the inner optimizer's {name} is {value!r}; it must be positive and finite")


def not_negative(name: str, value: float) -> None:
    """Refuse what is no finite number of at least 0.

    Raises:
        InputError: naming it.
    """
    if not (_number(value) and value >= 0):
        raise InputError(f"the inner optimizer's {name} is {value!r}; it must be finite and at least 0")


def decay(name: str, value: float) -> None:
    """Refuse what is no decay of a running mean.

    Raises:
        InputError: naming it.
    """
    if not (_number(value) and 0 <= value < 1):
        raise InputError(f"the inner optimizer's {name} is {value!r}; it must lie in [0, 1)")


def _number(value: object) -> bool:
    if isinstance(value, Tensor):
        return value.numel() == 1 and bool(value.isfinite())
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


class SGD(InnerOptimizer):
    """Gradient descent, with heavy-ball or Nesterov momentum and weight decay as in ``torch.optim.SGD``.

    Raises:
        InputError: for what ``torch.optim.SGD`` refuses, and for a learning rate of 0.

    Example:
        >>> sgd = SGD(lr=0.5)
        >>> w = {"w": torch.tensor([1.0])}
        >>> sgd.update({"w": torch.tensor([1.0])}, w, sgd.init(w))[0]
        {'w': tensor([0.5000])}
    """

    def __init__(self, lr: float, momentum: float = 0.0, weight_decay: float = 0.0, nesterov: bool = False) -> None:
        super().__init__()
        positive("learning rate", lr)
        not_negative("momentum", momentum)
        not_negative("weight decay", weight_decay)
        if nesterov and not momentum:
            raise InputError("Nesterov's momentum needs a momentum above 0, such as momentum=0.9: leave nesterov out")
        self.lr, self.momentum, self.weight_decay, self.nesterov = lr, momentum, weight_decay, nesterov

    def init(self, parameters: Parameters) -> Parameters | None:  # noqa: D102
        return None

    def update(  # noqa: D102
        self, gradients: Parameters, parameters: Parameters, memory: Parameters | None
    ) -> tuple[Parameters, Parameters | None]:
        if self.weight_decay:
            gradients = {k: g + self.weight_decay * parameters[k] for k, g in gradients.items()}
        if self.momentum:
            memory = gradients if memory is None else {k: self.momentum * memory[k] + g for k, g in gradients.items()}
            ahead = {k: g + self.momentum * memory[k] for k, g in gradients.items()}
            gradients = ahead if self.nesterov else memory
        return {k: p - self.lr * gradients[k] for k, p in parameters.items()}, memory

    def extra_repr(self) -> str:  # noqa: D102
        return f"lr={self.lr}, momentum={self.momentum}, weight_decay={self.weight_decay}, nesterov={self.nesterov}"


class LearnedRates(InnerOptimizer):
    """Gradient descent with learned rates: they are meta-parameters, and may become negative.

    Args:
        parameters: the names of the parameters that are adapted; with their tensors for a rate for each number.
        lr: the rate that each one starts from.
        per: a rate for each ``"tensor"`` of parameters or for each ``"number"`` in them.

    Raises:
        InputError: for a rate that is not positive, an unknown ``per``, or names without tensors for ``"number"``.

    Example:
        >>> rates = LearnedRates(["w"], lr=0.5)
        >>> rates.update({"w": torch.tensor([1.0])}, {"w": torch.tensor([1.0])}, None)[0]["w"].item()
        0.5

    References:
        Li et al., *Meta-SGD*, 2017, https://arxiv.org/abs/1707.09835 (a rate for each number).
        Antoniou, Edwards, Storkey, *How to Train Your MAML*, ICLR 2019, https://arxiv.org/abs/1810.09502 (for each
        layer).
    """

    def __init__(
        self,
        parameters: Iterable[str] | Mapping[str, Tensor],
        lr: float,
        per: Literal["tensor", "number"] = "tensor",
    ) -> None:
        super().__init__()
        positive("learning rate", lr)
        if per not in ("tensor", "number"):
            raise InputError(f"learned rates per {per!r} are unknown; choose 'tensor' or 'number'")
        if per == "number" and not isinstance(parameters, Mapping):
            raise InputError("a rate for each number needs the parameters and not only their names: pass a mapping")
        # In the type and on the device of what they are rates of. ParameterDict takes no dots in its keys.
        like = parameters if isinstance(parameters, Mapping) else dict.fromkeys(parameters, torch.empty(0))
        rates = {
            name.replace(".", "/"): nn.Parameter(p.new_full(p.shape if per == "number" else (), lr))
            for name, p in like.items()
        }
        self.rates = nn.ParameterDict(rates)

    def init(self, parameters: Parameters) -> None:  # noqa: D102
        return None

    def update(self, gradients: Parameters, parameters: Parameters, memory: None) -> tuple[Parameters, None]:  # noqa: D102
        rates = {k: self.rates[k.replace(".", "/")].to(p.dtype) for k, p in parameters.items()}
        return {k: p - rates[k] * gradients[k] for k, p in parameters.items()}, memory


class Adam(InnerOptimizer):
    """Adam as in ``torch.optim.Adam``; ``betas=(0, 0.999)`` is the inner optimizer of the Reptile paper.

    Raises:
        InputError: for what ``torch.optim.Adam`` refuses, and for a learning rate of 0.

    References:
        Kingma, Ba, *Adam*, ICLR 2015, https://arxiv.org/abs/1412.6980.
    """

    def __init__(
        self, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0.0
    ) -> None:
        super().__init__()
        positive("learning rate", lr)
        if not (isinstance(betas, tuple | list) and len(betas) == 2):
            raise InputError(f"the inner optimizer's betas are {betas!r}; they must be two numbers in [0, 1)")
        for number, beta in enumerate(betas, 1):
            decay(f"beta {number}", beta)
        not_negative("eps", eps)
        not_negative("weight decay", weight_decay)
        self.lr, self.betas, self.eps, self.weight_decay = lr, betas, eps, weight_decay

    def init(self, parameters: Parameters) -> tuple[int, Parameters, Parameters]:  # noqa: D102
        zeros = {k: torch.zeros_like(p) for k, p in parameters.items()}
        return 0, zeros, zeros

    def update(  # noqa: D102
        self, gradients: Parameters, parameters: Parameters, memory: tuple[int, Parameters, Parameters]
    ) -> tuple[Parameters, tuple[int, Parameters, Parameters]]:
        if self.weight_decay:
            gradients = {k: g + self.weight_decay * parameters[k] for k, g in gradients.items()}
        steps, first, second = memory
        steps, (b1, b2) = steps + 1, self.betas
        first = {k: b1 * first[k] + (1 - b1) * g for k, g in gradients.items()}
        second = {k: b2 * second[k] + (1 - b2) * g * g for k, g in gradients.items()}
        rate, root = self.lr / (1 - b1**steps), math.sqrt(1 - b2**steps)
        new = {k: p - rate * first[k] / (_sqrt(second[k]) / root + self.eps) for k, p in parameters.items()}
        return new, (steps, first, second)

    def extra_repr(self) -> str:  # noqa: D102
        return f"lr={self.lr}, betas={self.betas}"


def _sqrt(x: Tensor) -> Tensor:
    """Square root whose derivative at 0 is 0 instead of infinite: a zero gradient must not make the outer one NaN."""
    zero = x == 0
    return x.masked_fill(zero, 1.0).sqrt().masked_fill(zero, 0.0)
