"""The kinds of tasks: which encoder reads the inputs of each, and which head learns unless another one is asked for."""

from __future__ import annotations

from typing import NamedTuple


class Kind(NamedTuple):
    """A kind of task."""

    encoder: str
    """By name; ``"features"`` where inputs are numbers as they are."""
    field: str
    """What an example is called in a request."""
    head: str
    """``"auto"`` chooses by leave-one-out; one that is named is learned in a few milliseconds."""
    alone: bool
    """Whether the encoder sees each input by itself, so that features are kept and encoded in batches."""


KINDS: dict[str, Kind] = {
    "images": Kind("photographs", "image", "auto", True),
    "drawings": Kind("letters", "image", "ridge", True),
    "text": Kind("sentences", "text", "auto", True),
    "rows": Kind("table", "row", "auto", False),
    "vectors": Kind("features", "vector", "auto", False),
}
