"""A batch's losses and their gradient as one compiled function.

The whole step, inner loop and backward pass included, is traced into one flat graph and compiled by ``torch.compile``:
no Python, no autograd and few kernel launches are left, which is most of the time of small networks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from innerloop.core.learner import stages
from innerloop.core.swap import swapped
from innerloop.core.task import InputError, Task


class Compiled:
    """The losses of a batch of tasks and the gradient of their scaled sum, compiled once for each shape of batch.

    Args:
        learner: its trainable parameters are what is differentiated by.
        losses: from a batch of tasks to ``[T]``, reading the learner's parameters and buffers.
    """

    def __init__(self, learner: nn.Module, losses: Callable[[Task], Tensor]) -> None:
        self.learner, self.losses = learner, losses
        self._known: dict[Any, Callable[..., Any]] = {}

    def __call__(self, tasks: Task, scale: float = 1.0) -> tuple[Tensor, list[Tensor | None]]:
        """Losses ``[T]``, detached, and the gradient of ``scale`` times their sum for each parameter that wants one."""
        shapes = tuple((leaf.shape, leaf.dtype, leaf.device) for leaf in pytree.tree_leaves(tasks))
        modes = tuple(part.training for part in self.learner.modules())
        trained = tuple(p.requires_grad for p in self.learner.parameters())
        key = (shapes, modes, trained, scale, stages(self.learner))
        if key not in self._known:
            self._known[key] = self._compile(tasks, scale)
        with torch.no_grad():
            losses, gradients = self._known[key](self.inputs(), tasks)
        return losses, gradients

    def inputs(self) -> list[Tensor]:
        """All parameters, then all buffers: what is not an input would be frozen into the graph."""
        return [tensor.detach() for tensor in (*self.learner.parameters(), *self.learner.buffers())]

    def trace(self, tasks: Task, scale: float = 1.0) -> torch.fx.GraphModule:
        """The step as a flat graph, a function of :meth:`inputs` and a batch of this shape."""
        from torch.fx.experimental.proxy_tensor import make_fx

        parameters = dict(self.learner.named_parameters())
        names = [*parameters, *dict(self.learner.named_buffers())]
        trained = [name for name, parameter in parameters.items() if parameter.requires_grad]

        def step(values: list[Tensor], tasks: Task) -> tuple[Tensor, list[Tensor | None]]:
            tensors = {
                name: value.detach().requires_grad_(name in trained) for name, value in zip(names, values, strict=True)
            }
            with torch.enable_grad(), swapped(self.learner, tensors):
                losses = self.losses(tasks)
            wanted = [tensors[name] for name in trained]
            return losses.detach(), list(torch.autograd.grad(losses.sum() * scale, wanted, allow_unused=True))

        with torch.random.fork_rng():
            return make_fx(step)(self.inputs(), tasks)

    def _compile(self, tasks: Task, scale: float) -> Callable[..., Any]:
        # Random numbers of its own would be others than those of the uncompiled step.
        compiled = torch.compile(self.trace(tasks, scale), fullgraph=True, options={"fallback_random": True})
        try:
            with torch.no_grad(), torch.random.fork_rng():
                compiled(self.inputs(), tasks)
        except torch._dynamo.exc.TorchDynamoException as error:
            raise InputError(
                f"torch.compile fails here ({str(error).strip().splitlines()[0]}): it needs a C++ compiler such as g++ "
                f"on the path; leave compiled out otherwise"
            ) from error
        return compiled
