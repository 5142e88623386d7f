"""The fastest way to lift a learner that fits into memory: tried on the first batch, remembered for the next run."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from innerloop.core.cache import folder
from innerloop.core.files import write_text_atomically
from innerloop.core.memory import Step, bytes_per_task, free
from innerloop.core.task import InputError, Task, count, take

#: Tasks of the first batch that each way is timed on.
_TRIAL_TASKS = 16
#: Share of the free memory that a step may take.
_SHARE = 0.5


@dataclass(frozen=True)
class Choice:
    """A way to lift, and why."""

    how: str
    chunk: int | None = None
    compiled: bool = False
    precision: str | None = None
    why: str = ""
    each: float = 0.0
    """Bytes that a further task takes."""
    cut: bool = False
    """Whether a batch was cut since it would not have fitted into memory."""
    folds: bool | None = None
    """Whether the encoder was found to see each example alone."""
    remembered: bool = False


def choose(
    step: Callable[[Choice], Step],
    doubt: Callable[[Choice], str | None],
    tasks: Task,
    key: str,
    *,
    ways: Sequence[str],
    chunk: int | None,
    whole: bool,
    compiled: Sequence[bool],
    precisions: Sequence[str | None],
    memory: float | None,
    afresh: bool = False,
) -> Choice:
    """The fastest of some ways, and (if asked) of the best of them compiled or in another precision.

    A way that would take more than the limit runs over as many tasks at a time as fit. One whose gradient is not the
    loop's, or that does not run, is left out.

    Args:
        step: makes the step of a way.
        doubt: what is wrong with the results of a way, in words.
        tasks: the first batch.
        key: of what the choice depends on, see :func:`innerloop.core.fingerprint.key_of`; one with the same key is
            remembered, unless it no longer fits into memory.
        ways: to try; a loop is taken for right.
        chunk: tasks at a time, where that was asked for.
        whole: whether a batch may not be cut, since its tasks are normalized together.
        compiled: whether to run as it is, compiled, or to try both.
        precisions: of the encoder.
        memory: the limit in GiB; ``None``: half of what is free.
        afresh: whether to try again what is remembered.

    Raises:
        InputError: for a learner that cannot run the tasks at all, or a way that was asked for and is wrong.
    """
    remembered = _Remembered(key)
    limit = memory * 2**30 if memory is not None else _SHARE * free(tasks.query.x.device)
    kept = None if afresh else remembered.read()
    if kept is not None and _fits(kept, count(tasks), limit):
        return kept
    trial = take(tasks, slice(0, _TRIAL_TASKS))
    found: dict[Choice, float] = {}
    words: list[str] = []
    for how in ways:
        way = Choice(how, chunk, compiled[0], precisions[0])
        try:
            each = 0.0 if whole else bytes_per_task(step(replace(way, compiled=False)), tasks)
            if (wrong := doubt(way)) is not None:
                if len(ways) == 1:
                    raise InputError(wrong)
                words.append(f"{how} does not run this learner rightly: {wrong}")
                continue
            fits = max(1, int(limit / each)) if each else count(tasks)
            for size in [chunk] if whole else _chunks(how, chunk, fits, count(tasks)):
                timed = replace(way, chunk=size, each=each, cut=fits < count(tasks))
                found[timed] = _seconds(step(timed), trial)
            if fits < count(tasks):
                words.append(f"{how}: {fits} tasks at a time fit into {limit / 2**30:.2g} GiB")
        except Exception as error:
            if how == "loop" or len(ways) == 1:
                raise
            words.append(f"{how} does not run this learner ({(str(error).splitlines() or [type(error).__name__])[0]})")
    others = [{"compiled": flag} for flag in compiled[1:]] + [{"precision": name} for name in precisions[1:]]
    for change in others:
        best = replace(min(found, key=found.__getitem__), **change)  # type: ignore[arg-type]
        try:
            if (wrong := doubt(best) if best.compiled else None) is not None:
                words.append(f"{_name(best)} is left out: {wrong}")
                continue
            found[best] = _seconds(step(best), trial)
        except InputError as error:
            words.append(f"{_name(best)} does not run ({str(error).splitlines()[0]})")
    words += [f"{_name(choice)} {1000 * seconds:.1f} ms" for choice, seconds in found.items()]
    best = min(found, key=found.__getitem__)
    chosen = replace(best, why=f"{'; '.join(words)} on the first batch of {count(trial)} tasks")
    remembered.write(chosen)
    return chosen


def _fits(kept: Choice, tasks: int, limit: float) -> bool:
    """Whether a remembered choice is one for the memory that there is now: not too little, and not for lack of it."""
    return min(kept.chunk or tasks, tasks) * kept.each <= limit and not (kept.cut and tasks * kept.each <= limit)


def _chunks(how: str, given: int | None, fits: int, tasks: int) -> list[int | None]:
    """Tasks at a time that are worth a trial: what was asked for, else all of them, and a few at a time under vmap."""
    if given is not None:
        return [min(given, fits)]
    whole = None if fits >= tasks else fits
    return [whole, 4] if how == "vmap" and min(fits, tasks) > 4 else [whole]


def _name(choice: Choice) -> str:
    chunked = f" of {choice.chunk}" if choice.chunk else ""
    precision = f" in {choice.precision}" if choice.precision else ""
    return f"{'compiled ' if choice.compiled else ''}{choice.how}{chunked}{precision}"


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


class _Remembered:
    """A choice kept in the cache folder, one small file each; whatever is wrong with it, the trial is run again."""

    def __init__(self, key: str) -> None:
        self.path: Path = folder() / "lift" / f"{key}.json"

    def read(self) -> Choice | None:
        try:
            kept = Choice(**json.loads(self.path.read_text()))
        except (OSError, ValueError, TypeError):
            return None
        return replace(kept, why=f"{kept.why}, remembered in {self.path}", remembered=True)

    def write(self, choice: Choice) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_text_atomically(self.path, json.dumps(asdict(choice)) + "\n")
        except (OSError, InputError):
            return
