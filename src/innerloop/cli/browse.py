"""Commands that show what there is: learners, data."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console

from innerloop.cli.options import (
    Json,
    Root,
)
from innerloop.cli.show import show


def learners(as_json: Json = False) -> None:
    """The learners and their recipes."""
    from innerloop.data import registry
    from innerloop.learners.named import learner_class
    from innerloop.recipes import defaults, learner_names, published

    rows: list[dict[str, Any]] = []
    for name in learner_names():
        kind, recipe = learner_class(name), defaults(name)
        norm = recipe.norm if "images" in registry.find(recipe.data).kinds else "none"
        rows.append(
            {
                "learner": name,
                "family": kind.__module__.split(".")[-2],
                "objectives": list(kind.objectives),
                "norm": norm,
                "transductive": kind.looks_at_queries or norm == "batch",
                "what": (kind.__doc__ or "").strip().splitlines()[0],
                **published(name)._asdict(),
            }
        )
    if not as_json:
        words = {"classification": "classes", "regression": "reals"}
        for row in rows:
            del row["paper"], row["differs"], row["figures"]
            kinds = row.pop("objectives")
            row["for"] = words[kinds[0]] if len(kinds) == 1 else "both"
            row["norm"] += " (transductive)" if row.pop("transductive") else ""
            row["what"] = row.pop("what")
    show(rows, as_json)


def data(
    name: Annotated[str | None, typer.Argument(help="a data set, to read and count it")] = None,
    root: Root = None,
    download: Annotated[bool, typer.Option("--download", help="fetch it into --root first")] = False,
    as_json: Json = False,
) -> None:
    """The data sets; with a name, read one (or fetch it) and count its classes and examples."""
    from innerloop.data import registry

    if name is None:
        rows = registry.catalog()
        if not as_json:
            rows = [{**row, "kind": row["kind"][:3][-1]} for row in rows]
        show(rows, as_json)
        return
    found = registry.read(name, root, **({"download": True} if download else {})).describe()
    show(found.rows, as_json)
    for note in found.notes:
        Console(stderr=True).print(note, highlight=False, soft_wrap=True)
