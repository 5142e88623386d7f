"""The site: its contents list every page, every learner has one, links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from innerloop import learners

HOME = Path(__file__).resolve().parent.parent
MAKE = HOME / "docs" / "make"


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> None:
    """What lays out and finishes the site can be imported."""
    monkeypatch.syspath_prepend(str(MAKE))


def test_contents_list_every_page() -> None:
    contents = (HOME / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    listed = set(re.findall(r"([\w/]+\.md)$", contents, re.MULTILINE))
    there = {page.relative_to(HOME / "docs").as_posix() for page in (HOME / "docs").rglob("*.md")}
    assert listed == there | {"charts.md", "CONTRIBUTING.md", "CHANGELOG.md"}


@pytest.mark.usefixtures("make")
def test_every_learner_has_a_page(tmp_path: Path) -> None:
    import learner_pages

    learner_pages.write(tmp_path)
    contents = (tmp_path / "learner" / "SUMMARY.md").read_text(encoding="utf-8")
    for name in learners.__all__:
        page = (tmp_path / "learner" / f"{name}.md").read_text(encoding="utf-8")
        assert f".{name}\n" in page
        assert f"[{name}]({name}.md)" in contents
    # Its rows of the results are its own.
    maml = (tmp_path / "learner" / "MAML.md").read_text(encoding="utf-8")
    assert "| MAML, second order, from random weights |" in maml
    assert "| Reptile" not in maml


@pytest.mark.usefixtures("make")
def test_dead_links_and_what_is_fetched_are_found(tmp_path: Path) -> None:
    import finish

    links = '<a href="b.html#here">1</a><a href="b.html#gone">2</a><a href="c.html">3</a>'
    (tmp_path / "a.html").write_text(f'{links}<img src="no.png"><script src="https://cdn.test/x.js"></script>')
    (tmp_path / "b.html").write_text('<h1 id="here">b</h1><a href="https://arxiv.org">out</a>')
    assert finish.complaints(tmp_path) == [
        "a.html fetches https://cdn.test/x.js",
        "a.html links to b.html#gone, which has no such place",
        "a.html links to c.html, which is not there",
        "a.html links to no.png, which is not there",
    ]


@pytest.mark.usefixtures("make")
def test_links_out_of_the_docs_are_those_of_the_site() -> None:
    import pages

    source = HOME / "docs" / "tutorials" / "own_learner.md"
    text = "[a](../../CONTRIBUTING.md#b) [c](../design.md) [d](../../src/innerloop/demo.py)"
    assert pages.relinked(text, source) == "[a](../CONTRIBUTING.md#b) [c](../design.md) d"
    assert pages.relinked("[a](docs/design.md)", HOME / "CONTRIBUTING.md") == "[a](design.md)"


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("zensical"), reason="needs the extra docs")
def test_the_site_is_built_without_a_warning() -> None:
    for words in (["docs/make/pages.py"], ["-m", "zensical", "build", "--strict", "--clean"], ["docs/make/finish.py"]):
        done = subprocess.run([sys.executable, *words], cwd=HOME, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert (HOME / "site" / "learner" / "MAML.html").is_file()
