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
from innerloop.training.store import LAST, METRICS


def read_facts(folder: str | Path) -> dict[str, Any]:
    """What the last checkpoint of a run says of it beside its tensors; empty where there is none."""
    return checkpoint.read_facts(Path(folder) / LAST)


def read_history(folder: str | Path) -> History:
    """What happened in a run so far: its metrics, which are about a second old, and what the last checkpoint says.

    Raises:
        InputError: if the folder holds no run, or metrics that are none.
    """
    path = Path(folder) / METRICS
    try:
        # The last line may be half written.
        lines = path.read_text().splitlines(keepends=True)
        rows = [json.loads(line) for line in lines if line.endswith("}\n")]
        for row in rows:
            row["step"], row["loss"]
    except FileNotFoundError:
        raise InputError(
            f"{folder} holds no run ({METRICS} is missing): give a folder that `innerloop train --out` wrote"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} cannot be read ({error}): it is damaged, or no file of a run") from None
    facts = read_facts(folder)
    history = History(rows=rows)
    history.scores = [(int(step), math.nan if score is None else score) for step, score in facts.get("scores", [])]
    for name in ("best", "best_step", "seconds", "how", "chunk", "compiled", "why", "stopped"):
        if name in facts:
            setattr(history, name, facts[name])
    return history


def is_running(folder: str | Path) -> bool:
    """Whether a process says that it writes this run; one that was killed could not take that back."""
    return (Path(folder) / LOCK).exists()
