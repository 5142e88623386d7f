"""Cards of the models that come with the package, or in packages of their own that pip installs."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from innerloop.bundle import folder
from innerloop.core.task import InputError, did_you_mean
from innerloop.core.version import VERSION

_WEIGHTS = Path(__file__).parents[1] / "weights"


@dataclass(frozen=True)
class Figure:
    """One measured number of a model."""

    on: str
    """The data, the task and the metric."""
    value: float
    interval: float | None = None
    """Half the width of the 95 % interval."""
    unit: str = "%"

    def __str__(self) -> str:
        return f"{self.value:g}{f' ± {self.interval:g}' if self.interval is not None else ''} {self.unit}: {self.on}"


@dataclass(frozen=True)
class Card:
    """What people should know of a model before they use it.

    Example:
        >>> letters = card("letters")
        >>> letters.kind, letters.installed, letters.license
        ('encoder', True, 'Apache-2.0')
    """

    name: str
    kind: str
    """``"encoder"``, ``"head"``, ``"classifier"`` or ``"regressor"``."""
    takes: str
    """What it is for, in a word or two."""
    what: str
    data: str
    """What it was trained on."""
    license: str
    limits: str
    use: str
    """A line of Python."""
    figures: tuple[Figure, ...]
    measured: str
    """The command that measures the figures."""
    bytes: int
    """Of the weights."""
    digest: str
    """sha256 of the weights' file."""
    package: str
    """The distribution that brings it."""
    version: str | None
    """The installed one of that distribution."""
    install: str | None
    """The command that installs it, where that is not innerloop's own."""

    @property
    def installed(self) -> bool:
        """Whether it is at hand."""
        return self.version is not None


def cards() -> dict[str, Card]:
    """The card of each model, by name.

    Example:
        >>> list(cards())
        ['incontext_classifier', 'incontext_regressor', 'letters', 'photographs', 'sentences', 'sentences_head']
    """
    return {path.stem: _read(path) for path in sorted(_WEIGHTS.glob("*.toml"))}


def card(name: str) -> Card:
    """The card of one model.

    Raises:
        InputError: for an unknown name, with the nearest one.
    """
    path = _WEIGHTS / f"{name}.toml"
    known = sorted(path.stem for path in _WEIGHTS.glob("*.toml"))
    if name not in known:
        raise InputError(
            f"there is no model {name!r}{did_you_mean(name, known)}: `innerloop models` lists them, {', '.join(known)}"
        )
    return _read(path)


def _read(path: Path) -> Card:
    said = tomllib.loads(path.read_text(encoding="utf-8"))
    figures = tuple(Figure(**figure) for figure in said.pop("figures", ()))
    found = _brought(said["package"]) if "package" in said else _own(path.stem)
    return Card(name=path.stem, figures=figures, **{**found, **said})


def _own(name: str) -> Mapping[str, Any]:
    """Of a bundle beside the card: what it says of itself."""
    record = folder.record(_WEIGHTS / name)
    weights, text = record["files"]["weights"], record["card"]
    return {
        **{part: text[part] for part in ("what", "data", "license", "limits")},
        "bytes": weights["bytes"],
        "digest": weights["sha256"],
        "package": "innerloop",
        "version": VERSION,
        "install": None,
    }


def _brought(package: str) -> Mapping[str, Any]:
    """Of a package of its own: whether it is installed."""
    try:
        return {"version": metadata.version(package)}
    except metadata.PackageNotFoundError:
        return {"version": None}
