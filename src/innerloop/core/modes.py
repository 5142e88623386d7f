"""Training and evaluation mode, which whoever looks at a module leaves as they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def modes_kept(module: nn.Module) -> Iterator[None]:
    """Afterwards each part of a module has the mode that it had, whatever was done to it within."""
    modes = {part: part.training for part in module.modules()}
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Within, a module is in evaluation mode; afterwards each of its parts has the mode that it had.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 1), nn.Dropout().eval())
        >>> with evaluating(net):
        ...     net.training
        False
        >>> [part.training for part in net.modules()]
        [True, True, False]
    """
    with modes_kept(module):
        module.eval()
        yield
