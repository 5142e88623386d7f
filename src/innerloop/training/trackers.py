"""Trackers: a run's metrics in TensorBoard, Weights & Biases, Trackio, or whatever has a ``log(metrics, step=)``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol
from weakref import finalize

from innerloop.core import distributed
from innerloop.core.learner import Learner
from innerloop.core.numbers import check_count
from innerloop.core.task import InputError, did_you_mean
from innerloop.evaluation.reports import Report
from innerloop.training.callbacks import Callback
from innerloop.training.history import History

#: Trackers by name, each with the module that it needs; the extra has the tracker's name.
TRACKERS = {"tensorboard": "tensorboard", "wandb": "wandb", "trackio": "trackio"}


class Tracker(Protocol):
    """What takes metrics: a run of Weights & Biases or Trackio, their modules, :class:`TensorBoard`, one's own."""

    def log(self, metrics: dict[str, float], step: int) -> Any:
        """Take metrics of an outer step by their names."""


class TensorBoard:
    """Metrics as TensorBoard's event files, which ``tensorboard --logdir FOLDER`` shows.

    Args:
        folder: of the event files, made with the first metric.

    Raises:
        InputError: if TensorBoard is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        check_tracker("tensorboard")
        self.folder = Path(folder)
        self._from: int | None = None
        self._writer: Any = None
        self._close: Any = None

    def rewind(self, step: int) -> None:
        """Take back what an interrupted process has written of the steps after this one."""
        self._from = step + 1

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Write metrics of a step."""
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self.folder), purge_step=self._from, flush_secs=10)
            # A run that ends by an error says nothing more, and its last steps are what one looks for.
            self._close = finalize(self, self._writer.close)
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def finish(self) -> None:
        """Write what is left."""
        if self._writer is not None:
            self._close()
            self._writer = None


