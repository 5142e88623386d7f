"""A real browser on the studio, for tests: Chromium by Playwright, a server in a thread, a hand that draws."""

from __future__ import annotations

import os
import shutil
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from innerloop.serve.app import create_app
from innerloop.serve.settings import Settings
from innerloop.studio.mount import mount

#: Three characters as strokes of corners, between 0 and 1.
SIGNS = {
    "A": [[(0.2, 0.5), (0.4, 0.8), (0.8, 0.2)]],
    "B": [[(0.5, 0.2), (0.8, 0.8), (0.2, 0.8), (0.5, 0.2)]],
    "C": [[(0.1, 0.4), (0.9, 0.4)], [(0.3, 0.2), (0.3, 0.9)], [(0.7, 0.2), (0.7, 0.9)]],
}
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The address of a studio whose database is in a folder."""
    app = mount(create_app(Settings(database=f"sqlite:///{folder}/studio.db", deadline=120.0)))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(128)
        server = uvicorn.Server(uvicorn.Config(app, access_log=False, log_level="error", loop="asyncio"))
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/studio/"
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def chromium() -> Iterator[Any]:
    """The browser; the test is skipped where there is none."""
    driver = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install 'innerloop[test]'")
    found = os.environ.get("INNERLOOP_CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        pytest.skip(f"no Chromium on the path ({', '.join(_NAMES)}): install it, or name it in INNERLOOP_CHROMIUM")
    flags = ["--no-sandbox", "--disable-gpu", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with driver.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=flags)
        try:
            yield browser
        finally:
            browser.close()


class Visit:
    """A page of the studio in a context of its own, which notes what the console says.

    Args:
        browser: Chromium.
        address: of the studio.
        context: options of the context.
    """

    def __init__(self, browser: Any, address: str, **context: Any) -> None:
        self.context = browser.new_context(viewport=context.pop("viewport", {"width": 1440, "height": 900}), **context)
        self.context.set_default_timeout(60_000)
        self.page = self.context.new_page()
        self.wrong: list[str] = []
        self.page.on(
            "console", lambda said: self.wrong.append(said.text) if said.type in ("error", "warning") else None
        )
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        # What moves though nobody asked for it, from the first paint on.
        self.page.add_init_script(
            "window.moved = []; new PerformanceObserver((list) => { for (const one of list.getEntries()) "
            "if (!one.hadRecentInput) window.moved.push(one.value); }).observe({type: 'layout-shift', buffered: true})"
        )
        self.open(address)

    def open(self, address: str) -> None:
        """Open an address and wait until the page speaks."""
        self.page.goto(address)
        self.page.wait_for_selector("html[data-ready=yes]")

    def draw(self, sign: str, *, moved: float = 0.0, size: float = 1.0) -> None:
        """A character by the mouse."""
        sheet = self.page.locator(".easel canvas")
        sheet.scroll_into_view_if_needed()
        box = sheet.bounding_box()
        for stroke in SIGNS[sign]:
            first, *rest = [
                (
                    box["x"] + box["width"] * (0.5 + size * (x - 0.5) + moved),
                    box["y"] + box["height"] * (0.5 + size * (y - 0.5)),
                )
                for x, y in stroke
            ]
            self.page.mouse.move(*first)
            self.page.mouse.down()
            for point in rest:
                self.page.mouse.move(*point, steps=5)
            self.page.mouse.up()

    def key(self, sign: str, *, moves: Sequence[str] = ()) -> None:
        """A character by the keyboard alone, the sheet having the focus: a few long moves of the pen."""
        keys = {
            "A": "2*ArrowLeft Space 3*End ArrowRight Space",
            "B": "Space 4*End 8*ArrowRight 4*Home Space",
            "C": "4*ArrowLeft Space 8*ArrowRight Space 2*ArrowLeft 3*ArrowUp Space 6*ArrowDown Space",
        }
        for key in [*moves, *keys[sign].split()]:
            count, _, name = key.rpartition("*")
            for _ in range(int(count or 1)):
                self.page.keyboard.press(name)

    def taught(self) -> None:
        """Three characters with two examples each."""
        for turn in range(2):
            for number, sign in enumerate("ABC"):
                self.draw(sign, moved=0.03 * turn, size=1 - 0.15 * turn)
                self.page.click("#teach-new" if (sign, turn) == ("C", 0) else f"[data-teach='{sign}']")
                self.count(3 * turn + number + 1)

    def count(self, examples: int) -> None:
        """Wait until there are so many examples."""
        self.page.locator("#classes .thumb").nth(examples - 1).wait_for()

    def answered(self, label: str) -> None:
        """Wait until the answer is a class."""
        self.page.wait_for_selector(f"[data-verdict='{label}']")

    def serious(self) -> list[str]:
        """What axe finds that is serious or critical."""
        axe = pytest.importorskip("axe_playwright_python", reason="no axe: pip install 'innerloop[test]'")
        source = (Path(axe.__file__).parent / "axe.min.js").read_text()
        # By the protocol, since the page's policy lets no script in.
        self.context.new_cdp_session(self.page).send("Runtime.evaluate", {"expression": source})
        found = self.page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{one['id']}: {[node['target'] for node in one['nodes']]}"
            for one in found["violations"]
            if one["impact"] in ("serious", "critical")
        ]

    def shifts(self) -> float:
        """How much the layout moved by itself."""
        return float(self.page.evaluate("window.moved.reduce((a, b) => a + b, 0)"))
