"""Parts by name: one of the library's own, or anybody's as ``package.module:Name``."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Any

from innerloop.core.task import InputError, did_you_mean


def is_own(name: str) -> bool:
    """Whether a name is that of a part from outside: ``package.module:Name``.

    Example:
        >>> is_own("protonet"), is_own("mypackage.learners:MyLearner")
        (False, True)
    """
    return ":" in name


def own_part(name: str, what: str) -> Any:
    """The object that ``package.module:Name`` names; its module is imported.

    Args:
        name: of the part.
        what: it is, for messages: "learner", say.

    Raises:
        InputError: if the module or the name in it is not there, or importing it fails.

    Example:
        >>> own_part("innerloop.nets:conv4", "network").__name__
        'conv4'
    """
    module_name, _, path = name.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), *path.split("."))):
        raise InputError(f"{what} {name!r} must read package.module:Name")
    try:
        found: Any = importlib.import_module(module_name)
    except ImportError as error:
        raise InputError(
            f"{what} {name!r}: module {module_name} cannot be imported ({error}): run where it can be, or "
            f"add its folder to PYTHONPATH"
        ) from error
    except Exception as error:
        raise InputError(f"{what} {name!r}: importing {module_name} fails ({type(error).__name__}: {error})") from error
    for part in path.split("."):
        if not hasattr(found, part):
            hint = did_you_mean(part, [known for known in vars(found) if not known.startswith("_")])
            raise InputError(f"{what} {name!r}: {module_name} has no {part!r}{hint}")
        found = getattr(found, part)
    return found


def unknown(what: str, name: str, known: Iterable[str]) -> InputError:
    """The refusal of a name that nobody knows, with the nearest one."""
    known = list(known)
    return InputError(
        f"{what} {name!r} is unknown{did_you_mean(name, known)}; choose one of {', '.join(known)}, or your own by "
        f"package.module:Name"
    )
