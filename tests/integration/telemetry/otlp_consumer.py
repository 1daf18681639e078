"""An OTLP consumer on opentelemetry-proto's public gRPC stubs: what a collector would get."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.metrics.v1 import metrics_pb2
from opentelemetry.proto.trace.v1 import trace_pb2


class Consumer:
    """Keeps everything."""

    def __init__(self) -> None:
        self.metrics: list[tuple[dict[str, str], metrics_pb2.Metric]] = []
        """With the attributes of the resource."""
        self.spans: list[tuple[dict[str, str], trace_pb2.Span]] = []
        self.headers: list[dict[str, str]] = []
        self.endpoint = ""
        self._came = asyncio.Event()

    def names(self) -> set[str]:
        return {metric.name for _, metric in self.metrics}

    def latest(self, name: str, service: str) -> list[Any]:
        """The last point of each series of a metric from a service; a metric may come in several requests."""
        found: dict[str, Any] = {}
        for resource, metric in self.metrics:
            if (metric.name, resource["service.name"]) == (name, service):
                for point in getattr(metric, metric.WhichOneof("data") or "").data_points:
                    found[str(attributes_of(point))] = point
        return list(found.values())

    async def until(self, done: Callable[[], bool]) -> None:
        while not done():
            self._came.clear()
            await self._came.wait()

    def took(self, request: Any) -> None:
        """Keep a request."""
        for resource in getattr(request, "resource_metrics", ()):
            attributes = attributes_of(resource.resource)
            self.metrics += [(attributes, metric) for scope in resource.scope_metrics for metric in scope.metrics]
        for resource in getattr(request, "resource_spans", ()):
            attributes = attributes_of(resource.resource)
            self.spans += [(attributes, span) for scope in resource.scope_spans for span in scope.spans]
        self._came.set()


class _Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer

    async def Export(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._consumer.headers.append({key: str(value) for key, value in context.invocation_metadata()})
        self._consumer.took(request)
        return metrics_service_pb2.ExportMetricsServiceResponse()


class _Traces(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer

    async def Export(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._consumer.took(request)
        return trace_service_pb2.ExportTraceServiceResponse()


@asynccontextmanager
async def running_consumer() -> AsyncIterator[Consumer]:
    consumer, server = Consumer(), grpc.aio.server()
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(_Metrics(consumer), server)  # type: ignore[no-untyped-call]
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(_Traces(consumer), server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    consumer.endpoint = f"http://127.0.0.1:{port}"
    try:
        yield consumer
    finally:
        await server.stop(0)


def attributes_of(holder: Any) -> dict[str, Any]:
    return {
        pair.key: getattr(pair.value, pair.value.WhichOneof("value") or "string_value") for pair in holder.attributes
    }
