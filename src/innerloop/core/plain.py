"""Plain values as JSON that every reader takes."""

from __future__ import annotations

import json
import math
from typing import Any


def json_of(value: Any) -> str:
    """JSON of plain values in one line; what is not finite, for which JSON has no number, is ``null``.

    Example:
        >>> json_of({"a": (1, float("nan"))})
        '{"a": [1, null]}'
    """
    return json.dumps(_finite(value), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return value
