"""How long it takes from opening the studio to a first right answer, by a hand that never hesitates.

    python benchmarks/studio.py time --rounds 3

    python benchmarks/studio.py pictures --out docs/images

Time: a browser opens the page of a server that has just started, draws three characters with two examples each, gives
each its label, draws a fourth drawing and waits for the right answer. Pictures are those of the pages.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from browsing import Visit, chromium, serving

LIMIT, PAINT = 20.0, 1.0


def timed(rounds: int) -> None:
    """Print seconds to the first paint and to the first right answer."""
    totals, paints, wrong = [], [], []
    with chromium() as browser:
        for _ in range(rounds):
            with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as address:
                begun = time.perf_counter()
                visit = Visit(browser, address)
                visit.taught()
                visit.draw("B", moved=-0.04, size=0.75)
                visit.answered("B")
                totals.append(time.perf_counter() - begun)
                entry = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
                paints.append(visit.page.evaluate(entry) / 1000)
                wrong += visit.wrong
                visit.context.close()
    for name, values, limit in (("first right answer", totals, LIMIT), ("first paint", paints, PAINT)):
        print(f"{name}: {statistics.median(values):.2f} s, {min(values):.2f} to {max(values):.2f} (limit {limit:g})")
    print(f"errors on the console: {len(wrong)}")


def pictures(out: Path) -> None:
    """Write the pictures of the page: light, dark, and a phone."""
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as address, chromium() as browser:
        visit = Visit(browser, address)
        page = visit.page
        page.click("#sample")
        visit.count(9)
        visit.draw("B", size=0.7)
        page.wait_for_selector("[data-verdict]")
        page.click("[data-teach] >> nth=0")
        visit.count(10)
        visit.draw("A", moved=0.02, size=0.85)
        page.wait_for_selector("[data-suspect]")
        page.wait_for_selector(".map .query")
        written(page, out / "studio.png")
        page.click("#theme")
        page.click("#tab-check")
        page.click(".cell.wrong:not([disabled]) >> nth=0")
        written(page, out / "studio_check.png")
        phone = Visit(browser, page.url, viewport={"width": 390, "height": 844}, locale="zh-CN")
        phone.count(7)
        phone.draw("C", size=0.9)
        phone.page.wait_for_selector(".because li")
        written(phone.page, out / "studio_phone.png")


def written(page: Any, path: Path) -> None:
    """A picture of what is seen."""
    page.mouse.move(2, 300)
    page.wait_for_timeout(1500)
    page.screenshot(path=path)
    with Image.open(path) as shown:
        shown.convert("RGB").save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    parts.add_parser("time").add_argument("--rounds", type=int, default=3)
    parts.add_parser("pictures").add_argument("--out", type=Path, default=Path("docs/images"))
    asked = parser.parse_args()
    if asked.part == "time":
        timed(asked.rounds)
    else:
        pictures(asked.out)


if __name__ == "__main__":
    main()
