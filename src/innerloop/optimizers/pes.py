"""Persistent evolution strategies (Vicol, Metz, Sohl-Dickstein, ICML 2021, https://arxiv.org/abs/2112.13835).

The gradient of a long unroll's loss by its parameters, from short windows of it and without backpropagation: the
parameters are perturbed anew in each window, and a window's loss is credited to all perturbations since the unroll
began. So cutting the unroll into windows costs no bias. Choose it over unrolled gradients where the unroll is long, its
gradients explode, or its memory does not fit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor
from torch.utils import _pytree as pytree

from innerloop.core.inner import Parameters
from innerloop.core.numbers import check_count, check_number

#: A window of one unroll: (parameters, state) to (state at its end, its loss).
Window = Callable[[Parameters, Any], tuple[Any, Tensor]]


class PES:
    """Estimates a gradient window by window, over a batch of unrolls whose ages are spread evenly.

    Each call of :meth:`gradient` moves every unroll on by one window; one that has had all its windows starts afresh.
    In expectation the estimates sum over an unroll to the gradient of the sum of its windows' losses, as these are on
    average under the perturbations; where the loss is quadratic in the parameters, to the gradient itself.

    Args:
        begin: draws a batch of unrolls' first states from a generator: a pytree of tensors, a leading ``[T]`` on each.
        window: runs one window of **one** unroll; it is lifted by ``vmap``.
        windows: of a whole unroll.
        sigma: standard deviation of the perturbations, in the units of the parameters.

    Raises:
        InputError: for fewer than 1 window or a sigma that is not positive.

    Example:
        >>> begin = lambda generator: torch.zeros(4)
        >>> window = lambda theta, s: (s + theta["w"], (s + theta["w"] - 1) ** 2)
        >>> pes = PES(begin, window, windows=3, sigma=0.1)
        >>> gradient, loss = pes.gradient({"w": torch.zeros(())}, torch.Generator().manual_seed(0))
        >>> gradient["w"].shape, loss.shape
        (torch.Size([]), torch.Size([4]))
    """

    persistent = True

    def __init__(self, begin: Callable[[Generator], Any], window: Window, *, windows: int, sigma: float = 0.01) -> None:
        check_count("windows", windows, 1)
        check_number("sigma", sigma, "(0, inf)")
        self.begin, self.window, self.windows, self.sigma = begin, window, windows, sigma
        self._states: tuple[Any, Any] | None = None
        self._age = torch.zeros(0)
        self._sums: Parameters = {}

    @torch.no_grad()
    def gradient(self, parameters: Parameters, generator: Generator) -> tuple[Parameters, Tensor]:
        """The estimate from the next window of every unroll, averaged over unrolls.

        Args:
            parameters: by name.
            generator: of the perturbations and of fresh unrolls.

        Returns:
            the gradient by name, and each unroll's loss in this window, ``[T]``.
        """
        fresh = self.begin(generator)
        count = len(pytree.tree_leaves(fresh)[0])
        if self._states is None:
            self._states = fresh, fresh
            self._age = torch.arange(count) % self.windows
            self._sums = {k: p.new_zeros(count, *p.shape) for k, p in parameters.items()}
        over = self._age >= self.windows
        states = [pytree.tree_map(lambda new, old: _where(over, new, old), fresh, state) for state in self._states]
        noise = {k: self.sigma * torch.randn(s.shape, generator=generator).to(s) for k, s in self._sums.items()}
        kept = over if self.persistent else torch.ones_like(over)
        self._sums = {k: noise[k] + _where(kept, torch.zeros_like(s), s) for k, s in self._sums.items()}
        run = torch.func.vmap(self.window)
        up, above = run({k: p + noise[k] for k, p in parameters.items()}, states[0])
        down, below = run({k: p - noise[k] for k, p in parameters.items()}, states[1])
        self._states, self._age = (up, down), torch.where(over, 1, self._age + 1)
        weight = (above - below) / (2 * self.sigma**2 * count)
        gradient = {k: torch.tensordot(weight, s, 1) for k, s in self._sums.items()}
        return gradient, (above + below) / 2


class ES(PES):
    """Truncated evolution strategies: a window's loss is credited to the perturbation of this window alone.

    Biased, since what the parameters did in earlier windows to the state does not count; for comparison.
    """

    persistent = False


def _where(condition: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    return torch.where(condition.to(yes.device).view(-1, *[1] * (yes.ndim - 1)), yes, no)
