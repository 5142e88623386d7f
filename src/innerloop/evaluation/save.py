"""Evaluations that are kept: one file each, which no other evaluation replaces."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from innerloop.core import checkpoint
from innerloop.core.files import writing
from innerloop.core.task import InputError
from innerloop.evaluation.reports import Report, plain


def check_writable(folder: str | Path, size: int = 2**20) -> None:
    """See that a folder could be made, if it is missing, and a file of some size written into it; leave no trace.

    Args:
        folder: where an evaluation is to be kept.
        size: of the file, in bytes.

    Raises:
        InputError: if not, with the reason.
    """
    folder = Path(folder)
    try:
        place = next(one for one in (folder, *folder.absolute().parents) if one.exists())
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(bytes(size))
            file.flush()
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written ({error.strerror}): free some space, change its rights or give another "
            f"folder; nothing was evaluated"
        ) from None


def save_report(report: Report, folder: str | Path, name: str, facts: Mapping[str, Any] | None = None) -> Path:
    """Keep a report with its episodes and the values of every task, as one safetensors file.

    The name ends in a digest of all that the file holds, so that other weights, other data or other figures have
    another file, and the same evaluation again is left as it is.

    Args:
        report: what :func:`innerloop.evaluate` gave.
        folder: made if missing.
        name: what the file's name begins with.
        facts: what else is to be known of it: data set, root, split, versions.

    Returns:
        the file, ``NAME-DIGEST.safetensors``. Its tensors are ``task.METRIC [T]`` and, of few-shot
        episodes, ``episodes.classes``, ``episodes.support`` and ``episodes.query``, indices
        into the pool. Its facts are the report's JSON, ``weights`` (a digest of the learner's) and those given.

    Raises:
        InputError: if the file cannot be written.
    """
    tensors = {f"task.{name}": torch.from_numpy(np.ascontiguousarray(v)) for name, v in report.per_task.items()}
    if report.indices is not None:
        tensors |= {f"episodes.{name}": part for name, part in report.indices._asdict().items()}
    found = {**report.json(), "weights": report.weights, **plain(dict(facts or {}))}
    content = checkpoint.checksum(tensors, json.dumps(found, sort_keys=True))
    path = Path(folder) / f"{name}-{content[:8]}.safetensors"
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        checkpoint.save(path, tensors, found)
    return path
