"""Sends what a process has measured as OTLP metrics.

Owns the translation of instruments to OTLP (delta temporality, exponential histograms of scale 6) and the export loop.
Started by each service's `app`; knows no service. What cannot be sent is added to the next export, so nothing is lost
and nothing grows: series are merged, not queued. Needs OpenTelemetry's messages, but not its SDK, whose import takes a
fifth of a start.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Mapping, Sequence
from urllib.parse import unquote

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.metrics.v1 import metrics_pb2
from opentelemetry.proto.resource.v1 import resource_pb2

from lanecast._version import __version__
from lanecast.core.instruments import TELEMETRY_DROPPED, UNITS, Attributes, Instruments, Key
from lanecast.core.sketch import MIN_INDEX, SCALE, Sketch
from lanecast.runtime import tls
from lanecast.runtime.channels import CHANNEL_OPTIONS

log = logging.getLogger(__name__)

_DELTA = metrics_pb2.AGGREGATION_TEMPORALITY_DELTA
_EXPORT_TIMEOUT_SECONDS = 5.0
_SKETCHES_PER_TURN = 4
"""Histograms that are encoded before the loop may do something else, about 0.2 ms."""


class OtlpExporter:
    """Exports the instruments of one process at an interval until closed."""

    def __init__(
        self,
        instruments: Instruments,
        target: str,
        *,
        service: str,
        instance: str,
        interval_seconds: float = 1.0,
    ) -> None:
        self._reader = instruments.reader()
        self._refused = instruments.counter(TELEMETRY_DROPPED, signal="metrics")
        self._target = target
        self._interval = interval_seconds
        self._resource = encoded(identity(service, instance))
        self._channel = tls.open_channel(target, CHANNEL_OPTIONS)
        self._stub = metrics_service_pb2_grpc.MetricsServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._started_ns = time.time_ns()
        self._task: asyncio.Task[None] | None = None
        self._failing = False

    def start(self) -> None:
        """Begin to export in the background."""
        self._task = asyncio.create_task(self._loop(), name="otlp-export")

    async def close(self) -> None:
        """Export once more and stop. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
            await self.export()
        await self._channel.close()

    async def export(self) -> bool:
        """Send what was measured since the last export; say whether it arrived."""
        now = time.time_ns()
        sketches: list[tuple[Key, Sketch]] = []
        counters: list[tuple[Key, int]] = []
        builder = RequestBuilder(self._resource, self._started_ns, now)
        arrived = False
        try:
            for taken in self._reader.take_sketches():
                sketches.append(taken)
                builder.histogram(*taken)
                if len(sketches) % _SKETCHES_PER_TURN == 0:
                    await asyncio.sleep(0)  # events go first
            counters += self._reader.take_counters()
            gauges = list(self._reader.read_gauges())
            response = await self._stub.Export(builder.finish(counters, gauges), timeout=_EXPORT_TIMEOUT_SECONDS)
            arrived = True
            self._refused.add(response.partial_success.rejected_data_points)
        except grpc.aio.AioRpcError as error:
            if not self._failing:
                log.warning(
                    "telemetry cannot be sent to %s (%s); it is kept and sent later", self._target, error.code()
                )
        finally:
            self._failing = not arrived
            if arrived:
                self._started_ns = now
            else:
                self._reader.give_back(sketches, counters)
        return arrived

    async def _loop(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            await self.export()


class RequestBuilder:
    """Builds the OTLP request for one interval, a series at a time."""

    def __init__(self, resource: resource_pb2.Resource, start_ns: int, end_ns: int) -> None:
        self._resource = resource
        self._start_ns = start_ns
        self._end_ns = end_ns
        self._metrics: dict[str, metrics_pb2.Metric] = {}

    def histogram(self, key: Key, sketch: Sketch) -> None:
        """Add what a sketch has counted in the interval."""
        histogram = self._metric(key.name).exponential_histogram
        histogram.aggregation_temporality = _DELTA
        histogram.data_points.append(_histogram_point(key, sketch, self._start_ns, self._end_ns))

    def finish(
        self, counters: Sequence[tuple[Key, int]], gauges: Sequence[tuple[Key, float]]
    ) -> metrics_service_pb2.ExportMetricsServiceRequest:
        """Add counters and gauges, and return the request."""
        for key, amount in counters:
            total = self._metric(key.name).sum
            total.aggregation_temporality = _DELTA
            total.is_monotonic = True
            total.data_points.append(
                metrics_pb2.NumberDataPoint(
                    attributes=_attributes(key.attributes),
                    start_time_unix_nano=self._start_ns,
                    time_unix_nano=self._end_ns,
                    as_int=amount,
                )
            )
        for key, value in gauges:
            self._metric(key.name).gauge.data_points.append(
                metrics_pb2.NumberDataPoint(
                    attributes=_attributes(key.attributes), time_unix_nano=self._end_ns, as_double=value
                )
            )
        scope = common_pb2.InstrumentationScope(name="lanecast", version=__version__)
        scoped = metrics_pb2.ScopeMetrics(scope=scope, metrics=self._metrics.values())
        return metrics_service_pb2.ExportMetricsServiceRequest(
            resource_metrics=[metrics_pb2.ResourceMetrics(resource=self._resource, scope_metrics=[scoped])]
        )

    def _metric(self, name: str) -> metrics_pb2.Metric:
        return self._metrics.setdefault(name, metrics_pb2.Metric(name=name, unit=UNITS[name]))


def _histogram_point(key: Key, sketch: Sketch, start_ns: int, end_ns: int) -> metrics_pb2.ExponentialHistogramDataPoint:
    used = sketch.used()
    positive = metrics_pb2.ExponentialHistogramDataPoint.Buckets(
        offset=MIN_INDEX + used.start, bucket_counts=sketch.counts[used.start : used.stop]
    )
    point = metrics_pb2.ExponentialHistogramDataPoint(
        attributes=_attributes(key.attributes),
        start_time_unix_nano=start_ns,
        time_unix_nano=end_ns,
        count=sketch.count,
        sum=sketch.sum_ns / 1e9,
        scale=SCALE,
        positive=positive,
    )
    if sketch.minimum_ns is not None:
        point.min = sketch.minimum_ns / 1e9
        point.max = sketch.maximum_ns / 1e9
    return point


def _attributes(attributes: Attributes) -> list[common_pb2.KeyValue]:
    return [common_pb2.KeyValue(key=name, value=common_pb2.AnyValue(string_value=value)) for name, value in attributes]


def identity(service: str, instance: str) -> dict[str, str]:
    """Return who reports. What only an operator can know comes from `OTEL_RESOURCE_ATTRIBUTES`."""
    own = {"service.namespace": "lanecast", "service.name": service, "service.instance.id": instance}
    return {**_of_operator(os.environ), **own, "service.version": __version__}


def encoded(attributes: Mapping[str, object]) -> resource_pb2.Resource:
    """Return the attributes of a resource as the message of OTLP."""
    pairs = tuple((name, str(value)) for name, value in attributes.items())
    return resource_pb2.Resource(attributes=_attributes(pairs))


def _of_operator(environ: Mapping[str, str]) -> dict[str, str]:
    """Return `OTEL_RESOURCE_ATTRIBUTES`: `name=value` between commas, percent-encoded; what is no pair is left out."""
    pairs = (item.partition("=") for item in environ.get("OTEL_RESOURCE_ATTRIBUTES", "").split(","))
    return {name.strip(): unquote(value.strip()) for name, equals, value in pairs if equals and name.strip()}
