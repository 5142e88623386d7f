"""Run by test_bundle.py in a process of its own: reads bundles somewhere else, or dies while it writes one."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import innerloop as il


def learner(seed: int) -> il.Learner:
    """A small one, with weights by the seed."""
    torch.manual_seed(seed)
    return il.ProtoNet(il.nets.mlp(4, 8, 3)).eval()


def answers(folders: list[str]) -> None:
    """Print a digest of what each bundle predicts for the inputs that lie beside it."""
    found = {}
    for folder in map(Path, folders):
        task, x = il.load(folder), torch.load(folder.parent / "x.pt")
        with torch.no_grad():
            raw = task.learner.predict(task.state, x)
        found[folder.parent.name] = hashlib.sha256(raw.numpy().tobytes()).hexdigest()
    print(json.dumps(found))


def dying(call: Callable[..., Any], steps: list[int]) -> Callable[..., Any]:
    """The call, or the end of the process where all steps that it had are done."""

    def counted(*args: Any, **options: Any) -> Any:
        steps[0] -= 1
        if steps[0] < 0:
            os._exit(1)
        return call(*args, **options)

    return counted


def die(path: Path, replace: str) -> list[Any]:
    """In one child after the other, save a bundle and die just before one more call that changes the disk.

    Gives whether each child came to the end and which learner is there afterwards (-1: none), and what is left.
    """
    calls = ("replace", "rename", "unlink", "fsync", "mkdir", "chmod")
    found: list[tuple[bool, int]] = []
    while not (found and found[-1][0]):
        if replace == "new" and path.exists():
            break
        if replace == "over":
            il.save(path, learner(1), replace=True)
        child = os.fork()
        if child == 0:
            steps = [len(found)]
            for name in calls:
                setattr(os, name, dying(getattr(os, name), steps))
            il.save(path, learner(2), replace=replace == "over")
            os._exit(0)
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        try:
            weights = dict(il.load(path).named_parameters())
        except il.InputError as error:
            found.append((ended, -1 if "no bundle at" in str(error) else -2))
            continue
        same = [s for s in (1, 2) if all(torch.equal(p, weights[n]) for n, p in learner(s).named_parameters())]
        found.append((ended, same[0]))
    return [found, sorted(p.name for p in path.parent.iterdir()), sorted(p.name for p in path.iterdir())]


def deaths(folder: str) -> None:
    """Print what dying leaves where there is nothing yet, and where there is a bundle."""
    print(json.dumps({replace: die(Path(folder) / replace / "a", replace) for replace in ("new", "over")}))


def full(folder: str) -> None:
    """Replace a bundle and a checkpoint on a disk that takes 100 bytes a file."""
    path = Path(folder)
    il.save(path, learner(1))
    il.core.checkpoint.save(path.parent / "a.safetensors", {"x": torch.ones(2)}, {})
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
    messages = []
    for attempt in (
        lambda: il.save(path, learner(2), replace=True),
        lambda: il.save(path.parent / "other", learner(2)),
        lambda: il.core.checkpoint.save(path.parent / "a.safetensors", {"x": torch.zeros(200)}, {}),
    ):
        try:
            attempt()
        except il.InputError as error:
            messages.append(str(error))
    print(json.dumps([messages, sorted(p.name for p in path.parent.iterdir()), len(list(path.iterdir()))]))


def read_while_written(folder: str) -> None:
    """Replace a bundle again and again, until the one who reads it ends this."""
    step = 0
    while True:
        step += 1
        il.save(folder, learner(1 + step % 2), origin={"learner": 1 + step % 2}, replace=True)
        print(step, flush=True)


if __name__ == "__main__":
    verb, *rest = sys.argv[1:]
    if verb == "answers":
        answers(rest)
    else:
        {"die": deaths, "full": full, "write": read_while_written}[verb](*rest)
