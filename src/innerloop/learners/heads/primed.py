"""Another head that has seen some examples before the task's: the words that a class is called, or what a rule says.

They are examples like all others, but never left out: what is told of the task's examples by leave-one-out is told by
what was known before and by the other examples. So even the only example of a class can be left out.
"""

from __future__ import annotations

from torch import Tensor

from innerloop.core.learner import State
from innerloop.core.task import Examples, InputError, join
from innerloop.learners.head import Head, Joined


class Primed(Head):
    """A head that learns from examples of its own beside those of the task.

    Args:
        head: that learns.
        x: features of its own examples, ``[P, H]``.
        y: their classes, one-hot rows ``[P, D]``: so it serves tasks of these D classes alone.

    Raises:
        InputError: for examples that are no such matrices.

    Example:
        >>> import innerloop as il
        >>> head = Primed(il.learners.Prototypes(), torch.tensor([[0.0], [8.0]]), torch.eye(2))
        >>> state = head.adapt(Examples(torch.tensor([[2.0]]), torch.tensor([[1.0, 0.0]])))
        >>> head.predict(state, torch.tensor([[1.0]]))
        tensor([[[ -0., -49.]]])

    References:
        Xing, Rostamzadeh, Oreshkin, Pinheiro, *Adaptive Cross-Modal Few-shot Learning*, NeurIPS 2019,
        https://arxiv.org/abs/1902.07104 (classes' names beside their examples).
    """

    x: Tensor
    y: Tensor

    def __init__(self, head: Head, x: Tensor, y: Tensor) -> None:
        super().__init__(head.likelihood)
        if x.ndim != 2 or y.ndim != 2 or len(x) != len(y) or not len(x):
            raise InputError(
                f"a head's own examples have features {tuple(x.shape)}, classes {tuple(y.shape)}: give [P, H], [P, D]"
            )
        self.head = head
        self.register_buffer("x", x)
        self.register_buffer("y", y)

    def adapt(self, support: Examples, state: State | None = None) -> State:  # noqa: D102
        return self.head.adapt(self._own(support) if state is None else support, state)

    def predict(self, state: State, x: Tensor) -> Tensor:  # noqa: D102
        return self.head.predict(state, x)

    def held_out(self, support: Examples) -> Tensor | None:
        """The head's, of the task's examples alone."""
        found = self.head.held_out(self._own(support))
        return None if found is None else found[self.x.shape[0] :]

    def joined(self, support: Examples, x: Tensor) -> Joined | None:
        """The head's, of the task's examples and the query alone."""
        found = self.head.joined(self._own(support), x)
        return None if found is None else Joined(*(part[:, self.x.shape[0] :] for part in found))

    def numbers(self, examples: int, classes: int, features: int) -> int:
        """Those of the head on all examples."""
        return self.head.numbers(examples + len(self.x), classes, features)

    def _own(self, support: Examples) -> Examples:
        return join(Examples(self.x.to(support.x), self.y.to(support.y)), Examples(support.x.flatten(1), support.y))
