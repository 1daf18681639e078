"""Metrics for a collector: temporality, a collector that is away, and variables that make no sense."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    MetricExporter,
    MetricExportResult,
    MetricsData,
)
from opentelemetry.sdk.resources import Resource

from lanecast.core.instruments import EVENT_ACCEPTED, HOP_DURATION, QUEUE_DEPTH, Instruments
from lanecast.errors import ConfigError
from lanecast.runtime import environment
from lanecast.runtime.collector import CollectorExporter, collector_exporter, temporality


class Kept(MetricExporter):
    """Keeps what is exported, unless it is told to fail."""

    def __init__(self) -> None:
        super().__init__()
        self.data: list[MetricsData] = []
        self.works = True
        self.shutdowns = 0

    def export(self, metrics_data: MetricsData, timeout_millis: float = 0, **_: Any) -> MetricExportResult:
        self.data.append(metrics_data)
        return MetricExportResult.SUCCESS if self.works else MetricExportResult.FAILURE

    def force_flush(self, timeout_millis: float = 0) -> bool:
        return True

    def shutdown(self, timeout_millis: float = 0, **_: Any) -> None:
        self.shutdowns += 1

    def last(self, name: str) -> Any:
        found = self.data[-1].resource_metrics[0].scope_metrics[0].metrics
        return next(metric.data for metric in found if metric.name == name).data_points[0]


def measured(instruments: Instruments) -> None:
    instruments.sketch(HOP_DURATION, hop="log", lane="LOW").record_ns(1_000_000)
    instruments.counter(EVENT_ACCEPTED, lane="LOW").add(2)
    instruments.gauge(QUEUE_DEPTH, lambda: 7.0)


def exporter(instruments: Instruments, kept: Kept, wanted: AggregationTemporality) -> CollectorExporter:
    return CollectorExporter(instruments, kept, Resource({}), 3600, wanted)


def first_point(data: MetricsData) -> Any:
    return data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points[0]


async def test_cumulative_values_go_on_growing_whether_or_not_they_arrive() -> None:
    instruments, kept = Instruments(), Kept()
    export = exporter(instruments, kept, AggregationTemporality.CUMULATIVE)
    never = instruments.counter(EVENT_ACCEPTED, lane="HIGH")
    for round_number, works in enumerate((False, True, True), 1):
        kept.works = works
        measured(instruments)
        assert await export.export() is works
        assert kept.last(EVENT_ACCEPTED).value in {0, 2 * round_number}
        assert kept.last(HOP_DURATION).count == round_number
        assert kept.last(QUEUE_DEPTH).value == 7.0
    starts = {
        data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points[0].start_time_unix_nano
        for data in kept.data
    }
    assert len(starts) == 1
    assert never.value == 0
    found = kept.data[-1].resource_metrics[0].scope_metrics[0].metrics
    points = next(metric.data for metric in found if metric.name == EVENT_ACCEPTED).data_points
    assert {(point.attributes["lane"], point.value) for point in points} == {("LOW", 6), ("HIGH", 0)}
    await export.close()
    await export.close()
    assert kept.shutdowns == 1


async def test_deltas_that_did_not_arrive_come_with_the_next() -> None:
    instruments, kept = Instruments(), Kept()
    export = exporter(instruments, kept, AggregationTemporality.DELTA)
    kept.works = False
    measured(instruments)
    assert not await export.export()
    kept.works = True
    measured(instruments)
    assert await export.export()
    assert (kept.last(EVENT_ACCEPTED).value, kept.last(HOP_DURATION).count) == (4, 2)
    assert (
        kept.last(EVENT_ACCEPTED).start_time_unix_nano
        <= kept.data[0].resource_metrics[0].scope_metrics[0].metrics[0].data.data_points[0].time_unix_nano
    )
    measured(instruments)
    await export.close()
    assert (kept.last(EVENT_ACCEPTED).value, kept.last(HOP_DURATION).count) == (2, 1)


async def test_a_running_export_sends_the_rest_when_it_is_closed() -> None:
    instruments, kept = Instruments(), Kept()
    export = exporter(instruments, kept, AggregationTemporality.DELTA)
    export.start()
    measured(instruments)
    await export.close()
    assert [kept.last(EVENT_ACCEPTED).value, len(kept.data), kept.shutdowns] == [2, 1, 1]


async def test_a_collector_that_is_away_delays_nothing_but_the_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    instruments = Instruments()
    export = collector_exporter(instruments, "gateway_svc", "gateway-1")
    assert export is not None
    export.start()
    measured(instruments)
    await export.close()  # gives up a retry that would go on for 10 s


@pytest.mark.parametrize(
    ("name", "value", "advice"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "use grpc or http/protobuf"),
        ("OTEL_METRICS_EXPORTER", "prometheus", "use otlp, or none"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "soon", "use a whole number from 1 on"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "brotli", "compression is one of gzip, none"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "long", "timeouts are numbers"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "both", "use cumulative, delta or lowmemory"),
    ],
)
def test_a_variable_that_makes_no_sense_is_named_with_what_to_write(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, advice: str
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=advice):
        collector_exporter(Instruments(), "gateway_svc", "gateway-1")


def test_the_preferences_of_the_specification_are_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"
    found = {}
    for value in ("", "Cumulative", "DELTA", "lowmemory"):
        monkeypatch.setenv(name, value)
        found[value] = temporality() is AggregationTemporality.DELTA
    assert found == {"": False, "Cumulative": False, "DELTA": True, "lowmemory": True}


def test_the_variables_go_before_what_a_service_knows_of_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=pod-7,team=blue")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "edge")
    found = environment.resource("gateway_svc", "gateway-1").attributes
    assert (found["service.name"], found["service.instance.id"], found["team"]) == ("edge", "pod-7", "blue")
    assert found["service.namespace"] == "lanecast"
