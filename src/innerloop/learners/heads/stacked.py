"""Several heads on parts of a feature vector, weighed for each task by examples that are left out (stacking).

Wolpert (Neural Networks 1992) and Breiman (Machine Learning 1996) weigh predictors by how well they tell what they have
not seen. With a dozen examples a class the weights are uncertain themselves, so they have a prior. The evidence is
exact. It comes in pairs of examples of different classes that are left out together, as leaving out one alone makes its
class the smaller one, and every head leans away from the right answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from innerloop.core.learner import State
from innerloop.core.likelihood import Categorical, Likelihood
from innerloop.core.repeat import repeated
from innerloop.core.task import Examples, InputError, Task, count, join, take
from innerloop.learners.head import Head

#: Examples up to which pairs are left out; with more the tilt of leaving out one is small.
MOST = 64
_STEPS = 12


class StackFit(NamedTuple):
    """The examples, since a further one changes all; what each head learned; the factors of their logits ``[H]``."""

    examples: Examples
    states: tuple[State, ...]
    weights: Tensor


class Stacked(Head):
    """Heads on parts of a feature vector; their logits are added with weights of the task's own.

    The weights are those of the largest penalized likelihood of the right order of two examples of different classes,
    both left out. Each head's logits are divided first by the typical size of their margins over meta-training tasks,
    which :meth:`calibrate` finds; before it is the task's own. Where nothing can be left out (one example a class) the
    weights are the prior's.

    Meta-training trains each head, and the encoder through it, by its own outer objective.

    Args:
        heads: of classes, deterministic.
        parts: for each head the first place in the vector and the one after the last.
        prior: mean of the weights, one for all or each its own.
        strength: what the squared distances of the weights to it count, beside the examples: twice as many are trusted
            half as much. 0 trusts the examples alone.
        likelihood: default :class:`~innerloop.Categorical`.

    Raises:
        InputError: for no heads, parts that do not fit them, or a number that is negative or not finite.

    Example:
        >>> import innerloop as il
        >>> head = Stacked([il.learners.Prototypes(), il.learners.Prototypes()], parts=[(0, 1), (1, 2)], strength=1.0)
        >>> x = torch.tensor([[0.0, 3.0], [0.1, -2.0], [1.0, 2.0], [1.1, -3.0]])
        >>> state = head.adapt(Examples(x, torch.eye(2)[[0, 0, 1, 1]]))
        >>> bool(state.weights[0] > state.weights[1])
        True

    References:
        Wolpert, *Stacked generalization*, Neural Networks 1992. Breiman, *Stacked regressions*, Machine Learning 1996.
    """

    typical: Tensor

    def __init__(
        self,
        heads: Sequence[Head],
        *,
        parts: Sequence[tuple[int, int]],
        prior: float | Sequence[float] = 0.5,
        strength: float = 20.0,
        likelihood: Likelihood | None = None,
    ) -> None:
        super().__init__(likelihood or Categorical())
        if not heads or len(heads) != len(parts):
            raise InputError(f"{len(heads)} heads and {len(parts)} parts: give at least one, and a part for each")
        for start, stop in parts:
            if not 0 <= start < stop:
                raise InputError(f"a part from {start} to {stop}: give at least one place, counted from 0")
        means = [float(prior)] * len(heads) if isinstance(prior, int | float) else [float(one) for one in prior]
        if len(means) != len(heads) or not all(math.isfinite(one) and one >= 0 for one in (*means, strength)):
            raise InputError(
                f"prior {prior}, strength {strength}: give numbers of 0 or more, and one mean or one for each of the "
                f"{len(heads)} heads"
            )
        self.heads = nn.ModuleList(heads)
        self.parts = tuple((int(start), int(stop)) for start, stop in parts)
        self.prior, self.strength = tuple(means), float(strength)
        self.register_buffer("typical", torch.zeros(len(heads)))

    @property
    def looks(self) -> bool:  # noqa: D102
        return True

    def adapt(self, support: Examples, state: StackFit | None = None) -> StackFit:  # noqa: D102
        support = join(state.examples if state else None, support)
        each = self._split(support)
        states = tuple(head.adapt(part) for head, part in zip(self._heads(), each, strict=True))
        return StackFit(support, states, self._weights(support))

    def predict(self, state: StackFit, x: Tensor) -> Tensor:  # noqa: D102
        each = zip(self._heads(), state.states, self.divided(x), strict=True)
        raw = [head.predict(one, part) for head, one, part in each]
        known = state.examples.y.sum(0) > 0
        # A weight of 0 times the minus infinity of an absent class is no number.
        total = sum(share * one.masked_fill(~known, 0.0) for share, one in zip(state.weights, raw, strict=True))
        return torch.as_tensor(total).masked_fill(~known, -math.inf)

    def loss(self, task: Task) -> Tensor:
        """The heads' own outer objectives, added."""
        sides = zip(self.divided(task.support.x), self.divided(task.query.x), strict=True)
        tasks = [Task(Examples(x, task.support.y), Examples(xq, task.query.y)) for x, xq in sides]
        return torch.stack([head.loss(one) for head, one in zip(self._heads(), tasks, strict=True)]).sum()

    @torch.no_grad()
    def calibrate(self, tasks: Iterable[Task]) -> None:
        """What the heads want to see, and how large the margins of pairs that are left out are."""
        tasks = list(tasks)
        for head, (start, stop) in zip(self._heads(), self.parts, strict=True):
            if head.looks:
                head.calibrate(
                    Task(*(Examples(p.x.flatten(2)[..., start:stop], p.y) for p in batch)) for batch in tasks
                )
        total, seen = torch.zeros_like(self.typical), 0.0
        for batch in tasks:
            for t in range(count(batch)):
                margins, told = self.margins(take(batch, t).support)
                total, seen = total + (margins.square() * told).sum((1, 2)), seen + float(told.sum())
        if seen:
            self.typical.copy_((total / seen).sqrt().clamp(min=1e-12))

    def numbers(self, examples: int, classes: int, features: int) -> int:
        """Those of the heads, and of all pairs."""
        each = [
            h.numbers(examples, classes, stop - start)
            for h, (start, stop) in zip(self._heads(), self.parts, strict=True)
        ]
        return sum(each) + 2 * len(each) * classes * examples**2

    def _heads(self) -> list[Head]:
        return list(self.heads)  # type: ignore[arg-type]

    def _split(self, support: Examples) -> list[Examples]:
        return [Examples(part, support.y) for part in self.divided(support.x)]

    def divided(self, x: Tensor) -> list[Tensor]:
        """The part of each head."""
        x = x.flatten(1)
        if x.shape[1] < (most := max(stop for _, stop in self.parts)):
            raise InputError(f"features have {x.shape[1]} numbers, and a part ends at {most}: give longer ones")
        return [x[:, start:stop] for start, stop in self.parts]

    def _weights(self, support: Examples) -> Tensor:
        """By Newton steps from the prior: the problem is convex."""
        margins, told = self.margins(support)
        pairs = told.sum()
        own_size = ((margins.square() * told).sum((1, 2)) / pairs.clamp(min=1)).sqrt()
        own_size = torch.where(own_size > 0, own_size, torch.ones_like(own_size))
        typical = self.typical.to(margins)
        typical = torch.where(typical > 0, typical, own_size)
        rows = (margins / typical.view(-1, 1, 1)).flatten(1)
        # All pairs together count as much as the examples.
        counts = told.flatten() * (margins.shape[1] / pairs.clamp(min=1))
        mean = torch.tensor(self.prior, dtype=rows.dtype, device=rows.device)
        penalty = torch.eye(len(rows), dtype=rows.dtype, device=rows.device) * max(self.strength, 1e-3)

        def newton(weights: Tensor) -> tuple[Tensor]:
            wrong = torch.sigmoid(-weights @ rows)
            slope = penalty @ (weights - mean) - rows @ (counts * wrong)
            curve = penalty + (rows * (counts * wrong * (1 - wrong))) @ rows.mT
            return (weights - torch.linalg.solve(curve, slope),)

        (weights,) = repeated(newton, (mean,), _STEPS)
        # A head that tells the wrong order is left out and not turned around.
        return weights.clamp(min=1e-3) / typical

    @torch.no_grad()
    def margins(self, support: Examples) -> tuple[Tensor, Tensor]:
        """How far each head puts two examples of different classes, both left out, in their right order.

        Args:
            support: features ``[N, H]``, rows ``[N, D]``.

        Returns:
            of classes c and d, an example of each: how much more the first looks like c rather than d than the other
            does, ``[heads, N, N]``; and ones for the pairs that tell, each once, ``[N, N]``.
        """
        y = support.y
        rest = y @ y.sum(0)
        told = (1 - y @ y.mT) * (rest > 1.5) * (rest > 1.5).unsqueeze(1)
        found = []
        for head, part in zip(self._heads(), self._split(support), strict=True):
            left = _left_out(head, part)
            own, other = (left * y.unsqueeze(1)).nan_to_num(), (left * y.unsqueeze(0)).nan_to_num()
            lean = own.sum(2) - other.sum(2)
            found.append(torch.where(told > 0, lean + lean.mT, torch.zeros_like(lean)))
        return torch.stack(found), torch.triu(told)

    def extra_repr(self) -> str:  # noqa: D102
        return f"parts={self.parts}, prior={self.prior}, strength={self.strength}"


