"""From the instruments of a process to the figures of an operator, through real gRPC."""

from __future__ import annotations

import math
import random
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.metrics.v1 import metrics_pb2 as otlp

from lanecast.core import instruments as names
from lanecast.core.instruments import Instruments
from lanecast.core.priority import BUDGET_SECONDS, LANES, Priority
from lanecast.runtime.otlp import OtlpExporter
from lanecast.v1 import event_pb2, metrics_pb2


async def report(target: str, instruments: Instruments, service: str = "gateway_svc", instance: str = "g1") -> None:
    exporter = OtlpExporter(instruments, target, service=service, instance=instance)
    try:
        assert await exporter.export()
    finally:
        await exporter.close()


def deliveries(rng: random.Random, lane: Priority, number: int = 2000) -> tuple[Instruments, list[int]]:
    instruments = Instruments()
    sketch = instruments.sketch(names.DELIVERY_DURATION, lane=lane.name, scope="server")
    values = [round(rng.lognormvariate(0, 0.5) * BUDGET_SECONDS[lane] * 3e8) for _ in range(number)]
    for value in values:
        sketch.record_ns(value)
    return instruments, values


async def test_latency_of_several_processes_is_what_one_list_of_all_samples_gives(running: Any) -> None:
    rng = random.Random(1)
    everything: dict[Priority, list[int]] = {lane: [] for lane in LANES}
    for process in range(3):
        for lane in LANES:
            instruments, values = deliveries(rng, lane)
            everything[lane] += values
            await report(running.target, instruments, instance=f"g{process}")
    response = await running.metrics.GetLatency(metrics_pb2.GetLatencyRequest())
    assert [figure.lane for figure in response.figures] == list(LANES)
    for figure in response.figures:
        exact = sorted(everything[Priority(figure.lane)])
        assert figure.count == len(exact)
        assert figure.max_seconds == pytest.approx(exact[-1] / 1e9)
        assert figure.mean_seconds == pytest.approx(sum(exact) / len(exact) / 1e9)
        for q, found in ((0.5, figure.p50_seconds), (0.99, figure.p99_seconds), (0.999, figure.p999_seconds)):
            assert found == pytest.approx(exact[math.ceil(q * len(exact)) - 1] / 1e9, rel=0.0055)
        within = sum(value <= figure.budget_seconds * 1e9 for value in exact) / len(exact)
        assert figure.within_budget == pytest.approx(within, abs=0.01)


async def test_filters_select_lanes_and_types(running: Any) -> None:
    for lane in LANES:
        await report(running.target, deliveries(random.Random(2), lane)[0])
    instruments = Instruments()
    instruments.sketch(names.DELIVERY_DURATION, lane="LOW", scope="server", type="shop.v1.A").record_ns(1000)
    await report(running.target, instruments)
    chosen = metrics_pb2.MetricsFilter(lanes=[event_pb2.PRIORITY_LOW])
    response = await running.metrics.GetLatency(metrics_pb2.GetLatencyRequest(filter=chosen))
    assert [(figure.lane, figure.count) for figure in response.figures] == [(event_pb2.PRIORITY_LOW, 2000)]
    chosen = metrics_pb2.MetricsFilter(types=["shop.v1.A"])
    response = await running.metrics.GetLatency(metrics_pb2.GetLatencyRequest(filter=chosen))
    assert [(figure.type, figure.count) for figure in response.figures] == [("shop.v1.A", 1)]


async def test_watch_shows_reports_as_they_come_and_the_grade_follows(running: Any) -> None:
    request = metrics_pb2.WatchMetricsRequest(interval=Duration(nanos=100_000_000))
    call = running.metrics.WatchMetrics(request)
    first = await call.read()
    assert not first.latency.figures
    instruments, _ = deliveries(random.Random(3), Priority.HIGH)
    instruments.gauge(names.CONNECTION_ACTIVE, lambda: 5.0)
    await report(running.target, instruments)
    publisher = Instruments()
    publisher.counter(names.EVENT_ACCEPTED, lane="HIGH").add(2000)
    await report(running.target, publisher, "publisher_svc", "p1")
    while True:
        message = await call.read()
        rates = {figure.lane: figure.accepted_per_second for figure in message.throughput.figures}
        if message.latency.figures and rates:
            break
    assert message.latency.figures[0].count == 2000
    assert rates[event_pb2.PRIORITY_HIGH] > 0
    assert message.throughput.connections == 5
    assert {process.service for process in message.throughput.processes} >= {"gateway_svc", "publisher_svc"}
    call.cancel()
    status = await running.metrics.GetOptimizationStatus(metrics_pb2.GetOptimizationStatusRequest())
    assert status.grade in {metrics_pb2.GRADE_A, metrics_pb2.GRADE_B, metrics_pb2.GRADE_C}
    assert len(status.lanes) == 4


