"""A digest of all that decides how a learner is best lifted: its options and code, the batch, the machine."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from innerloop.core.task import Task

_PLAIN = (int, float, str, bool, type(None))
#: What has a version of its own, or cannot change what a learner computes.
_LIBRARIES = sys.stdlib_module_names | {"torch", "numpy", "scipy", "sklearn", "pandas", "safetensors"}


def key_of(learner: nn.Module, tasks: Task, *asked: Any) -> str:
    """A digest of all that a choice depends on: the learner with its options and code, the batch, the machine.

    Args:
        learner: with its modes and what of it is frozen.
        tasks: shapes and types count, not the values.
        asked: the wishes, as JSON values.
    """
    device = tasks.query.x.device
    facts = {
        "learner": repr(learner),
        "options": repr([_plain(vars(part)) for part in learner.modules()]),
        "weights": repr([(tuple(p.shape), p.dtype, p.requires_grad) for p in learner.parameters()]),
        "code": code_of(learner),
        "tasks": repr([(tuple(leaf.shape), leaf.dtype) for leaf in pytree.tree_leaves(tasks)]),
        "asked": asked,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "machine": [platform.platform(), platform.machine(), os.cpu_count(), torch.get_num_threads()],
        "torch": torch.__version__,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in values.items() if _is_plain(v)}


def _is_plain(value: Any) -> bool:
    return isinstance(value, _PLAIN) or (isinstance(value, tuple) and all(map(_is_plain, value)))


def code_of(module: nn.Module) -> str:
    """A digest of the code that runs a module: of its parts' classes, and of the functions that these name.

    What comes of libraries with a version of their own is left out. Best effort: code that is found while it runs
    (by ``getattr``, from a registry) is not seen.

    Example:
        >>> code_of(nn.Linear(1, 1)) == code_of(nn.ReLU())
        True
    """
    reader = _Reader()
    for part in module.modules():
        reader.see(type(part))
        for value in vars(part).values():
            reader.see(value)
            if isinstance(value, dict):
                # Hooks.
                for held in value.values():
                    reader.see(held)
    return reader.digest.hexdigest()


class _Reader:
    """Reads functions, each once, and those that they name."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self._seen: set[int] = set()
        #: Keeps what was made on the way alive, so that no two things have one id.
        self._held: list[Any] = []

    def see(self, thing: Any) -> None:
        """Take in a function, a class, or what wraps one; anything else counts for nothing."""
        waiting = [thing]
        while waiting:
            thing = _bare(waiting.pop())
            if not isinstance(thing, type | FunctionType | functools.partial) or id(thing) in self._seen:
                continue
            self._seen.add(id(thing))
            self._held.append(thing)
            if isinstance(thing, functools.partial):
                self._note(_plain(dict(enumerate(thing.args))) | _plain(thing.keywords))  # type: ignore[arg-type]
                waiting += [thing.func, *thing.args, *thing.keywords.values()]
            elif not _library(thing):
                waiting += self._class(thing) if isinstance(thing, type) else self._function(thing)

    def _class(self, kind: type) -> list[Any]:
        self._note(kind.__qualname__, _plain(vars(kind)))
        return [*vars(kind).values(), *kind.__bases__]

    def _function(self, function: FunctionType) -> list[Any]:
        codes = list(_codes(function.__code__))
        names: dict[str, None] = {}
        for code in codes:
            constants = [c for c in code.co_consts if not isinstance(c, CodeType | frozenset)]
            self._note(code.co_code, code.co_names, constants)
            names |= dict.fromkeys(code.co_names)
        values = [function.__globals__[name] for name in names if name in function.__globals__]
        for module in [value for value in values if isinstance(value, ModuleType) and not _library(value)]:
            values += [vars(module)[name] for name in names if name in vars(module)]
        for cell in function.__closure__ or ():
            try:
                values.append(cell.cell_contents)
            except ValueError:
                # Not filled yet.
                continue
        values += [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
        self._note([value for value in values if isinstance(value, _PLAIN)])
        return values

    def _note(self, *values: Any) -> None:
        self.digest.update(repr(values).encode())


def _bare(thing: Any) -> Any:
    """The function within a method, a property or a decorated function."""
    while True:
        if isinstance(thing, MethodType | staticmethod | classmethod):
            thing = thing.__func__
        elif isinstance(thing, property):
            thing = thing.fget
        elif hasattr(type(thing), "__wrapped__") or "__wrapped__" in getattr(thing, "__dict__", {}):
            thing = thing.__wrapped__
        else:
            return thing


def _codes(code: CodeType) -> Iterator[CodeType]:
    """A function's code and that of the functions defined within it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _library(thing: Any) -> bool:
    name = thing.__name__ if isinstance(thing, ModuleType) else getattr(thing, "__module__", None) or ""
    return name.partition(".")[0] in _LIBRARIES
