"""Names of classes and functions in a bundle, and which of them may be looked up.

A bundle comes from anywhere, so a name in it is not simply imported: what belongs to innerloop or ``torch.nn`` is,
other modules only where the reader allows them by name. And of those that are imported already nothing is called but
the constructors of modules.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterable
from dataclasses import is_dataclass
from typing import Any

from torch import nn

from innerloop.core.construction import is_maker, qualified
from innerloop.core.task import InputError

_NAME = re.compile(r"((?:\w+\.)*\w+):(\w+)")
_OWN = ("innerloop", "torch.nn")


def name_of(thing: Any) -> str | None:
    """``module:Name`` of a class or function, by the shortest package that exports it; ``None`` where it has none.

    Example:
        >>> name_of(nn.Linear), name_of(lambda: None)
        ('torch.nn:Linear', None)
    """
    full = qualified(thing)
    if full is None:
        return None
    module, name = full.split(":")
    parts = module.split(".")
    for length in range(2, len(parts)):
        package = ".".join(parts[:length])
        # Private packages and private names move from version to version.
        if _within(package, _OWN) and getattr(sys.modules.get(package), name, None) is thing:
            return f"{package}:{name}"
    return full


def callable_of(name: str, allow: Iterable[str] = ()) -> Any:
    """What a bundle may call to build a module: the class of one, or a function that is marked or allowed.

    Raises:
        InputError: for a name that is unknown, not trusted, or of something else.
    """
    thing = _find(name, allow)
    if _is_module_class(thing) or is_maker(thing) or (callable(thing) and _within(name.split(":")[0], allow)):
        return thing
    raise InputError(
        f"the bundle would call {name}, which is not the class of a network or learner: if you trust it, give "
        f"allow=({name.split(':')[0]!r},)"
    )


def value_of(name: str, allow: Iterable[str] = ()) -> Any:
    """What a bundle may give as an argument by name, such as an activation: as :func:`callable_of`, and functions of
    ``torch.nn.functional``.
    """
    if name.startswith("torch.nn.functional:"):
        return _find(name, allow)
    return callable_of(name, allow)


def record_of(name: str, allow: Iterable[str] = ()) -> Any:
    """A class of named tuples or a data class: its instances are made without running its code.

    Raises:
        InputError: for a name that is unknown, not trusted, or of something else.
    """
    kind = _find(name, allow)
    if isinstance(kind, type) and ((issubclass(kind, tuple) and hasattr(kind, "_fields")) or is_dataclass(kind)):
        return kind
    raise InputError(
        f"the bundle names {name} as a record, which it is not: it was made by another version, or damaged"
    )


def class_with(method: str, name: str, allow: Iterable[str] = ()) -> Any:
    """A class of innerloop, or of an allowed module, that has a method.

    Raises:
        InputError: for a name that is unknown, not trusted, or of something else.
    """
    kind = _find(name, allow, loaded=False)
    if isinstance(kind, type) and callable(getattr(kind, method, None)):
        return kind
    raise InputError(f"the bundle is of the kind {name}, which cannot be read from one: it was made by another version")


def _find(name: str, allow: Iterable[str], *, loaded: bool = True) -> Any:
    match = _NAME.fullmatch(name)
    if match is None:
        raise InputError(f"the bundle names {name!r}, which is no package.module:Name: it is damaged")
    module = match[1]
    if (_within(module, _OWN) and not any(part.startswith("_") for part in module.split("."))) or _within(
        module, allow
    ):
        found = _imported(module)
    elif loaded and module in sys.modules:
        found = sys.modules[module]
    else:
        raise InputError(
            f"the bundle needs {name}, which is not part of innerloop: if you trust that module, import it first or "
            f"give allow=({module!r},)"
        )
    if not hasattr(found, match[2]):
        raise InputError(
            f"the bundle needs {name}, and {module} has no {match[2]}: use the version of it that the bundle was made "
            f"with"
        )
    return getattr(found, match[2])


def _imported(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise InputError(
            f"the bundle needs the module {module}, which cannot be imported ({error}): install it, or put its folder "
            f"on PYTHONPATH"
        ) from None


def _within(module: str, packages: Iterable[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def _is_module_class(thing: Any) -> bool:
    return isinstance(thing, type) and issubclass(thing, nn.Module)
