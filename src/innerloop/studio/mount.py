"""The page's files on the service's application, with headers that let the browser load nothing from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.responses import RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from innerloop.studio import routes

STATIC = Path(__file__).resolve().parent / "static"
#: Nothing from elsewhere, nothing inline; pictures that the page itself made are ``blob:`` and ``data:``.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    # Asked again each time, and answered by 304 where nothing changed: a page never runs with parts of another version.
    "Cache-Control": "no-cache",
}


class Page(StaticFiles):
    """Static files with the page's headers."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """A file."""
        response = await super().get_response(path, scope)
        response.headers.update(_HEADERS)
        return response


def mount(app: FastAPI) -> FastAPI:
    """Add the page at ``/studio`` to the service, its routes at ``/studio/tasks``, and a redirection from ``/``.

    Args:
        app: as :func:`innerloop.serve.app.create_app` makes it.

    Example:
        >>> app = mount(FastAPI())
        >>> app.url_path_for("studio", path="/index.html")
        '/studio/index.html'
    """

    async def home(_: Any) -> Response:
        return RedirectResponse("/studio/")

    app.add_route("/", home, include_in_schema=False)
    app.include_router(routes.router)
    app.mount("/studio", Page(directory=STATIC, html=True), name="studio")
    return app
