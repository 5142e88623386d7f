"""What a client is told when something is wrong: problem details by RFC 9457, and nothing of our insides."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

MEDIA = "application/problem+json"


class Problem(HTTPException):
    """A request that is not done.

    Args:
        status: of HTTP.
        detail: what is wrong, what the limit is, and what to do.
        headers: of the answer.
        more: further members of the answer, plain values.
    """

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None, **more: Any) -> None:
        super().__init__(status, detail, dict(headers or {}))
        self.more = more


def missing(what: str = "task") -> Problem:
    """There is no such thing, or it is somebody else's: the same words."""
    return Problem(404, f"there is no such {what}: GET /v1/tasks lists the tasks")


def stale(version: int) -> Problem:
    """The task is not what the client takes it for."""
    return Problem(
        409,
        f"the task is at version {version} by now: look at it, and send the change again with If-Match: {version}",
        version=version,
    )


def busy(what: str, seconds: int = 1) -> Problem:
    """Not now."""
    return Problem(503, what, {"Retry-After": str(seconds)})


def answer(
    status: int, detail: str, request: str, headers: Mapping[str, str] | None = None, more: Mapping[str, Any] = {}
) -> JSONResponse:
    """The answer of a problem.

    Args:
        status: of HTTP.
        detail: what is wrong.
        request: its id.
        headers: further ones.
        more: further members.
    """
    title = HTTPStatus(status).phrase
    content = {"type": "about:blank", "title": title, "status": status, "detail": detail, "request": request, **more}
    return JSONResponse(content, status, dict(headers or {}), MEDIA)
