"""The Open Inference Protocol, version 2: each task is a model, so that clients and gateways of KServe ask it as it is.

See https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol.
"""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import JSONResponse

from innerloop.core.task import InputError
from innerloop.core.version import VERSION
from innerloop.serve.asking import ReplicaOf, Tenant, inputs_of
from innerloop.serve.kinds import KINDS
from innerloop.serve.models import Item, Refused
from innerloop.serve.problems import missing
from innerloop.serve.routes_ops import ready as readyz

_CODES = (400, 401, 403, 404, 409, 413, 415, 422, 429, 503)
router = APIRouter(
    prefix="/v2", tags=["Open Inference Protocol"], responses={code: {"model": Refused} for code in _CODES}
)
Model = Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="a task")]
Of = Annotated[str, Path(pattern="^[0-9]{1,9}$", description="the version that the task has")]
_NUMBERS = ("FP64", "FP32", "INT64", "INT32", "INT16", "INT8", "UINT64", "UINT32", "UINT16", "UINT8")
#: Of each output its type, and how many axes it has.
_OUTPUTS = {
    "label": ("BYTES", 1),
    "classes": ("BYTES", 1),
    "probabilities": ("FP64", 2),
    "set": ("BOOL", 2),
    "unknown": ("FP64", 1),
    "none_of_these": ("BOOL", 1),
}


class Tensor(BaseModel):
    """An input."""

    model_config = ConfigDict(allow_inf_nan=False)

    name: str
    shape: list[Annotated[int, Field(ge=1, le=2**31)]] = Field(min_length=1, max_length=2)
    datatype: Literal["BYTES", "FP64", "FP32", "INT64", "INT32", "INT16", "INT8", "UINT64", "UINT32", "UINT16", "UINT8"]
    parameters: dict[str, Any] = {}
    data: list[Any]


class Named(BaseModel):
    """An output that is wanted."""

    name: str


class Inference(BaseModel):
    """A request for answers."""

    model_config = ConfigDict(
        allow_inf_nan=False,
        json_schema_extra={
            "examples": [{"inputs": [{"name": "vector", "shape": [1, 2], "datatype": "FP64", "data": [0.8, 0.2]}]}]
        },
    )

    id: str | None = Field(default=None, max_length=128)
    parameters: dict[str, Any] = {}
    inputs: list[Tensor] = Field(min_length=1, max_length=1)
    outputs: list[Named] | None = None


@router.get("")
def server() -> dict[str, Any]:
    """What serves."""
    return {"name": "innerloop", "version": VERSION, "extensions": []}


@router.get("/health/live")
async def live() -> dict[str, Any]:
    """Whether the process answers."""
    return {"live": True}


@router.get("/health/ready")
def healthy(replica: ReplicaOf) -> dict[str, Any]:
    """Whether the database and the encoder answer."""
    readyz(replica)
    return {"ready": True}


@router.get("/models/{model}")
def metadata(replica: ReplicaOf, tenant: Tenant, model: Model) -> dict[str, Any]:
    """What a task takes and gives."""
    row = replica.store.task(tenant, model)
    field = KINDS[row.kind].field
    numbers = field == "vector"
    return {
        "name": model,
        "versions": [str(row.version)],
        "platform": "innerloop",
        "inputs": [{"name": field, "datatype": "FP64" if numbers else "BYTES", "shape": [-1, -1] if numbers else [-1]}],
        "outputs": [{"name": name, "datatype": kind, "shape": [-1] * axes} for name, (kind, axes) in _OUTPUTS.items()],
    }


@router.get("/models/{model}/versions/{version}")
def metadata_of(replica: ReplicaOf, tenant: Tenant, model: Model, version: Of) -> dict[str, Any]:
    """The same, of the version that the task has."""
    _check_version(replica, tenant, model, version)
    return metadata(replica, tenant, model)


@router.get("/models/{model}/ready")
def ready(replica: ReplicaOf, tenant: Tenant, model: Model) -> dict[str, Any]:
    """Whether a task can be asked."""
    replica.ready(tenant, model)
    return {"name": model, "ready": True}


