"""What routes ask of a request: whose it is, what it expects, and what it brings."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

import anyio.to_thread
from fastapi import Depends, Header, Request
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile

from innerloop.core.task import InputError
from innerloop.serve.inputs import Input, Reader
from innerloop.serve.keys import LOCAL
from innerloop.serve.models import Item
from innerloop.serve.problems import Problem
from innerloop.serve.replica import Replica
from innerloop.serve.store import Once

M = TypeVar("M", bound=BaseModel)
_KEY = re.compile(r"[!-~]{1,128}")
_VERSION = re.compile(r'(?:W/)?"?([0-9]{1,9})"?')


def replica_of(request: Request) -> Replica:
    """What the routes stand on."""
    found: Replica = request.app.state.replica
    return found


async def tenant_of(
    request: Request,
    authorization: Annotated[str | None, Header(description="Bearer KEY, where there are keys")] = None,
) -> str:
    """Whose request it is.

    Raises:
        Problem: 401 without a key that is right, 403 for a page of somewhere else, 429 where it is one too many.
    """
    replica = replica_of(request)
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise Problem(403, "pages of other addresses may not ask here: send the request without a browser")
    tenant = await _asking(request, replica, authorization)
    if wait := request.app.state.rate.wait(tenant):
        raise _slower(wait, f"more than {replica.settings.rate:g} requests a second")
    request.state.tenant = tenant
    return tenant


async def _asking(request: Request, replica: Replica, authorization: str | None) -> str:
    if not await anyio.to_thread.run_sync(replica.keys.any):
        return LOCAL
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Problem(401, "a key is needed: send Authorization: Bearer KEY", {"WWW-Authenticate": "Bearer"})
    tenant = replica.keys.believed(token)
    if tenant is None:
        # A wrong key costs time: nobody may try many.
        client = request.client.host if request.client else ""
        if wait := request.app.state.wrong.wait(client):
            raise _slower(wait, "too many keys that are new here")
        tenant = await anyio.to_thread.run_sync(replica.keys.tenant, token)
    if tenant is None:
        raise Problem(401, "there is no such key: ask for a new one", {"WWW-Authenticate": "Bearer"})
    return tenant


def _slower(wait: float, what: str) -> Problem:
    return Problem(429, f"{what}: wait a moment", {"Retry-After": str(max(1, round(wait + 0.5)))})


def version_of(
    if_match: Annotated[str | None, Header(description="the version that the task is expected to have")] = None,
) -> int | None:
    """The version that a client expects."""
    if if_match is None or if_match.strip() == "*":
        return None
    found = _VERSION.fullmatch(if_match.strip())
    if found is None:
        raise Problem(422, "If-Match is no version: give the number that the task has")
    return int(found[1])


async def once_of(
    request: Request,
    idempotency_key: Annotated[str | None, Header(description="a retry with the same key is done once")] = None,
) -> Once | None:
    """The client's word for a write."""
    if idempotency_key is None:
        return None
    if not _KEY.fullmatch(idempotency_key):
        raise Problem(422, "Idempotency-Key: give 1 to 128 characters of ASCII without blanks")
    digest = hashlib.sha256(f"{request.method} {request.url.path}?{request.url.query} ".encode())
    # The boundary of a form is drawn anew with each try.
    content = request.headers.get("content-type", "")
    boundary = content.partition("boundary=")[2].strip('"').encode() if content.startswith("multipart/") else b""
    body = await request.body()
    digest.update(body.replace(boundary, b"") if boundary else body)
    return Once(idempotency_key, digest.hexdigest())


class Sent:
    """The body of a request, as JSON or as a form.

    Args:
        fields: of the form, each of which may come several times.
        files: of the form.
        json: of any other body.
    """

    def __init__(self, fields: dict[str, list[str]], files: list[bytes], json: bytes | None) -> None:
        self.fields, self.files, self._json = fields, files, json

    @property
    def is_form(self) -> bool:
        """Whether it is a form."""
        return self._json is None

    def model(self, kind: type[M]) -> M:
        """The body as JSON.

        Raises:
            Problem: 422, with the fields that are wrong.
        """
        try:
            return kind.model_validate_json(self._json or b"")
        except ValidationError as error:
            raise Problem(422, wrong(error.errors(include_input=False, include_url=False))) from None

    def one(self, name: str) -> str | None:
        """A field that comes once."""
        found = self.fields.get(name, [])
        if len(found) > 1:
            raise Problem(422, f"the field {name} comes {len(found)} times: give it once")
        return found[0] if found else None


async def sent_of(request: Request) -> Sent:
    """The body of a request.

    Raises:
        Problem: 415 for a body of another type.
    """
    replica = replica_of(request)
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "multipart/form-data":
        if media not in ("application/json", ""):
            raise Problem(415, "the body is of another type: send application/json or multipart/form-data")
        return Sent({}, [], await request.body())
    items = replica.settings.items
    # Read whole first, so that a retry can be told by its bytes.
    await request.body()
    fields: dict[str, list[str]] = {}
    files = []
    async with request.form(max_files=items, max_fields=items + 8, max_part_size=replica.settings.text * 4) as form:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                files.append(await value.read())
            else:
                fields.setdefault(name, []).append(value)
    return Sent(fields, files, None)


def wrong(errors: Sequence[Any]) -> str:
    """What is wrong with a request, in a line, without what was sent."""
    said = []
    for error in errors[:3]:
        at = ".".join(str(part)[:40] for part in error["loc"]).encode("ascii", "replace").decode()
        said.append(f"{at or 'the body'}: {error['msg']}")
    return "; ".join(said) + ("; ..." if len(errors) > 3 else "")


def inputs_of(reader: Reader, items: Sequence[Item], limit: int) -> list[Input]:
    """The inputs of a request.

    Raises:
        InputError: for another field than the task's kind has, or too many.
    """
    _check_count(len(items), limit)
    found = []
    for place, item in enumerate(items):
        given = [name for name in Item.model_fields if getattr(item, name) is not None]
        if given != [reader.field]:
            raise InputError(f"item {place} has {' and '.join(given) or 'nothing'}: the task takes {reader.field}")
        found.append(reader.read(getattr(item, reader.field), f"item {place}"))
    return found


def files_of(reader: Reader, sent: Sent, limit: int) -> list[Input]:
    """The images of a form."""
    if reader.field != "image":
        raise InputError(f"the task takes {reader.field}, and a form has files: send JSON")
    if not sent.files:
        raise InputError("the form has no file: give image files")
    _check_count(len(sent.files), limit)
    return [reader.read(content, f"file {place}") for place, content in enumerate(sent.files)]


def _check_count(count: int, limit: int) -> None:
    if count > limit:
        raise InputError(f"the request has {count} inputs: {limit} are the limit, send them in several requests")


ReplicaOf = Annotated[Replica, Depends(replica_of)]
Tenant = Annotated[str, Depends(tenant_of)]
Version = Annotated[int | None, Depends(version_of)]
OnceOf = Annotated[Once | None, Depends(once_of)]
SentOf = Annotated[Sent, Depends(sent_of)]
