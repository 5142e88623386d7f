"""Routes that the page needs beside those of the service: map, other learners, steps of an inner loop, a stream."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from fastapi import APIRouter
from pydantic import Field
from torch import Tensor

from innerloop.serve.asking import ReplicaOf, Tenant, inputs_of
from innerloop.serve.learning import features_of
from innerloop.serve.models import Checked, Item, Word
from innerloop.serve.replica import Ready, Replica
from innerloop.serve.routes_tasks import TaskId
from innerloop.studio.around import around
from innerloop.studio.learners import compared, names_of, stepped, streamed

router = APIRouter(prefix="/studio/tasks/{task}", tags=["studio"])


class Asked(Checked):
    """One query at most."""

    items: list[Item] = Field(default_factory=list, max_length=1)


class Compare(Asked):
    """Heads to compare."""

    heads: Annotated[list[Word], Field(min_length=1, max_length=4)]


class Stream(Checked):
    """In which order classes came."""

    order: Annotated[list[Word], Field(min_length=1, max_length=200)]


@router.post("/around")
def placed(replica: ReplicaOf, tenant: Tenant, task: TaskId, asked: Asked) -> dict[str, Any]:
    """The map of the examples, and the query on it."""
    ready = replica.ready(tenant, task, named=True)
    queries = _features(replica, ready, asked).numpy() if asked.items else None
    return {"version": ready.row.version, **around(ready.state.model, ready.ids, queries)}


@router.get("/heads")
def heads(replica: ReplicaOf, tenant: Tenant, task: TaskId) -> dict[str, Any]:
    """The heads that can be compared, and the one that the task has."""
    model = replica.ready(tenant, task).state.model
    return {"heads": names_of(model), "head": model.head_}


@router.post("/compare")
def beside(replica: ReplicaOf, tenant: Tenant, task: TaskId, asked: Compare) -> dict[str, Any]:
    """What several heads say of a query."""
    with replica.patience():
        ready = replica.ready(tenant, task)
        found = compared(ready.state.model, asked.heads, _features(replica, ready, asked))
        return {"version": ready.row.version, "learners": found}


@router.post("/steps")
def steps(replica: ReplicaOf, tenant: Tenant, task: TaskId, asked: Asked) -> dict[str, Any]:
    """An inner loop, step by step."""
    ready = replica.ready(tenant, task)
    return {"version": ready.row.version, "steps": stepped(ready.state.model, _features(replica, ready, asked))}


@router.post("/stream")
def stream(replica: ReplicaOf, tenant: Tenant, task: TaskId, asked: Stream) -> dict[str, Any]:
    """What is still known of earlier classes as further ones come."""
    with replica.patience():
        ready = replica.ready(tenant, task)
        return {"version": ready.row.version, **streamed(ready.state.model, asked.order)}


def _features(replica: Replica, ready: Ready, asked: Asked) -> Tensor:
    """Features of the query, ``[Q, H]``, float64; of none ``[0, H]``."""
    if not asked.items:
        return torch.zeros(0, ready.state.model.X_.shape[1], dtype=torch.float64)
    kind = ready.row.kind
    return features_of(ready.state, replica.queries(kind, inputs_of(replica.reader(kind), asked.items, 1)))
