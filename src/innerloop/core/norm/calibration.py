"""Calibration: running statistics set by a pass of its own over meta-training inputs."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from innerloop.core.modes import evaluating
from innerloop.core.norm.layers import Layer
from innerloop.core.norm.policies import policy_of


@torch.no_grad()
def calibrate(module: nn.Module, batches: Iterable[Tensor], keep: Iterable[nn.Module] = ()) -> None:
    """Set the running statistics to the average over ``batches`` of inputs ``[N, *F]``, in a pass of its own.

    Layers of other policies, those to ``keep`` and all parameters are left alone; each layer gets its momentum and mode
    back.
    """
    kept = set(keep)
    layers = [part for part in module.modules() if policy_of(part) == "running" and part not in kept]
    if not layers:
        return
    momenta = [part.momentum for part in layers]
    with evaluating(module):
        try:
            for part in layers:
                part.reset_running_stats()  # type: ignore[operator]
                part.momentum = None  # type: ignore[assignment]
                part.train()
            for number, x in enumerate(batches, 1):
                for part in layers:
                    if not isinstance(part, Layer):
                        # Instance norm takes no momentum for none at all, and counts no batches.
                        part.momentum = 1 / number  # type: ignore[assignment]
                        part.num_batches_tracked.add_(1)  # type: ignore[operator]
                module(x)
        finally:
            for part, momentum in zip(layers, momenta, strict=True):
                part.momentum = momentum
