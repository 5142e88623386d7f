"""The relation module: a learned comparison of two feature maps."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from innerloop.core import norm as norms
from innerloop.core.construction import Recorded
from innerloop.core.numbers import check_count
from innerloop.core.task import InputError


class RelationModule(Recorded):
    """Scores every pair of two sets of feature maps: two convolution blocks and two linear layers.

    The first convolution sees the two maps one above the other. It is linear, so it runs as two convolutions, one for
    each side, and their sum over all pairs: the same numbers for the price of A + B convolutions, not A times B.

    Args:
        features: shape of one feature map ``(C, s, s)``, s at least 2.
        width: filters of both blocks.
        hidden: units between the two linear layers.
        norm: normalization policy of the blocks; it runs per task, so one that has no running statistics.

    Example:
        >>> import torch
        >>> relation = RelationModule((64, 7, 7))
        >>> relation(torch.zeros(5, 64, 7, 7), torch.zeros(3, 64, 7, 7)).shape
        torch.Size([5, 3])

    References:
        Sung et al., *Learning to Compare: Relation Network for Few-Shot Learning*, CVPR 2018,
        https://arxiv.org/abs/1711.06025.
    """

    def __init__(self, features: Sequence[int], width: int = 64, hidden: int = 8, norm: str = "group") -> None:
        super().__init__()
        if len(features) != 3 or features[1] < 2:
            raise InputError(
                f"the relation module compares feature maps (C, s, s) with s >= 2, not {tuple(features)}: "
                f"build the encoder with nets.conv4(maps=True, pools=2)"
            )
        if norm in ("support", "running"):
            raise InputError(
                f"norm={norm!r} does not fit the relation module: it runs on pairs, which are no support set and "
                f"nothing to calibrate on; choose none, group or batch (transductive)"
            )
        check_count("width", width, 1)
        check_count("hidden", hidden, 1)
        channels, side = features[0], features[1]
        self.first = nn.Conv2d(2 * channels, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.first_norm, self.second_norm = norms.layer(norm, width), norms.layer(norm, width)
        self.side = side // 2
        left = self.side // 2 if self.side > 1 else 1
        self.hidden = nn.Linear(width * left * left, hidden)
        self.score = nn.Linear(hidden, 1)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """``[A, C, s, s], [B, C, s, s] -> [A, B]``."""
        left, right = self.first.weight.chunk(2, 1)
        x = F.conv2d(a, left, self.first.bias, padding=1).unsqueeze(1) + F.conv2d(b, right, padding=1)
        x = F.relu(self.first_norm(F.max_pool2d(x.flatten(0, 1), 2)))
        x = self.second(x)
        x = F.relu(self.second_norm(F.max_pool2d(x, 2) if self.side > 1 else x))
        x = self.score(F.relu(self.hidden(x.flatten(1))))
        return x.view(len(a), len(b))