class Track(Callback):
    """Sends a run's metrics to a tracker: ``train/loss``, ``train/lr``, ..., and ``validation/accuracy``, ...

    A run that is resumed goes on in the same curve, no step of it twice. TensorBoard takes back what an interrupted
    process wrote after its last checkpoint; other trackers cannot, so that in a run that keeps checkpoints they get the
    metrics of each step with the checkpoint that counts it. What is not finite is left out.

    Args:
        tracker: ``"tensorboard"`` (its files go to ``tensorboard`` in the run folder), ``"wandb"`` or ``"trackio"``,
            which are opened as the run begins and closed at its end; or anything with a ``log(metrics, step=)``,
            which is left open.
        every: steps between two that are sent; validations all are.
        config: of the run, as plain values, for a tracker that is opened by name.
        project: in which a tracker that is opened by name puts the run.
        name: of the run there; default the run folder's.

    Raises:
        InputError: for another name, an object without ``log``, less than 1 step, or a tracker that is not installed.

    Example:
        >>> import innerloop as il
        >>> class Printing:
        ...     def log(self, metrics, step):
        ...         print(step, sorted(metrics))
        >>> maml = il.MAML(il.nets.mlp(1, 8, 1), lr=0.01, likelihood=il.Gaussian(scale=1.0))
        >>> _ = il.fit(maml, il.data.Sinusoid(), steps=2, progress=False, callbacks=[Track(Printing())])
        1 ['train/loss', 'train/lr']
        2 ['train/loss', 'train/lr']
    """

    def __init__(
        self,
        tracker: str | Tracker,
        *,
        every: int = 1,
        config: Mapping[str, Any] | None = None,
        project: str = "innerloop",
        name: str | None = None,
    ) -> None:
        if isinstance(tracker, str):
            check_tracker(tracker)
        elif not callable(getattr(tracker, "log", None)):
            raise InputError(
                f"{tracker!r} has no log(metrics, step=): give one of {', '.join(TRACKERS)}, or a run of a tracker"
            )
        check_count("every", every, 1)
        self.tracker, self.every, self.config, self.project, self.name = tracker, every, config, project, name
        self._to: Any = None if isinstance(tracker, str) else tracker
        self._waiting: list[tuple[int, dict[str, float]]] = []
        self._waits, self._step = False, 0
        self._id: str | None = None

    @property
    def _named(self) -> str:
        return self.tracker if isinstance(self.tracker, str) else type(self.tracker).__name__

    def on_start(self, learner: Learner, folder: Path | None) -> None:  # noqa: D102
        if distributed.rank() > 0:
            return
        if isinstance(self.tracker, str):
            if folder is None and self.tracker == "tensorboard":
                raise InputError("track='tensorboard' has nowhere to write: give fit a folder, out=")
            self._to = _OPENED[self.tracker](self, folder)
            self._id = getattr(self._to, "id", None)
        if hasattr(self._to, "rewind"):
            if self._step:
                self._to.rewind(self._step)
        else:
            self._waits = folder is not None

    def on_step(self, step: int, metrics: Mapping[str, float]) -> None:  # noqa: D102
        self._step = step
        if step % self.every == 0:
            self._log(step, {f"train/{name}": value for name, value in metrics.items() if name != "step"})

    def on_validation(self, step: int, report: Report) -> None:  # noqa: D102
        found = {f"validation/{name}": report.mean(name) for name in report.metrics}
        if report.calibration_error is not None:
            found["validation/calibration_error"] = report.calibration_error
        self._log(step, found)

    def on_end(self, history: History) -> None:  # noqa: D102
        self._send()
        if isinstance(self.tracker, str) and self._to is not None:
            self._to.finish()

    def state(self) -> dict[str, Any]:
        """Asked for as a checkpoint is written: from then on the steps so far are not trained again."""
        self._send()
        return {"to": self._named, "step": self._step, "id": self._id}

    def restore(self, state: Mapping[str, Any]) -> None:  # noqa: D102
        if state["to"] == self._named:
            self._step, self._id = state["step"], state["id"]

    def _log(self, step: int, metrics: Mapping[str, float]) -> None:
        if distributed.rank() > 0:
            return
        self._waiting.append((step, {name: value for name, value in metrics.items() if math.isfinite(value)}))
        if not self._waits:
            self._send()

    def _send(self) -> None:
        for step, metrics in self._waiting:
            self._to.log(metrics, step=step)
        self._waiting.clear()


def check_tracker(name: str) -> None:
    """Refuse a tracker that is none, or is not installed.

    Raises:
        InputError: with the nearest known name, or the command that installs it.

    Example:
        >>> check_tracker("tensorbord")
        Traceback (most recent call last):
            ...
        innerloop.core.task.InputError: tracker 'tensorbord' is unknown (did you mean tensorboard?); choose one of \
tensorboard, wandb, trackio
    """
    if name not in TRACKERS:
        raise InputError(
            f"tracker {name!r} is unknown{did_you_mean(name, TRACKERS)}; choose one of {', '.join(TRACKERS)}"
        )
    if find_spec(TRACKERS[name]) is None:
        raise InputError(f"tracker {name!r} is not installed: pip install 'innerloop[{name}]'")


def _tensorboard(track: Track, folder: Path | None) -> Any:
    assert folder is not None
    return TensorBoard(folder / "tensorboard")


def _wandb(track: Track, folder: Path | None) -> Any:
    wandb = import_module("wandb")
    where = {} if folder is None else {"dir": str(folder)}
    return _open(track, wandb, folder, id=track._id, resume="allow", **where)


def _trackio(track: Track, folder: Path | None) -> Any:
    return _open(track, import_module("trackio"), folder, resume="allow", embed=False)


def _open(track: Track, module: Any, folder: Path | None, **options: Any) -> Any:
    name = track.name or (folder.absolute().name if folder is not None else None)
    config = dict(track.config) if track.config is not None else None
    try:
        return module.init(project=track.project, name=name, config=config, **options)
    except Exception as error:
        raise InputError(f"{module.__name__} cannot be opened ({error})") from error


_OPENED: dict[str, Callable[[Track, Path | None], Any]] = {
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "trackio": _trackio,
}
