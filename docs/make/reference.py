"""The API reference: a page for each room of the library, with the docstring of each public name."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

#: The rooms that a reader calls, in the order in which one comes to need them.
ROOMS = (
    "innerloop",
    "innerloop.estimators",
    "innerloop.data",
    "innerloop.nets",
    "innerloop.learners",
    "innerloop.core.inner",
    "innerloop.core.norm",
    "innerloop.training",
    "innerloop.evidence",
    "innerloop.encoders",
    "innerloop.bundle",
    "innerloop.continual",
    "innerloop.optimizers",
    "innerloop.acting",
    "innerloop.recipes",
    "innerloop.export",
    "innerloop.reproduction",
)


def write(folder: Path) -> None:
    """Write ``reference/``, a page for each room, and its list of contents."""
    place = folder / "reference"
    place.mkdir(parents=True)
    lines = []
    for room in ROOMS:
        (place / f"{room}.md").write_text(page(room), encoding="utf-8")
        lines.append(f"- [{room.removeprefix('innerloop.')}]({room}.md)")
    (place / "SUMMARY.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def page(room: str) -> str:
    """The page of a room."""
    module = importlib.import_module(room)
    words = (module.__doc__ or "").strip().replace("\n\n", "\0").replace("\n", " ").replace("\0", "\n\n")
    parts = [f"# {room}\n\n{words}\n"]
    if room == "innerloop.learners":
        parts.append("Each has a [page of its own](../learner/index.md).\n")
        return "\n".join(parts)
    for name in module.__all__:
        thing = getattr(module, name)
        if not (inspect.isroutine(thing) or inspect.isclass(thing)) or not thing.__module__.startswith("innerloop."):
            continue
        # The front room explains what no other page does.
        if room != "innerloop" or not any(thing.__module__.startswith(f"{other}.") for other in ROOMS[1:]):
            parts.append(f"::: {thing.__module__}.{thing.__name__}\n")
    return "\n".join(parts)
