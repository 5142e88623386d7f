"""The published counterpart of each committed recipe, and where the recipe differs: a block of the page."""

from __future__ import annotations

from innerloop.recipes import learner_names, published
from innerloop.reproduction.blocks import markdown

#: Between its marks on the page.
NAME = "published"


def block() -> str:
    """The table in Markdown, a row for each recipe, from the recipes' tables ``[published]``.

    Example:
        >>> "Snell" in block()
        True
    """
    rows = []
    for name in learner_names():
        one = published(name)
        figures = "; ".join(f"{table}: {figure}" for table, figure in one.figures.items())
        rows.append((name, [one.paper, figures, one.differs]))
    return markdown(["paper", "figures, by table", "where the recipe differs"], rows)
