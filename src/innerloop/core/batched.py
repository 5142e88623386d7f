"""The gradient of each task within ``vmap``, by plain autograd.

Tasks do not see each other, so the gradient of the sum of their losses is that of each. It is taken from the tensors
that hold all of them: no further transform stands around every operation, and what ``vmap`` does to a second derivative
is not asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch._C import _functorch as functorch
from torch._functorch.pyfunctorch import retrieve_current_functorch_interpreter, temporarily_clear_interpreter_stack
from torch.utils import _pytree as pytree


def single() -> bool:
    """Whether this runs within one ``vmap`` and no other transform of ``torch.func``."""
    top = functorch.peek_interpreter_stack()
    return top is not None and functorch.get_dynamic_layer_stack_depth() == 1 and top.key().name == "Vmap"


def gradient(
    loss: Callable[..., Tensor], at: dict[str, Tensor], rest: tuple[Any, ...], through: Iterable[Tensor]
) -> dict[str, Tensor]:
    """The gradient of ``loss(at, *rest)`` by ``at`` for each task; within one ``vmap``, see :func:`single`.

    Args:
        loss: gives a scalar.
        at: by what to differentiate.
        rest: further arguments.
        through: tensors that the loss reads beside its arguments and that an outer gradient may want.
    """
    interpreter: Any = retrieve_current_functorch_interpreter()
    level, tasks = functorch.current_level(), interpreter.batch_size()
    read = [leaf for leaf in pytree.tree_leaves((at, rest, list(through))) if isinstance(leaf, Tensor)]
    graph = torch.is_grad_enabled() and any(_whole(leaf, level)[0].requires_grad for leaf in read)
    inner: dict[str, Tensor] = {}
    with temporarily_clear_interpreter_stack():
        for name, tensor in at.items():
            value, axis = _whole(tensor, level)
            value = value.expand(tasks, *value.shape) if axis is None else value.movedim(axis, 0)
            inner[name] = value if graph and value.requires_grad else value.detach().requires_grad_()
    with torch.enable_grad():
        total, _ = _whole(loss({k: functorch._add_batch_dim(v, 0, level) for k, v in inner.items()}, *rest), level)
        with temporarily_clear_interpreter_stack():
            found = torch.autograd.grad(
                total.sum(), list(inner.values()), create_graph=graph, allow_unused=True, materialize_grads=True
            )
    return {k: functorch._add_batch_dim(g, 0, level) for k, g in zip(inner, found, strict=True)}


def _whole(tensor: Tensor, level: int) -> tuple[Tensor, int | None]:
    """The tensor of all tasks, and which axis they are; None where they share it."""
    value, axis = functorch._unwrap_batched(tensor, level)
    return value, axis
