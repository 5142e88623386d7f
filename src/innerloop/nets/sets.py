"""Encoders of sets: the order of the elements is free and their number open."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from innerloop.core.construction import Recorded
from innerloop.core.task import InputError
from innerloop.nets.mlp import mlp


class SetSums(NamedTuple):
    """Sum ``[width]`` over the elements of a set, and their number ``[]``: the sums of two sets add up."""

    total: Tensor
    number: Tensor

    def plus(self, other: SetSums | None) -> SetSums:
        """The sums of both sets together; ``None`` is the empty set."""
        return self if other is None else SetSums(self.total + other.total, self.number + other.number)

    def mean(self) -> Tensor:
        """The mean element, ``[width]``; zeros of the empty set."""
        return self.total / self.number.clamp(min=1)


class SetEncoder(Recorded):
    """A network on each element, the mean of what it gives, and a network on the mean.

    Activations are smooth (SiLU): what a code stands for is a smooth function, which rectified ones fit more slowly.

    Args:
        inputs: columns of an element.
        out: length of the set's code.
        width: of the hidden layers and of the mean.
        depth: linear layers before and after the mean.

    Raises:
        InputError: for a depth below 1.

    Example:
        >>> encoder = SetEncoder(3, 8, width=16)
        >>> a, b = torch.rand(5, 3), torch.rand(2, 3)
        >>> whole, parts = encoder.sums(torch.cat((a, b))), encoder.sums(a).plus(encoder.sums(b))
        >>> torch.allclose(encoder(whole), encoder(parts), atol=1e-6)
        True

    References:
        Zaheer et al., *Deep Sets*, NeurIPS 2017, https://arxiv.org/abs/1703.06114.
    """

    def __init__(self, inputs: int, out: int, *, width: int = 128, depth: tuple[int, int] = (4, 2)) -> None:
        super().__init__()
        if min(depth) < 1:
            raise InputError(
                f"a set encoder of depth {tuple(depth)}: it needs at least 1 layer before and after the mean"
            )
        self.before = mlp(inputs, *(width,) * depth[0], activation=nn.SiLU)
        self.after = mlp(*(width,) * depth[1], out, activation=nn.SiLU)

    def sums(self, elements: Tensor) -> SetSums:
        """What is kept of a set ``[N, inputs]``."""
        z = self.before(elements)
        return SetSums(z.sum(-2), z.new_full((), float(z.shape[-2])))

    def forward(self, sums: SetSums) -> Tensor:
        """The code of a set, ``[out]``."""
        return self.after(sums.mean())
