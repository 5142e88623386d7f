"""The tables: read from their files, found by name, put into their pages."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from innerloop.core.options import check_options, check_type
from innerloop.core.task import InputError, did_you_mean
from innerloop.reproduction import counterparts
from innerloop.reproduction.blocks import put
from innerloop.reproduction.printed import Printed
from innerloop.reproduction.trained import Row, Trained

#: The records of the library itself.
RESULTS = Path(__file__).parent / "results"
#: The file with the tables that benchmarks print; every other one is a table whose rows are trained.
_PRINTED = "benchmarks.toml"


def checkout() -> Path | None:
    """The folder of the repository that this package lies in; ``None`` for an installed package."""
    home = Path(__file__).resolve().parents[3]
    return home if (home / "benchmarks").is_dir() and (home / "docs" / "results.md").is_file() else None


def read_tables(folder: str | Path | None = None) -> dict[str, Trained | Printed]:
    """The tables of a folder, by name.

    Args:
        folder: with ``NAME.toml`` for each table whose rows are trained, ``benchmarks.toml`` for all that are printed
            by a command, and ``NAME.json`` for what was found; default the library's own.

    Raises:
        InputError: for a folder without tables, a file that is none, a name that nothing has.

    Example:
        >>> read_tables()["omniglot"].rows["protonet-64"].train
        'protonet --width 64 --steps 3900'
    """
    place = Path(folder) if folder is not None else RESULTS
    files = sorted(place.glob("*.toml"), key=lambda file: (file.name == _PRINTED, file.name))
    if not files:
        raise InputError(f"{place} holds no tables: give a folder with NAME.toml for each of them")
    found: dict[str, Trained | Printed] = {}
    for file in files:
        try:
            values = tomllib.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{file} cannot be read ({error})") from None
        if file.name == _PRINTED:
            for name, table in values.items():
                found[name] = _made(Printed, table, f"{file}, {name}", name=name, folder=place)
        else:
            found[file.stem] = _trained(file, values)
    return found


def chosen(tables: dict[str, Trained | Printed], asked: Sequence[str]) -> dict[str, list[str]]:
    """The rows that are asked for, by table.

    Args:
        tables: those that there are.
        asked: ``"all"``, a table, the beginning of a row's name (``"few-groceries/5w1s"``), or a row without its table,
            where only one table has it.

    Raises:
        InputError: for a name that nothing has, or that rows of several tables have.

    Example:
        >>> chosen(read_tables(), ["omniglot/maml", "sinusoid"])
        {'omniglot': ['maml'], 'sinusoid': ['maml']}
    """
    known = [(table, row) for table, one in tables.items() for row in one.names_of_rows()]
    found: list[tuple[str, str]] = []
    for name in asked:
        full = name.strip().strip("/")
        hits = [(t, r) for t, r in known if full in ("all", t, f"{t}/{r}") or f"{t}/{r}".startswith(f"{full}/")]
        if not hits:
            hits = [(t, r) for t, r in known if r == full]
            if len({t for t, _ in hits}) > 1:
                which = " or ".join(f"{t}/{r}" for t, r in hits)
                raise InputError(f"{name!r} is a row of several tables: say {which}")
        if not hits and full not in tables:
            names = [*tables, *(f"{t}/{r}" for t, r in known), *(r for _, r in known)]
            raise InputError(
                f"no row is called {name!r}{did_you_mean(full, names)}; innerloop reproduce --list has all"
            )
        found += hits
    rows = {table: [r for t, r in known if t == table and (t, r) in found] for table in tables}
    # A table that nothing was recorded of has no rows yet.
    return {table: names for table, names in rows.items() if names or table in asked}


def write_page(table: Trained | Printed) -> Path | None:
    """Put a table into its page, and on the library's own what is published beside it.

    Returns:
        the page; ``None`` where there is none, or where it has no place for the table.
    """
    home = checkout() if table.folder == RESULTS else table.folder
    page = home / table.page if home is not None else None
    if page is None or not page.is_file():
        return None
    if table.folder == RESULTS:
        put(page, counterparts.NAME, counterparts.block())
    return page if put(page, table.name, table.block()) else None


def _trained(file: Path, values: dict[str, Any]) -> Trained:
    rows: dict[str, Row] = {}
    check_type(f"{file}: rows", values.get("rows", {}), dict[str, Any])
    for name, row in values.pop("rows", {}).items():
        rows[name] = _made(Row, row, f"{file}, row {name}")
    table: Trained = _made(Trained, values, str(file), name=file.stem, folder=file.parent, rows=rows)
    for name, one in rows.items():
        for what, others, given in (
            ("column", table.columns, [*one.columns, *one.tasks]),
            ("row", rows, [other for other in (one.run, one.init) if other]),
        ):
            for other in given:
                if other not in others:
                    raise InputError(f"{file}, row {name}: there is no {what} {other!r}{did_you_mean(other, others)}")
    return table


def _made(kind: type, values: Any, where: str, **given: Any) -> Any:
    """What a table of a file describes, its names and types checked."""
    if not isinstance(values, dict):
        raise InputError(f"{where} is {values!r}, and must be a table")
    check_options(kind, values, where, given=tuple(given))
    return kind(**values, **given)
