"""The committed recipes: one TOML file a learner, with tables for kinds of data."""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import Any, NamedTuple

from innerloop.core.parts import is_own
from innerloop.data import registry
from innerloop.learners.named import learner_class
from innerloop.recipes.recipe import Recipe


def defaults(learner: str, data: str | None = None) -> Recipe:
    """The committed recipe of a learner on a data set (``None``: the recipe's own).

    ``recipes/LEARNER.toml`` holds it. A table ``[on.KIND]`` overrides what stands above it where the data are of that
    kind: the objective, the kind of input, drawings or photographs, from the general to the particular. With
    ``like = "OTHER"`` it says only what differs from another learner's recipe. A learner of one's own has the recipe
    that its attribute ``recipe`` names (``recipe = "protonet"``), if any.

    Raises:
        InputError: for an unknown learner or data set.

    Example:
        >>> defaults("protonet", "omniglot").episodes["ways"]
        60
    """
    kind = learner_class(learner)
    values = _read(str(getattr(kind, "recipe", "")) if is_own(learner) else learner)
    tables = values.pop("on", {})
    data = data or values.get("data", "glyphs")
    for table in registry.find(data).kinds:
        values = _merged(values, tables.get(table, {}))
    return Recipe.read({**values, "learner": learner, "data": data})


class Published(NamedTuple):
    """What a committed recipe stands beside.

    Args:
        paper: authors, year and link.
        differs: where the recipe differs from the paper's experiments.
        figures: those of the paper as they are commonly cited, by table of results.
    """

    paper: str = ""
    differs: str = ""
    figures: dict[str, str] = {}  # noqa: RUF012


def published(learner: str) -> Published:
    """The published counterpart of a learner's committed recipe, from its table ``[published]``.

    Example:
        >>> published("protonet").figures["omniglot"]
        '98.8 / 99.7 / 96.0 / 98.9'
    """
    file = resources.files("innerloop.recipes") / f"{learner}.toml"
    said = tomllib.loads(file.read_text()).get("published", {}) if file.is_file() else {}
    return Published(said.pop("paper", ""), said.pop("differs", ""), said)


def _read(learner: str) -> dict[str, Any]:
    """The values of a committed recipe, on top of those of the recipe that it is like; none where there is none."""
    file = resources.files("innerloop.recipes") / f"{learner}.toml"
    values = tomllib.loads(file.read_text()) if file.is_file() else {}
    values.pop("published", None)
    return _merged(_read(values.pop("like")), values) if "like" in values else values


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    both = {k: _merged(below[k], v) for k, v in above.items() if isinstance(v, dict) and k in below}
    return {**below, **above, **both}
