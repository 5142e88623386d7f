"""The weights that come with the package, and a person's own, as learners that are ready to read tables."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch

from innerloop.core import checkpoint
from innerloop.core.task import InputError
from innerloop.learners.generative.pfn import InContext

_WEIGHTS = Path(__file__).parents[1] / "weights"


def shipped(*, regression: bool) -> Path:
    """Where the package's own weights are."""
    return _WEIGHTS / f"incontext_{'regressor' if regression else 'classifier'}.safetensors"


def pretrained(path: Path, *, regression: bool) -> InContext:
    """The learner of a file of weights, in float32 on the CPU, without gradients.

    Args:
        path: the file.
        regression: what it must have been trained for.

    Raises:
        InputError: if the weights are of another learner, or trained for the other kind of targets.
    """
    stamp = path.stat().st_mtime_ns if path.exists() else 0
    learner = _read(path, stamp)
    if learner.regression != regression:
        kind, other = ("regressor", "classifier") if regression else ("classifier", "regressor")
        raise InputError(
            f"the weights {path} are those of a {other}, a {kind} cannot read them: give them to "
            f"InContext{other.title()}, or train a {kind}"
        )
    return learner


@lru_cache(maxsize=8)
def _read(path: Path, stamp: int) -> InContext:
    """``stamp``: when the file was written, so that one that was replaced is read again."""
    tensors, facts = checkpoint.load(path)
    if not isinstance(facts, dict) or "options" not in facts:
        raise InputError(f"{path} holds no weights of an in-context learner: benchmarks/bundle_incontext.py makes them")
    # New weights are drawn before they are replaced: nobody else's random numbers may change by that.
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        learner = InContext(**facts["options"])
    learner = learner.float()
    checkpoint.load_weights(learner, tensors, path)
    return learner.eval().requires_grad_(False)
