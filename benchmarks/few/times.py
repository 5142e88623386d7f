"""How long ten examples take: learning from 25 photographs, one prediction, and the choice of a head on features.

    python benchmarks/few/times.py              # the table of docs/results.md
    python benchmarks/few/times.py --fresh      # a new environment, and the two commands

Wall-clock medians with the smallest and the largest, on two threads and on one. Features are computed anew for each
figure.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import innerloop as il
from innerloop.encoders.photographs import Photographs

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from page import DATA as ROOT
from page import record


def timed(call: Callable[[], object], turns: int) -> str:
    """``median (least to most)`` in milliseconds."""
    call()
    found = []
    for _ in range(turns):
        begun = time.perf_counter()
        call()
        found.append(1000 * (time.perf_counter() - begun))
    return f"{np.median(found):.0f} ({min(found):.0f} to {max(found):.0f}) ms"


def photographs() -> dict[str, str]:
    """25 photographs of five kinds of groceries, and one more; each time as new pixels, which no cache knows."""
    from PIL import Image

    kinds = sorted((ROOT / "groceries" / "images").iterdir())[:5]
    shown = [path for kind in kinds for path in sorted(kind.iterdir())[:5]]
    labels = [path.parent.name for path in shown]
    random = np.random.default_rng(0)
    with TemporaryDirectory() as made:

        def fresh(paths: list[Path]) -> list[Path]:
            copies = []
            for number, path in enumerate(paths):
                pixels = np.array(Image.open(path).convert("RGB"))
                pixels[0, 0] = random.integers(0, 255, 3)
                copies.append(Path(made) / f"{random.integers(1 << 40)}-{number}.jpg")
                Image.fromarray(pixels).save(copies[-1], quality=95)
            return copies

        sets = iter([fresh(shown) for _ in range(6)])
        few = il.FewShotClassifier(Photographs())
        learned = timed(lambda: few.fit(next(sets), labels), 5)
        singles = iter([fresh(shown[:1]) for _ in range(21)])
        return {
            "learn from 25 photographs, reading and head chosen": learned,
            "one prediction of a photograph": timed(lambda: few.predict_proba(next(singles)), 20),
        }


def features() -> dict[str, str]:
    """Normal classes."""
    found = {}
    for ways, shots, size in ((5, 5, 384), (5, 5, 1280), (81, 5, 1280)):
        random = np.random.default_rng(0)
        y = np.repeat(np.arange(ways), shots)
        x = random.normal(size=(ways, size))[y] + 1.5 * random.normal(size=(len(y), size))
        few = il.FewShotClassifier("features")
        what = f"head chosen on features, {ways}-way {shots}-shot, {size:,} numbers"
        found[what] = timed(lambda few=few, x=x, y=y: few.fit(x, y), 7)
    return found


def fresh() -> None:
    """From nothing to a first prediction, in the words of docs/ten_examples.md."""
    home = Path(__file__).resolve().parents[2]
    kinds = sorted((ROOT / "groceries" / "images").iterdir())[:5]
    with TemporaryDirectory() as made:
        for kind in kinds:
            (Path(made, "photos") / kind.name).mkdir(parents=True)
            for path in sorted(kind.iterdir())[:5]:
                shutil.copy(path, Path(made, "photos") / kind.name)
        new = sorted(kinds[0].iterdir())[5]
        venv.create(Path(made, "env"), with_pip=True)
        tools = Path(made, "env", "bin")
        pip = [tools / "pip", "install", "--quiet", "-c", home / "constraints.txt", f"{home}[images]"]
        learn = [tools / "innerloop", "learn", "photos", "--out", "task"]
        predict = [tools / "innerloop", "predict", "task", new]
        for name, words in (("install", pip), ("learn", learn), ("predict", predict)):
            begun = time.perf_counter()
            subprocess.run(list(map(str, words)), check=True, cwd=made, capture_output=True)
            print(f"{name}: {time.perf_counter() - begun:.1f} s")


def table() -> str:
    """The table in Markdown: a process of its own for each number of threads."""
    found = []
    for threads in (2, 1):
        words = [sys.executable, __file__, "--measure"]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        said = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
        found.append(json.loads(said.splitlines()[-1]))
    rows = [f"| {what} | {' | '.join(one[what] for one in found)} |" for what in found[0]]
    return "\n".join(["| what | 2 threads | 1 thread |", "|---|---|---|", *rows])


if __name__ == "__main__":
    if "--fresh" in sys.argv[1:]:
        fresh()
    elif "--measure" in sys.argv[1:]:
        print(json.dumps({**photographs(), **features()}))
    else:
        text = table()
        print(text)
        record("few-times", text)