def _left_out(head: Head, support: Examples) -> Tensor:
    """Logits of each example, with each other one left out too, ``[N, N, D]``; beyond many examples it alone."""
    x, y = support
    size = len(x)
    if size <= MOST and size > 2:
        found = head.held_out_pairs(support)
        if found is not None:
            return found
        first, second = torch.triu_indices(size, size, 1, device=x.device)
        place = torch.arange(size - 2, device=x.device)
        kept = place + (place >= first.unsqueeze(1))
        kept = kept + (kept >= second.unsqueeze(1))

        def pair(rows: Tensor, i: Tensor, j: Tensor) -> Tensor:
            state = head.adapt(Examples(x[rows], y[rows]))
            return head.predict(state, x[torch.stack((i, j))])[0]

        raw = torch.func.vmap(pair)(kept, first, second)
        filled = torch.zeros(size, size, y.shape[1], dtype=raw.dtype, device=raw.device)
        filled = filled.index_put((first, second), raw[:, 0])
        return filled.index_put((second, first), raw[:, 1])
    alone = head.held_out(support)
    if alone is None:
        place = torch.arange(size - 1, device=x.device)
        each = torch.arange(size, device=x.device)
        kept = place + (place >= each.unsqueeze(1))
        alone = torch.func.vmap(
            lambda rows, i: head.predict(head.adapt(Examples(x[rows], y[rows])), x[i].unsqueeze(0))[0, 0]
        )(kept, each)
    return alone.unsqueeze(1).expand(-1, size, -1)
