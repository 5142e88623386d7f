"""What data sets there are and what is in one, as rows of a table."""

from __future__ import annotations

from typing import Any

from innerloop.data.molecules import Molecules
from innerloop.data.pool import Pools
from innerloop.data.registry import FAMILIES, MOLECULES, SETS, TABLES
from innerloop.data.tables import TableTasks

Rows = list[dict[str, Any]]


def catalog() -> Rows:
    """The data sets: name, whether it needs its folder, and what it is.

    Example:
        >>> catalog()[0]["data"]
        'glyphs'
    """
    rows: Rows = [{"data": key, "needs": "--root" if s.needs_root else "", "what": s.what} for key, s in SETS.items()]
    rows += [{"data": key, "needs": "", "what": f"{f.what}: {f.objective}"} for key, f in FAMILIES.items()]
    rows += [
        {"data": key, "needs": "--root", "what": f"{' and '.join(t.targets)} by {' and '.join(t.task)}: regression"}
        for key, t in TABLES.items()
    ]
    return rows + [{"data": key, "needs": "--root", "what": f"{s.what}: classes"} for key, s in MOLECULES.items()]


def count(source: Pools | TableTasks | Molecules) -> Rows:
    """The classes and examples, assays and molecules, or tasks and rows of each split."""
    if isinstance(source, Molecules):
        return [
            {
                "split": split,
                "assays": len(members),
                "molecules": int(source.drawn[split].sum()),
                "measured": int(source.counts(split)[members].sum()),
                "active": int(source.counts(split)[members, 1].sum()),
            }
            for split, members in source.splits.items()
        ]
    if isinstance(source, TableTasks):
        return [
            {
                "split": split,
                "tasks": len(members),
                "rows": int(source.sizes[members].sum()),
                "per task": f"{int(source.sizes[members].min())} to {int(source.sizes[members].max())}",
                "inputs": len(source.inputs),
                "targets": list(source.targets),
            }
            for split, members in source.splits.items()
        ]
    return [
        {
            "split": split,
            "classes": pool.classes,
            "examples": pool.examples,
            "per class": f"{int(pool.sizes.min())} to {int(pool.sizes.max())}",
            "shape": "x".join(map(str, pool.shape)),
        }
        for split, pool in (("train", source.train), ("val", source.val), ("test", source.test))
    ]
