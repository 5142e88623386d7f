"""The command that serves tasks over HTTP, and the one for the keys of its clients."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from innerloop.core.task import InputError

if TYPE_CHECKING:
    from innerloop.serve.keys import Keys

Tasks = Annotated[list[str] | None, typer.Argument(help="bundles of tasks to serve from the start; or: keys")]


def serve(
    tasks: Tasks = None,
    database: Annotated[
        str, typer.Option(envvar="INNERLOOP_DATABASE", help="sqlite:///FILE, or postgresql://USER@HOST/NAME")
    ] = "sqlite:///innerloop.db",
    host: Annotated[str, typer.Option(help="the address to listen at")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="the port", min=0, max=65535)] = 8080,
    states: Annotated[int, typer.Option(help="adapted tasks held in memory", min=1)] = 256,
    batch: Annotated[int, typer.Option(help="inputs that an encoder takes at a time", min=1)] = 32,
    rate: Annotated[float, typer.Option(help="requests a second of a tenant", min=0.1)] = 200.0,
    deadline: Annotated[float, typer.Option(help="seconds after which a request is given up", min=0.1)] = 30.0,
    tenant: Annotated[
        str | None, typer.Option(help="whose tasks the bundles are; with keys: make a key for this tenant")
    ] = None,
    revoke: Annotated[str | None, typer.Option(help="with keys: take back the key of this id")] = None,
) -> None:
    """Serve tasks over HTTP. `serve keys` lists the keys, and makes one or takes one back.

    Examples: `innerloop serve`, `innerloop serve flowers`, `innerloop serve keys --tenant anna`,
    `innerloop serve --database postgresql://me@db/tasks --host 0.0.0.0`.
    """
    try:
        import uvicorn

        from innerloop.serve.app import create_app
        from innerloop.serve.database import opened
        from innerloop.serve.keys import LOCAL, Keys
        from innerloop.serve.logs import to_stderr
        from innerloop.serve.settings import HERE, Settings
        from innerloop.serve.start import brought
    except ModuleNotFoundError as error:
        raise InputError(f"serve needs {error.name}: pip install 'innerloop[serve]'") from None
    import torch

    if tasks == ["keys"]:
        _keys(Keys(opened(database)), tenant, revoke)
        return
    if revoke is not None:
        raise InputError("--revoke is for keys: innerloop serve keys --revoke ID")
    here = _is_here(host)
    if not here and not Keys(opened(database)).any():
        raise InputError(
            f"--host {host} is open to others, and there is no key: innerloop serve keys --tenant NAME makes one, "
            f"or leave --host out"
        )
    # Requests run beside each other already.
    torch.set_num_threads(1)
    hosts = (*HERE, host) if here else ()
    settings = Settings(database=database, hosts=hosts, states=states, batch=batch, rate=rate, deadline=deadline)
    app = create_app(settings)
    for path in tasks or ():
        typer.echo(f"{path}: task {brought(app.state.replica, Path(path), tenant or LOCAL)}")
    to_stderr()
    uvicorn.run(app, host=host, port=port, access_log=False, log_level="warning", server_header=False)


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _keys(keys: Keys, tenant: str | None, revoke: str | None) -> None:
    if revoke is not None:
        keys.revoke(revoke)
    if tenant is not None:
        typer.echo(keys.make(tenant))
        typer.echo("this key is shown once; send it as Authorization: Bearer KEY", err=True)
    if tenant is None and revoke is None:
        for one in keys.listed():
            state = "revoked" if one.revoked else "in use"
            typer.echo(f"{one.id}  {one.tenant}  {one.created:%Y-%m-%d}  {state}")
