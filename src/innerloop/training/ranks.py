"""A training step shared by several ranks.

Every rank draws the same tasks, since all that is random follows from the seed and the step's number, and works on its
slice of them. Gradients are added up in one message a step; clipping, optimizer and average then run alike everywhere.
So a run on several ranks is the run of one process, up to rounding. In one process all of this does nothing.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor

from innerloop.core import distributed, norm
from innerloop.core.auto import Choice
from innerloop.core.learner import Learner
from innerloop.core.lifting import Lifted
from innerloop.core.norm import over_ranks
from innerloop.core.task import InputError, Task, take


def begin(lifted: Lifted, tasks: int, aggregated: bool) -> None:
    """See that the ranks can share a run, and give each of them rank 0's weights.

    Args:
        lifted: the learner, put into training mode.
        tasks: tasks of a step.
        aggregated: whether each task's own gradient is wanted.

    Raises:
        InputError: if there are fewer tasks than ranks, or tasks depend on each other in a way that ranks cannot share.
    """
    if distributed.size() == 1:
        return
    if tasks < distributed.size():
        raise InputError(
            f"{tasks} tasks a step cannot be shared by {distributed.size()} ranks: raise tasks_per_step "
            f"(--tasks-per-step) to at least {distributed.size()}, or start fewer ranks"
        )
    learner = lifted.learner.train()
    encoder = _coupled(learner)
    if encoder is not None and (aggregated or lifted.chunk is not None or lifted.compiled):
        what = "aggregate=" if aggregated else f"chunk={lifted.chunk}" if lifted.chunk is not None else "compiled=True"
        raise InputError(
            f"the encoder normalizes all tasks of a step by common statistics, so {what} cannot be shared by ranks: "
            f"leave it out, or use norm='group'"
        )
    known = set(encoder.modules()) if encoder is not None else set()
    for name, part in learner.named_modules():
        if part not in known and not list(part.children()) and norm.couples(part):
            raise InputError(
                f"layer {name!r} ({type(part).__name__}) keeps running statistics of one task after the other, which "
                f"ranks cannot share: use innerloop.norm.convert(net, 'group')"
            )
    for value in learner.state_dict().values():
        dist.broadcast(value, 0)


def _coupled(learner: Learner) -> torch.nn.Module | None:
    """The encoder that runs on all tasks together, if they see each other's statistics there."""
    encoder, _ = learner.split()
    return encoder if encoder is not None and norm.folds(encoder) and norm.couples(encoder) else None


def own(tasks: Task, total: int) -> Task:
    """This rank's slice of the ``total`` tasks of a step."""
    return tasks if distributed.size() == 1 else take(tasks, _slice(total))


def _slice(total: int) -> slice:
    rank, size = distributed.rank(), distributed.size()
    return slice(total * rank // size, total * (rank + 1) // size)


def settle(lifted: Lifted, tasks: Task) -> None:
    """Rank 0 settles for all how tasks are lifted, and that it can be believed."""
    if distributed.size() == 1:
        return

    def choice() -> Choice:
        lifted.settle(tasks)
        return lifted.choice

    lifted.adopt(distributed.first(choice))
    if _coupled(lifted.learner) is not None:
        # Parts of a batch would have statistics of their own.
        lifted.chunk, lifted.compiled = None, False


def statistics(learner: Learner) -> AbstractContextManager[None]:
    """Within, an encoder that normalizes all tasks by common statistics takes them over all ranks."""
    encoder = _coupled(learner) if distributed.size() > 1 else None
    return over_ranks(encoder) if encoder is not None else nullcontext()


def backward(lifted: Lifted, tasks: Task, total: int, reduction: Literal["mean", "sum"]) -> Tensor:
    """``lifted.backward`` over all ranks' tasks: the losses ``[total]``, detached; the gradient is on every rank."""
    if distributed.size() == 1:
        return lifted.backward(tasks, reduction)
    # Before ranks wait for each other in every layer: trials are each rank's own.
    lifted.settle(tasks)
    with statistics(lifted.learner):
        losses = lifted.backward(tasks, "sum")
    add_gradients(lifted.learner, 1 / total if reduction == "mean" else 1.0)
    return gather(losses, total)


def add_gradients(learner: Learner, scale: float = 1.0) -> None:
    """Replace each ``.grad`` by the ranks' sum, times ``scale``: one message for all of them."""
    if distributed.size() == 1:
        return
    parameters = [p for p in learner.parameters() if p.requires_grad]
    gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
    # Which gradients are there goes along: an optimizer passes over a parameter without one.
    there = gradients[0].new_tensor([p.grad is not None for p in parameters])
    flat = torch.cat([*(g.flatten() for g in gradients), there])
    dist.all_reduce(flat)
    *sums, found = flat.mul_(scale).split([*(p.numel() for p in parameters), len(parameters)])
    for parameter, total, some in zip(parameters, sums, found.tolist(), strict=True):
        parameter.grad = total.view_as(parameter).to(parameter.dtype) if some else None


def gather(rows: Tensor, total: int) -> Tensor:
    """All ranks' rows in order, ``[total, ...]``, from each rank's for its slice; these keep their graph."""
    if distributed.size() == 1:
        return rows
    here = _slice(total)
    everything = rows.new_zeros(total, *rows.shape[1:])
    everything[here] = rows.detach()
    dist.all_reduce(everything)
    return torch.cat((everything[: here.start], rows, everything[here.stop :]))
