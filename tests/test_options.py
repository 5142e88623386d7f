"""Every option of every learner can be set by a recipe and from the command line, and reaches the learner."""

from __future__ import annotations

import inspect
import types
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin

import pytest

import innerloop as il
from innerloop.cli.runs import recipe_of
from innerloop.core.construction import construction
from innerloop.core.facts import Facts
from innerloop.core.options import keywords
from innerloop.learners.named import learner_class
from innerloop.recipes import defaults, learner_names

#: Values for options whose default is none, or that only some numbers fit.
VALUES: dict[str, Any] = {"shared_head": "out", "adapts": "head", "features": 64, "latent": 8, "hidden": 16}
PLAIN = (bool, int, float, str)


def plain(annotation: Any) -> list[Any]:
    """What a recipe can say of an option: numbers, words, choices, lists of them; not modules or functions."""
    if get_origin(annotation) in (Union, types.UnionType):
        return [one for part in get_args(annotation) for one in plain(part)]
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    if get_origin(annotation) is tuple:
        return [[plain(part)[0] for part in get_args(annotation) if part is not Ellipsis]]
    if annotation in PLAIN:
        return [{bool: True, int: 2, float: 0.5, str: "word"}[annotation]]
    return []


def options() -> list[tuple[str, str, Any]]:
    """Learner, option, and a value for it: its default, where that can be written down."""
    found = []
    for name in learner_names():
        kind = learner_class(name)
        for option, parameter in keywords(kind).items():
            values = plain(parameter.annotation)
            if parameter.kind is not inspect.Parameter.KEYWORD_ONLY or option == "likelihood" or not values:
                continue
            known = parameter.default not in (None, inspect.Parameter.empty)
            value = parameter.default if known else VALUES.get(option, values[0])
            found.append((name, option, list(value) if isinstance(value, tuple) else value))
    return found


def written(value: Any) -> str:
    """As TOML has it."""
    return str(value).lower() if isinstance(value, bool) else repr(value)


@cache
def facts_of(learner: str) -> Facts:
    """Those of the tasks of a learner's own recipe."""
    recipe = defaults(learner)
    return recipe.sampler(recipe.source()).facts


@pytest.mark.parametrize(("learner", "option", "value"), options(), ids=str)
def test_an_option_reaches_its_learner(learner: str, option: str, value: Any) -> None:
    """`--set options.NAME=VALUE` is in the recipe, and the class is called with it."""
    recipe = recipe_of(learner, None, change=[f"options.{option}={written(value)}"])
    assert recipe.options[option] == value
    if "images" in facts_of(learner).kinds and learner != "oml":
        recipe.net["width"] = 8
    given = construction(recipe.build(facts_of(learner))).kwargs[option]
    assert (list(given) if isinstance(given, tuple) else given) == value


@pytest.mark.parametrize("learner", learner_names())
def test_a_method_has_every_option_of_its_head(learner: str) -> None:
    """What the head of a composite takes by name, the composite takes, with the same default and type."""
    kind = learner_class(learner)
    head = getattr(kind, "kind", None)
    if head is None:
        assert not issubclass(kind, il.learners.Embedded), f"{learner} does not say which head it has"
        return
    own = keywords(kind)
    for name, parameter in keywords(head).items():
        assert (own[name].default, own[name].annotation) == (parameter.default, parameter.annotation), name


def test_there_are_options() -> None:
    """The list above is not empty for want of annotations."""
    assert len(options()) > 100
    assert {learner for learner, _, _ in options()} == set(learner_names())
