"""The fastest way to lift a learner that fits into memory: tried on the first batch, remembered for the next run."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from innerloop.core.task import InputError, Task, count, take

#: Tasks of the first batch that each way is timed on.
_TRIAL_TASKS = 16
#: Share of the free memory that a step may take.
_SHARE = 0.5

#: One step on a batch of tasks, and what makes one: a loop or vmap, tasks at a time, whether compiled.
Step = Callable[[Task], object]
Way = Callable[[str, int | None, bool], Step]


@dataclass(frozen=True)
class Choice:
    """A way to lift, and why."""

    how: str
    chunk: int | None
    compiled: bool
    why: str


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


def choose(
    way: Way, tasks: Task, key: str, *, chunk: int | None, whole: bool, compiled: bool, memory: float | None
) -> Choice:
    """The fastest of a loop, ``vmap``, chunks and (if asked) the best of them compiled.

    A way that would take more than the limit runs over as many tasks at a time as fit.

    Args:
        way: makes the step of a way, on a learner of its own.
        tasks: the first batch.
        key: of what the choice depends on, see :func:`key_of`; one with the same key is remembered.
        chunk: tasks at a time, where that was asked for.
        whole: whether a batch may not be cut, since its tasks are normalized together.
        compiled: whether to try that too.
        memory: the limit in GiB; ``None``: half of what is free.

    Raises:
        InputError: for a learner that cannot run the tasks at all.
    """
    remembered = _Remembered(key)
    if (kept := remembered.read()) is not None:
        return kept
    limit = memory * 2**30 if memory is not None else _SHARE * _free(tasks.query.x.device)
    trial = take(tasks, slice(0, _TRIAL_TASKS))
    found: dict[Choice, float] = {}
    words: list[str] = []
    with torch.random.fork_rng():
        for how in ("loop", "vmap"):
            try:
                each = 0.0 if whole else _bytes_per_task(way(how, chunk, False), tasks)
                fits = max(1, int(limit / each)) if each else count(tasks)
                for size in [chunk] if whole else _chunks(how, chunk, fits, count(tasks)):
                    found[Choice(how, size, False, "")] = _seconds(way(how, size, False), trial)
                if fits < count(tasks):
                    words.append(f"{how}: {fits} tasks at a time fit into {limit / 2**30:.2g} GiB")
            except (RuntimeError, InputError) as error:
                if how == "loop":
                    raise
                words.append(f"vmap does not run this learner ({str(error).splitlines()[0]})")
        if compiled:
            best = replace(min(found, key=found.__getitem__), compiled=True)
            found[best] = _seconds(way(best.how, best.chunk, True), trial)
    words += [f"{_name(choice)} {1000 * seconds:.1f} ms" for choice, seconds in found.items()]
    best = min(found, key=found.__getitem__)
    chosen = replace(best, why=f"{'; '.join(words)} on the first batch of {count(trial)} tasks")
    remembered.write(chosen)
    return chosen


def _chunks(how: str, given: int | None, fits: int, tasks: int) -> list[int | None]:
    """Tasks at a time that are worth a trial: what was asked for, else all of them, and a few at a time under vmap."""
    if given is not None:
        return [min(given, fits)]
    whole = None if fits >= tasks else fits
    return [whole, 4] if how == "vmap" and min(fits, tasks) > 4 else [whole]


def _name(choice: Choice) -> str:
    chunked = f" of {choice.chunk}" if choice.chunk else ""
    return f"{'compiled ' if choice.compiled else ''}{choice.how}{chunked}"


def _bytes_per_task(step: Step, tasks: Task) -> float:
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


def _seconds(step: Step, tasks: Task) -> float:
    """The shorter of two runs after one to warm up."""
    step(tasks)
    times = []
    for _ in range(2):
        start = time.perf_counter()
        step(tasks)
        if tasks.query.x.device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times)


def _free(device: torch.device) -> float:
    """Bytes that can still be had on a device; infinite where it does not say."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    try:
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (ValueError, OSError, AttributeError):
        return float("inf")


def key_of(learner: nn.Module, tasks: Task, *asked: Any) -> str:
    """A digest of all that a choice depends on: the learner with its options, the batch, the machine, the wishes."""
    plain = (int, float, str, bool, tuple, type(None))
    options = [{k: v for k, v in sorted(vars(part).items()) if isinstance(v, plain)} for part in learner.modules()]
    device = tasks.query.x.device
    facts = {
        "learner": repr(learner),
        "options": repr(options),
        "tasks": repr([(tuple(leaf.shape), leaf.dtype) for leaf in pytree.tree_leaves(tasks)]),
        "asked": asked,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "machine": [platform.platform(), platform.machine(), os.cpu_count(), torch.get_num_threads()],
        "torch": torch.__version__,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]


class _Remembered:
    """A choice kept in the cache folder, one small file each; whatever is wrong with it, the trial is run again."""

    def __init__(self, key: str) -> None:
        from innerloop.core.cache import folder

        self.path: Path = folder() / "lift" / f"{key}.json"

    def read(self) -> Choice | None:
        try:
            kept = Choice(**json.loads(self.path.read_text()))
        except (OSError, ValueError, TypeError):
            return None
        return replace(kept, why=f"{kept.why}, remembered in {self.path}")

    def write(self, choice: Choice) -> None:
        from innerloop.core.files import write_text_atomically

        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_text_atomically(self.path, json.dumps(asdict(choice)) + "\n")
        except (OSError, InputError):
            return
