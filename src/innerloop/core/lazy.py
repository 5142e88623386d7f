"""What is no network, and what is none yet: lazy layers learn their sizes from the first batch that they see."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.parameter import is_lazy

from innerloop.core.task import InputError


def check_network(value: Any) -> None:
    """Refuse what is no network: a class, a name, or nothing.

    Raises:
        InputError: naming it and the remedy.

    Example:
        >>> check_network(nn.Linear)
        Traceback (most recent call last):
        innerloop.core.task.InputError: the class Linear is no network: give an object of it, Linear(...)
    """
    if isinstance(value, type):
        raise InputError(f"the class {value.__name__} is no network: give an object of it, {value.__name__}(...)")
    if not isinstance(value, nn.Module):
        raise InputError(f"an object of type {type(value).__name__} is no network: give a torch.nn.Module")


def check_materialized(module: nn.Module) -> None:
    """Refuse a network whose lazy layers have seen no batch: they have no weights to train, to adapt or to save yet.

    Raises:
        InputError: naming the layer and the remedy, or for what is no network.

    Example:
        >>> check_materialized(nn.Linear(2, 1))
    """
    check_network(module)
    for name, part in module.named_modules():
        if any(is_lazy(p) for p in (*part.parameters(recurse=False), *part.buffers(recurse=False))):
            raise InputError(
                f"layer {name!r} ({type(part).__name__}) is lazy and has no weights yet: run one batch of inputs "
                f"through the network first, net(x), then build the learner"
            )
