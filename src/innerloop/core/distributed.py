"""Training and evaluation shared by several processes, the ranks that ``torchrun`` starts.

What the ranks tell each other here is small: words, times, results. In one process all of this does nothing.
:mod:`innerloop.training.ranks` has what they share of a training step.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from itertools import islice
from typing import TypeVar

import torch
import torch.distributed as dist

from innerloop.core.task import InputError

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
    # Its functions take the group that is there when it is imported for their default, and optimizers import it: after
    # the end that group's threads would live on, and abort the process as it ends.
    import_module("torch.distributed.nn.functional")
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
    return bool(largest(int(here)))


def largest(here: int) -> int:
    """The largest of the ranks' numbers, on every rank."""
    if size() == 1:
        return here
    told = torch.tensor(here, device=_control())
    dist.all_reduce(told, dist.ReduceOp.MAX)
    return int(told)


def _control() -> torch.device:
    """Where small messages are made: on the CPU, unless a group of the caller's own cannot send from there."""
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")


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
