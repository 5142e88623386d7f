"""An inner loop by hand: for those who write their own, or come from higher and learn2learn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from innerloop.core.attention import plain_attention
from innerloop.core.inner.base import InnerOptimizer, Parameters
from innerloop.core.lazy import check_materialized
from innerloop.core.modes import modes_kept
from innerloop.core.norm import check_inner_loop, freeze_running
from innerloop.core.swap import swapped
from innerloop.core.task import InputError


class InnerLoop:
    """A network with parameters of its own, which steps of an inner optimizer change; the network keeps its own.

    Made by :func:`inner_loop`.
    """

    def __init__(self, net: nn.Module, rule: InnerOptimizer, parameters: Parameters, first_order: bool) -> None:
        self.net, self.rule, self.first_order = net, rule, first_order
        #: The adapted parameters by name; a gradient passes through them to the network's.
        self.parameters = parameters
        self.memory = rule.init(parameters)

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """What the network gives with the adapted parameters."""
        with swapped(self.net, self.parameters), plain_attention():
            return self.net(*inputs, **options)

    def step(self, loss: Tensor) -> None:
        """One inner step down a loss of what this gave.

        Args:
            loss: a scalar.

        Raises:
            InputError: for a loss that is no scalar, has no graph, or does not depend on a parameter that adapts.
        """
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            shape = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
            raise InputError(f"an inner step needs a loss that is one number, not {shape}: take its mean or its sum")
        if not loss.requires_grad:
            raise InputError(
                "the loss has no gradient: it was computed under torch.no_grad(), detached, or from another network; "
                "compute it from what fast(x) gives, and leave no_grad out"
            )
        found = torch.autograd.grad(
            loss.sum(), list(self.parameters.values()), create_graph=not self.first_order, retain_graph=True,
            allow_unused=True,
        )  # fmt: skip
        gradients = dict(zip(self.parameters, found, strict=True))
        unused = [name for name, gradient in gradients.items() if gradient is None]
        if unused:
            raise InputError(
                f"the loss does not depend on {', '.join(unused[:3])}: name what adapts, inner_loop(net, rule, "
                f"adapts=...), or compute the loss from what fast(x) gives"
            )
        self.parameters, self.memory = self.rule.update(gradients, self.parameters, self.memory)


@contextmanager
def inner_loop(
    net: nn.Module, rule: InnerOptimizer, *, adapts: str | Sequence[str] = "*", first_order: bool = False
) -> Iterator[InnerLoop]:
    """An inner loop by hand, on any network and any loss, that a gradient passes through.

    Within, running statistics of batch norm stay as they are, and each call normalizes by the statistics of its own
    batch where the policy is "support" (:class:`~innerloop.MAML` keeps those of the support set). What is computed
    there can be used after it as well.

    Args:
        net: any module.
        rule: the inner optimizer, such as ``il.inner.SGD(lr=0.4)``; one with parameters of its own is learned too.
        adapts: one or several patterns of the names of the parameters that change.
        first_order: take the inner gradients for constants.

    Raises:
        InputError: for a pattern that no parameter fits, or a network that no inner loop can run.

    Example:
        >>> import torch, innerloop as il
        >>> from torch.nn import functional as F
        >>> net, x = torch.nn.Linear(2, 1), torch.ones(3, 2)
        >>> with il.inner_loop(net, il.inner.SGD(lr=0.1)) as fast:
        ...     for _ in range(5):
        ...         fast.step(F.mse_loss(fast(x), torch.zeros(3, 1)))
        ...     outer = F.mse_loss(fast(x), torch.ones(3, 1))
        >>> outer.backward()
        >>> net.weight.grad.shape
        torch.Size([1, 2])

    References:
        Finn, Abbeel, Levine, *Model-Agnostic Meta-Learning*, ICML 2017, https://arxiv.org/abs/1703.03400. Grefenstette
        et al., *Generalized Inner Loop Meta-Learning*, 2019, https://arxiv.org/abs/1910.01727.
    """
    if not isinstance(rule, InnerOptimizer):
        kind = rule.__name__ if isinstance(rule, type) else type(rule).__name__
        raise InputError(f"{kind} is no inner optimizer: give one of il.inner, such as il.inner.SGD(lr=0.1)")
    check_materialized(net)
    check_inner_loop(net)
    patterns = [adapts] if isinstance(adapts, str) else list(adapts)
    known = dict(net.named_parameters())
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in known):
            raise InputError(
                f"adapts={pattern!r} fits no parameter of the network: its names are {', '.join(known) or 'none'}"
            )
    chosen = {k: p for k, p in known.items() if any(fnmatchcase(k, pattern) for pattern in patterns)}
    # A frozen parameter adapts all the same; no outer gradient reaches it.
    start = {k: p if p.requires_grad else p.detach().requires_grad_() for k, p in chosen.items()}
    with modes_kept(net):
        freeze_running(net)
        yield InnerLoop(net, rule, start, first_order)
