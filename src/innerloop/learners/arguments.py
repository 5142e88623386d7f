"""One list of arguments: what a class passes on to another is in its signature and its docs, and written once."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from inspect import Parameter, Signature
from typing import Any, get_args, get_type_hints

_SECTIONS = ("Args", "Returns", "Raises", "Example", "References")


def parameters(of: Callable[..., Any]) -> dict[str, Parameter]:
    """The parameters of a function or class by name, without ``self``.

    Example:
        >>> list(parameters(torch.nn.Linear))[:2]
        ['in_features', 'out_features']
    """
    try:
        found = inspect.signature(of, eval_str=True)
    except NameError:
        # A class within a function may name types that only this function knows.
        found = inspect.signature(of)
    return {name: one for name, one in found.parameters.items() if name != "self"}


def signature(*given: Parameter) -> Signature:
    """A constructor's: ``self`` and the parameters, those that can be given by place first."""
    own = Parameter("self", Parameter.POSITIONAL_OR_KEYWORD)
    return Signature([own, *sorted(given, key=lambda one: one.kind)], return_annotation=None)


def complete(cls: type) -> None:
    """Put what a class takes by ``**options: Unpack[...]``, and hands to the class above, into its signature and docs.

    Args:
        cls: a class; without a constructor of its own it has the docs of the one above.
    """
    above = next(base for base in cls.__mro__[1:] if "__init__" in vars(base))
    init: Any = vars(cls).get("__init__")
    own = parameters(init or above)
    rest = next((name for name, one in own.items() if one.kind is Parameter.VAR_KEYWORD), None)
    passed = get_args(get_type_hints(init)[rest]) if rest is not None else ()
    if passed:
        known = parameters(above)
        taken = {name: known[name].replace(kind=Parameter.KEYWORD_ONLY) for name in get_type_hints(passed[0])}
        own = {name: one for name, one in {**own, **taken}.items() if name != rest}
        init.__signature__ = signature(*own.values())
    if passed or init is None:
        document(cls, above, own)


def document(cls: type, source: type, names: Iterable[str]) -> None:
    """Give a class's docs what another's say of the arguments ``names`` and of errors, where its own say nothing."""
    head, own = _sections(cls.__doc__)
    _, more = _sections(source.__doc__)
    entries = {**_entries(more.get("Args", "")), **_entries(own.get("Args", ""))}
    own["Args"] = "\n".join(entries[name] for name in names if name in entries)
    if "Raises" not in own and "Raises" in more:
        own["Raises"] = more["Raises"]
    parts = [f"{name}:\n{own[name]}" for name in _SECTIONS if own.get(name)]
    cls.__doc__ = "\n\n".join([head, *parts]) + "\n"


def _sections(text: str | None) -> tuple[str, dict[str, str]]:
    """What stands before the sections of a docstring, and each section's indented text by its title."""
    pieces = re.split(rf"^({'|'.join(_SECTIONS)}):\n", inspect.cleandoc(text or ""), flags=re.MULTILINE)
    return pieces[0].rstrip(), {k: v.rstrip() for k, v in zip(pieces[1::2], pieces[2::2], strict=True)}


def _entries(text: str) -> dict[str, str]:
    """The lines of each argument by its name."""
    pieces = re.split(r"^    (?=\w+:)", text, flags=re.MULTILINE)[1:]
    return {piece.partition(":")[0]: f"    {piece.rstrip()}" for piece in pieces}
