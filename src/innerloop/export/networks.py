"""The encoder of a classifier as a torch module, and what its inputs are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from innerloop.estimators.fewshot import FewShotClassifier

#: Inputs that a graph is tried on.
_TRIED = 8


class Network(NamedTuple):
    """From inputs to features; without a module features are the input."""

    module: nn.Module | None
    inputs: dict[str, Tensor]
    """Some to try the graph on, ``[P, ...]``."""
    preprocessing: Sequence[Mapping[str, Any]]
    fingerprint: str
    changing: Mapping[int, str]
    """Axes beside the first whose size may change, and what they are called."""


def network_of(model: FewShotClassifier) -> Network:
    """The network of a fitted classifier.

    Raises:
        InputError: for an encoder that does not say what its network is.
    """
    encoder = model.transformer_
    if encoder is None:
        return Network(None, {"features": torch.from_numpy(model.X_).float()}, (), "", {})
    module, inputs, steps, changing = encoder.network()
    pools = {name: _varied(one) for name, one in inputs.items()}
    return Network(module, pools, steps, encoder.fingerprint(), changing)


def _varied(one: Tensor) -> Tensor:
    """Inputs like one, where there is but one of numbers."""
    if len(one) > 1 or not one.is_floating_point():
        return one
    return one + torch.rand((_TRIED, *one.shape[1:]), generator=torch.Generator().manual_seed(0))
