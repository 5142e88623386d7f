"""Gradient descent as an inner optimizer."""

from __future__ import annotations

from innerloop.core.inner.base import InnerOptimizer, Parameters, not_negative, positive
from innerloop.core.task import InputError


class SGD(InnerOptimizer):
    """Gradient descent, with heavy-ball or Nesterov momentum and weight decay as in ``torch.optim.SGD``.

    Args:
        lr: the rate.
        momentum: what the last step counts in the next one.
        weight_decay: times the parameters, added to their gradient.
        nesterov: look ahead by the momentum.
        dampening: share of the gradient that the momentum does not take up.

    Raises:
        InputError: for what ``torch.optim.SGD`` refuses, and for a learning rate of 0.

    Example:
        >>> sgd = SGD(lr=0.5)
        >>> w = {"w": torch.tensor([1.0])}
        >>> sgd.update({"w": torch.tensor([1.0])}, w, sgd.init(w))[0]
        {'w': tensor([0.5000])}
    """

    def __init__(
        self,
        lr: float,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        dampening: float = 0.0,
    ) -> None:
        super().__init__()
        positive("learning rate", lr)
        not_negative("momentum", momentum)
        not_negative("weight decay", weight_decay)
        not_negative("dampening", dampening)
        if nesterov and (not momentum or dampening):
            raise InputError(
                f"Nesterov's momentum needs a momentum above 0 and no dampening, not {momentum} and {dampening}: give "
                f"momentum=0.9 alone, or leave nesterov out"
            )
        self.lr, self.momentum, self.weight_decay = lr, momentum, weight_decay
        self.nesterov, self.dampening = nesterov, dampening

    def init(self, parameters: Parameters) -> Parameters | None:  # noqa: D102
        return None

    def update(  # noqa: D102
        self, gradients: Parameters, parameters: Parameters, memory: Parameters | None
    ) -> tuple[Parameters, Parameters | None]:
        if self.weight_decay:
            gradients = {k: g + self.weight_decay * parameters[k] for k, g in gradients.items()}
        if self.momentum:
            before, taken = memory, 1 - self.dampening
            if before is None:
                memory = gradients
            else:
                memory = {k: self.momentum * before[k] + taken * g for k, g in gradients.items()}
            ahead = {k: g + self.momentum * memory[k] for k, g in gradients.items()}
            gradients = ahead if self.nesterov else memory
        return {k: p - self.lr * gradients[k] for k, p in parameters.items()}, memory

    def extra_repr(self) -> str:  # noqa: D102
        return f"lr={self.lr}, momentum={self.momentum}, weight_decay={self.weight_decay}, nesterov={self.nesterov}"
