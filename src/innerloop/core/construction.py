"""How a module was built: the class and the arguments, kept with the object, so that it can be built again.

Nothing is kept that a copy or another process could not take along: what is no value, tensor, module or importable
name is noted as :class:`Unknown`, and only whoever wants to write the construction down has to refuse it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from typing import Any, NamedTuple, Self, TypeVar

import numpy
import torch
from torch import Tensor, nn

from innerloop.core.options import check_numbers

F = TypeVar("F", bound=Callable[..., Any])

_ATTRIBUTE = "_construction"
_MAKERS: set[Callable[..., Any]] = set()


class Construction(NamedTuple):
    """A call that builds a module."""

    make: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class Unknown(NamedTuple):
    """An argument that cannot be kept, in words."""

    what: str


class Recorded(nn.Module):
    """A module that keeps how it was built. Learners, likelihoods, inner optimizers and the networks here are such.

    Derive a network of your own from it to keep it in bundles (:func:`innerloop.save`).

    Example:
        >>> class Net(Recorded):
        ...     def __init__(self, width):
        ...         super().__init__()
        ...         self.layer = nn.Linear(width, 1)
        >>> construction(Net(3)).args
        (3,)
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Keep the arguments, and refuse words for numbers; ``__init__`` gets them as ever."""
        check_numbers(cls, args, kwargs)
        module = super().__new__(cls)
        vars(module)[_ATTRIBUTE] = Construction(cls, _kept(args), _kept(kwargs))
        return module


def construction(module: nn.Module) -> Construction | None:
    """How the module was built, where that is known."""
    return vars(module).get(_ATTRIBUTE)


def record(module: nn.Module, make: Callable[..., Any], *args: Any, **kwargs: Any) -> nn.Module:
    """Keep that ``make(*args, **kwargs)`` gives this module, and return it.

    Where the module itself is among the arguments (it was changed in place), they name how it was built before; where
    that is not known, nothing is kept.
    """
    before = construction(module)
    if any(value is module for value in (*args, *kwargs.values())):
        if before is None:
            return module
        args = tuple(before if value is module else value for value in args)
        kwargs = {name: before if value is module else value for name, value in kwargs.items()}
    vars(module)[_ATTRIBUTE] = Construction(make, _kept(args), _kept(kwargs))
    return module


def maker(function: F) -> F:
    """Mark a function that builds a module from plain values and does nothing else, so that a bundle may call it."""
    _MAKERS.add(function)
    return function


def is_maker(function: Any) -> bool:
    """Whether a function was marked by :func:`maker`."""
    return callable(function) and function in _MAKERS


def qualified(thing: Any) -> str | None:
    """``module:Name`` of a class or function that can be found again under that name, else ``None``."""
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    if not module or not name or not name.isidentifier():
        return None
    return f"{module}:{name}" if getattr(sys.modules.get(module), name, None) is thing else None


def _kept(value: Any) -> Any:
    if isinstance(value, nn.Module | Construction | Unknown | torch.dtype) or _is_plain(value):
        return value
    if isinstance(value, Tensor):
        # Not a part of any graph: a learner that is copied has to copy it.
        return value.detach()
    if isinstance(value, numpy.generic):
        return value.item()
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return tuple.__new__(type(value), map(_kept, value)) if qualified(type(value)) else Unknown(repr(type(value)))
    if isinstance(value, tuple | list):
        return (tuple if isinstance(value, tuple) else list)(map(_kept, value))
    if isinstance(value, Mapping):
        return {name: _kept(item) for name, item in value.items()}
    if (is_dataclass(value) and qualified(type(value))) or (callable(value) and qualified(value)):
        return value
    # Methods written in C, and generators, have a name and no module.
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    return Unknown(f"{name} of {module}" if module and name else name or f"a {type(value).__qualname__}")


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)
