"""The four-block convolutional network of the few-shot literature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from innerloop.core import norm as norms
from innerloop.core.construction import Recorded
from innerloop.core.numbers import check_count
from innerloop.core.task import InputError
from innerloop.nets.sizes import check_sizes


class Conv4(Recorded):
    """Four blocks of 3x3 convolution, normalization, pooling and ReLU. Made by :func:`conv4`."""

    def __init__(
        self,
        shape: tuple[int, int, int],
        widths: Sequence[int],
        out: int | None,
        norm: str,
        pool: Literal["max", "stride"],
        pools: int,
        maps: bool,
        dropout: float,
        flat: bool = False,
    ) -> None:
        super().__init__()
        check_sizes("conv4", widths, dropout, out)
        check_count("pools", pools, 0)
        if pool not in ("max", "stride") or pools > len(widths):
            raise InputError(
                f"pool={pool!r}, pools={pools}: pool is 'max' or 'stride', pools lies in 0 to {len(widths)}"
            )
        self.shape, self.pool, self.pools, self.maps = shape, pool, pools, maps
        #: Whether features are a mean over the image.
        self.mean = pool == "stride" and not (flat or maps)
        channels = (shape[0], *widths)
        stride = [2 if pool == "stride" and i < pools else 1 for i in range(len(widths))]
        bias = norm == "none"
        self.convolutions = nn.ModuleList(
            nn.Conv2d(a, b, 3, padding=1, stride=s, bias=bias)
            for a, b, s in zip(channels[:-1], channels[1:], stride, strict=True)
        )
        self.norms = nn.ModuleList(norms.layer(norm, width) for width in widths)
        self.dropout = nn.Dropout2d(dropout) if dropout else nn.Identity()
        side = shape[1]
        for _ in range(pools):
            side = (side + 1) // 2 if pool == "stride" else side // 2
        if side < 1:
            raise InputError(
                f"images of {shape[1]} pixels vanish after {pools} poolings: use fewer pools, larger images"
            )
        if self.mean:
            side = 1
        #: Shape of one example's features.
        self.features: tuple[int, ...] = (widths[-1], side, side) if maps else (widths[-1] * side * side,)
        self.out = nn.Linear(self.features[0], out) if out is not None else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, S, S] -> [N, features]``, ``[N, W, s, s]`` (maps) or ``[N, out]``."""
        if tuple(x.shape[1:]) != self.shape:
            raise InputError(
                f"the network was built for examples of shape {self.shape}, it got {tuple(x.shape[1:])}: "
                f"resize the examples or build it with nets.conv4(shape={tuple(x.shape[1:])})"
            )
        for i, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            x, shift = norms.convolved(convolution, norm, x)
            if self.pool == "max" and i < self.pools:
                # Before the shift and the ReLU: the same numbers, and a quarter of the work for them.
                x = F.max_pool2d(x, 2)
            x = self.dropout(F.relu(x if shift is None else x + shift))
        if self.maps:
            return x
        x = x.mean((2, 3)) if self.mean else x.flatten(1)
        return self.out(x)


def conv4(
    shape: Sequence[int] = (1, 28, 28),
    *,
    width: int | Sequence[int] = 64,
    out: int | None = None,
    norm: str = "running",
    pool: Literal["max", "stride"] = "max",
    pools: int = 4,
    maps: bool = False,
    dropout: float = 0.0,
    flat: bool = False,
) -> Conv4:
    """The four-block network: an encoder, or a classifier with ``out`` outputs.

    Args:
        shape: of one image ``(C, S, S)``: 28, 32 and 84 pixels are the customary sizes.
        width: filters of the blocks, one number or one a block.
        out: outputs of a linear layer at the end; ``None`` for an encoder.
        norm: normalization policy, see :mod:`innerloop.norm`.
        pool: ``"max"`` (2x2 max pooling) or ``"stride"`` (convolutions of stride 2 and a mean over the image at the
            end: a quarter of the arithmetic, and what MAML used on Omniglot).
        pools: how many blocks, from the first, halve the image.
        maps: give feature maps and not vectors (for relation networks).
        dropout: probability of dropping a channel after each block.
        flat: with ``"stride"``, give the features of all places and not their mean, as Reptile had it on Omniglot.

    Raises:
        InputError: for images that are not square, or that vanish in the poolings, or flat features of max pooling or
            of maps.

    Example:
        >>> [conv4(s).features for s in ((1, 28, 28), (3, 32, 32), (3, 84, 84))]
        [(64,), (256,), (1600,)]

    References:
        Vinyals et al., *Matching Networks for One Shot Learning*, NeurIPS 2016, https://arxiv.org/abs/1606.04080.
        Finn, Abbeel, Levine, *Model-Agnostic Meta-Learning*, ICML 2017, https://arxiv.org/abs/1703.03400.
    """
    widths = (width,) * 4 if isinstance(width, int) else tuple(width)
    if len(shape) != 3 or shape[1] != shape[2]:
        raise InputError(f"conv4 takes square images (C, S, S), not {tuple(shape)}: pad or resize them")
    if maps and out is not None:
        raise InputError(f"maps=True gives feature maps, out={out} a classifier: choose one")
    if flat and (pool != "stride" or maps):
        raise InputError(f"flat=True is of pool='stride' without maps; pool={pool!r}, maps={maps}: set flat=False")
    return Conv4((shape[0], shape[1], shape[2]), widths, out, norm, pool, pools, maps, dropout, flat)


def feature_size(encoder: nn.Module, shape: Sequence[int]) -> tuple[int, ...]:
    """The shape of one example's features under any encoder, found by a trial run on zeros.

    Example:
        >>> feature_size(conv4(), (1, 28, 28))
        (64,)
    """
    mode = encoder.training
    parameter = next(encoder.parameters(), torch.zeros(0))
    with torch.no_grad():
        z = encoder.eval()(torch.zeros(1, *shape, device=parameter.device, dtype=parameter.dtype))
    encoder.train(mode)
    return tuple(z.shape[1:])
