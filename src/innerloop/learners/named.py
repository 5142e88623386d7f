"""Learners by name: a class of this package in lower case, or anybody's own as ``package.module:Name``."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from innerloop import learners
from innerloop.core.learner import Learner
from innerloop.core.options import check_options, keywords
from innerloop.core.parts import is_own, own_part, unknown
from innerloop.core.task import InputError


def learner_class(name: str) -> type[Learner]:
    """The class of a learner's name.

    Raises:
        InputError: for an unknown name, with the nearest known one, or a part of one's own that is no learner.

    Example:
        >>> learner_class("maml").__name__
        'MAML'
    """
    if is_own(name):
        kind = own_part(name, "learner")
        if not (inspect.isclass(kind) and issubclass(kind, Learner)):
            raise InputError(f"learner {name!r} is no class of learners: it must derive from innerloop.Learner")
        if inspect.isabstract(kind):
            raise InputError(f"learner {name!r} lacks {', '.join(sorted(kind.__abstractmethods__))}: write them")
        return kind
    classes: dict[str, type[Learner]] = {one.lower(): getattr(learners, one) for one in learners.__all__}
    if name not in classes:
        raise unknown("learner", name, classes)
    return classes[name]


def learner_options(kind: type[Learner], options: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Options for a learner's class, checked against its signature; plain lists become pairs.

    Args:
        kind: the class.
        options: plain values by name.
        name: of the learner, for messages.

    Raises:
        InputError: for an option that it does not have, or of another type.
    """
    given = [key for key, p in keywords(kind).items() if p.default is p.empty and p.kind is not p.KEYWORD_ONLY]
    given.append("likelihood")
    # What is missing comes from facts.
    check_options(kind, options, f"the learner {name}", given=given, complete=False)
    return {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
