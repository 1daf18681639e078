"""Sends what a process has measured as OTLP metrics.

Owns the translation of instruments to OTLP (delta temporality, exponential histograms of scale 6) and the export loop.
Started by each service's `app`; knows no service. What cannot be sent is added to the next export, so nothing is lost
and nothing grows: series are merged, not queued.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.metrics.v1 import metrics_pb2
from opentelemetry.proto.resource.v1 import resource_pb2
from opentelemetry.sdk.resources import Resource

from lanecast._version import __version__
from lanecast.core.instruments import UNITS, Attributes, Instruments, Key
from lanecast.core.sketch import MIN_INDEX, SCALE, Sketch
from lanecast.runtime.grpc_server import CHANNEL_OPTIONS

log = logging.getLogger(__name__)

_DELTA = metrics_pb2.AGGREGATION_TEMPORALITY_DELTA
_EXPORT_TIMEOUT_SECONDS = 5.0


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
        self._instruments = instruments
        self._target = target
        self._interval = interval_seconds
        self._resource = _resource(service, instance)
        self._channel = grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS)
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
        sketches = list(self._instruments.take_sketches())
        counters = list(self._instruments.take_counters())
        gauges = list(self._instruments.read_gauges())
        request = build_request(self._resource, sketches, counters, gauges, self._started_ns, now)
        try:
            await self._stub.Export(request, timeout=_EXPORT_TIMEOUT_SECONDS)
        except grpc.aio.AioRpcError as error:
            self._instruments.give_back(sketches, counters)
            if not self._failing:
                log.warning(
                    "telemetry cannot be sent to %s (%s); it is kept and sent later", self._target, error.code()
                )
            self._failing = True
            return False
        self._failing = False
        self._started_ns = now
        return True

    async def _loop(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            await self.export()


def build_request(
    resource: resource_pb2.Resource,
    sketches: Sequence[tuple[Key, Sketch]],
    counters: Sequence[tuple[Key, int]],
    gauges: Sequence[tuple[Key, float]],
    start_ns: int,
    end_ns: int,
) -> metrics_service_pb2.ExportMetricsServiceRequest:
    """Return the OTLP request for one interval."""
    metrics: dict[str, metrics_pb2.Metric] = {}

    def metric(name: str) -> metrics_pb2.Metric:
        return metrics.setdefault(name, metrics_pb2.Metric(name=name, unit=UNITS[name]))

    for key, sketch in sketches:
        histogram = metric(key.name).exponential_histogram
        histogram.aggregation_temporality = _DELTA
        histogram.data_points.append(_histogram_point(key, sketch, start_ns, end_ns))
    for key, amount in counters:
        total = metric(key.name).sum
        total.aggregation_temporality = _DELTA
        total.is_monotonic = True
        total.data_points.append(
            metrics_pb2.NumberDataPoint(
                attributes=_attributes(key.attributes),
                start_time_unix_nano=start_ns,
                time_unix_nano=end_ns,
                as_int=amount,
            )
        )
    for key, value in gauges:
        metric(key.name).gauge.data_points.append(
            metrics_pb2.NumberDataPoint(attributes=_attributes(key.attributes), time_unix_nano=end_ns, as_double=value)
        )
    scope = common_pb2.InstrumentationScope(name="lanecast", version=__version__)
    scoped = metrics_pb2.ScopeMetrics(scope=scope, metrics=metrics.values())
    return metrics_service_pb2.ExportMetricsServiceRequest(
        resource_metrics=[metrics_pb2.ResourceMetrics(resource=resource, scope_metrics=[scoped])]
    )


def _histogram_point(key: Key, sketch: Sketch, start_ns: int, end_ns: int) -> metrics_pb2.ExponentialHistogramDataPoint:
    counts = sketch.counts
    first = next((index for index, count in enumerate(counts) if count), 0)
    last = next((index for index in range(len(counts) - 1, -1, -1) if counts[index]), -1)
    positive = metrics_pb2.ExponentialHistogramDataPoint.Buckets(
        offset=MIN_INDEX + first, bucket_counts=counts[first : last + 1]
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


def _resource(service: str, instance: str) -> resource_pb2.Resource:
    resource = Resource.create(
        {"service.name": service, "service.instance.id": instance, "service.version": __version__}
    )
    pairs = tuple((name, str(value)) for name, value in resource.attributes.items())
    return resource_pb2.Resource(attributes=_attributes(pairs))
