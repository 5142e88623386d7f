"""Documentation that runs: every docstring example, and README's first Python example on embedded data."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
from pathlib import Path
from types import ModuleType

import pytest

import innerloop as il

HOME = Path(__file__).resolve().parent.parent


def modules() -> list[str]:
    return [info.name for info in pkgutil.walk_packages(il.__path__, "innerloop.") if "__main__" not in info.name]


@pytest.mark.parametrize("name", modules())
def test_docstring_examples_run(name: str) -> None:
    module: ModuleType = importlib.import_module(name)
    names = {"il": il, "torch": importlib.import_module("torch")}
    result = doctest.testmod(module, extraglobs=names, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


def test_public_names_have_docstrings_with_an_example_or_a_reason() -> None:
    for name in il.__all__:
        assert (getattr(il, name).__doc__ or "").strip(), f"{name} says nothing of itself"


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)


def test_readme_examples_run_on_embedded_data(capsys: pytest.CaptureFixture[str]) -> None:
    first, second, table, process = python_blocks(HOME / "README.md")
    # The reader's folder becomes the embedded data set, the budgets become short; every other word is README's.
    first = first.replace('il.data.omniglot("path/to/omniglot", download=True)', "il.data.glyphs()")
    first = first.replace("minutes=10", "steps=2").replace("tasks=1000", "tasks=5")
    names: dict[str, object] = {}
    exec(first, names)
    probabilities = names["probabilities"]
    assert probabilities.shape == (75, 5)
    assert float(probabilities.sum()) == pytest.approx(75, rel=1e-5)
    exec(second.replace("40_000", "2"), {"il": il})
    capsys.readouterr()
    exec(table, {"il": il})
    first_row = capsys.readouterr().out.splitlines()[0]
    assert max(float(p) for p in re.findall(r"[\d.]+", first_row)) > 0.8
    exec(process.replace("minutes=10", "steps=2").replace("1600", "16"), {"il": il})
    assert "log_likelihood" in capsys.readouterr().out


def test_the_pages_name_things_that_exist() -> None:
    text = "\n".join(page.read_text() for page in [HOME / "README.md", *sorted((HOME / "docs").glob("*.md"))])
    for path in re.findall(r"`il\.([A-Za-z0-9_.]+)", text):
        thing: object = il
        for part in path.rstrip(".").split("."):
            assert hasattr(thing, part) or importlib.util.find_spec(f"innerloop.{part}"), f"il.{path} does not exist"
            thing = getattr(thing, part) if hasattr(thing, part) else importlib.import_module(f"innerloop.{part}")
    for link in re.findall(r"\]\(([^)#:]+)\)", (HOME / "README.md").read_text()):
        assert (HOME / link).exists(), f"README links to {link}, which is not there"
