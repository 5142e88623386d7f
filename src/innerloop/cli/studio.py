"""The command that opens the studio: the service with a page on it, on this machine alone."""

from __future__ import annotations

import socket
import threading
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from innerloop.core.task import InputError


def studio(
    tasks: Annotated[list[str] | None, typer.Argument(help="bundles of tasks to begin with")] = None,
    database: Annotated[
        str, typer.Option(envvar="INNERLOOP_DATABASE", help="sqlite:///FILE, or postgresql://USER@HOST/NAME")
    ] = "sqlite:///innerloop.db",
    port: Annotated[int, typer.Option(help="the port; 0 takes one that is free", min=0, max=65535)] = 8080,
    browser: Annotated[bool, typer.Option(help="open the page in the browser")] = True,
) -> None:
    """Teach classes by a few examples in the browser, ask, and see why.

    Examples: `innerloop studio`, `innerloop studio flowers`, `innerloop studio --port 0 --no-browser`.
    """
    try:
        import uvicorn

        from innerloop.serve.app import create_app
        from innerloop.serve.settings import HERE, Settings
        from innerloop.serve.start import brought
        from innerloop.studio.mount import mount
    except ModuleNotFoundError as error:
        raise InputError(f"the studio needs {error.name}: pip install 'innerloop[serve]'") from None
    import torch

    # Requests run beside each other already.
    torch.set_num_threads(1)
    app = mount(create_app(Settings(database=database, hosts=HERE)))
    begun = [brought(app.state.replica, Path(path)) for path in tasks or ()]
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(("127.0.0.1", port))
        except OSError:
            raise InputError(f"port {port} is taken: give another one, or --port 0 for one that is free") from None
        # From here on connections wait: who opens the page before the server runs is answered a moment later.
        listening.listen(128)
        address = f"http://127.0.0.1:{listening.getsockname()[1]}/studio/"
        for path, task in zip(tasks or (), begun, strict=True):
            typer.echo(f"{path}: {address}#task={task}")
        typer.echo(f"studio: {address}")
        if browser:
            opened = f"{address}#task={begun[0]}" if begun else address
            threading.Thread(target=webbrowser.open, args=(opened,), daemon=True).start()
        server = uvicorn.Server(uvicorn.Config(app, access_log=False, log_level="warning", server_header=False))
        server.run([listening])
