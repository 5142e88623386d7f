"""A step that is taken many times: a loop in Python, and one node of the graph where a graph is exported."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

State = tuple[Tensor, ...]


def repeated(step: Callable[..., State], start: State, times: int) -> State:
    """The state after some steps.

    An exported graph then has a loop, and not each step after the other.

    Args:
        step: a new state from the old one's tensors, of the same shapes and dtypes.
        start: the first.
        times: how many steps.

    Example:
        >>> repeated(lambda a, b: (b, a + b), (torch.tensor(0), torch.tensor(1)), 10)
        (tensor(55), tensor(89))
    """
    if not torch.compiler.is_exporting():
        for _ in range(times):
            start = step(*start)
        return start
    from torch._higher_order_ops import while_loop

    def left(count: Tensor, *state: Tensor) -> Tensor:
        return count < times

    def after(count: Tensor, *state: Tensor) -> State:
        # What a step gives as it got it is another tensor in a graph.
        return count + 1, *(new.clone() for new in step(*state))

    done: State = while_loop(left, after, (torch.zeros((), dtype=torch.int64), *start))
    return done[1:]
