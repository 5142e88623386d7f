"""The ways themselves: a function of one task over a batch of them, under ``vmap`` or in a loop."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from innerloop.core import norm
from innerloop.core.layout import fast_layout
from innerloop.core.learner import Learner
from innerloop.core.patches import patched
from innerloop.core.task import Examples, Task, check_tensors, count, take


def mapped(how: str, function: Callable[[Task], Tensor], tasks: Task) -> Tensor:
    """What a function gives for each task of a batch, with ``"vmap"``, ``"chunk"``, ``"patches"`` or else in a loop."""
    if how == "patches":
        with patched():
            return torch.func.vmap(function, randomness="different")(tasks)
    if how in ("vmap", "chunk"):
        return torch.func.vmap(function, randomness="different")(map_inputs(Tensor.contiguous, tasks))
    with norm.fused():
        return torch.stack([function(map_inputs(fast_layout, take(tasks, t))) for t in range(count(tasks))])


def worth_trying(learner: nn.Module, device: torch.device, compiled: bool) -> tuple[str, ...]:
    """The ways that ``auto`` times, a loop first: patches where there are plain convolutions of images on the CPU.

    Args:
        learner: what is lifted: the part after an encoder that runs folded.
        device: of the tasks.
        compiled: whether a way is to be compiled, too.

    Example:
        >>> worth_trying(nn.Conv2d(1, 8, 3), torch.device("cpu"), compiled=False)
        ('loop', 'vmap', 'patches')
    """
    plain = any(type(part) is nn.Conv2d and part.groups == 1 for part in learner.modules())
    return ("loop", "vmap", "patches") if plain and device.type == "cpu" and not compiled else ("loop", "vmap")


def predictor(learner: Learner) -> Callable[[Task], Tensor]:
    """From a task to the raw predictions for its queries."""
    return lambda task: learner.predict(learner.adapt(task.support), task.query.x)


def map_inputs(function: Callable[[Tensor], Tensor], tasks: Task) -> Task:
    """The tasks with other inputs: in the layout that is fast, or channels-first, which some layers want under vmap."""
    (xs, ys), (xq, yq) = tasks
    return Task(Examples(function(xs), ys), Examples(function(xq), yq))


def like_inputs(tasks: Task) -> Task:
    """Targets in the type of the inputs, where these are real numbers."""
    for name, part in zip(("support", "query"), tasks, strict=True):
        check_tensors(f"the {name} set", part)
    parts = [Examples(x, y.to(x.dtype) if x.is_floating_point() else y) for x, y in tasks]
    return Task(*parts)
