"""Logs as a line of JSON for each event, with nothing of what clients send."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

from innerloop.core.plain import json_of

_log = logging.getLogger("innerloop.serve")


def logged(event: str, **facts: Any) -> None:
    """Write an event.

    Args:
        event: in a word.
        facts: plain values about it, none of them from a request's body.
    """
    if _log.isEnabledFor(logging.INFO):
        moment = datetime.now(UTC).isoformat(timespec="milliseconds")
        _log.info(json_of({"at": moment, "event": event, **facts}))


def to_stderr() -> None:
    """Send the lines to standard error, as they are."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    _log.handlers[:] = [handler]
    _log.setLevel(logging.INFO)
    _log.propagate = False
