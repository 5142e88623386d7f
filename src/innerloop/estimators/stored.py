"""A fitted head as arrays and words, for whoever stores an estimator without running code: skops, joblib, pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch

from innerloop.bundle.build import build, describe
from innerloop.bundle.weights import fill, tensors_of
from innerloop.core.task import InputError
from innerloop.learners.head import Head


def plain(head: Head) -> dict[str, Any] | Head:
    """How a head is built, as JSON, and its arrays; the head itself where that is not known.

    Example:
        >>> import innerloop as il
        >>> found = plain(il.learners.Ridge(penalty=0.5))
        >>> sorted(found["arrays"]), type(restored(found)).__name__
        (['log_penalty', 'log_scale'], 'Ridge')
    """
    try:
        node, arguments, _ = describe(head, "the head")
    except InputError:
        return head
    tensors = {**tensors_of(head), **arguments}
    return {"build": json.dumps(node), "arrays": {name: part.cpu().numpy().copy() for name, part in tensors.items()}}


def restored(kept: Mapping[str, Any] | Head) -> Head:
    """The head again.

    Raises:
        InputError: where it was stored by another version.
    """
    if isinstance(kept, Head):
        return kept
    tensors = {name: torch.from_numpy(array.copy()) for name, array in kept["arrays"].items()}
    head = build(json.loads(kept["build"]), tensors)
    problem = fill(head, {name: part for name, part in tensors.items() if not name.startswith("argument:")})
    if problem is not None or not isinstance(head, Head):
        raise InputError(f"the stored head {problem or 'is none'}: use the version of innerloop that stored it")
    return head
