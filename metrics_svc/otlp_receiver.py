"""Receives OTLP metrics over gRPC.

Owns the translation of OTLP points to points of the core. Accepted are delta counters, gauges, and delta exponential
histograms of scale 6 or finer; everything else is refused in `partial_success`, point by point, with a sentence that
says what to change (https://opentelemetry.io/docs/specs/otlp/#partial-success-1). Registered by `app`.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as service_pb2
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.metrics.v1 import metrics_pb2
from opentelemetry.proto.resource.v1 import resource_pb2

from lanecast.core.instruments import UNITS, Key
from metrics_svc.core.catalogue import Kind
from metrics_svc.core.packed import MAX_COUNT, from_exponential
from metrics_svc.core.telemetry import Point, Process, Telemetry

log = logging.getLogger(__name__)

SERVICE = service_pb2.DESCRIPTOR.services_by_name["MetricsService"]
"""Descriptor of the contract."""

MAX_BUCKETS = 16_384
"""Most buckets read of one histogram; SDKs send up to 160, Lanecast up to 1,792."""
MAX_POINTS = 20_000
"""Most points read of one request, so that one reporter cannot hold the event loop."""
_MAX_REASONS = 5
_DELTA = metrics_pb2.AGGREGATION_TEMPORALITY_DELTA
_USE_DELTA = "is cumulative: set OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=delta"


class OtlpReceiver:
    """The servicer of the OTLP MetricsService."""

    def __init__(self, telemetry: Telemetry, clock_ns: Callable[[], int]) -> None:
        self._telemetry = telemetry
        self._clock_ns = clock_ns
        self._warned: set[str] = set()

    async def Export(  # noqa: N802 - the contract's name
        self,
        request: service_pb2.ExportMetricsServiceRequest,
        context: Any,  # noqa: ARG002 - grpc's signature
    ) -> service_pb2.ExportMetricsServiceResponse:
        """Count the points of a request; refused ones are named in the response."""
        refused: Counter[str] = Counter()
        room, counted = MAX_POINTS, 0
        for resource in request.resource_metrics:
            process = _process(resource.resource)
            points: list[Point] = []
            for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
                room -= _read(metric, points, refused, room)
            self._telemetry.refuse(refused.total() - counted)
            outcome = self._telemetry.add(process, points, self._clock_ns())
            refused.update(outcome.refused)
            self._warn(process, refused)
            counted = refused.total()
        return _response(refused)

    def _warn(self, process: Process, refused: Counter[str]) -> None:
        """Say once for each reporter that something is wrong; the response says it each time."""
        if refused and process.name not in self._warned and len(self._warned) < 256:
            self._warned.add(process.name)
            log.warning("%s sends points that are not kept, for example: %s", process.name, next(iter(refused)))


class _UnreadableError(Exception):
    """A point cannot be kept; the text says why."""


def _read(metric: metrics_pb2.Metric, points: list[Point], refused: Counter[str], room: int) -> int:
    """Append the points of a metric; return how many points it has."""
    data, read = _reader(metric)
    number = len(data)
    for index, point in enumerate(data):
        if index >= room:
            refused[f"a request may have {MAX_POINTS} points: send the rest in another"] += number - index
            break
        try:
            points.append(read(metric, point))
        except _UnreadableError as error:
            refused[f"{metric.name[:100]}: {error}"] += 1
        except ValueError as error:
            refused[f"{metric.name[:100]}: {error}"] += 1
    return number


def _reader(metric: metrics_pb2.Metric) -> tuple[Any, Callable[[metrics_pb2.Metric, Any], Point]]:
    kind = metric.WhichOneof("data")
    if kind == "exponential_histogram":
        return metric.exponential_histogram.data_points, _read_histogram
    if kind == "sum":
        return metric.sum.data_points, _read_sum
    if kind == "gauge":
        return metric.gauge.data_points, _read_gauge
    if kind is None:
        return (), _read_gauge
    return getattr(metric, kind).data_points, _refuse_kind


def _refuse_kind(metric: metrics_pb2.Metric, point: Any) -> Point:  # noqa: ARG001 - signature of readers
    raise _UnreadableError(
        f"a {metric.WhichOneof('data')} has no quantiles within our error: export base-2 exponential histograms"
    )


def _read_histogram(metric: metrics_pb2.Metric, point: metrics_pb2.ExponentialHistogramDataPoint) -> Point:
    if metric.exponential_histogram.aggregation_temporality != _DELTA:
        raise _UnreadableError(f"the histogram {_USE_DELTA}")
    unit = UNITS.get(metric.name, "s")
    if metric.unit not in {unit, ""}:
        raise _UnreadableError(f"the unit is {metric.unit[:20]!r}: record {'seconds' if unit == 's' else unit}")
    buckets, count, zeros = point.positive, point.count, point.zero_count
    positive, negatives = buckets.bucket_counts, _negatives(point)
    if len(positive) > MAX_BUCKETS:
        raise _UnreadableError(f"the histogram has more than {MAX_BUCKETS} buckets")
    counts = list(positive)
    if count > MAX_COUNT or sum(counts) + zeros + negatives != count:
        raise _UnreadableError("the count is not the sum of the buckets")
    value = from_exponential(
        point.scale,
        buckets.offset,
        counts,
        zeros=zeros,
        negatives=negatives,
        sum_seconds=_finite(point.sum) if point.HasField("sum") and not negatives else None,
        minimum_seconds=_finite(point.min) if point.HasField("min") and not negatives else None,
        maximum_seconds=_finite(point.max) if point.HasField("max") else None,
    )
    return Point(_key(metric, point), Kind.HISTOGRAM, point.start_time_unix_nano, point.time_unix_nano, value)


def _negatives(point: metrics_pb2.ExponentialHistogramDataPoint) -> int:
    if not point.HasField("negative"):
        return 0
    counts = point.negative.bucket_counts
    if len(counts) > MAX_BUCKETS:
        raise _UnreadableError(f"the histogram has more than {MAX_BUCKETS} buckets")
    return sum(counts)


def _read_sum(metric: metrics_pb2.Metric, point: metrics_pb2.NumberDataPoint) -> Point:
    delta = metric.sum.aggregation_temporality == _DELTA
    if not metric.sum.is_monotonic:
        if delta:
            raise _UnreadableError("a delta of what goes up and down cannot be kept: export a gauge")
        return _read_gauge(metric, point)  # the present value of an up-down counter
    if not delta:
        raise _UnreadableError(f"the sum {_USE_DELTA}")
    value = _number(point)
    if value < 0 or value != int(value):
        raise _UnreadableError("a counter grows by whole numbers")
    return Point(_key(metric, point), Kind.COUNTER, point.start_time_unix_nano, point.time_unix_nano, int(value))


def _read_gauge(metric: metrics_pb2.Metric, point: metrics_pb2.NumberDataPoint) -> Point:
    return Point(_key(metric, point), Kind.GAUGE, 0, point.time_unix_nano, _number(point))


def _number(point: metrics_pb2.NumberDataPoint) -> float:
    return point.as_int if point.WhichOneof("value") == "as_int" else _finite(point.as_double)


def _finite(value: float) -> float:
    if not abs(value) < MAX_COUNT:
        raise _UnreadableError("a value is not finite, or too large to be a measurement")
    return value


def _key(metric: metrics_pb2.Metric, point: Any) -> Key:
    return Key(metric.name, tuple(sorted(_attributes(point.attributes))))


def _attributes(pairs: Iterable[common_pb2.KeyValue]) -> Iterator[tuple[str, str]]:
    for pair in pairs:
        value = pair.value.string_value
        if value:  # an empty value says as much as none
            yield pair.key, value


def _process(resource: resource_pb2.Resource) -> Process:
    found = {pair.key: pair.value.string_value for pair in resource.attributes}
    return Process(found.get("service.name", "unknown")[:64], found.get("service.instance.id", "")[:64])


def _response(refused: Counter[str]) -> service_pb2.ExportMetricsServiceResponse:
    response = service_pb2.ExportMetricsServiceResponse()
    if refused:
        reasons = [f"{text} ({number} points)" for text, number in refused.most_common(_MAX_REASONS)]
        response.partial_success.rejected_data_points = refused.total()
        response.partial_success.error_message = "; ".join(reasons)
    return response
