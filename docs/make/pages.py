"""The pages of the site, laid out in one folder: those of ``docs/``, the root's, and those that are made from the code.

``python docs/make/pages.py [FOLDER]``, by default ``build/docs``.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import charts
import learner_pages
import reference

HOME = Path(__file__).resolve().parents[2]
DOCS = HOME / "docs"
#: Pages of the repository's root that the site has too.
ROOT = ("CONTRIBUTING.md", "CHANGELOG.md")
#: What lies beside the pages.
BESIDE = (".md", ".png", ".svg", ".css")
_LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<to>[^)#:\s]+)(?P<anchor>#[^)\s]*)?\)")


def lay_out(folder: Path) -> None:
    """Empty the folder and write every page into it."""
    shutil.rmtree(folder, ignore_errors=True)
    for source in sources():
        target = folder / placed(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.suffix == ".md":
            target.write_text(relinked(source.read_text(encoding="utf-8"), source), encoding="utf-8")
        else:
            shutil.copyfile(source, target)
    learner_pages.write(folder)
    reference.write(folder)
    charts.write(folder)


def sources() -> list[Path]:
    """The files that the site is laid out from: those of ``docs/``, and the root's."""
    found = [file for file in sorted(DOCS.rglob("*")) if file.suffix in BESIDE and file.is_file()]
    return found + [HOME / name for name in ROOT]


def placed(source: Path) -> Path:
    """Where a file stands on the site, from its front page."""
    return source.relative_to(DOCS if source.is_relative_to(DOCS) else HOME)


def relinked(text: str, source: Path) -> str:
    """A page whose links lead from its place on the site; what the site does not have is named, not linked."""

    def changed(match: re.Match[str]) -> str:
        aim = (source.parent / match["to"]).resolve()
        if not aim.exists() or (aim.is_relative_to(DOCS) and source.is_relative_to(DOCS)):
            return match[0]
        if not (aim.is_relative_to(DOCS) or (aim.parent == HOME and aim.name in ROOT)):
            return match["text"]
        way = os.path.relpath(placed(aim), placed(source).parent)
        return f"{match['image']}[{match['text']}]({way}{match['anchor'] or ''})"

    return _LINK.sub(changed, text)


if __name__ == "__main__":
    lay_out(Path(sys.argv[1]) if len(sys.argv) > 1 else HOME / "build" / "docs")
