"""Requests to a service that are sent again until they are answered; a write is done once all the same."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any

from innerloop.core.numbers import check_count, check_number
from innerloop.core.task import InputError

if TYPE_CHECKING:
    import httpx

#: Not now, by the service or by what stands before it: asked again.
_AGAIN = (429, 502, 503, 504)
_TASKS = "/v1/tasks/"
#: Seconds before the second try, and the most before any.
_FIRST, _LAST = 0.2, 10.0


class Refused(InputError):  # noqa: N818
    """A request that the service does not do, in its words.

    Args:
        status: of HTTP.
        detail: what the service says.
        request: the id under which its log has the request.
        more: further members of its answer, such as ``version``.
    """

    def __init__(self, status: int, detail: str, request: str | None, more: dict[str, Any]) -> None:
        super().__init__(f"{detail} (status {status}, request {request})")
        self.status, self.detail, self.request, self.more = status, detail, request, more


class Unavailable(ConnectionError):  # noqa: N818
    """A service that cannot be reached, or does not come to the request, however often it is asked."""


class Calls:
    """A service's routes.

    Args:
        url: of the service.
        key: of the client; none where the service has no keys.
        timeout: seconds for each try.
        tries: of each request, one at least.
        transport: of httpx; default the network.

    Raises:
        InputError: where httpx is not installed, or the address or one of the numbers is none.
    """

    def __init__(
        self, url: str, key: str | None, timeout: float, tries: int, transport: httpx.BaseTransport | None = None
    ) -> None:
        try:
            import httpx
        except ModuleNotFoundError:
            raise InputError("the client needs httpx: pip install 'innerloop[serve]'") from None
        if not url.startswith(("http://", "https://")):
            raise InputError(f"url={url!r} is no address of a service: give http://HOST:PORT or https://HOST")
        check_number("timeout, in seconds,", timeout, "(0, inf)")
        check_count("tries", tries, 1)
        self.url, self._tries, self._errors = url, tries, httpx.TransportError
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout, transport=transport)

    def get(self, path: str) -> dict[str, Any]:
        """What there is."""
        return self._sent("GET", path, {}, None)

    def ask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """A question that changes nothing."""
        return self._sent("POST", path, {}, body)

    def write(
        self, method: str, path: str, body: dict[str, Any] | None = None, version: int | None = None
    ) -> dict[str, Any]:
        """A change, which has a key of its own: however often it is sent, it is done once.

        Args:
            method: of HTTP.
            path: of the route.
            body: of the request.
            version: that the task is expected to have.
        """
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        if version is not None:
            headers["If-Match"] = str(version)
        return self._sent(method, path, headers, body)

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def _sent(self, method: str, path: str, headers: dict[str, str], body: dict[str, Any] | None) -> dict[str, Any]:
        said, wait = "", _FIRST
        if path.startswith(_TASKS):
            # Ray Serve brings the requests of a task to a replica that has it at hand; others take no notice.
            headers = {**headers, "serve_multiplexed_model_id": path.removeprefix(_TASKS).partition("/")[0]}
        for left in reversed(range(self._tries)):
            pause = wait
            try:
                answer = self._http.request(method, path, headers=headers, json=body)
            except self._errors as error:
                said = f"{type(error).__name__}: {error}"
            else:
                if not _again(answer):
                    return _read(answer)
                said = str(_refused(answer))
                after = answer.headers.get("retry-after", "")
                pause = max(wait, float(after)) if after.isdecimal() else wait
            if left:
                time.sleep(min(pause, _LAST))
            wait *= 2
        raise Unavailable(f"{self.url} did not do it in {self._tries} tries, the last one: {said}")


def _again(answer: httpx.Response) -> bool:
    """Whether to ask again: a 500 of what stands before the service is a replica that died, and none of its faults."""
    ours = answer.headers.get("content-type", "").startswith("application/problem+json")
    return answer.status_code in _AGAIN or (answer.status_code == 500 and not ours)


def _read(answer: httpx.Response) -> dict[str, Any]:
    if not answer.is_success:
        raise _refused(answer)
    try:
        found = answer.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Unavailable(f"{answer.url} answers, and not as a service of innerloop: look at the address")
    return found


def _refused(answer: httpx.Response) -> Refused:
    try:
        said = dict(answer.json())
    except (ValueError, TypeError):
        # Something between that is none of ours.
        said = {"detail": answer.text[:200].strip() or answer.reason_phrase}
    known = {name: said.pop(name, None) for name in ("detail", "request", "status", "title", "type")}
    return Refused(answer.status_code, str(known["detail"]), known["request"], said)
