"""Whether a way of lifting is to be believed: found on the first batch, once for each learner and shape of task."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from innerloop.core import norm
from innerloop.core.agreement import Finding, compare, difference
from innerloop.core.fingerprint import key_of
from innerloop.core.learner import Learner
from innerloop.core.swap import swapped, undisturbed
from innerloop.core.task import Task
from innerloop.core.ways import map_inputs, mapped, predictor

__all__ = ["Finding", "compiled", "under_vmap"]

#: What was found in this process.
_FOUND: dict[str, Finding] = {}

#: A step on a batch of tasks: their losses, and the gradient of the scaled sum for each parameter that is trained.
Stepper = Callable[[Task, float], tuple[Tensor, list[Tensor | None]]]


def under_vmap(learner: Learner, tasks: Task, how: str = "vmap", *, by_inputs: bool, values: bool) -> Finding:
    """Whether ``vmap``, or patches, give what a loop gives.

    Args:
        learner: what is lifted: the part after an encoder that runs folded.
        tasks: one or two.
        how: as :func:`~innerloop.core.ways.mapped` takes it; chunks are ``vmap``.
        by_inputs: whether there is an encoder that wants a gradient.
        values: whether it is for predictions, which have none.
    """
    key = key_of(learner, tasks, by_inputs, values, how)
    if key not in _FOUND:
        function = predictor(learner) if values else learner.loss
        found = compare(
            learner,
            tasks,
            lambda tasks: mapped("loop", function, tasks),
            lambda tasks: mapped(how, function, tasks),
            by_inputs=by_inputs,
            values=values,
        )
        _FOUND[key] = Finding(_refusal(learner, found), f"under vmap {found.note}" if found.note else None)
    return _FOUND[key]


def _refusal(learner: Learner, found: Finding) -> str | None:
    if found.complaint is None:
        return None
    layer = norm.suspect(learner)
    if layer is None:
        return f"under vmap {type(learner).__name__} is wrong: {found.complaint}; use how='loop' (or 'auto')"
    return (
        f"{layer} has a wrong second-order gradient under vmap: {found.complaint}; use how='loop' (or 'auto'), "
        f"first_order=True, or innerloop.norm.convert(net, 'batch') for batch norm"
    )


def compiled(learner: Learner, step: Stepper, plain: Stepper, tasks: Task, scale: float, loose: bool) -> str | None:
    """What is wrong with a compiled step: compared with the plain one, at other weights and inputs than it was made at.

    Args:
        learner: whose parameters and buffers both steps read.
        step: the compiled one.
        plain: the one that it was made of.
        tasks: a batch as it will be.
        scale: of the losses' sum.
        loose: whether a part runs in half precision.
    """
    other = map_inputs(lambda x: 1.03 * x if x.is_floating_point() else x, tasks)
    with undisturbed(learner):
        step(tasks, scale)
        moved = {
            name: (1.02 * p.detach()).requires_grad_(p.requires_grad)
            for name, p in learner.named_parameters()
            if p.is_floating_point()
        }
        results = []
        for run in (plain, step):
            with swapped(learner, {**moved, **{name: b.clone() for name, b in learner.named_buffers()}}):
                torch.manual_seed(0)
                losses, slopes = run(other, scale)
                results.append({"losses": losses, **{f"{i}": g for i, g in enumerate(slopes) if g is not None}})
    wrong = difference(results[0], results[1], 0.1 if loose else 1e-2)
    return None if wrong is None else f"compiled, {wrong}: leave compiled out"
