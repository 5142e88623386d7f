"""The fastest way to lift a learner that fits into memory: tried on the first batch, remembered for the next run."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import platform
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from innerloop import norm
from innerloop.task import InputError, Task, count, take

if TYPE_CHECKING:
    from innerloop.lift import Lifted

#: Tasks of the first batch that each way is timed on.
_TRIAL_TASKS = 16
#: Share of the free memory that a step may take.
_SHARE = 0.5

Work = Callable[["Lifted", Task], Tensor]


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


def choose(lifted: Lifted, tasks: Task, work: Work, memory: float | None) -> Choice:
    """The fastest of a loop, ``vmap``, chunks and (if ``lifted.compiled``) the best of them compiled.

    A copy of the learner does the trial runs. A way that would take more than the limit runs over as many tasks at a
    time as fit, unless its tasks are normalised together.

    Args:
        lifted: how it is set up, without a way.
        tasks: the first batch.
        work: what is timed, ``Lifted.backward`` or ``Lifted.predict``.
        memory: the limit in GiB; ``None``: half of what is free.

    Raises:
        InputError: for a learner that cannot run the tasks at all.
    """
    limit = memory * 2**30 if memory is not None else _SHARE * _free(tasks.query.x.device)
    remembered = _Remembered(_key(lifted, tasks, work, memory))
    if (kept := remembered.read()) is not None:
        return kept
    trial = take(tasks, slice(0, _TRIAL_TASKS))
    learner = copy.deepcopy(lifted.learner)
    encoder = lifted.encoder()
    # Parts of a batch would have statistics of their own.
    coupled = encoder is not None and norm.couples(encoder)
    found: dict[Choice, float] = {}
    words: list[str] = []
    with torch.random.fork_rng():
        for how in ("loop", "vmap"):
            try:
                each = _bytes_per_task(lifted.under(learner, how, lifted.chunk), tasks, work)
                fits = max(1, int(limit / each)) if each else count(tasks)
                for chunk in [lifted.chunk] if coupled else _chunks(how, lifted.chunk, fits, count(tasks)):
                    found[Choice(how, chunk, False, "")] = _seconds(lifted.under(learner, how, chunk), trial, work)
                if fits < count(tasks) and not coupled:
                    words.append(f"{how}: {fits} tasks at a time fit into {limit / 2**30:.2g} GiB")
            except (RuntimeError, InputError) as error:
                if how == "loop":
                    raise
                words.append(f"vmap does not run this learner ({str(error).splitlines()[0]})")
        if lifted.compiled:
            best = replace(min(found, key=found.__getitem__), compiled=True)
            found[best] = _seconds(lifted.under(learner, best.how, best.chunk, compiled=True), trial, work)
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


def _bytes_per_task(lifted: Lifted, tasks: Task, work: Work) -> float:
    """Peak memory that each further task of a batch takes: none in a loop that frees a task before the next."""
    if count(tasks) == 1:
        return 0.0
    few = min(2, count(tasks) - 1)
    less, more = (_peak(lifted, take(tasks, slice(0, n)), work) for n in (few, few + 1))
    # A twentieth more is the losses, not the task.
    return more - less if more > 1.05 * less else 0.0


def _peak(lifted: Lifted, tasks: Task, work: Work) -> int:
    device = tasks.query.x.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work(lifted, tasks)
        return torch.cuda.max_memory_allocated(device) - before
    with PeakMemory() as counted:
        work(lifted, tasks)
    return counted.peak


def _seconds(lifted: Lifted, tasks: Task, work: Work) -> float:
    """The shorter of two runs after one to warm up."""
    work(lifted, tasks)
    times = []
    for _ in range(2):
        start = time.perf_counter()
        work(lifted, tasks)
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


def _key(lifted: Lifted, tasks: Task, work: Work, memory: float | None) -> str:
    """All that the choice depends on: the learner and its options, the batch, and the machine."""
    plain = (int, float, str, bool, tuple, type(None))
    options = [
        {k: v for k, v in sorted(vars(part).items()) if isinstance(v, plain)} for part in lifted.learner.modules()
    ]
    device = tasks.query.x.device
    facts = {
        "learner": repr(lifted.learner),
        "options": repr(options),
        "tasks": repr([(tuple(leaf.shape), leaf.dtype) for leaf in pytree.tree_leaves(tasks)]),
        "asked": [lifted.chunk, lifted.precision, lifted.compiled, memory, work.__name__],
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "machine": [platform.platform(), platform.machine(), os.cpu_count(), torch.get_num_threads()],
        "torch": torch.__version__,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]


class _Remembered:
    """A choice kept in the cache folder, one small file each; whatever is wrong with it, the trial is run again."""

    def __init__(self, key: str) -> None:
        from innerloop.data.cache import folder

        self.path: Path = folder() / "lift" / f"{key}.json"

    def read(self) -> Choice | None:
        try:
            kept = Choice(**json.loads(self.path.read_text()))
        except (OSError, ValueError, TypeError):
            return None
        return replace(kept, why=f"{kept.why}, remembered in {self.path}")

    def write(self, choice: Choice) -> None:
        from innerloop.training.checkpoint import write_text_atomically

        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_text_atomically(self.path, json.dumps(asdict(choice)) + "\n")
        except (OSError, InputError):
            return
