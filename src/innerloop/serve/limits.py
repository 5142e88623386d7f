"""How much a client may ask for: a rate for each, and the door that every request comes through."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from innerloop.serve.logs import logged
from innerloop.serve.metrics import Metrics
from innerloop.serve.problems import Problem, answer, busy
from innerloop.serve.settings import Settings

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_REQUEST = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Rate:
    """So many requests a second for each client, on average, and twice as many at once.

    Args:
        rate: requests a second.
        clients: that are remembered.

    Example:
        >>> rate = Rate(1.0)
        >>> [rate.wait("anna", now=0.0) for _ in range(3)]
        [0.0, 0.0, 1.0]
    """

    def __init__(self, rate: float, clients: int = 10_000) -> None:
        self._rate, self._clients = rate, clients
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, client: str, now: float | None = None) -> float:
        """Seconds that a client has to wait; 0 where the request may come in."""
        now = time.monotonic() if now is None else now
        full = 2 * self._rate
        left, then = self._left.pop(client, (full, now))
        left = min(full, left + (now - then) * self._rate)
        allowed = left >= 1
        self._left[client] = (left - allowed, now)
        while len(self._left) > self._clients:
            self._left.popitem(last=False)
        return 0.0 if allowed else (1 - left) / self._rate


class Door:
    """Every request comes through here: it gets an id, a limit and a deadline, is counted, and ends in plain words.

    Args:
        app: that answers.
        settings: the limits.
        metrics: that count.
    """

    def __init__(self, app: App, settings: Settings, metrics: Metrics) -> None:
        self._app, self._settings, self._metrics = app, settings, metrics
        self._inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        visit = Visit(scope, receive, send, self._settings.body)
        try:
            # An orchestrator's questions are answered however much there is to do.
            if self._inside >= self._settings.in_flight and scope["path"] not in ("/healthz", "/metrics"):
                raise busy("there is too much to do: try again in a moment")
            self._inside += 1
            try:
                visit.check_size()
                async with asyncio.timeout(self._settings.deadline) as visit.clock:
                    await self._app(scope, visit.receive, visit.send)
            finally:
                self._inside -= 1
        except Exception as error:
            await visit.fail(error, self._settings.deadline)
        finally:
            self._count(visit)

    def _count(self, visit: Visit) -> None:
        seconds = time.perf_counter() - visit.begun
        route = getattr(visit.scope.get("route"), "path", "none")
        self._metrics.requests.labels(visit.method, route, visit.status).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        logged(
            "request",
            request=visit.id,
            method=visit.method,
            route=route,
            status=visit.status,
            ms=round(1000 * seconds, 2),
            bytes_in=visit.bytes_in,
            bytes_out=visit.bytes_out,
            tenant=visit.scope["state"].get("tenant"),
            error=visit.error,
        )


class Visit:
    """One request on its way through.

    Args:
        scope: of ASGI.
        receive: of ASGI.
        send: of ASGI.
        limit: bytes of the body.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, limit: int) -> None:
        self.scope, self._receive, self._send, self._limit = scope, receive, send, limit
        headers = dict(scope["headers"])
        asked = headers.get(b"x-request-id", b"").decode("latin-1")
        self.id = asked if _REQUEST.fullmatch(asked) else uuid.uuid4().hex
        self._length = headers.get(b"content-length", b"0")
        known = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
        self.method = scope["method"] if scope["method"] in known else "other"
        self.begun = time.perf_counter()
        self.status, self.bytes_in, self.bytes_out = 0, 0, 0
        self.error: str | None = None
        self.clock: asyncio.Timeout | None = None
        scope.setdefault("state", {})["request"] = self.id

    def check_size(self) -> None:
        """Refuse a body that says itself that it is too large.

        Raises:
            Problem: 413.
        """
        if self._length.isdigit() and len(self._length) < 20 and int(self._length) <= self._limit:
            return
        raise self._too_large()

    async def receive(self) -> MutableMapping[str, Any]:
        """A part of the body, as long as there are not too many."""
        message = await self._receive()
        self.bytes_in += len(message.get("body", b""))
        if self.bytes_in > self._limit:
            raise self._too_large()
        return message

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """A part of the answer."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            # An answer that has begun is sent to its end.
            if self.clock is not None:
                self.clock.reschedule(None)
            message["headers"] = [*message["headers"], (b"x-request-id", self.id.encode())]
        else:
            self.bytes_out += len(message.get("body", b""))
        await self._send(message)

    async def fail(self, error: Exception, deadline: float) -> None:
        """Say what went wrong, without a word of where."""
        if self.status:
            # The answer has begun: whoever reads it sees that it was cut off.
            raise error
        self.clock = None
        said = self._said(error, deadline)
        made = answer(said.status_code, said.detail, self.id, said.headers, said.more)
        await made(self.scope, self._receive, self.send)

    def _said(self, error: Exception, deadline: float) -> Problem:
        if isinstance(error, Problem):
            return error
        if isinstance(error, TimeoutError):
            return busy(f"it took more than {deadline:g} s, and was given up: ask for less")
        if isinstance(error, MemoryError):
            return busy("there is not enough memory for this now: ask for less")
        self.error = type(error).__name__
        if isinstance(error, OperationalError | InterfaceError | PoolTimeout):
            return busy("the database cannot answer now: try again in a moment")
        logged("fault", request=self.id, error=self.error, at=_where(error))
        return Problem(500, f"a fault of ours: please report it with the id {self.id}")

    def _too_large(self) -> Problem:
        return Problem(413, f"the request has more than {self._limit} bytes: send it in parts")


def _where(error: BaseException) -> list[str]:
    """Files and lines that an error came through; its words may have data in them."""
    found, at = [], error.__traceback__
    while at is not None:
        found.append(f"{at.tb_frame.f_code.co_filename.rpartition('/')[2]}:{at.tb_lineno}")
        at = at.tb_next
    return found[-12:]
