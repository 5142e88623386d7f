"""Whether a run that is resumed sees the tasks that it began with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from innerloop.core.random import generator
from innerloop.core.task import InputError, Task
from innerloop.data.episodes import Sampler

#: Far above the rounding of another machine, far below what any other example changes.
_TOLERANCE = 1e-4


def fingerprint(tasks: Task) -> dict[str, dict[str, Any]]:
    """What the tensors of a batch of tasks look like in a few numbers: shapes and weighted sums.

    Example:
        >>> import innerloop as il
        >>> tasks = il.data.Sinusoid().draw(torch.Generator(), 2)
        >>> fingerprint(tasks)["support x"]["shape"]
        [2, 10, 1]
    """
    found = {}
    for part, examples in zip(("support", "query"), tasks, strict=True):
        for leaf, values in zip("xy", examples, strict=True):
            flat = values.detach().double().cpu().flatten()
            # Weights of no pattern, so that the order of the values shows.
            weights = (torch.arange(len(flat), dtype=torch.float64) * math.sqrt(2)).frac() + 0.5
            sums = [float(flat @ weights), float(flat.abs() @ weights), float(flat.square() @ weights)]
            found[f"{part} {leaf}"] = {"shape": list(values.shape), "sums": sums}
    return found


def contents(sampler: Sampler) -> list[str]:
    """The digests of what a sampler draws from, and the samplers within it, where these have one."""
    found = []
    for part in vars(sampler).values():
        if isinstance(part, Sampler):
            found += contents(part)
        elif isinstance(digest := getattr(part, "digest", None), str):
            found.append(digest)
    return sorted(found)


def check_data(sampler: Sampler, seed: int, began: Mapping[str, Any]) -> None:
    """See that a sampler draws the tasks that a run began with.

    Args:
        sampler: draws the first step's tasks again.
        seed: of the run.
        began: what :func:`beginning` gave.

    Raises:
        InputError: naming what differs.
    """
    if seed != began["seed"]:
        raise InputError(f"the run was begun with seed={began['seed']}, not {seed}: resume it with its own seed")
    if contents(sampler) != began["contents"]:
        raise InputError(_refusal("what tasks are drawn from has another content"))
    now = fingerprint(sampler.draw(generator(seed, "train", 0), began["tasks"]))
    for name, was in began["first"].items():
        if now[name]["shape"] != was["shape"]:
            what = f"{name} was {tuple(was['shape'])} in the first step and is now {tuple(now[name]['shape'])}"
        elif not _close(now[name]["sums"], was["sums"]):
            what = f"{name} of the first step has other values than when the run began"
        else:
            continue
        raise InputError(_refusal(what))


def _refusal(what: str) -> str:
    return (
        f"the data or the sampler of this run has changed ({what}): resume it with those that it began with, or begin "
        f"a new run in another folder"
    )


def beginning(sampler: Sampler, tasks: Task, count: int, seed: int) -> dict[str, Any]:
    """What a checkpoint keeps of the data and the first step's tasks, for :func:`check_data`."""
    return {"seed": seed, "tasks": count, "contents": contents(sampler), "first": fingerprint(tasks)}


def _close(now: list[float], was: list[float]) -> bool:
    total = max(now[1], was[1])
    return (
        abs(now[0] - was[0]) <= _TOLERANCE * total
        and math.isclose(now[1], was[1], rel_tol=_TOLERANCE)
        and math.isclose(now[2], was[2], rel_tol=_TOLERANCE)
    )
