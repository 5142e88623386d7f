"""A bundle, back as what was kept."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from innerloop.bundle.adapted import AdaptedTask
from innerloop.bundle.bundle import read
from innerloop.bundle.names import class_with
from innerloop.core.learner import Learner
from innerloop.core.task import InputError


def load(
    path: str | Path,
    *,
    learner: Learner | None = None,
    allow: Iterable[str] = (),
    device: torch.device | str = "cpu",
) -> Any:
    """What :func:`save` kept: a :class:`~innerloop.Learner`, an :class:`AdaptedTask`, or an estimator; no data is read.

    Nothing of the bundle is executed. Names in it are looked up in innerloop and ``torch.nn``, elsewhere only where you
    allow it; of modules that are imported already it may name networks and learners.

    Args:
        path: the folder; that of a run stands for its best weights.
        learner: one of your own that gets the weights, where the bundle cannot build it.
        allow: modules and packages outside innerloop whose classes and functions the bundle may call.
        device: where the weights and the state go.

    Returns:
        what was kept; learners are in evaluation mode.

    Raises:
        InputError: if there is no bundle, one of another version, a file that is not what was written, or a name that
            is not trusted.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as place:
        ...     path = il.save(f"{place}/net", il.ProtoNet(il.nets.mlp(8, 16, 4)))
        ...     il.load(path).head
        Prototypes(
          distance='euclidean', scale=1.0
          (likelihood): Categorical(smoothing=0.0)
        )
    """
    bundle = read(path, allow=allow, device=device)
    if bundle.kind not in ("learner", "adapted"):
        kind = class_with("from_bundle", bundle.kind, bundle.allow)
        if learner is not None:
            raise InputError(f"{bundle.path} keeps a {kind.__qualname__}, which brings its learner: leave learner= out")
        return kind.from_bundle(bundle)
    found = bundle.learner if learner is None else bundle.into(learner)
    if bundle.kind == "learner":
        return found
    return AdaptedTask(found, bundle.state, bundle.classes, bundle.facts, bundle.preprocessing, bundle.card)
