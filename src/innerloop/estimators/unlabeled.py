"""Examples without a label: told from those with one, and used by the head that learns from both."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from innerloop.core.task import InputError
from innerloop.encoders.base import Encoder
from innerloop.learners.head import Head
from innerloop.learners.heads.primed import Primed
from innerloop.learners.heads.scaled import Scaled
from innerloop.learners.heads.soft_means import SoftMeans

Floats = npt.NDArray[np.float64]

#: The name of the head that learns from both.
SOFT_MEANS = "soft-means"


def soft_means(encoder: Encoder | None) -> Callable[[], Head]:
    """The maker of the head for features of an encoder."""
    if encoder is None or encoder.kind != "table":
        return SoftMeans
    start = encoder.blocks["columns"].start
    return lambda: Scaled(SoftMeans(distance="euclidean"), start=start)


def labelled(y: Any) -> npt.NDArray[np.bool_]:
    """Which examples have a label, bool ``[N]``: neither ``None`` nor NaN, nor what pandas has for these.

    Example:
        >>> labelled(["owl", None, "cat", float("nan")]).tolist()
        [True, False, True, False]
    """
    if isinstance(y, (Tensor, np.ndarray)):
        y = y.tolist()
    elif not isinstance(y, Iterable):
        # What is no column at all is refused with the labels.
        y = np.asarray(y).tolist() if hasattr(y, "__array__") else []
    return np.array([not _missing(item) for item in y], dtype=bool)


def _missing(item: Any) -> bool:
    return item is None or type(item).__name__ in ("NAType", "NaTType") or (isinstance(item, float) and item != item)


def those(y: Any, known: npt.NDArray[np.bool_], head: str | Head) -> Any:
    """The labels of the examples that have one.

    Raises:
        InputError: where some have none, and the head learns from labels alone.
    """
    if known.all():
        return y
    if head != SOFT_MEANS and not isinstance(head, SoftMeans):
        count, first = int((~known).sum()), int(np.flatnonzero(~known)[0])
        name = head if isinstance(head, str) else type(head).__name__
        raise InputError(
            f"the label of row {first} is missing ({count} of {len(known)} examples have none), and the head {name!r} "
            f"learns from labels alone: give head={SOFT_MEANS!r}, which learns from both, or leave these rows out"
        )
    return [item for item, there in zip(y, known, strict=True) if there]


def with_unlabeled(head: Head, x: Floats, classes: int) -> Head:
    """The head with examples ``[M, H]`` beside those of the task, which have no label."""
    if not len(x):
        return head
    none = torch.zeros(len(x), classes, dtype=torch.float64)
    return Primed(head, torch.from_numpy(np.array(x)), none).eval().requires_grad_(False)
