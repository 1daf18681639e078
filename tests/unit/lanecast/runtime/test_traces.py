"""Noted spans through OpenTelemetry's SDK, and what becomes of them where nobody takes them."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, TraceIdRatioBased

from lanecast.core.instruments import Counter
from lanecast.core.spans import NotedSpan
from lanecast.runtime.traces import SpanExport, span_export

SAMPLED = bytes(range(1, 25)) + b"\x01"
RESOURCE = Resource({"service.name": "gateway_svc", "service.instance.id": "gateway-1"})


def noted(**changes: object) -> NotedSpan:
    return NotedSpan("deliver", "producer", 1_000, 5_000, **changes)  # type: ignore[arg-type]


class Unreachable(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        pass


async def test_a_noted_span_becomes_one_with_its_times_parent_links_and_resource() -> None:
    exporter, dropped = InMemorySpanExporter(), Counter()
    export = SpanExport(exporter, RESOURCE, dropped, sampler=ALWAYS_ON)
    export.add(noted(parent=SAMPLED, attributes={"lanecast.lane": "LOW"}, links=(SAMPLED,)))
    export.add(noted(parent=SAMPLED, actor="lanecast-browser"))
    await export.close()
    await export.close()
    gateway, browser = exporter.get_finished_spans()
    assert (gateway.start_time, gateway.end_time, gateway.name) == (1_000, 5_000, "deliver")
    assert gateway.parent is not None
    assert gateway.parent.span_id.to_bytes(8) == SAMPLED[16:24]
    assert gateway.context.trace_id.to_bytes(16) == SAMPLED[:16]
    assert [link.context.trace_id for link in gateway.links] == [gateway.context.trace_id]
    assert gateway.attributes == {"lanecast.lane": "LOW"}
    assert gateway.resource.attributes["service.name"] == "gateway_svc"
    assert browser.resource.attributes["service.name"] == "lanecast-browser"
    assert dropped.value == 0


async def test_what_does_not_fit_or_does_not_arrive_is_counted() -> None:
    dropped = Counter()
    export = SpanExport(Unreachable(), RESOURCE, dropped, sampler=ALWAYS_ON, max_queue=3, max_batch=2)
    for _ in range(5):
        export.add(noted(parent=SAMPLED))
    assert dropped.value == 2
    await export.export()
    assert dropped.value == 5
    await export.close()
    export.add(noted())
    assert dropped.value == 6


async def test_a_running_export_sends_what_is_left_when_it_is_closed() -> None:
    exporter, dropped = InMemorySpanExporter(), Counter()
    export = SpanExport(exporter, RESOURCE, dropped, sampler=ALWAYS_ON, max_batch=2)
    export.start()
    for _ in range(5):
        export.add(noted(parent=SAMPLED))
    await export.close()
    assert (len(exporter.get_finished_spans()), dropped.value) == (5, 0)


async def test_the_sampler_decides_except_about_late_events(caplog: pytest.LogCaptureFixture) -> None:
    exporter = InMemorySpanExporter()
    never = ParentBased(TraceIdRatioBased(0.0))
    export = SpanExport(exporter, RESOURCE, Counter(), sampler=never)
    export.add(noted())
    export.add(noted(parent=SAMPLED))
    with caplog.at_level(logging.INFO):
        export.add(NotedSpan("deliver", "producer", 1, 10**14, late=True, attributes={"lanecast.lane": "LOW"}))
        await export.close()
    of_parent, late = exporter.get_finished_spans()
    assert of_parent.parent is not None
    assert late.parent is None
    (record,) = [each for each in caplog.records if each.name == "lanecast.runtime.traces"]
    assert record.trace_id == f"{late.context.trace_id:032x}"  # type: ignore[attr-defined]


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
