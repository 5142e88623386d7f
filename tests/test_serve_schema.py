"""The description of the service in OpenAPI holds: requests drawn from it are answered as it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance
from serving import service, task, vectors
from starlette.testclient import TestClient

schemathesis.serializer.alias("application/zip", "application/octet-stream")
CHECKS = [not_a_server_error, status_code_conformance, response_schema_conformance]


def drawn(client: TestClient, examples: int) -> int:
    """Send requests to every route, and say how many were."""
    schema = schemathesis.openapi.from_asgi("/openapi.json", client.app)
    known = [task(client, examples=vectors()), task(client, "rows"), task(client, "text")]
    count = 0
    for found in schema.get_all_operations():
        operation = found.ok()

        @settings(max_examples=examples, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(), one=st.sampled_from(known))
        def ask(case: Any, one: str) -> None:
            nonlocal count
            count += 1
            case.path_parameters.update({name: one for name in ("task", "model") if name in case.path_parameters})
            # Tasks stay for the other requests, and a graph takes seconds.
            if case.method != "DELETE" and case.query.get("format") != "onnx":
                case.call_and_validate(checks=CHECKS)

        ask()
    return count


def test_routes_are_described(tmp_path: Path) -> None:
    with service(tmp_path, rate=1e6) as client:
        paths = client.get("/openapi.json").json()["paths"]
        for path, methods in paths.items():
            for method, said in methods.items():
                assert said["summary"], (method, path)
        body = paths["/v1/tasks/{task}/predict"]["post"]["requestBody"]["content"]
        assert set(body) == {"application/json", "multipart/form-data"}


@pytest.mark.slow
def test_many_requests_are_answered_as_described(tmp_path: Path) -> None:
    with service(tmp_path, rate=1e6) as client:
        assert drawn(client, 30) > 300
