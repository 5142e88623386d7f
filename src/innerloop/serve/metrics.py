"""What a replica counts, for Prometheus. No tenant, no task and no label is in it."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """The counts of one replica."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("innerloop_requests", "Requests", ("method", "route", "status"), registry=self.registry)
        self.seconds = Histogram(
            "innerloop_request_seconds", "Time of requests", ("route",), buckets=_SECONDS, registry=self.registry
        )
        self.batches = Histogram(
            "innerloop_batch_inputs",
            "Inputs that an encoder takes at a time",
            ("encoder",),
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
            registry=self.registry,
        )
        self.adaptations = Histogram(
            "innerloop_adapt_seconds", "Time of learning a task", ("kind",), buckets=_SECONDS, registry=self.registry
        )
        self.predictions = Counter("innerloop_predictions", "Queries answered", ("kind",), registry=self.registry)

    def text(self) -> bytes:
        """In the format that Prometheus reads."""
        return generate_latest(self.registry)
