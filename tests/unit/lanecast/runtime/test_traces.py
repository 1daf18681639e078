"""Noted spans on their way to a collector, and what becomes of them where nobody takes them."""

from __future__ import annotations

import asyncio
import logging

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, Sampler, TraceIdRatioBased

from lanecast.core.instruments import Counter
from lanecast.core.spans import NotedSpan
from lanecast.runtime.traces import SpanExport, span_export

SAMPLED = bytes(range(1, 25)) + b"\x01"
RESOURCE = Resource({"service.name": "gateway_svc", "service.instance.id": "gateway-1"})


def noted(**changes: object) -> NotedSpan:
    return NotedSpan("deliver", "producer", 1_000, 5_000, **changes)  # type: ignore[arg-type]


class Collector:
    """Keeps what is sent, in place of a collector."""

    def __init__(self, *, away: bool = False) -> None:
        self.spans: list[tuple[dict[str, str], Span]] = []
        self._away = away

    def send(self, request: bytes, spans: int) -> bool:
        for resource in ExportTraceServiceRequest.FromString(request).resource_spans:
            names = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
            (scope,) = resource.scope_spans
            assert len(scope.spans) == spans
            self.spans += [(names, span) for span in scope.spans if not self._away]
        return not self._away

    def shutdown(self) -> None:
        pass


async def test_a_noted_span_becomes_one_with_its_times_parent_links_and_resource() -> None:
    collector, dropped = Collector(), Counter()
    export = SpanExport(collector, RESOURCE, dropped, sampler=ALWAYS_ON)
    export.add(noted(parent=SAMPLED, attributes=lambda: {"lanecast.lane": "LOW"}, links=(SAMPLED,)))
    export.add(noted(parent=SAMPLED, actor="lanecast-browser"))
    await export.close()
    await export.close()
    (gateway, span), (browser, other) = collector.spans
    assert (span.start_time_unix_nano, span.end_time_unix_nano, span.name) == (1_000, 5_000, "deliver")
    assert (span.trace_id, span.parent_span_id) == (SAMPLED[:16], SAMPLED[16:24])
    assert span.span_id != other.span_id
    assert [link.trace_id for link in span.links] == [SAMPLED[:16]]
    assert [(pair.key, pair.value.string_value) for pair in span.attributes] == [("lanecast.lane", "LOW")]
    assert gateway["service.name"] == "gateway_svc"
    assert (browser["service.name"], browser["service.instance.id"]) == ("lanecast-browser", "seen-by-gateway-1")
    assert dropped.value == 0


async def test_what_does_not_fit_or_does_not_arrive_is_counted() -> None:
    dropped = Counter()
    export = SpanExport(Collector(away=True), RESOURCE, dropped, sampler=ALWAYS_ON, max_queue=3, max_batch=2)
    for _ in range(5):
        export.add(noted(parent=SAMPLED))
    assert dropped.value == 2
    await export.export()
    assert dropped.value == 5
    await export.close()
    export.add(noted())
    assert dropped.value == 6


async def test_a_running_export_sends_what_is_left_when_it_is_closed() -> None:
    collector, dropped = Collector(), Counter()
    export = SpanExport(collector, RESOURCE, dropped, sampler=ALWAYS_ON, max_batch=2)
    export.start()
    for _ in range(5):
        export.add(noted(parent=SAMPLED))
    await export.close()
    assert (len(collector.spans), dropped.value) == (5, 0)


async def test_events_go_first_while_spans_are_built() -> None:
    collector = Collector()
    export = SpanExport(collector, RESOURCE, Counter(), sampler=ALWAYS_ON, max_batch=1_000)
    for _ in range(100):
        export.add(noted(parent=SAMPLED))
    exporting = asyncio.create_task(export.export())
    turns = 0
    while not exporting.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns > 10
    assert len(collector.spans) == 100
    await export.close()


async def test_the_sampler_decides_except_about_late_events(caplog: pytest.LogCaptureFixture) -> None:
    collector = Collector()
    never = ParentBased(TraceIdRatioBased(0.0))
    export = SpanExport(collector, RESOURCE, Counter(), sampler=never)
    export.add(noted())
    export.add(noted(parent=SAMPLED))
    with caplog.at_level(logging.INFO):
        export.add(NotedSpan("deliver", "producer", 1, 10**14, late=True, attributes={"lanecast.lane": "LOW"}))
        await export.close()
    (_, of_parent), (_, late) = collector.spans
    assert of_parent.parent_span_id
    assert not late.parent_span_id
    (record,) = [each for each in caplog.records if each.name == "lanecast.runtime.traces"]
    assert record.trace_id == late.trace_id.hex()  # type: ignore[attr-defined]


@pytest.mark.parametrize(("sampler", "kept"), [(TraceIdRatioBased(0.0), 0), (TraceIdRatioBased(1.0), 2)])
async def test_a_sampler_that_asks_nobody_decides_about_all(sampler: Sampler, kept: int) -> None:
    collector, dropped = Collector(), Counter()
    export = SpanExport(collector, RESOURCE, dropped, sampler=sampler)
    export.add(noted(links=(SAMPLED,)))
    export.add(noted(parent=SAMPLED, attributes=lambda: {"lanecast.lane": "LOW"}))
    await export.close()
    assert (len(collector.spans), dropped.value) == (kept, 0)


@pytest.mark.parametrize(
    ("environ", "runs"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1"}, True),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://127.0.0.1:1"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_SAMPLER": "always_off"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_SAMPLER": "parentbased_always_off"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, True),
    ],
)
async def test_spans_are_exported_only_where_the_variables_ask_for_it(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], runs: bool
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    export = span_export(Counter(), "gateway_svc", "gateway-1")
    assert (export is not None) is runs
    if export is not None:
        await export.close()
