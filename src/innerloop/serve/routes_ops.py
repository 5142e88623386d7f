"""Routes for whoever runs the service: is it alive, is it ready, what does it count."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response
from sqlalchemy.exc import SQLAlchemyError

from innerloop.core.version import VERSION
from innerloop.serve.asking import ReplicaOf
from innerloop.serve.problems import busy

router = APIRouter(tags=["operation"])


@router.get("/healthz")
async def alive() -> dict[str, Any]:
    """Whether the process answers."""
    return {"status": "alive", "version": VERSION}


@router.get("/readyz")
def ready(replica: ReplicaOf) -> dict[str, Any]:
    """Whether the database and the encoder answer."""
    try:
        replica.store.alive()
    except SQLAlchemyError:
        raise busy("the database does not answer") from None
    replica.try_encoder()
    return {"status": "ready"}


@router.get("/metrics", response_class=Response)
def metrics(replica: ReplicaOf) -> Response:
    """The counts of this replica, for Prometheus."""
    return Response(replica.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
