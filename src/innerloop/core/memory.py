"""How much memory a step takes, and how much there is."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from innerloop.core.task import Task, count, take

#: One step on a batch of tasks.
Step = Callable[[Task], object]


class PeakMemory(TorchDispatchMode):
    """Counts the bytes of the tensors that are made within and alive at the same time; ``peak`` is the most.

    Example:
        >>> with PeakMemory() as memory:
        ...     _ = torch.ones(1000) + 1
        >>> memory.peak
        8000
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._seen: dict[int, Any] = {}

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in pytree.tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._count(leaf.untyped_storage())
        return out

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._seen:
            return

        def freed(_: Any) -> None:
            self._seen.pop(key, None)
            self.live -= size

        self._seen[key] = weakref.ref(storage, freed)
        self.live += size
        self.peak = max(self.peak, self.live)


def bytes_per_task(step: Step, tasks: Task) -> float:
    """Peak memory that each further task of a batch takes: none in a loop that frees a task before the next."""
    if count(tasks) == 1:
        return 0.0
    few = min(2, count(tasks) - 1)
    less, more = (_peak(step, take(tasks, slice(0, n))) for n in (few, few + 1))
    # A twentieth more is the losses, not the task.
    return more - less if more > 1.05 * less else 0.0


def _peak(step: Step, tasks: Task) -> int:
    device = tasks.query.x.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step(tasks)
        return torch.cuda.max_memory_allocated(device) - before
    with PeakMemory() as counted:
        step(tasks)
    return counted.peak


def free(device: torch.device) -> float:
    """Bytes that can still be had on a device; infinite where it does not say."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    try:
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (ValueError, OSError, AttributeError):
        return float("inf")
