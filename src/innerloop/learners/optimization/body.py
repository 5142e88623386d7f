"""What comes before a network's last layer, where an inner loop changes that layer alone."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor, nn

from innerloop.core import norm
from innerloop.core.inner import Parameters, call


class Body(NamedTuple):
    """What the last layer reads of the support set, and the statistics of the layers before it."""

    features: Tensor
    statistics: norm.Statistics


def body_of(net: nn.Module, last: str, own: Parameters, x: Tensor) -> Body | None:
    """One pass of a network, and what its last layer read in it.

    Args:
        net: any module.
        last: name of a layer.
        own: parameters in place of the network's, by name.
        x: inputs ``[N, *F]``.

    Returns:
        ``None`` where the layer's output is not the network's: it runs several times, or something follows.

    Example:
        >>> import torch, innerloop as il
        >>> net = il.nets.mlp(2, 8, 3)
        >>> found = body_of(net, "2", {}, torch.rand(5, 2))
        >>> found.features.shape
        torch.Size([5, 8])
    """
    seen: list[tuple[tuple[Any, ...], Any]] = []
    handle = net.get_submodule(last).register_forward_hook(lambda _, given, result: seen.append((given, result)))
    try:
        with norm.recording() as statistics:
            raw = call(net, own, x)
    finally:
        handle.remove()
    if len(seen) != 1 or seen[0][1] is not raw or len(seen[0][0]) != 1:
        return None
    return Body(seen[0][0][0], statistics)