@router.get("/models/{model}/versions/{version}/ready")
def ready_of(replica: ReplicaOf, tenant: Tenant, model: Model, version: Of) -> dict[str, Any]:
    """The same, of the version that the task has."""
    _check_version(replica, tenant, model, version)
    return ready(replica, tenant, model)


@router.post("/models/{model}/infer")
def infer(replica: ReplicaOf, tenant: Tenant, model: Model, asked: Inference) -> dict[str, Any]:
    """Answers to queries: the rows of the one input."""
    kind = replica.store.task(tenant, model).kind
    reader = replica.reader(kind)
    inputs = inputs_of(reader, items_of(reader.field, asked.inputs[0]), replica.settings.items)
    found = replica.predict(tenant, model, inputs, coverage=None, evidence=False)
    outputs = _outputs(found["items"])
    wanted = None if asked.outputs is None else {one.name for one in asked.outputs}
    if wanted is not None and (other := sorted(wanted - {one["name"] for one in outputs})):
        raise InputError(f"there is no output {other[0][:40]!r}: there are {', '.join(o['name'] for o in outputs)}")
    return {
        "model_name": model,
        "model_version": str(found["version"]),
        **({} if asked.id is None else {"id": asked.id}),
        "outputs": [one for one in outputs if wanted is None or one["name"] in wanted],
    }


@router.post("/models/{model}/versions/{version}/infer")
def infer_of(replica: ReplicaOf, tenant: Tenant, model: Model, version: Of, asked: Inference) -> dict[str, Any]:
    """The same, of the version that the task has."""
    _check_version(replica, tenant, model, version)
    return infer(replica, tenant, model, asked)


def items_of(field: str, given: Tensor) -> list[Item]:
    """The queries in an input: texts, images as base64, rows as JSON; or vectors ``[Q, H]``.

    Raises:
        InputError: for another shape or type than the task takes.
    """
    shape, data = given.shape, given.data
    if (given.datatype in _NUMBERS) != (field == "vector"):
        raise InputError(f"the input has type {given.datatype}: give {'FP64' if field == 'vector' else 'BYTES'}")
    if data and isinstance(data[0], list) and len(shape) == 2:
        if any(not isinstance(row, list) or len(row) != shape[1] for row in data):
            raise InputError(f"the input has the shape {shape}, and its data has another")
        data = [one for row in data for one in row]
    if len(data) != math.prod(shape) or (field != "vector" and len(shape) == 2 and shape[1] != 1):
        raise InputError(f"the input has the shape {shape} and {len(data)} values: give as many as it has places")
    if field == "vector":
        width = shape[-1] if len(shape) == 2 else 1
        data = [data[start : start + width] for start in range(0, len(data), width)]
    elif field == "row":
        data = [_row(one) for one in data]
    return [Item.model_validate({field: one}) for one in data]


def _row(text: Any) -> Any:
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError):
        raise InputError("a row is no JSON: give each row as a text of JSON") from None


def _outputs(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    classes = list(items[0]["probabilities"])
    data: dict[str, list[Any]] = {
        "classes": classes,
        "probabilities": [share for one in items for share in one["probabilities"].values()],
        "set": [label in one["set"] for one in items for label in classes],
        **{name: [one[name] for one in items] for name in ("label", "unknown", "none_of_these")},
    }
    if items[0]["none_of_these"] is None:
        del data["none_of_these"]
    shapes = {name: [len(items), len(classes)][:axes] for name, (_, axes) in _OUTPUTS.items()}
    shapes["classes"] = [len(classes)]
    return [
        {"name": name, "datatype": kind, "shape": shapes[name], "data": data[name]}
        for name, (kind, _) in _OUTPUTS.items()
        if name in data
    ]


def _check_version(replica: Any, tenant: str, model: str, version: str) -> None:
    if replica.store.task(tenant, model).version != int(version):
        raise missing("version")


def in_its_words(made: JSONResponse, error: Exception) -> JSONResponse:
    """A refusal as clients of the protocol read it: ``{"error": ...}``."""
    words = json.loads(bytes(made.body))
    status = 400 if isinstance(error, InputError | ValidationError) else made.status_code
    known = {name: value for name, value in made.headers.items() if name in ("retry-after", "www-authenticate")}
    return JSONResponse({"error": words["detail"], "request": words["request"]}, status, known)