async def read_to_the_end(call: Any) -> None:
    while await call.read() is not grpc.aio.EOF:
        pass


async def test_cancelled_and_drained_streams_end(start: Any) -> None:
    running = await start(max_streams=1)
    first = running.metrics.WatchMetrics(metrics_pb2.WatchMetricsRequest())
    await first.read()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await running.metrics.WatchMetrics(metrics_pb2.WatchMetricsRequest()).read()
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    first.cancel()
    # The place is free again once the server has seen the cancellation.
    while True:
        second = running.metrics.WatchMetrics(metrics_pb2.WatchMetricsRequest())
        try:
            await second.read()
            break
        except grpc.aio.AioRpcError as error:
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED  # noqa: PT017 - not what is tested
    running.service._grpc_streams.drain()
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await read_to_the_end(second)
    assert ended.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_retry_after_a_lost_answer_counts_once(running: Any) -> None:
    """The exporter cannot know that its first try arrived; its second holds the same time and more."""
    instruments = Instruments()
    exporter = OtlpExporter(instruments, running.target, service="gateway_svc", instance="g1")
    counter = instruments.counter(names.EVENT_DELIVERED, lane="LOW")
    counter.add(10)
    began = exporter._started_ns
    assert await exporter.export()
    counter.add(10)  # what give_back would have returned
    counter.add(5)
    exporter._started_ns = began
    assert await exporter.export()
    await exporter.close()
    (series,) = running.service.telemetry.series(names.EVENT_DELIVERED)
    assert series.total == 15


async def test_gzip_and_partial_success(running: Any) -> None:
    stub = metrics_service_pb2_grpc.MetricsServiceStub(running.channel)
    metric = otlp.Metric(
        name=names.EVENT_ACCEPTED,
        sum=otlp.Sum(aggregation_temporality=otlp.AGGREGATION_TEMPORALITY_CUMULATIVE, is_monotonic=True),
    )
    metric.sum.data_points.add(as_int=1, time_unix_nano=1)
    request = metrics_service_pb2.ExportMetricsServiceRequest()
    request.resource_metrics.add().scope_metrics.add().metrics.append(metric)
    response = await stub.Export(request, compression=grpc.Compression.Gzip)
    assert response.partial_success.rejected_data_points == 1
    assert "PREFERENCE=delta" in response.partial_success.error_message


BAD: dict[str, Any] = {
    "WINDOW_OUT_OF_RANGE": metrics_pb2.GetLatencyRequest(window=Duration()),
    "LANE_UNKNOWN": metrics_pb2.GetLatencyRequest(filter=metrics_pb2.MetricsFilter(lanes=[9])),  # type: ignore[list-item]
    "TYPE_MALFORMED": metrics_pb2.GetLatencyRequest(filter=metrics_pb2.MetricsFilter(types=["a b"])),
}


@pytest.mark.parametrize("reason", list(BAD))
async def test_bad_requests_are_refused_with_reason_and_field(running: Any, reason: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running.metrics.GetLatency(BAD[reason])
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    status = rpc_status.from_call(caught.value)
    info, fields = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    assert status is not None
    assert status.details[0].Unpack(info)
    assert status.details[1].Unpack(fields)
    assert (info.reason, info.domain, len(fields.field_violations)) == (reason, "lanecast", 1)


async def test_health_and_reflection(running: Any) -> None:
    health = health_pb2_grpc.HealthStub(running.channel)
    for service in ("", "lanecast.v1.MetricsService", "opentelemetry.proto.collector.metrics.v1.MetricsService"):
        answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    stub = reflection_pb2_grpc.ServerReflectionStub(running.channel)
    call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    listed = {service.name for service in (await call.read()).list_services_response.service}
    assert {"lanecast.v1.MetricsService", "lanecast.v1.RolloutService", "lanecast.v1.AdminService"} <= listed


async def test_the_service_measures_its_own_event_loop(running: Any) -> None:
    while not running.service.telemetry.series(names.EVENTLOOP_LAG):
        await running.metrics.GetLatency(metrics_pb2.GetLatencyRequest())
    assert [process.name for process, _ in running.service.telemetry.processes(0)] == ["metrics_svc/metrics-1"]
