"""OTLP requests, and the exporter against a real receiver."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from google.protobuf.descriptor import ServiceDescriptor
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.metrics.v1 import metrics_pb2
from opentelemetry.proto.resource.v1 import resource_pb2

from lanecast.core.instruments import EVENT_ACCEPTED, HOP_DURATION, QUEUE_DEPTH, Instruments
from lanecast.core.sketch import MIN_INDEX, SCALE
from lanecast.runtime.grpc_server import GrpcServer
from lanecast.runtime.otlp import OtlpExporter, RequestBuilder, identity

SERVICE: ServiceDescriptor = metrics_service_pb2.DESCRIPTOR.services_by_name["MetricsService"]


def measured() -> Instruments:
    instruments = Instruments()
    for value in (1_000_000, 1_000_000, 2_000_000):
        instruments.sketch(HOP_DURATION, hop="log", lane="LOW").record_ns(value)
    instruments.counter(EVENT_ACCEPTED, lane="LOW").add(3)
    instruments.gauge(QUEUE_DEPTH, lambda: 7.0)
    return instruments


def test_instruments_become_delta_metrics_that_lose_nothing() -> None:
    instruments = measured()
    builder = RequestBuilder(resource_pb2.Resource(), 1, 2)
    for taken in instruments.take_sketches():
        builder.histogram(*taken)
    request = builder.finish(list(instruments.take_counters()), list(instruments.read_gauges()))
    metrics = {metric.name: metric for metric in request.resource_metrics[0].scope_metrics[0].metrics}
    histogram = metrics[HOP_DURATION].exponential_histogram
    (point,) = histogram.data_points
    assert histogram.aggregation_temporality == metrics_pb2.AGGREGATION_TEMPORALITY_DELTA
    assert metrics[HOP_DURATION].unit == "s"
    assert (point.count, point.scale, point.min, point.max) == (3, SCALE, 0.001, 0.002)
    assert (point.start_time_unix_nano, point.time_unix_nano) == (1, 2)
    assert abs(point.sum - 0.004) < 1e-12
    assert list(point.positive.bucket_counts) == [2, *[0] * 63, 1]  # one octave apart
    low = 2.0 ** (point.positive.offset / 64)
    assert point.positive.offset >= MIN_INDEX
    assert low < 0.001 <= low * 2 ** (1 / 64)
    assert [(item.key, item.value.string_value) for item in point.attributes] == [("hop", "log"), ("lane", "LOW")]
    total = metrics[EVENT_ACCEPTED].sum
    assert (total.is_monotonic, total.data_points[0].as_int) == (True, 3)
    assert metrics[QUEUE_DEPTH].gauge.data_points[0].as_double == 7.0


class Receiver:
    """Receives what is exported."""

    def __init__(self) -> None:
        self.requests: list[metrics_service_pb2.ExportMetricsServiceRequest] = []

    async def Export(self, request: metrics_service_pb2.ExportMetricsServiceRequest, _: Any) -> Any:  # noqa: N802
        self.requests.append(request)
        return metrics_service_pb2.ExportMetricsServiceResponse()


async def test_what_cannot_be_sent_is_sent_later_in_one_piece() -> None:
    instruments = measured()
    receiver, server = Receiver(), GrpcServer()
    server.add(SERVICE, receiver)
    port = await server.start("127.0.0.1", 0)
    exporter = OtlpExporter(instruments, f"127.0.0.1:{port}", service="tests", instance="one", interval_seconds=3600)
    exporter.start()
    unreachable = OtlpExporter(instruments, "127.0.0.1:1", service="tests", instance="one")
    assert not await unreachable.export()
    await unreachable.close()
    instruments.counter(EVENT_ACCEPTED, lane="LOW").add(4)
    await exporter.close()  # exports once more
    await exporter.close()
    await server.stop(0)
    (request,) = receiver.requests
    resource = {item.key: item.value.string_value for item in request.resource_metrics[0].resource.attributes}
    assert (resource["service.name"], resource["service.instance.id"]) == ("tests", "one")
    metrics = {metric.name: metric for metric in request.resource_metrics[0].scope_metrics[0].metrics}
    assert metrics[EVENT_ACCEPTED].sum.data_points[0].as_int == 7
    assert metrics[HOP_DURATION].exponential_histogram.data_points[0].count == 3


def test_what_an_operator_says_of_a_process_is_reported_but_names_no_other_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", " zone = eu%2Cwest ,service.instance.id=other,nothing,=none")
    found = identity("gateway_svc", "gateway-1")
    assert (found["zone"], found["service.instance.id"]) == ("eu,west", "gateway-1")
    assert not {"", "nothing"} & set(found)


def test_a_service_that_exports_to_no_collector_does_not_import_opentelemetry_s_sdk() -> None:
    program = (
        "import asyncio, sys, publisher_svc.app, gateway_svc.app, metrics_svc.app\n"
        "from lanecast.core.instruments import Instruments\n"
        "from lanecast.runtime.telemetry import Telemetry\n"
        "async def main(): await Telemetry(Instruments(), 'publisher', 'publisher-1', '127.0.0.1:1').close()\n"
        "asyncio.run(main())\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry.sdk')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
