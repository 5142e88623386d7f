"""What a run leaves on disk: the last checkpoint, the best weights as a bundle, and the metrics as JSON lines."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

from innerloop import bundle
from innerloop.core import checkpoint, distributed
from innerloop.core.facts import Facts
from innerloop.core.files import write_text_atomically, writing
from innerloop.core.folder import check_folder, locked
from innerloop.core.learner import Learner
from innerloop.core.task import InputError
from innerloop.training.callbacks import Callback
from innerloop.training.history import History

LAST, BEST, METRICS = "last.safetensors", "best", "metrics.jsonl"
#: Seconds between two times that new metrics are written for those who look on.
_TELL = 1.0

#: A checkpoint's tensors and facts, and the metrics that it counts.
Found = tuple[dict[str, Tensor], dict[str, Any], list[dict[str, float]]]


class Store:
    """Saves and restores a run. Weights and moments are safetensors, the rest JSON. Of several ranks the first writes.

    Within ``with`` a run that is resumed is restored and its folder locked; a new one writes nothing before
    :meth:`begin`.

    Args:
        folder: of the run; ``None`` for one that leaves nothing.
        parts: ``learner``, ``optimizer``, ``scheduler``, ``average`` and ``weights``; the last three may be ``None``.
        callbacks: whose states are kept.
        history: filled from the folder when resuming.
        resume: go on from the folder's last checkpoint.
        seconds: between two checkpoints.

    Raises:
        InputError: if the folder cannot be written, holds another run, holds none to resume, or is in use.
    """

    def __init__(
        self,
        folder: Path | None,
        parts: Mapping[str, Any],
        callbacks: Sequence[Callback],
        history: History,
        *,
        resume: bool,
        seconds: float,
    ) -> None:
        if resume and folder is None:
            raise InputError("resume=True needs the run's folder: give it as out=")
        self.folder, self.parts, self.callbacks, self.history = folder, parts, callbacks, history
        self.resume, self.seconds = resume, seconds
        #: What the run began with, see :func:`innerloop.training.fingerprint.beginning`.
        self.began: dict[str, Any] | None = None
        self._begun, self._written = resume, 0
        self._saved = self._told = time.monotonic()
        self._held = ExitStack()
        self._made: list[Path] = []

    def __enter__(self) -> Self:
        try:
            found = distributed.first(self._open)
            if found is not None:
                self._restore(*found)
        except BaseException:
            self._held.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()
        for folder in self._made if not self._begun else ():
            # What a refused beginning made and left empty.
            try:
                folder.rmdir()
            except OSError:
                break

    def _path(self, name: str) -> Path:
        assert self.folder is not None
        return self.folder / name

    def _open(self) -> Found | None:
        """The checkpoint to go on from, with its metrics; ``None`` for a new run, whose folder is looked at only."""
        if self.folder is None:
            return None
        if not self.resume:
            check_folder(self.folder)
            self._refuse_taken()
            return None
        if not self._path(LAST).exists():
            checkpoint.load(self._path(LAST))
        self._lock()
        return self._read()

    def _lock(self) -> None:
        assert self.folder is not None
        self._held.enter_context(locked(self.folder))

    def _refuse_taken(self) -> None:
        for name in (LAST, BEST):
            if self._path(name).exists():
                raise InputError(f"{self.folder} already holds a run ({name}): give another folder or resume it")

    def begin(self, learner: Learner, began: dict[str, Any]) -> None:
        """Make the folder of a new run, with its first checkpoint, and start the callbacks.

        Args:
            learner: whose weights are kept.
            began: what the run begins with.
        """
        if self.began is None:
            self.began = began
        if not self._begun:
            distributed.first(self._make)
        for callback in self.callbacks:
            callback.on_start(learner, self.folder)
        if not self._begun:
            self._begun = True
            distributed.first(self._first)

    def _make(self) -> None:
        if self.folder is None:
            return
        parents = [self.folder, *self.folder.absolute().parents]
        self._made = [path for path in parents if not path.exists()]
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        self._lock()
        self._refuse_taken()

    def _first(self) -> None:
        if self.folder is not None:
            with writing(self._path(METRICS)):
                self._path(METRICS).write_text("")
        self._save()

    def where(self) -> str:
        """Where the last good weights are, in words."""
        if self.folder is None:
            return "no folder was given"
        return f"the last good checkpoint is {self._path(LAST)}" if self._begun else "nothing was written"

    def save_in_time(self) -> None:
        """Save if the last time was long ago. Ranks have clocks of their own, so none waits for the first here."""
        if distributed.rank() > 0:
            return
        now = time.monotonic()
        if now - self._saved > self.seconds:
            self._save()
        elif now - self._told > _TELL:
            self._tell()

    def save(self) -> None:
        """Save now; every rank goes on when it is done."""
        distributed.first(self._save)

    def _save(self) -> None:
        """Write the metrics that are new, then the checkpoint that counts them."""
        if self.folder is None:
            return
        self._tell(sync=True)
        tensors, facts = self._packed()
        if all(bool(torch.isfinite(value).all()) for value in tensors.values() if value.is_floating_point()):
            checkpoint.save(self._path(LAST), tensors, facts)
        self._saved = time.monotonic()

    def _tell(self, sync: bool = False) -> None:
        """Write the metrics that are new; a checkpoint that counts them wants them on the disk."""
        self._told = time.monotonic()
        if self.folder is None:
            return
        path = self._path(METRICS)
        with writing(path), open(path, "a") as file:
            file.writelines(json.dumps(row) + "\n" for row in self.history.rows[self._written :])
            if sync:
                file.flush()
                os.fsync(file.fileno())
        self._written = self.history.step

    def _packed(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        history, scheduler = self.history, self.parts["scheduler"]
        tensors = {
            f"{part}.{name}": value
            for part in ("learner", "average", "weights")
            if self.parts[part] is not None
            for name, value in self.parts[part].state_dict().items()
        }
        moments, optimizer = checkpoint.pack("optimizer", self.parts["optimizer"].state_dict())
        clocks, scheduled = checkpoint.pack("scheduler", scheduler.state_dict() if scheduler is not None else None)
        facts = {
            "step": history.step,
            "seconds": history.seconds,
            "scores": [(step, score if math.isfinite(score) else None) for step, score in history.scores],
            "best": history.best,
            "best_step": history.best_step,
            "mark": history.mark,
            "how": history.how,
            "chunk": history.chunk,
            "compiled": history.compiled,
            "why": history.why,
            "stopped": history.stopped,
            "began": self.began,
            "parts": self._kinds(),
            "callbacks": [[type(callback).__name__, callback.state()] for callback in self.callbacks],
            "optimizer": optimizer,
            "scheduler": scheduled,
        }
        return tensors | moments | clocks, facts

    def keep(self, learner: Learner, facts: Facts, origin: Mapping[str, Any]) -> None:
        """Write the best weights so far as a bundle; every rank goes on when it is done.

        Args:
            learner: with these weights.
            facts: of the tasks that it is trained on.
            origin: where it comes from; the step and the score are added.
        """

        def write() -> None:
            if self.folder is not None:
                found = {**origin, "step": self.history.best_step, "score": self.history.best}
                # A learner of one's own may not say how it is built: its weights are kept all the same.
                bundle.save(self._path(BEST), learner, facts=facts, origin=found, replace=True, anonymous=True)

        distributed.first(write)

    def best(self) -> dict[str, Tensor] | None:
        """The best weights on disk, of a run that is resumed, if a validation has chosen them."""
        if not self.resume or self.history.best is None:
            return None
        learner: Learner = self.parts["learner"]
        kept = distributed.first(lambda: bundle.read(self._path(BEST)).weights)
        return {name: kept[name] for name in learner.state_dict() if name in kept}

    def _read(self) -> Found:
        """The last checkpoint and the metrics that it counts; those after it are taken off the file."""
        tensors, facts = checkpoint.load(self._path(LAST))
        path, rows = self._path(METRICS), []
        try:
            text = path.read_text()
            lines = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
            rows = lines[: facts["step"]]
        except (OSError, ValueError) as error:
            raise InputError(
                f"{path} cannot be read ({getattr(error, 'strerror', None) or error}), the checkpoint counts "
                f"{facts['step']} steps: restore it, or train again"
            ) from None
        if [row.get("step") for row in rows] != list(range(1, facts["step"] + 1)):
            raise InputError(
                f"{path} has {len(lines)} steps, the checkpoint counts {facts['step']}: the file was cut "
                f"short; restore it, or train again"
            )
        kept = "".join(json.dumps(row) + "\n" for row in rows)
        if text != kept:
            # Steps after the checkpoint, or half a line of a process that was killed.
            write_text_atomically(path, kept)
        return tensors, facts, rows

    def _kinds(self) -> dict[str, str | None]:
        """The class of each part beside the learner: what has a state of one does not go on with another."""
        others = {name: part for name, part in self.parts.items() if name != "learner"}
        return {name: None if part is None else type(part).__name__ for name, part in others.items()}

    def _restore(self, tensors: dict[str, Tensor], facts: dict[str, Any], rows: list[dict[str, float]]) -> None:
        history = self.history
        for part, kind in self._kinds().items():
            if facts["parts"][part] != kind:
                raise InputError(
                    f"the run in {self.folder} was begun with {part} {facts['parts'][part]}, not {kind}: resume it "
                    f"with the options that it began with"
                )
        for part in ("learner", "average", "weights"):
            if self.parts[part] is not None:
                _load_part(self.parts[part], tensors, part, self._path(LAST))
        self.parts["optimizer"].load_state_dict(checkpoint.unpack(tensors, facts["optimizer"]))
        if self.parts["scheduler"] is not None:
            self.parts["scheduler"].load_state_dict(checkpoint.unpack(tensors, facts["scheduler"]))
        left = list(facts["callbacks"])
        for callback in self.callbacks:
            # Of several of one class, in their order.
            state = next((one for one in left if one[0] == type(callback).__name__), None)
            if state is not None:
                left.remove(state)
                callback.restore(state[1])
        history.rows = rows
        history.scores = [(int(step), math.nan if score is None else score) for step, score in facts["scores"]]
        history.best, history.best_step = facts["best"], facts["best_step"]
        history.mark = facts["mark"]
        history.seconds, history.how, history.why = facts["seconds"], facts["how"], facts["why"]
        history.chunk, history.compiled = facts["chunk"], facts["compiled"]
        history.resumed = self._written = history.step
        self.began = facts["began"]


def _load_part(module: nn.Module, tensors: dict[str, Tensor], prefix: str, where: Path) -> None:
    own = {name.removeprefix(f"{prefix}."): t for name, t in tensors.items() if name.startswith(f"{prefix}.")}
    checkpoint.load_weights(module, own, where)
