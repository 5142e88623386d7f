"""Whether a module that was built again is the one that it was built after."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Set
from typing import Any

import numpy
import torch
from torch import Tensor, nn

#: What every module has.
_COMMON = set(vars(nn.Module())) | {"_construction"}


def difference(live: nn.Module, built: nn.Module) -> str | None:
    """The first thing, in words, that ``live`` is and ``built`` is not; ``None`` where they do the same.

    Compared are the parts, their classes, and the plain values, functions and tensors that they keep as attributes; not
    parameters and buffers, which are filled in.
    """
    parts, others = dict(live.named_modules()), dict(built.named_modules())
    for name in [*parts, *others]:
        if name not in parts or name not in others:
            return f"{name} is a part of {'it' if name in parts else 'what its arguments build'} alone"
        if type(parts[name]) is not type(others[name]):
            kinds = type(parts[name]).__qualname__, type(others[name]).__qualname__
            return f"{name or 'it'} is a {kinds[0]}, its arguments build a {kinds[1]}"
    for name, part in parts.items():
        given, made = _attributes(part), _attributes(others[name])
        for key in [*given, *(key for key in made if key not in given)]:
            if key not in made and not callable(given[key]):
                # Something that was noted later on: it is no argument's.
                continue
            a, b = given.get(key), made.get(key)
            if not same(a, b):
                at = f"{name}.{key}" if name else key
                return f"{at} is {_short(a)}, its arguments give {_short(b)}"
    return None


def same(a: Any, b: Any) -> bool:
    """Whether two attributes are the same, as far as can be told."""
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        # An activation that a network keeps to be looked at is not what it is made of.
        return a is None or b is None or (a.shape == b.shape and torch.equal(a.detach().to(b), b.detach()))
    if isinstance(a, numpy.ndarray) and isinstance(b, numpy.ndarray):
        return numpy.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    if isinstance(a, float) and isinstance(b, float) and math.isnan(a):
        return math.isnan(b)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if _is_plain(a) or _is_plain(b):
        return bool(a == b)
    if isinstance(a, type) or isinstance(b, type):
        return a is b
    return type(a) is type(b) and (not hasattr(a, "__code__") or _same_function(a, b))


def _same_function(a: Callable[..., Any], b: Callable[..., Any]) -> bool:
    cells = [[cell.cell_contents for cell in f.__closure__ or ()] for f in (a, b)]  # type: ignore[attr-defined]
    return a.__code__ == b.__code__ and same(cells[0], cells[1])  # type: ignore[attr-defined]


def _attributes(part: nn.Module) -> dict[str, Any]:
    return {key: value for key, value in vars(part).items() if key not in _COMMON}


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str | Set)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
