"""Encoded spans over both protocols, to servers built on opentelemetry-proto's public stubs."""

from __future__ import annotations

import asyncio
import gzip

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from otlp_consumer import Consumer, attributes_of, running_consumer

from lanecast.core.instruments import Counter
from lanecast.core.spans import NotedSpan
from lanecast.runtime.traces import span_export

CONTEXT = bytes(range(1, 25)) + b"\x01"
NAMED = {"OTEL_EXPORTER_OTLP_HEADERS": "api-key=secret", "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"}


async def sent(dropped: Counter) -> None:
    export = span_export(dropped, "gateway_svc", "gateway-1")
    assert export is not None
    attributes = {"lanecast.lane": "LOW", "lanecast.offset": 7, "lanecast.replayed": False, "lanecast.hop.log": 0.5}
    export.add(NotedSpan("deliver", "producer", 1_000, 5_000, CONTEXT, attributes, (CONTEXT,)))
    export.add(NotedSpan("process", "consumer", 1_000, 5_000, CONTEXT, actor="lanecast-browser"))
    await export.close()


def check(consumer: Consumer) -> None:
    (resource, span), (browser, _) = consumer.spans
    assert (resource["service.name"], browser["service.name"]) == ("gateway_svc", "lanecast-browser")
    assert (span.trace_id, span.parent_span_id, span.name) == (CONTEXT[:16], CONTEXT[16:24], "deliver")
    assert attributes_of(span) == {
        "lanecast.lane": "LOW", "lanecast.offset": 7, "lanecast.replayed": False, "lanecast.hop.log": 0.5,
    }  # fmt: skip


async def test_over_grpc(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_consumer() as consumer:
        for name, value in {"OTEL_EXPORTER_OTLP_ENDPOINT": consumer.endpoint, **NAMED}.items():
            monkeypatch.setenv(name, value)
        dropped = Counter()
        await sent(dropped)
        check(consumer)
        assert dropped.value == 0


async def test_over_http(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer = Consumer()

    async def take(request: web.Request) -> web.Response:
        assert request.headers["api-key"] == "secret"
        assert request.headers["Content-Type"] == "application/x-protobuf"
        body = await request.read()  # aiohttp has undone the compression, or leaves it to us
        data = gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body
        consumer.took(trace_service_pb2.ExportTraceServiceRequest.FromString(data))
        return web.Response(body=trace_service_pb2.ExportTraceServiceResponse().SerializeToString())

    app = web.Application()
    app.router.add_post("/v1/traces", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        endpoint = f"http://127.0.0.1:{runner.addresses[0][1]}"
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", **NAMED}
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        dropped = Counter()
        await sent(dropped)
        check(consumer)
        assert dropped.value == 0
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
async def test_a_collector_that_is_away_costs_the_spans_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    dropped = Counter()
    async with asyncio.timeout(20):
        await sent(dropped)
    assert dropped.value == 2
