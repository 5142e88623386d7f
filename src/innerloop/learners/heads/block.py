"""Heads on parts of a feature vector, such as depths of a network, and the mix of them that suits the examples.

A mix of parts, each of unit length, is the sum of their kernels. So a linear head on it is one on several kernels, and
what it keeps in closed form stays closed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from innerloop.core.learner import State
from innerloop.core.likelihood import Categorical, Likelihood
from innerloop.core.numbers import check_number
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
            check_number(f"the share of the part from {start} to {stop}", share, "(0, inf)")
        check_number("the power", power, "(0, inf)")
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


class MixFit(NamedTuple):
    """The examples, since a further one changes the whole fit, and the classifier on the parts in a row."""

    examples: Examples
    weight: Tensor
    """``[D, H]``."""
    bias: Tensor
    """``[D]``."""


class _Fits(NamedTuple):
    """Of every mix and penalty, ``[K, ...]``."""

    dual: Tensor
    """``[K, N, D]``."""
    hat: Tensor
    """What each fitted row takes from each target, ``[K, N, N]``."""
    residual: Tensor
    """``[K, N, D]``."""


class MixedRidge(Head):
    """Ridge on the mix of parts of a feature vector that the examples left out are told best by.

    Mix and penalty are those of the least squared error of leave-one-out. Where every class has a single example, so
    that nothing can be left out, the mix is told by how alike the classes look: a network's last layer tells its own
    kind of pictures apart by far, and where all classes look the same to it, its earlier layers know more.

    Args:
        parts: of each the first place in the vector and the one after the last. Each is scaled to unit length.
        mixes: shares of the parts, from the mix for classes that differ to the one for classes that look alike.
        limits: of the mean cosine of examples of different classes by the first part, ascending, one less than mixes:
            from the first of them on it is the second mix, and so on.
        penalties: what the squared weights may count, ascending; without leave-one-out it is the middle one.
        scale: factor of the logits, which are the fitted rows.
        likelihood: default :class:`~innerloop.Categorical`.

    Raises:
        InputError: for parts without a place, mixes that do not fit the parts or limits, or a number out of range.

    Example:
        >>> head = MixedRidge(parts=[(0, 2), (2, 4)], mixes=[(1.0, 0.0), (0.0, 1.0)], limits=[0.9])
        >>> support = Examples(torch.tensor([[1.0, 0.0, 5.0, 5.0], [0.0, 1.0, 5.0, 4.0]]), torch.eye(2))
        >>> head.predict(head.adapt(support), torch.tensor([[0.0, 1.0, 5.0, 5.0]])).argmax(2)
        tensor([[1]])

    References:
        Allen, *The relationship between variable selection and data augmentation*, Technometrics 1974. Bach, Lanckriet,
        Jordan, *Multiple kernel learning, conic duality, and the SMO algorithm*, ICML 2004.
    """

    shares: Tensor
    penalties: Tensor

    def __init__(
        self,
        *,
        parts: Sequence[tuple[int, int]],
        mixes: Sequence[Sequence[float]],
        limits: Sequence[float],
        penalties: Sequence[float] = (0.03, 0.1, 0.3),
        scale: float = 10.0,
        likelihood: Likelihood | None = None,
    ) -> None:
        super().__init__(likelihood or Categorical())
        for start, stop in parts:
            if not 0 <= start < stop:
                raise InputError(f"a part from {start} to {stop}: give at least one place, counted from 0")
        for mix in mixes:
            if len(mix) != len(parts) or not all(share >= 0 for share in mix) or not 0 < sum(mix) < math.inf:
                raise InputError(f"the mix {tuple(mix)}: give a share of 0 or more for each of {len(parts)} parts")
        if len(mixes) != len(limits) + 1:
            raise InputError(f"{len(mixes)} mixes and {len(limits)} limits: give one mix more than limits")
        if list(limits) != sorted(limits):
            raise InputError(f"the limits {tuple(limits)} do not ascend: give them in order")
        if not penalties or not all(math.isfinite(one) and one > 0 for one in (*penalties, scale)):
            raise InputError(f"penalties {tuple(penalties)}, scale {scale}: give positive, finite numbers")
        self.parts = tuple((int(start), int(stop)) for start, stop in parts)
        self.limits, self.scale = tuple(map(float, limits)), scale
        self.register_buffer("shares", torch.tensor([list(map(float, mix)) for mix in mixes]))
        self.register_buffer("penalties", torch.tensor(list(map(float, penalties))))

    def adapt(self, support: Examples, state: MixFit | None = None) -> MixFit:  # noqa: D102
        support = join(state.examples if state else None, support)
        parts, y = self._parts(support.x), support.y
        fits = self._fits(parts, y)
        known = _countable(y, y.sum(0))
        left = (fits.residual / _free(fits.hat).unsqueeze(2)).square().sum(2) @ known
        total, pairs, _, _ = _alike(parts[0], y)
        chosen = self._chosen(left, known.sum(), total / pairs.clamp(min=1))
        dual = torch.einsum("k,knd->nd", chosen, fits.dual)
        shares = chosen.view(len(self.shares), -1).sum(1) @ self.shares.to(dual)
        center = [part.mean(0) for part in parts]
        weights = [share * (dual.mT @ (part - mean)) for share, part, mean in zip(shares, parts, center, strict=True)]
        weight = torch.cat(weights, 1)
        return MixFit(support, weight, y.mean(0) - weight @ torch.cat(center))

    def predict(self, state: MixFit, x: Tensor) -> Tensor:  # noqa: D102
        rows = F.linear(torch.cat(self._parts(x), 1), state.weight, state.bias)
        # A class that has no support example cannot be the answer.
        return (self.scale * rows).masked_fill(state.examples.y.sum(0) == 0, -math.inf).unsqueeze(0)

    def held_out(self, support: Examples) -> Tensor:
        """By the hat matrices: what is left out of all but one example takes two out, a system of two equations."""
        parts, y = self._parts(support.x), support.y
        fits = self._fits(parts, y)
        free, inner = _free(fits.hat), fits.residual @ fits.residual.mT
        size = inner.diagonal(dim1=1, dim2=2)
        mine, other = free.unsqueeze(2), free.unsqueeze(1)
        errors = (
            mine.square() * size.unsqueeze(1) + 2 * mine * fits.hat * inner + fits.hat.square() * size.unsqueeze(2)
        ) / (mine * other - fits.hat.square()).clamp(min=torch.finfo(y.dtype).eps).square()
        # Rows are the example that is left out, columns those that tell which mix is then best.
        known = _countable(y, y.sum(0) - y) * (1 - torch.eye(len(y), dtype=y.dtype, device=y.device))
        total, pairs, own_total, own_pairs = _alike(parts[0], y)
        likeness = (total - 2 * own_total) / (pairs - 2 * own_pairs).clamp(min=1)
        chosen = self._chosen((errors * known).sum(2), known.sum(1), likeness)
        rows = y - torch.einsum("kn,knd->nd", chosen, fits.residual / free.unsqueeze(2))
        return (self.scale * rows).masked_fill(y.sum(0) - y == 0, -math.inf)

    def numbers(self, examples: int, classes: int, features: int) -> int:
        """The systems of all mixes and penalties, beside the parts."""
        own = sum(stop - start for start, stop in self.parts)
        return examples * (own + classes + 4 * examples * len(self.shares) * len(self.penalties))

    def _parts(self, x: Tensor) -> list[Tensor]:
        x = x.flatten(1)
        if x.shape[1] < (most := max(stop for _, stop in self.parts)):
            raise InputError(f"features have {x.shape[1]} numbers, and a part ends at {most}: give longer ones")
        return [F.normalize(x[:, start:stop], dim=1) for start, stop in self.parts]

    def _fits(self, parts: list[Tensor], y: Tensor) -> _Fits:
        centered = [part - part.mean(0) for part in parts]
        grams = torch.stack([part @ part.mT for part in centered])
        own = torch.eye(y.shape[0], dtype=y.dtype, device=y.device)
        kernels = torch.einsum("mp,pij->mij", self.shares.to(grams), grams).unsqueeze(1)
        penalties = self.penalties.to(grams).view(-1, 1, 1)
        system = kernels + penalties * own
        # Not by inv, which no graph of ONNX has.
        inverse = torch.linalg.solve(system, own.expand_as(system))
        dual = inverse @ (y - y.mean(0))
        hat = kernels @ inverse + 1 / y.shape[0]
        return _Fits(dual.flatten(0, 1), hat.flatten(0, 1), (penalties * dual).flatten(0, 1))

    def _chosen(self, errors: Tensor, known: Tensor, likeness: Tensor) -> Tensor:
        """Ones for what is chosen, zeros elsewhere, from errors ``[K, ...]``, by so many examples that tell."""
        middle = len(self.penalties) // 2
        mix = sum((likeness >= limit).long() for limit in self.limits) + torch.zeros_like(likeness, dtype=torch.long)
        place = torch.where(known > 0, errors.argmin(0), mix * len(self.penalties) + middle)
        return F.one_hot(place, len(errors)).movedim(-1, 0).to(errors)

    def extra_repr(self) -> str:  # noqa: D102
        return f"parts={self.parts}, limits={self.limits}, scale={self.scale}"


def _free(hat: Tensor) -> Tensor:
    return (1 - hat.diagonal(dim1=1, dim2=2)).clamp(min=torch.finfo(hat.dtype).eps)


def _countable(y: Tensor, counts: Tensor) -> Tensor:
    """Which examples have others of their class, by counts ``[D]``, or ``[R, D]`` for several sets: ones and zeros."""
    return (counts @ y.mT > 1.5).to(y)


def _alike(z: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sums of cosines and counts over pairs of different classes: of all (each pair twice), and of each example's."""
    apart = 1 - y @ y.mT
    own_total, own_pairs = (z @ z.mT * apart).sum(1), apart.sum(1)
    return own_total.sum(), own_pairs.sum(), own_total, own_pairs
