"""The weights that come with the package, and a person's own, as learners that are ready to read tables."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch

from innerloop.bundle import load
from innerloop.core.task import InputError
from innerloop.learners.generative.pfn import InContext

_WEIGHTS = Path(__file__).parents[1] / "weights"


def shipped(*, regression: bool) -> Path:
    """Where the package's own weights are, a bundle."""
    return _WEIGHTS / f"incontext_{'regressor' if regression else 'classifier'}"


def pretrained(path: Path, *, regression: bool) -> InContext:
    """The learner of a bundle, on the CPU, without gradients: a classifier in float32, a regressor in float64.

    Real numbers are compared to more digits than probabilities: in float64 they do not depend on what else is asked.

    Args:
        path: the bundle, or the folder of a run.
        regression: what it must have been trained for.

    Raises:
        InputError: if there is no bundle, or one of another learner, or trained for the other kind of targets.
    """
    records = [file for file in (path / "bundle.json", path / "best" / "bundle.json") if file.exists()]
    learner = _read(path, max((file.stat().st_mtime_ns for file in records), default=0))
    if learner.regression != regression:
        kind, other = ("regressor", "classifier") if regression else ("classifier", "regressor")
        raise InputError(
            f"the weights {path} are those of a {other}, a {kind} cannot read them: give them to "
            f"InContext{other.title()}, or train a {kind}"
        )
    return learner


@lru_cache(maxsize=8)
def _read(path: Path, written: int) -> InContext:
    """``written``: when, so that weights that were replaced are read again."""
    # A network draws its weights before they are filled in: nobody else's random numbers may change by that.
    with torch.random.fork_rng(devices=[]):
        learner = load(path)
    if not isinstance(learner, InContext):
        raise InputError(f"{path} holds a {type(learner).__name__}: these estimators take the bundle of an InContext")
    learner.net.fuse()
    return learner.to(torch.float64 if learner.regression else torch.float32).requires_grad_(False)
