"""Options checked against the signature of what they are for: names, with the nearest known one, and types."""

from __future__ import annotations

import inspect
import math
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from typing import Any, Literal, Union

import numpy
from torch import Tensor

from innerloop.core.task import InputError, did_you_mean

_KEYWORD = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_NUMBERS = (int, float, int | None, float | None)


def keywords(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The arguments of a function or class that can be given by name, annotations resolved.

    Example:
        >>> from innerloop.core.likelihood import Categorical
        >>> list(keywords(Categorical))
        ['smoothing']
    """
    hints = _hints(function)
    found = inspect.signature(function).parameters
    return {
        name: parameter.replace(annotation=hints.get(name, parameter.annotation))
        for name, parameter in found.items()
        if parameter.kind in _KEYWORD
    }


def takes_any(function: Callable[..., Any]) -> bool:
    """Whether a function takes keyword arguments that its signature does not name."""
    return any(p.kind is inspect.Parameter.VAR_KEYWORD for p in inspect.signature(function).parameters.values())


def check_options(
    function: Callable[..., Any],
    options: Mapping[str, Any],
    what: str,
    *,
    given: Collection[str] = (),
    complete: bool = True,
) -> None:
    """Refuse options that a function does not have, lacks, or has of another type; it is not called.

    Args:
        function: that takes the options by name.
        options: plain values, as TOML, JSON or a command line gives them.
        what: the options are of, for messages: "the learner maml", say.
        given: names of arguments that come from elsewhere, and so are no options.
        complete: whether an argument without a default has to be among them.

    Raises:
        InputError: naming the option, what it is for, and the nearest known name.

    Example:
        >>> import innerloop as il
        >>> check_options(il.Categorical, {"smothing": 0.1}, "likelihood")
        Traceback (most recent call last):
            ...
        innerloop.core.task.InputError: likelihood has no option 'smothing' (did you mean smoothing?); it has smoothing
    """
    own = {name: p for name, p in keywords(function).items() if name not in given}
    for name, value in options.items():
        if name not in own:
            if takes_any(function) and name not in given:
                continue
            raise InputError(
                f"{what} has no option {name!r}{did_you_mean(name, own)}; it has {', '.join(own) or 'none'}"
            )
        check_type(f"{what}: {name}", value, own[name].annotation)
    missing = [name for name, p in own.items() if p.default is p.empty and name not in options]
    if complete and missing:
        raise InputError(f"{what} needs {', '.join(missing)}: give a value for each")


def check_type(what: str, value: Any, annotation: Any) -> None:
    """Refuse a plain value that an annotation does not allow. What is no plain type is not looked at.

    Raises:
        InputError: naming the value and what is allowed.

    Example:
        >>> check_type("steps", 3, int | None)
        >>> check_type("steps", 1.5, int | None)
        Traceback (most recent call last):
            ...
        innerloop.core.task.InputError: steps is 1.5; it must be a whole number or nothing
    """
    if isinstance(value, float) and math.isnan(value):
        raise InputError(f"{what} is nan; it must be a number")
    if not _fits(value, annotation):
        raise InputError(f"{what} is {value!r}; it must be {_words(annotation)}")


def check_numbers(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Refuse what is no number where a signature has one: a word, half an example. Limits are the constructor's matter.

    Args:
        function: a class or function, which is not called.
        args: of the call.
        kwargs: of the call.

    Raises:
        InputError: naming the argument and its value.

    Example:
        >>> from innerloop.core.likelihood import Categorical
        >>> check_numbers(Categorical, (), {"smoothing": "a lot"})
        Traceback (most recent call last):
            ...
        innerloop.core.task.InputError: smoothing is 'a lot'; it must be a number
    """
    signature, known = _numbers_of(function)
    try:
        given = signature.bind(*args, **kwargs).arguments
    except TypeError:
        # The call itself says which argument it misses or does not know.
        return
    for name, annotation in known.items():
        value = given.get(name)
        if isinstance(value, Tensor | numpy.generic) and math.prod(value.shape) == 1:
            value = value.item()
        if name in given and not _fits(value, annotation):
            raise InputError(f"{name} is {given[name]!r}; it must be {_words(annotation)}")


@cache
def _numbers_of(function: Callable[..., Any]) -> tuple[inspect.Signature, dict[str, Any]]:
    known = {name: parameter.annotation for name, parameter in keywords(function).items()}
    return inspect.signature(function), {name: kind for name, kind in known.items() if kind in _NUMBERS}


def _fits(value: Any, annotation: Any) -> bool:
    if isinstance(annotation, str):
        return True
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (Union, types.UnionType):
        return any(_fits(value, one) for one in arguments)
    if origin is Literal:
        return value in arguments
    if annotation in (None, type(None)):
        return value is None
    if annotation is bool:
        return isinstance(value, bool)
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if annotation is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if annotation is str:
        return isinstance(value, str)
    if origin in (list, tuple, Sequence):
        if not isinstance(value, list | tuple):
            return False
        if origin is tuple and arguments and arguments[-1] is not Ellipsis:
            return len(value) == len(arguments) and all(map(_fits, value, arguments))
        return all(_fits(one, arguments[0]) for one in value) if arguments else True
    if origin in (dict, Mapping):
        return isinstance(value, Mapping)
    # A module, a device, a function: the constructor itself looks at those. No number or word is one of them.
    return not (inspect.isclass(annotation) and isinstance(value, bool | int | float))


def _words(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (Union, types.UnionType):
        plain = [one for one in arguments if one is not float or int not in arguments]
        return " or ".join(dict.fromkeys(map(_words, plain)))
    if origin is Literal:
        return "one of " + ", ".join(map(str, arguments))
    known = {int: "a whole number", float: "a number", bool: "true or false", str: "a word", type(None): "nothing"}
    if annotation in known:
        return known[annotation]
    if origin in (list, Sequence) or (origin is tuple and Ellipsis in arguments):
        return f"a list, each {_words(arguments[0])}"
    if origin is tuple:
        return f"a list of {len(arguments)}, each {_words(arguments[0])}"
    return getattr(annotation, "__name__", str(annotation))


def _hints(function: Any) -> dict[str, Any]:
    while hasattr(function, "func"):
        function = function.func
    # A class whose signature is not that of its own constructor says where the annotations of each argument stand.
    target = function.__init__ if inspect.isclass(function) else function
    try:
        return typing.get_type_hints(target)
    except (NameError, TypeError, AttributeError):
        return {}
