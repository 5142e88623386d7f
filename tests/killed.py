"""The command line under torchrun, with a rank that is killed once: ``torchrun ... killed.py FOLDER``.

One run is broken off by it and taken up again by the restarted processes, a second one is left in peace, and both are
scored. At the end each rank writes down which threads it still has.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from torch import Generator

import innerloop as il
from innerloop.cli.app import main
from innerloop.core import distributed
from innerloop.data import Sinusoid, registry
from innerloop.data.families import Functions

OPTIONS = "--steps 8 --tasks-per-step 3 --how vmap --set validation.tasks=6 --set training.validate_every=3"
SAVING = "--set training.save_seconds=0.0"


class Killing(Sinusoid):
    """Sine waves; the second rank dies of the fifth draw, the first time that it is started."""

    draws = 0

    def draw(self, generator: Generator, tasks: int) -> il.Task:
        self.draws += 1
        if (os.environ["RANK"], os.environ["TORCHELASTIC_RESTART_COUNT"], self.draws) == ("1", "0", 5):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().draw(generator, tasks)


def innerloop(words: str) -> None:
    sys.argv = ["innerloop", *words.split()]
    try:
        main()
    except SystemExit as stop:
        if stop.code:
            raise


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    registry.SETS["killing"] = registry.DataSet(
        lambda: Functions(Killing), ("regression", "functions"), "sine waves that kill"
    )
    with distributed.start():
        for name in ("broken", "whole"):
            innerloop(f"train maml --data killing --out {folder / name} {OPTIONS} {SAVING}")
            innerloop(f"evaluate {folder / name} --tasks 40 --json")
    threads = sorted(task.read_text().strip() for task in Path("/proc/self/task").glob("*/comm"))
    (folder / f"threads{os.environ['RANK']}").write_text("\n".join(threads))
