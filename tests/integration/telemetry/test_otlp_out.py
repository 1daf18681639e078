"""What real processes send to a real OTLP consumer: every metric of the catalogue, and traces from end to end."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from otlp_consumer import Consumer, attributes_of, running_consumer
from telemetry_stack import Browser, Stack, running_stack

from lanecast import AsyncPublisher, PublishError
from lanecast.ai.v1.concierge_pb2 import ConciergeInsight
from lanecast.core import instruments as names
from lanecast.core.instruments import Instruments, Key
from lanecast.core.priority import LANES, Priority
from lanecast.runtime.collector import collector_exporter
from lanecast.v1.event_pb2 import Event, EventBatch
from lanecast.v1.gateway_pb2 import ClientFrame, Receipt, ReceiptSample
from metrics_svc.computed import Computed
from metrics_svc.core.catalogue import METRICS
from metrics_svc.core.rules import WINDOWS
from metrics_svc.core.telemetry import Point, Process, Telemetry

CHANNEL = "agent:42"
PER_LANE = 5
ROLLOUTS = {name for name in METRICS if name.startswith("lanecast.rollout.")}
"""A rollout has to run; `test_what_a_rollout_shows_is_exported_too` looks at these."""
HOPS = ("sdk_queue", "ingest", "log", "lane_wait", "transit", "edge_wait", "socket_write")


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    return asyncio.run(scenario(tmp_path_factory.mktemp("telemetry")))


class Seen:
    """What the AI service, the browser and the consumer know after one run."""

    def __init__(self, consumer: Consumer, batches: list[EventBatch], trace_id: bytes, span_id: bytes) -> None:
        self.consumer = consumer
        self.batches = batches
        self.trace_id = trace_id
        self.span_id = span_id

    @property
    def events(self) -> list[tuple[EventBatch, Event]]:
        return [(batch, event) for batch in self.batches for event in batch.events]

    def spans(self, service: str, name: str) -> list[Any]:
        found = self.consumer.spans
        return [span for resource, span in found if (resource["service.name"], span.name) == (service, name)]


async def scenario(folder: Path) -> Seen:
    async with running_consumer() as consumer:
        environ = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": consumer.endpoint,
            "OTEL_EXPORTER_OTLP_HEADERS": "api-key=secret",
            "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=tests",
            "OTEL_METRIC_EXPORT_INTERVAL": "250",
            "OTEL_BSP_SCHEDULE_DELAY": "1000",
        }
        async with running_stack(folder, **environ) as stack, stack.browser(CHANNEL) as browser:
            trace_id, span_id = await publish(stack, consumer.endpoint)
            batches = await receive(browser)
            await browser.send(ClientFrame(receipt=receipt(batches)))
            await consumer.until(lambda: complete(consumer))
        # The services have drained, and so have sent the rest.
        return Seen(consumer, batches, trace_id, span_id)


async def publish(stack: Stack, endpoint: str) -> tuple[bytes, bytes]:
    """Play the AI service, which uses OpenTelemetry as its documentation says."""
    provider = TracerProvider(resource=Resource.create({"service.name": "concierge"}), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    async with AsyncPublisher(stack.publisher, source="concierge") as publisher:
        with provider.get_tracer("tests").start_as_current_span("answer the agent") as span:
            context = span.get_span_context()
            acks = [
                publisher.publish_nowait(CHANNEL, ConciergeInsight(text=f"{lane.name} {number}"), priority=lane)
                for lane in LANES
                for number in range(PER_LANE)
            ]
            await asyncio.gather(*acks)
        for _ in range(2):
            await publisher.publish("agent:7", ConciergeInsight(text="twice"), priority=Priority.LOW, id="same")
        with pytest.raises(PublishError):
            await publisher.publish(CHANNEL, Event(), priority=Priority.LOW)  # not a registered type
    await asyncio.to_thread(provider.shutdown)
    return context.trace_id.to_bytes(16), context.span_id.to_bytes(8)


async def receive(browser: Browser) -> list[EventBatch]:
    batches: list[EventBatch] = []
    while sum(len(batch.events) for batch in batches) < PER_LANE * len(LANES):
        batches.append((await browser.expect("events")).events)
    return batches


def receipt(batches: list[EventBatch]) -> Receipt:
    return Receipt(
        samples=[
            ReceiptSample(
                lane=batch.lane,
                offset=event.offset,
                last_mile_micros=700,
                uncertainty_micros=300 if batch.lane != Priority.HIGH.wire_value else 3_000,
                type=event.data.type_url.rpartition("/")[2],
                end_to_end_micros=2_500,
                trace_context=event.trace_context,
            )
            for batch in batches
            for event in batch.events
        ]
    )


def complete(consumer: Consumer) -> bool:
    browsers = [span for resource, span in consumer.spans if resource["service.name"] == "lanecast-browser"]
    return len(browsers) == PER_LANE * len(LANES) and set(METRICS) - ROLLOUTS <= consumer.names()


def test_every_metric_of_the_catalogue_comes_with_its_unit(seen: Seen) -> None:
    assert {(metric.name, metric.unit) for _, metric in seen.consumer.metrics} == {
        (name, names.UNITS[name]) for name in METRICS if name not in ROLLOUTS
    }
    kinds = {(metric.name, metric.WhichOneof("data")) for _, metric in seen.consumer.metrics}
    translated = {"histogram": "exponential_histogram", "counter": "sum", "gauge": "gauge"}
    assert kinds == {(name, translated[METRICS[name].kind.value]) for name in METRICS if name not in ROLLOUTS}


def test_each_service_says_who_it_is_and_what_it_was_told(seen: Seen) -> None:
    found = {resource["service.name"]: resource for resource, _ in seen.consumer.metrics}
    assert set(found) == {"publisher_svc", "gateway_svc", "metrics_svc"}
    for service, resource in found.items():
        assert resource["service.instance.id"] == f"{service.removesuffix('_svc')}-1"
        assert resource["service.namespace"] == "lanecast"
        assert resource["deployment.environment.name"] == "tests"
        assert resource["service.version"]
    assert all(headers["api-key"] == "secret" for headers in seen.consumer.headers)


def test_one_trace_spans_the_ai_service_the_publisher_the_gateway_and_the_browser(seen: Seen) -> None:
    count = PER_LANE * len(LANES)
    (mine,) = seen.spans("concierge", "answer the agent")
    assert (mine.trace_id, mine.span_id) == (seen.trace_id, seen.span_id)
    for service, name in (("publisher_svc", "receive"), ("gateway_svc", "deliver"), ("lanecast-browser", "process")):
        spans = seen.spans(service, name)
        assert {(span.trace_id, span.parent_span_id) for span in spans} == {(seen.trace_id, seen.span_id)}
        assert len(spans) == count
        attributes = [attributes_of(span) for span in spans]
        assert {each["messaging.message.id"] for each in attributes} == {event.id for _, event in seen.events}
        assert {each["messaging.system"] for each in attributes} == {"lanecast"}
        assert {each["messaging.destination.name"] for each in attributes} == {CHANNEL}
        assert all(span.start_time_unix_nano <= span.end_time_unix_nano for span in spans)


def test_batches_have_spans_that_link_to_their_sampled_members(seen: Seen) -> None:
    for service, name in (("publisher_svc", "commit"), ("gateway_svc", "deliver batch")):
        links = [(link.trace_id, link.span_id) for span in seen.spans(service, name) for link in span.links]
        assert links == [(seen.trace_id, seen.span_id)] * (PER_LANE * len(LANES))


def test_the_hops_of_each_event_add_up_to_its_way(seen: Seen) -> None:
    spans = {attributes_of(span)["messaging.message.id"]: span for span in seen.spans("gateway_svc", "deliver")}
    for batch, event in seen.events:
        stamps = [
            event.create_time_unix_nano,
            event.send_time_unix_nano,
            event.accept_time_unix_nano,
            event.store_time_unix_nano,
            batch.flush_time_unix_nano,
            batch.edge_receive_time_unix_nano,
            batch.edge_send_time_unix_nano,
            spans[event.id].end_time_unix_nano,
        ]
        assert all(stamps)
        found = attributes_of(spans[event.id])
        hops = [found[f"lanecast.hop.{name}"] for name in HOPS]
        assert hops == pytest.approx([(end - begin) / 1e9 for begin, end in pairwise(stamps)])
        assert sum(hops) == pytest.approx((stamps[-1] - stamps[0]) / 1e9)


def test_the_hops_in_the_metrics_add_up_to_the_server_latency(seen: Seen) -> None:
    hops = seen.consumer.latest(names.HOP_DURATION, "gateway_svc")
    whole = seen.consumer.latest(names.DELIVERY_DURATION, "gateway_svc")
    for lane in LANES:
        sums: dict[str, float] = {}
        for point in hops:
            found = attributes_of(point)
            if found["lane"] == lane.name:
                sums[found["hop"]] = point.sum
                assert point.count == PER_LANE or found["hop"] == "last_mile"
        (server,) = [point.sum for point in whole if attributes_of(point) == {"lane": lane.name, "scope": "server"}]
        assert server == pytest.approx(sum(sums[name] for name in HOPS[2:]))


def test_coarse_samples_enter_no_latency(seen: Seen) -> None:
    coarse = seen.consumer.latest(names.CLOCK_COARSE, "gateway_svc")
    assert {attributes_of(point)["lane"]: point.as_int for point in coarse} == {
        lane.name: PER_LANE if lane is Priority.HIGH else 0 for lane in LANES
    }
    hops = seen.consumer.latest(names.HOP_DURATION, "gateway_svc")
    last_miles = [attributes_of(point)["lane"] for point in hops if attributes_of(point)["hop"] == "last_mile"]
    assert sorted(last_miles) == sorted(lane.name for lane in LANES if lane is not Priority.HIGH)
    bounds = seen.consumer.latest(names.CLOCK_ERROR_BOUND, "gateway_svc")
    (browsers,) = [point for point in bounds if attributes_of(point) == {"role": "browser"}]
    assert browsers.count == PER_LANE * len(LANES)


def test_counts_against_the_objectives_come_from_metrics_svc(seen: Seen) -> None:
    counts = {
        (found["lane"], found["result"]): point.as_int
        for point in seen.consumer.latest(names.SLO_EVENTS, "metrics_svc")
        if "type" not in (found := attributes_of(point))
    }
    assert set(counts) == {(lane.name, result) for lane in LANES for result in ("good", "late", "lost")}
    for lane in LANES:
        assert counts[lane.name, "good"] + counts[lane.name, "late"] == PER_LANE
    windows = {
        (attributes_of(point)["lane"], attributes_of(point)["window"])
        for point in seen.consumer.latest(names.SLO_BURN_RATE, "metrics_svc")
    }
    assert windows == {(lane.name, window) for lane in LANES for window in WINDOWS}
    assert len(seen.consumer.latest(names.SLO_BUDGET_REMAINING, "metrics_svc")) == len(LANES)


async def test_what_a_rollout_shows_is_exported_too(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_consumer() as consumer:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", consumer.endpoint)
        now_ns = time.time_ns()
        telemetry, instruments = Telemetry(now_ns), Instruments()
        Computed(instruments, telemetry)
        keys = {name: Key(name, (("rollout", "r1"),)) for name in ROLLOUTS}
        points = [Point(keys[name], METRICS[name].kind, 0, now_ns, 1) for name in ROLLOUTS]
        telemetry.add(Process("metrics_svc", "metrics-1"), points, now_ns)
        exporter = collector_exporter(instruments, "metrics_svc", "metrics-1")
        assert exporter is not None
        assert await exporter.export()
        await exporter.close()
        assert consumer.names() >= ROLLOUTS
        (stage,) = consumer.latest(names.ROLLOUT_STAGE, "metrics_svc")
        assert (attributes_of(stage), stage.as_double) == ({"rollout": "r1"}, 1.0)
