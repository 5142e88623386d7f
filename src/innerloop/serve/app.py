"""The service as an application of ASGI."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import JSONResponse

from innerloop.core.task import InputError
from innerloop.core.version import VERSION
from innerloop.serve import routes_examples, routes_keep, routes_ops, routes_predict, routes_tasks, v2
from innerloop.serve.asking import wrong
from innerloop.serve.limits import Door, Rate
from innerloop.serve.models import Problem as Said
from innerloop.serve.problems import MEDIA, answer, missing
from innerloop.serve.replica import Replica
from innerloop.serve.settings import Settings

#: Keys a second that are new to the replica, from one address.
_NEW_KEYS = 5.0
_WORDS = {
    401: "no key, or one that there is not",
    403: "a page of another address asks",
    404: "there is no such thing, or it is somebody else's",
    409: "another version, or too few examples",
    413: "the request is too large",
    415: "the body is of another type",
    422: "something is wrong with what was sent",
    429: "too many requests",
    503: "not now",
}


def create_app(settings: Settings | None = None) -> FastAPI:
    """The service.

    Args:
        settings: default as :class:`~innerloop.serve.settings.Settings` has them.

    Raises:
        InputError: for a database that is not known.
    """
    settings = settings or Settings()
    replica = Replica(settings)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        yield
        replica.close()

    problem = {"model": Said, "content": {MEDIA: {}}}
    app = FastAPI(
        title="innerloop",
        version=VERSION,
        summary="Tasks that are learned from a few examples",
        lifespan=life,
        responses={code: {**problem, "description": words} for code, words in _WORDS.items()},
    )
    app.state.replica = replica
    app.state.rate, app.state.wrong = Rate(settings.rate), Rate(_NEW_KEYS)
    app.add_middleware(Door, settings=settings, metrics=replica.metrics)
    if settings.hosts:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(settings.hosts), www_redirect=False)
    for room in (routes_ops, routes_tasks, routes_examples, routes_predict, routes_keep, v2):
        app.include_router(room.router)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(InputError, _refused)
    app.add_exception_handler(ValidationError, _refused)
    app.add_exception_handler(RequestValidationError, _refused)
    return app


async def _refused(request: Request, error: Any) -> JSONResponse:
    """What the client is told."""
    named = request.state.request
    if isinstance(error, InputError):
        made = answer(422, str(error), named)
    elif isinstance(error, HTTPException):
        made = answer(error.status_code, str(error.detail), named, error.headers, getattr(error, "more", {}))
    else:
        made = _unread(error.errors(), named)
    return v2.in_its_words(made, error) if request.url.path.startswith("/v2") else made


def _unread(errors: Sequence[Any], named: str) -> JSONResponse:
    """Of what a request has wrong; an id that can be none is as unknown as any other."""
    others = [one for one in errors if one["loc"][0] != "path"]
    if others:
        return answer(422, wrong(others), named)
    what = str(errors[0]["loc"][1])
    said = missing("task" if what == "model" else what)
    return answer(said.status_code, said.detail, named)
