"""The built site made whole: nothing is fetched while one reads, and no link is dead.

``python docs/make/finish.py [SITE]`` ends with 1 and a line for each link that leads nowhere.
"""

from __future__ import annotations

import os
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

#: What the generator would fetch so that search works on a disk, and what stands in its place.
FETCHED = "https://unpkg.com/iframe-worker/shim"
WORKER = Path("assets", "javascripts", "worker.js")


class Page(HTMLParser):
    """What a page has, links to and loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Called for each tag."""
        given = dict(attrs)
        self.anchors |= {value for name in ("id", "name") if (value := given.get(name))}
        if tag == "a" and given.get("href"):
            self.links.append(given["href"] or "")
        loads = given.get("src") if tag != "a" else None
        if tag == "link" and given.get("rel") in ("stylesheet", "preconnect", "icon", "preload"):
            loads = given.get("href")
        if loads and not loads.startswith("data:"):
            self.loaded.append(loads)


def settle(site: Path) -> None:
    """Put our worker where the generator would fetch one."""
    shutil.copyfile(Path(__file__).with_name("worker.js"), site / WORKER)
    for file in site.rglob("*.html"):
        text = file.read_text(encoding="utf-8")
        way = Path(os.path.relpath(site / WORKER, file.parent)).as_posix()
        file.write_text(text.replace(FETCHED, way), encoding="utf-8")


def complaints(site: Path) -> list[str]:
    """What is wrong with a site: links that lead nowhere, and what would be fetched.

    Args:
        site: its folder.
    """
    pages = {file.resolve(): Page(file.read_text(encoding="utf-8")) for file in sorted(site.rglob("*.html"))}
    found = []
    for file, page in pages.items():
        name = file.relative_to(site.resolve())
        # The page for what is not found stands anywhere, so its links are from the root.
        if name == Path("404.html"):
            continue
        found += [f"{name} fetches {one}" for one in page.loaded if urlsplit(one).netloc]
        for link in [*page.links, *page.loaded]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            aim = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            aim = aim / "index.html" if aim.is_dir() else aim
            anchor = unquote(parts.fragment)
            if not aim.is_file():
                found.append(f"{name} links to {link}, which is not there")
            elif anchor and aim in pages and anchor not in pages[aim].anchors:
                found.append(f"{name} links to {link}, which has no such place")
    return found


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "site")
    settle(folder)
    wrong = complaints(folder)
    print("\n".join(wrong) or f"{folder / 'index.html'}: no dead link, nothing that is fetched")
    sys.exit(bool(wrong))
