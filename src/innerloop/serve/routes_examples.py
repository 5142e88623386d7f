"""Routes of a task's examples: added, shown, relabelled, removed."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Response

from innerloop.serve.asking import OnceOf, ReplicaOf, SentOf, Tenant, Version, files_of, inputs_of
from innerloop.serve.models import Added, Examples, ExamplesIn, LabelIn, Task
from innerloop.serve.problems import Problem
from innerloop.serve.routes_tasks import TaskId, said

router = APIRouter(prefix="/v1/tasks/{task}/examples", tags=["examples"])
ExampleId = Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="of the example")]


def body_of(model: type[Any], form: dict[str, Any]) -> dict[str, Any]:
    """How OpenAPI describes a body that is JSON or a form."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    schema.pop("$defs", None)
    content = {
        "application/json": {"schema": schema},
        "multipart/form-data": {"schema": {"type": "object", "properties": form}},
    }
    return {"requestBody": {"required": True, "content": content}}


_FORM = {
    "file": {"type": "array", "items": {"type": "string", "format": "binary"}},
    "label": {"type": "string", "description": "one for all files, or one for each in their order"},
}


@router.post("", status_code=201, response_model=Added, openapi_extra=body_of(ExamplesIn, _FORM))
def add(
    replica: ReplicaOf,
    tenant: Tenant,
    once: OnceOf,
    version: Version,
    task: TaskId,
    sent: SentOf,
    response: Response,
) -> Any:
    """Add examples: all of them, or none."""
    kind = replica.store.task(tenant, task).kind
    reader, limit = replica.reader(kind), replica.settings.items
    if sent.is_form:
        inputs = files_of(reader, sent, limit)
        labels = sent.fields.get("label", [])
        labels = labels * len(inputs) if len(labels) == 1 else labels
        if len(labels) != len(inputs):
            raise Problem(422, f"the form has {len(labels)} labels for {len(inputs)} files: give one, or one for each")
        labels = [LabelIn(label=label).label for label in labels]
    else:
        asked = sent.model(ExamplesIn)
        inputs = inputs_of(reader, asked.examples, limit)
        labels = [one.label for one in asked.examples]
    new = replica.news(kind, inputs, labels)
    return said(response, replica.store.add(tenant, task, new, version, once))


@router.get("", response_model=Examples)
def listed(replica: ReplicaOf, tenant: Tenant, task: TaskId) -> Any:
    """The examples, in the order in which they are learned."""
    found = replica.store.snapshot(tenant, task)
    shown = [{"id": one.id, "label": one.label, "digest": one.digest, "media": one.media} for one in found.examples]
    return {"version": found.row.version, "examples": shown}


@router.get("/{example}/content", response_class=Response)
def content(replica: ReplicaOf, tenant: Tenant, task: TaskId, example: ExampleId) -> Response:
    """What was sent as an example."""
    found = replica.store.content(tenant, task, example)
    headers = {"X-Content-Type-Options": "nosniff", "Content-Disposition": "inline", "Cache-Control": "private"}
    return Response(found.content, media_type=found.media, headers=headers)


@router.patch("/{example}", response_model=Task)
def relabel(
    replica: ReplicaOf,
    tenant: Tenant,
    once: OnceOf,
    version: Version,
    task: TaskId,
    example: ExampleId,
    asked: LabelIn,
    response: Response,
) -> Any:
    """Give an example another label."""
    return said(response, replica.store.relabel(tenant, task, example, asked.label, version, once))


@router.delete("/{example}", response_model=Task)
def remove(
    replica: ReplicaOf,
    tenant: Tenant,
    once: OnceOf,
    version: Version,
    task: TaskId,
    example: ExampleId,
    response: Response,
) -> Any:
    """Take an example away."""
    return said(response, replica.store.remove(tenant, task, example, version, once))
