"""Routes by which a task leaves the service as a file, and comes back."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response

from innerloop.core.task import InputError
from innerloop.serve.asking import OnceOf, ReplicaOf, Tenant
from innerloop.serve.given import packed
from innerloop.serve.keeping import Kept, bundle_of, graph_of, parts_of, task_of
from innerloop.serve.kinds import KINDS
from innerloop.serve.models import Task
from innerloop.serve.problems import busy
from innerloop.serve.replica import Replica
from innerloop.serve.routes_tasks import TaskId, said
from innerloop.serve.store import New

router = APIRouter(prefix="/v1/tasks", tags=["files"])
_ZIP = "application/zip"
_BODY = {"requestBody": {"required": True, "content": {_ZIP: {"schema": {"type": "string", "format": "binary"}}}}}


async def file_of(request: Request) -> bytes:
    """The file that is sent as the body."""
    return await request.body()


@router.get("/{task}/export", response_class=Response)
def export(
    replica: ReplicaOf, tenant: Tenant, task: TaskId, form: Annotated[Literal["bundle", "onnx"], Query(alias="format")]
) -> Response:
    """A task as a bundle in a zip file with its examples, or as a graph of ONNX."""
    with replica.patience():
        ready = replica.ready(tenant, task)
        if form == "bundle":
            found = replica.store.snapshot(tenant, task, "content")
            if found.row.version != ready.row.version:
                raise busy("the task is being changed: try again in a moment")
            content, media, ending = bundle_of(ready.state.model, found.row, found.examples), _ZIP, "zip"
        else:
            content, media, ending = graph_of(ready.state.model), "application/octet-stream", "onnx"
    headers = {"Content-Disposition": f'attachment; filename="{task}.{ending}"', "ETag": f'"{ready.row.version}"'}
    return Response(content, media_type=media, headers=headers)


@router.post("/import", status_code=201, response_model=Task, openapi_extra=_BODY)
def bring(
    replica: ReplicaOf, tenant: Tenant, once: OnceOf, file: Annotated[bytes, Depends(file_of)], response: Response
) -> Any:
    """A new task from a zip file that was exported, or from the bundle of a classifier in one."""
    with replica.patience():
        kept = task_of(parts_of(file, replica.settings.body), replica.settings)
        options = replica.options(kept.kind, kept.options.head, kept.options.class_names)
        new = news_of(replica, kept)
    return said(response, replica.store.filled(tenant, kept.name, kept.kind, options, new, once))


def news_of(replica: Replica, kept: Kept) -> list[New]:
    """The examples of a task from a file, as they are kept."""
    if len(kept.labels) > replica.settings.examples:
        raise InputError(f"the task has {len(kept.labels)} examples: {replica.settings.examples} are the limit")
    if kept.contents is not None:
        reader = replica.reader(kept.kind)
        inputs = [reader.read(one, f"example {place}") for place, one in enumerate(kept.contents)]
        return replica.news(kept.kind, inputs, kept.labels) if inputs else []
    encoder = replica.batcher(KINDS[kept.kind].encoder).encoder
    if encoder.fingerprint() != kept.encoder or kept.features.shape[1] != encoder.features:
        raise InputError(
            f"the task was made with other weights of the encoder {encoder.name!r} than are here: make it again from "
            f"its examples"
        )
    return [
        New(label, hashlib.sha256(row).hexdigest(), None, "application/octet-stream", row, kept.encoder)
        for label, row in zip(kept.labels, map(packed, kept.features), strict=True)
    ]
