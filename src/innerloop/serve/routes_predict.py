"""Routes that ask a task: for answers, and for what is known of its examples."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from innerloop.serve.asking import ReplicaOf, SentOf, Tenant, files_of, inputs_of
from innerloop.serve.insights import insights
from innerloop.serve.models import PredictIn, Predictions
from innerloop.serve.problems import Problem
from innerloop.serve.routes_examples import body_of
from innerloop.serve.routes_tasks import TaskId

router = APIRouter(prefix="/v1/tasks/{task}", tags=["answers"])
_FORM = {
    "file": {"type": "array", "items": {"type": "string", "format": "binary"}},
    "evidence": {"type": "boolean"},
    "coverage": {"type": "number"},
}


@router.post("/predict", response_model=Predictions, openapi_extra=body_of(PredictIn, _FORM))
def predict(replica: ReplicaOf, tenant: Tenant, task: TaskId, sent: SentOf) -> Any:
    """Class, probabilities, prediction set and "none of these" of each query, and what each example did to it."""
    kind = replica.store.task(tenant, task).kind
    reader, limit = replica.reader(kind), replica.settings.items
    if sent.is_form:
        inputs = files_of(reader, sent, limit)
        evidence, coverage = _flag(sent.one("evidence")), _share(sent.one("coverage"))
    else:
        asked = sent.model(PredictIn)
        inputs = inputs_of(reader, asked.items, limit)
        evidence, coverage = asked.evidence, asked.coverage
    return replica.predict(tenant, task, inputs, coverage=coverage, evidence=evidence)


@router.get("/insights")
def shown(replica: ReplicaOf, tenant: Tenant, task: TaskId) -> dict[str, Any]:
    """A map of the examples, those whose label may be wrong, leave-one-out answers, and accuracy by examples."""
    with replica.patience():
        ready = replica.ready(tenant, task, named=True)
        return {"id": task, "version": ready.row.version, **insights(ready.state.model, ready.ids)}


def _flag(text: str | None) -> bool:
    if text not in (None, "true", "false"):
        raise Problem(422, "evidence: give true or false")
    return text == "true"


def _share(text: str | None) -> float | None:
    try:
        share = None if text is None else float(text)
    except ValueError:
        share = -1.0
    if share is not None and not 0 < share < 1:
        raise Problem(422, "coverage: give a number above 0 and below 1")
    return share
