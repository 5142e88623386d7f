"""Any learner on feature vectors, behind an encoder."""

from __future__ import annotations

import math
from typing import NamedTuple, Self

from torch import Tensor, nn

from innerloop.core import norm
from innerloop.core.learner import Learner, State
from innerloop.core.task import Examples, InputError, Task


class EmbeddedState(NamedTuple):
    """What the head learned, and the support statistics where the encoder's norm policy keeps them."""

    head: State
    statistics: norm.Statistics


class Embedded(Learner):
    """An encoder and a head, the head itself a learner on the encoder's features.

    Every head takes every encoder, a frozen one too (``encoder.requires_grad_(False)``): that one stays in evaluation
    mode.

    Args:
        encoder: any module ``[N, *F] -> [N, *H]`` that sees each example alone (normalization apart).
        head: a learner on ``[N, *H]``.

    Example:
        >>> import innerloop as il
        >>> Embedded(il.nets.conv4(), il.Prototypes()).norm
        'running'
    """

    def __init__(self, encoder: nn.Module, head: Learner) -> None:
        super().__init__(head.likelihood)
        self.encoder, self.head = encoder, head
        self.looks_at_queries = head.looks_at_queries

    def adapt(self, support: Examples, state: EmbeddedState | None = None) -> EmbeddedState:  # noqa: D102
        with norm.recording() as statistics:
            z = self.encoder(support.x)
        return EmbeddedState(self.head.adapt(Examples(z, support.y), state.head if state else None), statistics)

    def predict(self, state: EmbeddedState, x: Tensor) -> Tensor:  # noqa: D102
        with norm.replaying(state.statistics):
            z = self.encoder(x)
        return self.head.predict(state.head, z)

    def loss(self, task: Task) -> Tensor:
        """The head's outer objective, on the features."""
        (x, y), query = task
        with norm.recording() as statistics:
            z = self.encoder(x)
        with norm.replaying(statistics):
            zq = self.encoder(query.x)
        return self.head.loss(Task(Examples(z, y), Examples(zq, query.y)))

    def train(self, mode: bool = True) -> Self:
        """Set the mode as usual, except that a frozen encoder, or frozen batch norm in it, stays in evaluation mode."""
        super().train(mode)
        parameters = list(self.encoder.parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            self.encoder.eval()
        return self

    def split(self) -> tuple[nn.Module | None, Learner]:  # noqa: D102
        return self.encoder, self.head


def vector_size(encoder: nn.Module, features: int | None = None) -> int:
    """H, as given or as the encoder says (for feature maps all their numbers).

    Raises:
        InputError: if neither does.

    Example:
        >>> import innerloop as il
        >>> vector_size(il.nets.conv4())
        64
    """
    size = features or math.prod(getattr(encoder, "features", (0,)))
    if not size:
        raise InputError(f"{type(encoder).__name__} does not say the size of its features: pass features=")
    return int(size)
