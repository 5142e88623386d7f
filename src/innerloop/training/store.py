"""What a run leaves on disk: the last and the best checkpoint, and the metrics as JSON lines."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from innerloop.core import checkpoint, distributed
from innerloop.core.files import write_text_atomically
from innerloop.core.lifting import How
from innerloop.core.task import InputError

#: A checkpoint's tensors and facts, and the metrics that it counts.
Found = tuple[dict[str, Tensor], dict[str, Any], list[dict[str, float]]]


@dataclass
class History:
    """What happened in a run: one row a step, and the validation scores."""

    rows: list[dict[str, float]] = field(default_factory=list)
    """``step``, ``loss`` and ``lr`` of each outer step."""
    scores: list[tuple[int, float]] = field(default_factory=list)
    """Step and score of each validation: accuracy, or minus the squared error."""
    best: float = -math.inf
    """The best score."""
    seconds: float = 0.0
    """Wall-clock time of training, over all resumptions."""
    how: How = "auto"
    """How the tasks were lifted."""
    chunk: int | None = None
    """Tasks at a time."""
    compiled: bool = False
    """Whether through ``torch.compile``."""
    why: str = ""
    """Why so."""
    stopped: str = "finished"
    """``"finished"`` or ``"interrupted"``."""
    mark: int = 0
    """The last mark at which a validation was due."""
    resumed: int = 0
    """The step at which this process began."""

    @property
    def losses(self) -> list[float]:
        """The outer loss of every step."""
        return [row["loss"] for row in self.rows]

    @property
    def step(self) -> int:
        """Outer steps done."""
        return len(self.rows)

    @property
    def steps_here(self) -> int:
        """Outer steps done by this process."""
        return self.step - self.resumed


class Store:
    """Saves and restores a run. Weights and moments are safetensors, the rest JSON. Of several ranks the first writes.

    Args:
        folder: made if missing.
        parts: ``learner``, ``optimizer``, ``scheduler``, ``average`` and ``weights``; the last three may be ``None``.
        history: filled from the folder when resuming.
        resume: go on from the folder's last checkpoint.

    Raises:
        InputError: if the folder cannot be written, holds another run, or holds none to resume.
    """

    def __init__(self, folder: Path, parts: dict[str, Any], history: History, resume: bool) -> None:
        self.parts, self.history = parts, history
        self.last, self.kept, self.metrics = (
            folder / f for f in ("last.safetensors", "best.safetensors", "metrics.jsonl")
        )
        self._written = 0
        found = distributed.first(lambda: self._open(folder, resume))
        if found is not None:
            self._restore(*found)

    def _open(self, folder: Path, resume: bool) -> Found | None:
        """The checkpoint to go on from, with its metrics; or a folder made ready for a new run."""
        prepare_folder(folder)
        if resume:
            return self._read()
        if self.last.exists():
            raise InputError(f"{folder} already holds a run ({self.last.name}): give another folder or resume it")
        self.metrics.write_text("")
        self.save()
        return None

    def save(self) -> None:
        """Write the metrics that are new, then the checkpoint that counts them."""
        if distributed.rank() > 0:
            return
        lines = [*self.history.rows[self._written :]]
        with open(self.metrics, "a") as file:
            file.writelines(json.dumps(row) + "\n" for row in lines)
            file.flush()
            os.fsync(file.fileno())
        self._written = self.history.step
        learner, average = self.parts["learner"], self.parts["average"]
        tensors = {f"learner.{name}": value for name, value in learner.state_dict().items()}
        if average is not None:
            tensors |= {f"average.{name}": value for name, value in average.state_dict().items()}
        if self.parts["weights"] is not None:
            tensors |= {f"weights.{name}": value for name, value in self.parts["weights"].state_dict().items()}
        scheduler = self.parts["scheduler"]
        moments, optimizer = checkpoint.pack("optimizer", self.parts["optimizer"].state_dict())
        clocks, scheduled = checkpoint.pack("scheduler", scheduler.state_dict() if scheduler is not None else None)
        facts = {
            "step": self.history.step,
            "seconds": self.history.seconds,
            "scores": self.history.scores,
            "best": self.history.best if math.isfinite(self.history.best) else None,
            "mark": self.history.mark,
            "how": self.history.how,
            "chunk": self.history.chunk,
            "compiled": self.history.compiled,
            "why": self.history.why,
            "optimizer": optimizer,
            "scheduler": scheduled,
        }
        if all(bool(torch.isfinite(value).all()) for name, value in tensors.items() if value.is_floating_point()):
            checkpoint.save(self.last, tensors | moments | clocks, facts)

    def keep(self, weights: dict[str, Tensor]) -> None:
        """Write the best weights so far."""
        if distributed.rank() == 0:
            checkpoint.save(self.kept, weights, {"step": self.history.step, "score": self.history.best})

    def best(self) -> dict[str, Tensor] | None:
        """The best weights on disk, if there are any."""
        return distributed.first(lambda: checkpoint.load(self.kept)[0] if self.kept.exists() else None)

    def _read(self) -> Found:
        """The last checkpoint and the metrics that it counts; those after it are taken off the file."""
        tensors, facts = checkpoint.load(self.last)
        lines = [json.loads(line) for line in self.metrics.read_text().splitlines() if line.endswith("}")]
        rows = lines[: facts["step"]]
        if len(rows) < facts["step"]:
            raise InputError(
                f"{self.metrics} has {len(lines)} steps, the checkpoint counts {facts['step']}: the file was cut "
                f"short; restore it, or train again"
            )
        text = "".join(json.dumps(row) + "\n" for row in rows)
        if self.metrics.read_text() != text:
            # Steps after the checkpoint, or half a line of a process that was killed.
            write_text_atomically(self.metrics, text)
        return tensors, facts, rows

    def _restore(self, tensors: dict[str, Tensor], facts: dict[str, Any], rows: list[dict[str, float]]) -> None:
        history, learner, average = self.history, self.parts["learner"], self.parts["average"]
        _load_part(learner, tensors, "learner", self.last)
        if average is not None:
            _load_part(average, tensors, "average", self.last)
        if self.parts["weights"] is not None:
            _load_part(self.parts["weights"], tensors, "weights", self.last)
        self.parts["optimizer"].load_state_dict(checkpoint.unpack(tensors, facts["optimizer"]))
        if self.parts["scheduler"] is not None:
            self.parts["scheduler"].load_state_dict(checkpoint.unpack(tensors, facts["scheduler"]))
        history.rows = rows
        history.scores = [(int(step), float(score)) for step, score in facts["scores"]]
        history.best = -math.inf if facts["best"] is None else facts["best"]
        history.mark = facts["mark"]
        history.seconds, history.how, history.why = facts["seconds"], facts["how"], facts["why"]
        history.chunk, history.compiled = facts.get("chunk"), facts.get("compiled", False)
        history.resumed = self._written = history.step


def prepare_folder(folder: Path) -> None:
    """Make a folder and see that it can be written.

    Raises:
        InputError: if it cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(
            f"the folder {folder} cannot be written ({error.strerror}): give one that can be, or change its rights"
        ) from None


def _load_part(module: nn.Module, tensors: dict[str, Tensor], prefix: str, where: Path) -> None:
    own = {name.removeprefix(f"{prefix}."): t for name, t in tensors.items() if name.startswith(f"{prefix}.")}
    checkpoint.load_weights(module, own, where)
