"""What a run has written so far, for those who look on: nothing is locked, and nothing written."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from innerloop.core import checkpoint
from innerloop.core.folder import LOCK
from innerloop.core.task import InputError
from innerloop.training.history import History
from innerloop.training.store import BEST, LAST, METRICS


class Record:
    """The metrics of a run as they come: each reading takes what is new.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._path, self._place, self._rows = self.folder / METRICS, 0, list[dict[str, float]]()

    def read(self) -> History:
        """What happened so far: metrics that are about a second old, and what the last checkpoint says.

        Raises:
            InputError: if the folder holds no run, or metrics that are none.
        """
        try:
            with open(self._path, "rb") as file:
                if file.seek(0, 2) < self._place:
                    # A resumed run has taken off what its checkpoint does not count.
                    self._place, self._rows = 0, []
                file.seek(self._place)
                new = file.read()
            # The last line may be half written.
            new = new[: new.rfind(b"\n") + 1]
            rows = [json.loads(line) for line in new.splitlines()]
            found = [*self._rows, *({**row, "step": int(row["step"]), "loss": float(row["loss"])} for row in rows)]
        except (FileNotFoundError, NotADirectoryError):
            raise InputError(
                f"{self.folder} holds no run ({METRICS} is missing): give a folder that `innerloop train --out` wrote"
            ) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            why = getattr(error, "strerror", None) or error
            raise InputError(f"{self._path} cannot be read ({why}): it is damaged, or of no run") from None
        if rows and self._rows and found[len(self._rows)]["step"] != self._rows[-1]["step"] + 1:
            self._place, self._rows = 0, []
            return self.read()
        self._place, self._rows = self._place + len(new), found
        return _with_facts(History(rows=list(found)), read_facts(self.folder) or _kept(self.folder))

    @property
    def running(self) -> bool:
        """Whether a process says that it writes this run; one that was killed could not take that back."""
        return (self.folder / LOCK).exists()

    @property
    def changed(self) -> float:
        """When the metrics last were written, in seconds since 1970."""
        return self._path.stat().st_mtime


def read_facts(folder: str | Path) -> dict[str, Any]:
    """What the last checkpoint of a run says of it beside its tensors; empty where there is none."""
    return checkpoint.read_facts(Path(folder) / LAST)


def _with_facts(history: History, facts: dict[str, Any]) -> History:
    history.scores = [(int(step), math.nan if score is None else score) for step, score in facts.get("scores", [])]
    for name in ("best", "best_step", "seconds", "how", "chunk", "compiled", "why", "stopped"):
        if name in facts:
            setattr(history, name, facts[name])
    return history


def _kept(folder: Path) -> dict[str, Any]:
    """What the bundle of the best weights says of them, where a run was carried away without its last checkpoint."""
    try:
        origin = json.loads((folder / BEST / "bundle.json").read_text())["origin"]
        return {"best": origin["score"], "best_step": origin["step"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
