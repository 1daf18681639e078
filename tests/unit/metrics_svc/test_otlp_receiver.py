"""OTLP points: what is taken, and what is refused with which words."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as service_pb2
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.metrics.v1 import metrics_pb2 as pb
from opentelemetry.proto.resource.v1 import resource_pb2

from lanecast.core import instruments as names
from lanecast.core.instruments import Instruments
from lanecast.runtime.otlp import RequestBuilder
from metrics_svc import otlp_receiver
from metrics_svc.core.telemetry import NANOS
from metrics_svc.otlp_receiver import OtlpReceiver

DELTA, CUMULATIVE = pb.AGGREGATION_TEMPORALITY_DELTA, pb.AGGREGATION_TEMPORALITY_CUMULATIVE


def pairs(**values: str) -> list[common_pb2.KeyValue]:
    return [
        common_pb2.KeyValue(key=name, value=common_pb2.AnyValue(string_value=text)) for name, text in values.items()
    ]


RESOURCE = resource_pb2.Resource(
    attributes=[
        common_pb2.KeyValue(key="service.name", value=common_pb2.AnyValue(string_value="gateway_svc")),
        common_pb2.KeyValue(key="service.instance.id", value=common_pb2.AnyValue(string_value="gateway-1")),
    ]
)


def request(*metrics: pb.Metric) -> service_pb2.ExportMetricsServiceRequest:
    scoped = pb.ScopeMetrics(metrics=metrics)
    return service_pb2.ExportMetricsServiceRequest(
        resource_metrics=[pb.ResourceMetrics(resource=RESOURCE, scope_metrics=[scoped])]
    )


async def send(bench: Any, *metrics: pb.Metric) -> service_pb2.ExportMetricsServiceResponse:
    receiver = OtlpReceiver(bench.telemetry, lambda: bench.now_ns)
    return await receiver.Export(request(*metrics), None)


def histogram(bench: Any, temporality: int = DELTA, unit: str = "s", **fields: Any) -> pb.Metric:
    point = {
        "attributes": pairs(lane="LOW", hop="transit"),
        "start_time_unix_nano": bench.now_ns - NANOS,
        "time_unix_nano": bench.now_ns,
        "scale": 6,
        "count": 1,
        "positive": pb.ExponentialHistogramDataPoint.Buckets(offset=-640, bucket_counts=[1]),
        **fields,
    }
    data = pb.ExponentialHistogram(
        aggregation_temporality=temporality,  # type: ignore[arg-type]
        data_points=[pb.ExponentialHistogramDataPoint(**point)],
    )
    return pb.Metric(name=names.HOP_DURATION, unit=unit, exponential_histogram=data)


def number(bench: Any, **value: Any) -> pb.NumberDataPoint:
    return pb.NumberDataPoint(start_time_unix_nano=bench.now_ns - NANOS, time_unix_nano=bench.now_ns, **value)


def total(bench: Any, *, temporality: int = DELTA, monotonic: bool = True, name: str = "", **value: Any) -> pb.Metric:
    data = pb.Sum(
        aggregation_temporality=temporality,  # type: ignore[arg-type]
        is_monotonic=monotonic,
        data_points=[number(bench, **value)],
    )
    return pb.Metric(name=name or names.EVENT_ACCEPTED, sum=data)


async def test_what_our_exporter_sends_arrives_whole(bench: Any) -> None:
    instruments = Instruments()
    sketch = instruments.sketch(names.DELIVERY_DURATION, lane="HIGH", scope="server")
    for value in (900, 1_000_000, 5_000_000, 400_000_000_000):
        sketch.record_ns(value)
    instruments.counter(names.EVENT_DELIVERED, lane="HIGH").add(4)
    instruments.gauge(names.CONNECTION_ACTIVE, lambda: 9.0)
    expected = (list(sketch.counts), sketch.sum_ns, sketch.minimum_ns, sketch.maximum_ns)
    builder = RequestBuilder(RESOURCE, bench.now_ns - NANOS, bench.now_ns)
    for taken in instruments.take_sketches():
        builder.histogram(*taken)
    message = builder.finish(list(instruments.take_counters()), list(instruments.read_gauges()))
    receiver = OtlpReceiver(bench.telemetry, lambda: bench.now_ns)
    response = await receiver.Export(message, None)
    assert response == service_pb2.ExportMetricsServiceResponse()
    second = bench.now_ns // NANOS
    span = bench.telemetry.span(second - 10, second + 1, bench.now_ns)
    merged = span.sketch(bench.telemetry.series(names.DELIVERY_DURATION))
    assert (merged.counts, merged.sum_ns, merged.minimum_ns, merged.maximum_ns) == expected
    assert span.total(bench.telemetry.series(names.EVENT_DELIVERED)) == 4
    assert span.last(bench.telemetry.series(names.CONNECTION_ACTIVE)[0]) == 9.0
    assert [process.name for process, _ in bench.telemetry.processes(0)] == ["gateway_svc/gateway-1"]


async def test_a_finer_histogram_is_scaled_down(bench: Any) -> None:
    positive = pb.ExponentialHistogramDataPoint.Buckets(offset=-640 * 4, bucket_counts=[1, 1, 1, 1, 5])
    response = await send(bench, histogram(bench, scale=8, count=9, positive=positive))
    assert not response.HasField("partial_success")
    second = bench.now_ns // NANOS
    span = bench.telemetry.span(second - 10, second + 1, bench.now_ns)
    merged = span.sketch(bench.telemetry.series(names.HOP_DURATION))
    assert [count for count in merged.counts if count] == [4, 5]


async def test_an_up_down_counter_is_a_gauge(bench: Any) -> None:
    metric = total(bench, temporality=CUMULATIVE, monotonic=False, name=names.CONNECTION_ACTIVE, as_int=12)
    assert not (await send(bench, metric)).HasField("partial_success")
    assert bench.telemetry.series(names.CONNECTION_ACTIVE)[0].total == 12


REFUSED: dict[str, Any] = {
    "the histogram is cumulative: set OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=delta": lambda bench: histogram(
        bench, CUMULATIVE
    ),
    "the sum is cumulative": lambda bench: total(bench, temporality=CUMULATIVE, as_int=1),
    "export a gauge": lambda bench: total(bench, monotonic=False, as_int=1),
    "whole numbers": lambda bench: total(bench, as_int=-1),
    "grows by whole numbers": lambda bench: total(bench, as_double=0.5),
    "not finite": lambda bench: total(bench, as_double=float("inf")),
    "scale 5, whose buckets are wider": lambda bench: histogram(bench, scale=5),
    "record seconds": lambda bench: histogram(bench, unit="ms"),
    "not the sum of the buckets": lambda bench: histogram(bench, count=2),
    "more than 16384 buckets": lambda bench: histogram(
        bench, positive=pb.ExponentialHistogramDataPoint.Buckets(bucket_counts=[0] * 16_385)
    ),
    "export base-2 exponential histograms": lambda bench: pb.Metric(
        name=names.HOP_DURATION, histogram=pb.Histogram(data_points=[pb.HistogramDataPoint()])
    ),
    "a summary has no quantiles": lambda bench: pb.Metric(
        name=names.HOP_DURATION, summary=pb.Summary(data_points=[pb.SummaryDataPoint()])
    ),
    "is not a metric of Lanecast": lambda bench: total(bench, name="http.requests", as_int=1),
}


@pytest.mark.parametrize("words", list(REFUSED))
async def test_what_cannot_be_kept_is_refused_alone(bench: Any, words: str) -> None:
    response = await send(bench, REFUSED[words](bench), total(bench, as_int=7))
    assert response.partial_success.rejected_data_points == 1
    assert words in response.partial_success.error_message
    assert bench.telemetry.series(names.EVENT_ACCEPTED)[0].total == 7
    assert bench.telemetry.refused == 1


async def test_a_request_has_a_limit_of_points(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp_receiver, "MAX_POINTS", 3)
    data = pb.Sum(aggregation_temporality=DELTA, is_monotonic=True, data_points=[number(bench, as_int=1)] * 5)
    response = await send(bench, pb.Metric(name=names.EVENT_ACCEPTED, sum=data))
    assert response.partial_success.rejected_data_points == 2
    assert "may have 3 points" in response.partial_success.error_message
