"""Training and evaluation shared by several processes, the ranks that ``torchrun`` starts.

Every rank draws the same tasks, since all that is random follows from the seed and the step's number, and works on its
slice of them. Gradients are added up in one message a step; clipping, optimizer and average then run alike everywhere.
So a run on several ranks is the run of one process, up to rounding. In one process all of this does nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import islice
from typing import Literal, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from innerloop.core import norm
from innerloop.core.learner import Learner
from innerloop.core.lifting import How, Lifted
from innerloop.core.rank_norm import over_ranks
from innerloop.core.task import InputError, Task, take

T = TypeVar("T")


def launched() -> bool:
    """Whether ``torchrun`` started this process, for the first time or again."""
    return dist.is_available() and "TORCHELASTIC_RUN_ID" in os.environ


@contextmanager
def start() -> Iterator[None]:
    """Within, the processes that ``torchrun`` started are the ranks of one run; nothing where it started none.

    Messages go by gloo between CPUs and by NCCL between GPUs, of which each rank takes the one of its local number.

    Example:
        >>> with start():
        ...     rank(), size()
        (0, 1)
    """
    if not launched() or dist.is_initialized():
        yield
        return
    gpus = torch.cuda.device_count()
    if gpus:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % gpus)
    store, number, count = next(dist.rendezvous("env://"))  # type: ignore[attr-defined]
    # Restarted processes find torchrun's store as the dead ones left it, with addresses at which nobody listens.
    prefix = f"innerloop/start{os.environ['TORCHELASTIC_RESTART_COUNT']}"
    store = dist.PrefixStore(prefix, store)  # type: ignore[attr-defined]
    dist.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo", store=store, rank=number, world_size=count)
    try:
        yield
    finally:
        dist.destroy_process_group()


def size() -> int:
    """The number of ranks, 1 outside a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this rank; 0 is the one that writes, shows progress and decides."""
    return dist.get_rank() if size() > 1 else 0


def first(function: Callable[[], T]) -> T:
    """What ``function`` gives on rank 0, on every rank; bad input that it finds there is raised on every one."""
    if size() == 1:
        return function()
    outcome: list[tuple[T | None, InputError | None]] = [(None, None)]
    if rank() == 0:
        try:
            outcome = [(function(), None)]
        except InputError as error:
            outcome = [(None, error)]
    dist.broadcast_object_list(outcome, 0)
    value, refusal = outcome[0]
    if refusal is not None:
        raise refusal
    return value  # type: ignore[return-value]


def clock(seconds: float) -> float:
    """Rank 0's clock, on every rank."""
    if size() == 1:
        return seconds
    told = torch.tensor(seconds, dtype=torch.float64, device=_control())
    dist.broadcast(told, 0)
    return told.item()


def anywhere(here: bool) -> bool:
    """Whether it is so on any rank."""
    if size() == 1:
        return here
    told = torch.tensor(float(here), device=_control())
    dist.all_reduce(told, dist.ReduceOp.MAX)
    return bool(told)


def _control() -> torch.device:
    """Where small messages are made: on the CPU, unless a group of the caller's own cannot send from there."""
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")


def begin(lifted: Lifted, tasks: int, aggregated: bool) -> None:
    """See that the ranks can share a run, and give each of them rank 0's weights.

    Args:
        lifted: the learner, put into training mode.
        tasks: tasks of a step.
        aggregated: whether each task's own gradient is wanted.

    Raises:
        InputError: if there are fewer tasks than ranks, or tasks depend on each other in a way that ranks cannot share.
    """
    if size() == 1:
        return
    if tasks < size():
        raise InputError(
            f"{tasks} tasks a step cannot be shared by {size()} ranks: raise tasks_per_step (--tasks-per-step) to at "
            f"least {size()}, or start fewer ranks"
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
    return tasks if size() == 1 else take(tasks, _slice(total))


def _slice(total: int) -> slice:
    return slice(total * rank() // size(), total * (rank() + 1) // size())


def settle(lifted: Lifted, tasks: Task) -> None:
    """Rank 0 chooses for all how tasks are lifted, where the learner is lifted by ``auto``."""
    if size() == 1:
        return

    def choice() -> tuple[How, int | None, bool, str]:
        lifted._settle(tasks, Lifted.backward)
        return lifted.how, lifted.chunk, lifted.compiled, lifted.why

    lifted.how, lifted.chunk, lifted.compiled, lifted.why = first(choice)
    if _coupled(lifted.learner) is not None:
        # Parts of a batch would have statistics of their own.
        lifted.chunk, lifted.compiled = None, False


def statistics(learner: Learner) -> AbstractContextManager[None]:
    """Within, an encoder that normalizes all tasks by common statistics takes them over all ranks."""
    encoder = _coupled(learner) if size() > 1 else None
    return over_ranks(encoder) if encoder is not None else nullcontext()


def backward(lifted: Lifted, tasks: Task, total: int, reduction: Literal["mean", "sum"]) -> Tensor:
    """``lifted.backward`` over all ranks' tasks: the losses ``[total]``, detached; the gradient is on every rank."""
    if size() == 1:
        return lifted.backward(tasks, reduction)
    with statistics(lifted.learner):
        losses = lifted.backward(tasks, "sum")
    add_gradients(lifted.learner, 1 / total if reduction == "mean" else 1.0)
    return gather(losses, total)


def add_gradients(learner: Learner, scale: float = 1.0) -> None:
    """Replace each ``.grad`` by the ranks' sum, times ``scale``: one message for all of them."""
    if size() == 1:
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
    if size() == 1:
        return rows
    here = _slice(total)
    everything = rows.new_zeros(total, *rows.shape[1:])
    everything[here] = rows.detach()
    dist.all_reduce(everything)
    return torch.cat((everything[: here.start], rows, everything[here.stop :]))


def shared(things: Iterable[T]) -> Iterator[tuple[int, T]]:
    """This rank's share of the things, each with its number among all of them."""
    return islice(enumerate(things), rank(), None, size())


def collect(results: dict[int, T]) -> list[T]:
    """The ranks' results, by the numbers of :func:`shared`, in order."""
    parts: list[dict[int, T]] = [results]
    if size() > 1:
        parts = [{}] * size()
        dist.all_gather_object(parts, results)
    merged = {number: result for part in parts for number, result in part.items()}
    return [merged[number] for number in sorted(merged)]
