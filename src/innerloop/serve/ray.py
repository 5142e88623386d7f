"""The service on Ray Serve: replicas on any number of machines, and requests of one task to those that have it learned.

A task is what Ray calls a multiplexed model. A client that sends ``serve_multiplexed_model_id: TASK``, as
:class:`innerloop.Client` does, comes to a replica that holds the task, as long as there is one that is free; what
replicas answer is the same in any case, since each learns from the same database. It needs ``innerloop[ray]``.

References:
    Moritz et al., *Ray: A Distributed Framework for Emerging AI Applications*, OSDI 2018,
    https://arxiv.org/abs/1712.05889; https://docs.ray.io/en/latest/serve/model-multiplexing.html.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from innerloop.core.task import InputError, did_you_mean
from innerloop.serve.database import opened
from innerloop.serve.keys import Keys
from innerloop.serve.limits import App, Receive, Scope, Send
from innerloop.serve.settings import HERE, Settings


class ByTask:
    """Lets Ray know which tasks a replica has, by those that requests name.

    Args:
        app: that answers.
        load: told the id of a task, for Ray to remember.
        task: the id that the present request names, empty for none.
    """

    def __init__(self, app: App, load: Callable[[str], Awaitable[Any]], task: Callable[[], str]) -> None:
        self._app, self._load, self._task = app, load, task

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http" and (task := self._task()):
            await self._load(task)
        await self._app(scope, receive, send)


def application(given: Mapping[str, Any]) -> Any:
    """The service as an application of Ray Serve, for ``serve.run`` and ``serve run innerloop.serve.ray:application``.

    Args:
        given: ``replicas`` (2), and fields of :class:`~innerloop.serve.settings.Settings` with their values; several
            machines need a database that all of them reach, which is Postgres.

    Raises:
        InputError: for a field that there is not, or a value of another kind, and where Ray is not installed.

    Example:
        >>> from ray import serve  # doctest: +SKIP
        >>> serve.run(application({"replicas": 2, "database": "postgresql://me@db/tasks"}))  # doctest: +SKIP
    """
    try:
        from ray import serve
    except ModuleNotFoundError:
        raise InputError("Ray Serve is not installed: pip install 'innerloop[serve,ray]'") from None
    fields, known = dict(given), ("replicas", *Settings.__dataclass_fields__)
    if other := sorted(set(fields) - set(known)):
        raise InputError(f"{other[0]} is unknown{did_you_mean(other[0], known)}: choose of {', '.join(known)}")
    try:
        replicas = TypeAdapter(int).validate_python(fields.pop("replicas", 2))
        settings = TypeAdapter(Settings).validate_python(fields)
    except ValidationError as error:
        (first, *_) = error.errors()
        raise InputError(f"{'.'.join(map(str, first['loc'])) or 'replicas'}: {first['msg']}") from None
    fields = {name: getattr(settings, name) for name in Settings.__dataclass_fields__}
    if not settings.hosts and not Keys(opened(settings.database)).any():
        # Whoever is not asked for a key comes from this machine.
        fields["hosts"] = HERE

    def build() -> Any:
        import torch

        from innerloop.serve.app import create_app

        async def load(task: str) -> str:
            return task

        # Requests run beside each other already.
        torch.set_num_threads(1)
        app = create_app(Settings(**fields))
        remembered = serve.multiplexed(max_num_models_per_replica=settings.states)(load)
        app.add_middleware(ByTask, load=remembered, task=serve.get_multiplexed_model_id)
        return app

    class Service:
        """A replica."""

    made: Any = serve.ingress(build)(Service)
    options = {"name": "innerloop", "num_replicas": replicas, "max_ongoing_requests": settings.in_flight}
    return serve.deployment(made, **options).bind()
