"""Routes of tasks: made, listed, shown, deleted."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response

from innerloop.bundle import cards
from innerloop.encoders.find import PLAIN
from innerloop.serve.asking import OnceOf, ReplicaOf, Tenant, Version
from innerloop.serve.kinds import KINDS
from innerloop.serve.models import Deleted, Task, TaskIn, Tasks
from innerloop.serve.store import Written

router = APIRouter(prefix="/v1", tags=["tasks"])
TaskId = Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="of the task")]


def said(response: Response, written: Written) -> dict[str, Any]:
    """The answer to a write."""
    if written.again:
        response.headers["Idempotent-Replayed"] = "true"
    if "version" in written.answer:
        response.headers["ETag"] = f'"{written.answer["version"]}"'
    return written.answer


@router.get("/models")
def models(replica: ReplicaOf, tenant: Tenant) -> dict[str, Any]:
    """The kinds of tasks, and the encoder that reads the inputs of each."""
    every = cards()
    found = []
    for name, kind in KINDS.items():
        card = every.get(kind.encoder)
        one: dict[str, Any] = {"kind": name, "field": kind.field, "encoder": kind.encoder, "head": kind.head}
        one["installed"] = kind.encoder == PLAIN or card is None or card.installed
        if card is not None:
            one |= {"what": card.what, "license": card.license, "limits": card.limits, "install": card.install}
        found.append(one)
    settings = replica.settings
    names = ("body", "pixels", "all_pixels", "items", "examples", "classes", "numbers", "text")
    return {"kinds": found, "limits": {name: getattr(settings, name) for name in names}}


@router.post("/tasks", status_code=201, response_model=Task)
def create(replica: ReplicaOf, tenant: Tenant, once: OnceOf, task: TaskIn, response: Response) -> Any:
    """A new task, without examples."""
    options = replica.options(task.kind, task.options.head, task.options.class_names)
    return said(response, replica.store.create(tenant, task.name or task.kind, task.kind, options, once))


@router.get("/tasks", response_model=Tasks)
def listed(
    replica: ReplicaOf,
    tenant: Tenant,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    after: Annotated[str | None, Query(pattern="^[0-9a-f]{32}$")] = None,
) -> Any:
    """The tasks, in the order of their ids."""
    found = replica.store.tasks(tenant, limit, after)
    return {"tasks": found, "next": found[-1]["id"] if len(found) == limit else None}


@router.get("/tasks/{task}", response_model=Task)
def show(replica: ReplicaOf, tenant: Tenant, task: TaskId, response: Response) -> Any:
    """A task."""
    return said(response, Written(replica.store.described(tenant, task), again=False))


@router.delete("/tasks/{task}", response_model=Deleted)
def delete(replica: ReplicaOf, tenant: Tenant, once: OnceOf, version: Version, task: TaskId, response: Response) -> Any:
    """Take a task away, with its examples."""
    return said(response, replica.store.delete(tenant, task, version, once))
