"""The package's rooms, read from its imports: downwards only, without cycles, and no private name leaves its module.

Every import counts, those within functions and under ``TYPE_CHECKING`` too.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import innerloop as il

HOME = Path(il.__file__).resolve().parent

#: From the lowest room to the highest. Rooms on one line may not import each other in a circle.
STOREYS = [
    {"core"},
    {"nets"},
    {"data"},
    {"learners"},
    {"bundle"},
    {"evaluation"},
    {"training"},
    {"evidence"},
    {"encoders"},
    {"acting", "continual", "estimators", "optimizers", "recipes", "report"},
    {"demo", "export", "reproduction", "sweep"},
    {"serve"},
    {"studio"},
    {"cli"},
    # The root, which offers what the rooms hold, and `python -m innerloop`.
    {"", "__main__"},
]

#: Known exceptions, each with its reason: "module -> module" for an import.
UPWARDS: dict[str, str] = {}
#: "module: module" in a circle, in order of their names.
CIRCLES: dict[str, str] = {}
#: "module: name".
PRIVATE: dict[str, str] = {}

#: Private in name only: part of what a named tuple offers.
OF_NAMED_TUPLES = {"_replace", "_asdict", "_fields", "_make", "_field_defaults"}


class Import(NamedTuple):
    """One import of a module of the package."""

    module: str
    target: str
    """A module."""
    name: str | None
    """What is taken from it, where it is not a module itself."""


@cache
def trees() -> dict[str, ast.Module]:
    """The syntax of every module, by its name without the package's: "" is the root, "data" a room's own file."""
    found = {}
    for path in sorted(HOME.rglob("*.py")):
        parts = path.relative_to(HOME).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = ast.parse(path.read_text())
    return found


def inside(dotted: str) -> str | None:
    """The name within the package, ``None`` for another package's."""
    if dotted == "innerloop":
        return ""
    return dotted.removeprefix("innerloop.") if dotted.startswith("innerloop.") else None


def imports_of(module: str, tree: ast.Module) -> Iterator[Import]:
    """Every import of a module of the package, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if (target := inside(alias.name)) is not None:
                    yield Import(module, target, None)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import: name the module in full"
            if (base := inside(node.module or "")) is not None:
                for alias in node.names:
                    part = f"{base}.{alias.name}".lstrip(".")
                    target, name = (part, None) if part in trees() else (base, alias.name)
                    yield Import(module, target, name)


@cache
def imports() -> list[Import]:
    """Every import of one module of the package by another."""
    return [one for module, tree in trees().items() for one in imports_of(module, tree)]


def room(module: str) -> str:
    return module.partition(".")[0]


@cache
def storey(module: str) -> int:
    """How high a module lies."""
    (found,) = (number for number, rooms in enumerate(STOREYS) if room(module) in rooms)
    return found


def circles(arrows: set[tuple[str, str]]) -> list[list[str]]:
    """The groups of things that reach each other (strongly connected, by what each can reach)."""
    after: dict[str, set[str]] = {}
    for source, target in arrows:
        after.setdefault(source, set()).add(target)

    def reach(start: str) -> set[str]:
        seen: set[str] = set()
        todo = [start]
        while todo:
            for one in after.get(todo.pop(), set()) - seen:
                seen.add(one)
                todo.append(one)
        return seen

    reached = {one: reach(one) for one in after}
    groups = {tuple(sorted(b for b in far if one in reached.get(b, ()))) for one, far in reached.items() if one in far}
    return [list(group) for group in sorted(groups)]


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name != "_" and name not in OF_NAMED_TUPLES


def defined(tree: ast.Module) -> set[str]:
    """The private names that a module makes: functions, classes, variables, fields."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.id if isinstance(node, ast.Name) else node.attr)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
    return {name for name in found if private(name)}


def private_uses() -> Iterator[tuple[str, str]]:
    """Private names of one module that another one uses: imported, or reached as an attribute."""
    makers: dict[str, set[str]] = {module: defined(tree) for module, tree in trees().items()}
    for one in imports():
        if one.name is not None and private(one.name):
            yield one.module, one.name
        if any(private(part) for part in one.target.split(".")):
            yield one.module, one.target
    for module, tree in trees().items():
        others = set().union(*(names for name, names in makers.items() if name != module))
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and private(node.attr) and node.attr not in makers[module]:
                of_torch = ast.unparse(node.value).startswith("torch.") or ast.unparse(node.value) == "torch"
                if node.attr in others and not of_torch:
                    yield module, node.attr


def assert_known(found: set[str], known: dict[str, str], what: str) -> None:
    """What is found is what is listed: nothing new, and nothing that is listed and gone."""
    assert not found - known.keys(), f"{what}: {sorted(found - known.keys())}"
    assert not known.keys() - found, f"listed as an exception and gone, take it off the list: {known.keys() - found}"


def test_every_room_has_a_storey() -> None:
    assert {room(module) for module in trees()} == set().union(*STOREYS) & {room(module) for module in trees()}
    assert len(imports()) > 300


def test_imports_run_downwards() -> None:
    """No module imports from a room above its own, nor the root, which stands above them all."""
    found = {
        f"{one.module} -> {one.target or 'innerloop'}" for one in imports() if storey(one.target) > storey(one.module)
    }
    assert_known(found, UPWARDS, "imports upwards")


def test_no_circle_of_modules() -> None:
    """No module is reached from itself, whichever functions the imports stand in."""
    found = {": ".join(group) for group in circles({(one.module, one.target) for one in imports()})}
    assert_known(found, CIRCLES, "modules that import each other")


def test_no_circle_of_rooms() -> None:
    """Rooms of one storey do not import each other in a circle."""
    arrows = {(room(one.module), room(one.target)) for one in imports()}
    assert circles({(a, b) for a, b in arrows if a != b and storey(a) == storey(b)}) == []


def test_private_names_stay_at_home() -> None:
    found = {f"{module}: {name}" for module, name in private_uses()}
    assert_known(found, PRIVATE, "private names of another module")


def test_the_reading_sees_what_it_is_for() -> None:
    """Imports in functions and for types; circles through others, and not what only leads into one."""
    text = (
        "def f():\n    from innerloop.core import task as t\nif TYPE_CHECKING:\n    from innerloop.data.pool import _x"
    )
    found = list(imports_of("m", ast.parse(text)))
    assert found == [Import("m", "core.task", None), Import("m", "data.pool", "_x")]
    assert circles({("a", "b"), ("b", "c"), ("c", "a"), ("d", "a"), ("a", "e")}) == [["a", "b", "c"]]
    assert circles({("a", "b"), ("b", "c")}) == []
    assert defined(ast.parse("def _f(): pass\nself._x = 1\n_y: int = 2")) == {"_f", "_x", "_y"}


def test_importing_is_light() -> None:
    """`import innerloop` brings nothing of the front door, of the evidence, or of what draws and reads."""
    heavy = ("sklearn", "scipy", "matplotlib", "PIL", "pandas", "rich", "typer", "captum", "fontTools")
    ours = ("evidence", "estimators", "encoders", "report", "export", "cli", "recipes")
    words = [*heavy, *(f"innerloop.{room}" for room in ours)]
    code = f"import sys, innerloop; print([name for name in {words!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
