"""A module's double, whatever the module keeps between calls."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.utils import _pytree as pytree

M = TypeVar("M", bound=nn.Module)


def duplicate(module: M) -> M:
    """A deep copy that shares nothing with the module.

    ``copy.deepcopy`` refuses tensors that were computed with a graph, and modules do keep such: a last activation, the
    weight that ``torch.nn.utils.weight_norm`` makes anew before each call. The double has their values without it.

    Example:
        >>> import torch
        >>> layer = nn.Linear(2, 2)
        >>> layer.last = layer(torch.ones(1, 2))
        >>> torch.equal(duplicate(layer).last, layer.last)
        True
    """
    known: dict[int, Any] = {}
    for part in module.modules():
        for leaf in pytree.tree_leaves(list(vars(part).values())):
            if isinstance(leaf, Tensor) and not leaf.is_leaf:
                known[id(leaf)] = leaf.detach().clone()
    return copy.deepcopy(module, known)
