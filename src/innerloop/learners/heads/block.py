"""Other heads on parts of a feature vector, such as depths of a network, and the part that suits the examples.

A mix of parts, each of unit length, is the sum of their kernels. So a linear head on it is one on several kernels, and
what it keeps in closed form stays closed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from innerloop.core.learner import State
from innerloop.core.task import Examples, InputError, join
from innerloop.learners.head import Head, Joined


class Blocks(Head):
    """A head on parts of a feature vector, each scaled to unit length, in shares.

    Args:
        head: what learns from the parts, in a row.
        parts: of each the first place in the vector, the one after the last, and its squared length in the mix.
        power: to which the numbers are raised first, signs kept: 0.5 brings large and small ones nearer together.

    Raises:
        InputError: for no parts, parts without a place, shares that are not positive, or a power that is not.

    Example:
        >>> import innerloop as il
        >>> head = Blocks(il.learners.Prototypes(), parts=[(1, 3, 1.0)])
        >>> support = Examples(torch.tensor([[9.0, 0.0, 2.0], [5.0, 3.0, 0.0]]), torch.eye(2))
        >>> head.predict(head.adapt(support), torch.tensor([[7.0, 0.0, 1.0]]))
        tensor([[[-0., -2.]]])
    """

    def __init__(self, head: Head, *, parts: Sequence[tuple[int, int, float]], power: float = 1.0) -> None:
        super().__init__(head.likelihood)
        if not parts:
            raise InputError("no parts: give the first place, the one after the last, and the share of at least one")
        for start, stop, share in parts:
            if not 0 <= start < stop:
                raise InputError(f"a part from {start} to {stop}: give at least one place, counted from 0")
            if not (math.isfinite(share) and share > 0):
                raise InputError(f"the share of the part from {start} to {stop} is {share}; it must be positive")
        if not (math.isfinite(power) and power > 0):
            raise InputError(f"the power is {power}; it must be positive and finite")
        self.head = head
        self.parts = tuple((int(start), int(stop), float(share)) for start, stop, share in parts)
        self.power = power

    def adapt(self, support: Examples, state: State | None = None) -> State:  # noqa: D102
        return self.head.adapt(Examples(self._mixed(support.x), support.y), state)

    def predict(self, state: State, x: Tensor) -> Tensor:  # noqa: D102
        return self.head.predict(state, self._mixed(x))

    def held_out(self, support: Examples) -> Tensor | None:
        """The head's own closed form, as each example's parts are its own."""
        return self.head.held_out(Examples(self._mixed(support.x), support.y))

    def joined(self, support: Examples, x: Tensor) -> Joined | None:
        """The head's own closed form."""
        return self.head.joined(Examples(self._mixed(support.x), support.y), self._mixed(x))

    def numbers(self, examples: int, classes: int, features: int) -> int:
        """Those of the head on its parts."""
        return self.head.numbers(examples, classes, sum(stop - start for start, stop, _ in self.parts))

    def _mixed(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        if x.shape[1] < (most := max(stop for _, stop, _ in self.parts)):
            raise InputError(f"features have {x.shape[1]} numbers, and a part ends at {most}: give longer ones")
        if self.power != 1:
            x = x.sign() * x.abs() ** self.power
        return torch.cat([share**0.5 * F.normalize(x[:, start:stop], dim=1) for start, stop, share in self.parts], 1)

    def extra_repr(self) -> str:  # noqa: D102
        return f"parts={self.parts}, power={self.power}"


class LikenessFit(NamedTuple):
    """The examples, how alike their classes are, and what each head learned."""

    examples: Examples
    likeness: Tensor
    """Of examples of different classes, the mean cosine."""
    states: tuple[State, ...]


class ByLikeness(Head):
    """The head that suits how alike the classes look: the more alike by one part of the features, the later in a row.

    A network's last layer tells its own kind of pictures apart by far. Where all classes look the same to it, its
    earlier layers know more. A single example a class, from which nothing can be left out, shows that too.

    Args:
        heads: from the one for classes that differ to the one for classes that look alike.
        limits: of the mean cosine of examples of different classes, ascending, one less than heads: from the first of
            them on it is the second head, and so on.
        start: the first place in a feature vector of the part that is looked at.
        stop: the one after the last; default all.

    Raises:
        InputError: for limits that are not one less than heads, or do not ascend.

    Example:
        >>> import innerloop as il
        >>> head = ByLikeness([il.learners.Prototypes(distance="cosine"), il.learners.Prototypes()], limits=[0.5])
        >>> alike = Examples(torch.tensor([[9.0, 1.0], [8.0, 2.0]]), torch.eye(2))
        >>> head.predict(head.adapt(alike), torch.tensor([[9.0, 1.0]]))
        tensor([[[-0., -2.]]])
    """

    def __init__(
        self, heads: Sequence[Head], *, limits: Sequence[float], start: int = 0, stop: int | None = None
    ) -> None:
        if len(heads) != len(limits) + 1:
            raise InputError(f"{len(heads)} heads and {len(limits)} limits: give one head more than limits")
        if list(limits) != sorted(limits):
            raise InputError(f"the limits {tuple(limits)} do not ascend: give them in order")
        if start < 0 or (stop is not None and stop <= start):
            raise InputError(f"a part from {start} to {stop}: give at least one place, counted from 0")
        super().__init__(heads[0].likelihood)
        self.heads = nn.ModuleList(heads)
        self.limits, self.start, self.stop = tuple(map(float, limits)), start, stop

    def adapt(self, support: Examples, state: LikenessFit | None = None) -> LikenessFit:  # noqa: D102
        support = join(state.examples if state else None, support)
        total, pairs, _, _ = self._alike(support)
        return LikenessFit(support, total / pairs.clamp(min=1), tuple(head.adapt(support) for head in self._all()))

    def predict(self, state: LikenessFit, x: Tensor) -> Tensor:  # noqa: D102
        raw = torch.stack([head.predict(one, x) for head, one in zip(self._all(), state.states, strict=True)])
        return self._chosen(raw, state.likeness.view(1, 1, 1))

    def held_out(self, support: Examples) -> Tensor | None:
        """Those of the heads; an example that is left out takes its pairs with it."""
        found = [head.held_out(support) for head in self._all()]
        raw = [one for one in found if one is not None]
        if len(raw) < len(found):
            return None
        total, pairs, own_total, own_pairs = self._alike(support)
        likeness = (total - 2 * own_total) / (pairs - 2 * own_pairs).clamp(min=1)
        return self._chosen(torch.stack(raw), likeness.unsqueeze(1))

    def numbers(self, examples: int, classes: int, features: int) -> int:
        """Those of all heads, and the cosines of all pairs."""
        own = sum(head.numbers(examples, classes, features) for head in self._all())
        return own + examples * (examples + features)

    def _all(self) -> list[Head]:
        return list(self.heads)  # type: ignore[arg-type]

    def _alike(self, support: Examples) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Sums and counts over pairs of different classes: of all (each pair twice), and of each example's."""
        z = F.normalize(support.x.flatten(1)[:, self.start : self.stop], dim=1)
        apart = 1 - support.y @ support.y.mT
        own_total, own_pairs = (z @ z.mT * apart).sum(1), apart.sum(1)
        return own_total.sum(), own_pairs.sum(), own_total, own_pairs

    def _chosen(self, raw: Tensor, likeness: Tensor) -> Tensor:
        """Of ``raw [heads, ...]`` that of the head that the likeness belongs to."""
        found = raw[0]
        for limit, other in zip(self.limits, raw[1:], strict=True):
            found = torch.where(likeness >= limit, other, found)
        return found

    def extra_repr(self) -> str:  # noqa: D102
        return f"limits={self.limits}, start={self.start}, stop={self.stop}"
