"""Lazy layers: those that learn their sizes from the first batch that they see."""

from __future__ import annotations

from torch import nn
from torch.nn.parameter import is_lazy

from innerloop.core.task import InputError


def check_materialized(module: nn.Module) -> None:
    """Refuse a network whose lazy layers have seen no batch: they have no weights to train, to adapt or to save yet.

    Raises:
        InputError: naming the layer and the remedy.

    Example:
        >>> check_materialized(nn.Linear(2, 1))
    """
    for name, part in module.named_modules():
        if any(is_lazy(p) for p in (*part.parameters(recurse=False), *part.buffers(recurse=False))):
            raise InputError(
                f"layer {name!r} ({type(part).__name__}) is lazy and has no weights yet: run one batch of inputs "
                f"through the network first, net(x), then build the learner"
            )
