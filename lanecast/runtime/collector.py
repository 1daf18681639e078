"""Exports the metrics of a process to the collector that the standard variables name.

Owns the loop, the temporality and the translation of instruments to the points of OpenTelemetry's SDK, whose exporter
sends them in a thread. Started by `telemetry`; `otlp` sends the same metrics to metrics_svc, each second. A collector
that is away costs nothing but the try: series are merged, never queued, and sent with the next export.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Buckets,
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Gauge,
    Metric,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from lanecast._version import __version__
from lanecast.core.instruments import UNITS, Instruments, Key
from lanecast.core.sketch import MIN_INDEX, SCALE, Sketch
from lanecast.errors import ConfigError
from lanecast.runtime import environment

Point = tuple[Key, ExponentialHistogramDataPoint | NumberDataPoint]

log = logging.getLogger(__name__)

_SKETCHES_PER_TURN = 4
_POINTS_PER_REQUEST = 16
_TURN_SECONDS = 0.002
"""Encoding takes the interpreter, for which the event loop waits: so it is done in small requests, with breaks."""
_LAST_EXPORT_SECONDS = 2.0
_CUMULATIVE, _DELTA = AggregationTemporality.CUMULATIVE, AggregationTemporality.DELTA


def temporality() -> AggregationTemporality:
    """Return the temporality of counters and histograms: cumulative, unless the variable prefers another.

    Raises:
        ConfigError: the preference is unknown.
    """
    name = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"
    wanted = os.environ.get(name, "").strip().lower() or "cumulative"
    if wanted not in {"cumulative", "delta", "lowmemory"}:
        raise ConfigError(f"{name} is {wanted!r}: use cumulative, delta or lowmemory")
    return _CUMULATIVE if wanted == "cumulative" else _DELTA


class CollectorExporter:
    """Exports until closed."""

    def __init__(
        self,
        instruments: Instruments,
        exporter: MetricExporter,
        resource: Resource,
        interval_seconds: float,
        wanted: AggregationTemporality,
    ) -> None:
        self._reader = instruments.reader()
        self._exporter = exporter
        self._resource = resource
        self._interval = interval_seconds
        self._temporality = wanted
        self._sketches: dict[Key, Sketch] = {}
        self._counters: dict[Key, int] = {}
        self._born_ns = self._since_ns = time.time_ns()
        self._task: asyncio.Task[Any] | None = None
        self._stop = asyncio.Event()
        self._closed = False

    def start(self) -> None:
        """Begin to export in the background."""
        self._task = asyncio.create_task(self._loop(), name="collector-export")

    async def close(self) -> None:
        """Export once more and stop. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._stop.set()
        last = self._task or asyncio.create_task(self.export(), name="last-collector-export")
        await asyncio.wait((last,), timeout=_LAST_EXPORT_SECONDS)
        self._exporter.shutdown()  # ends a retry that is under way
        await asyncio.gather(last, return_exceptions=True)

    async def export(self) -> bool:
        """Send what was measured; say whether it arrived."""
        now = time.time_ns()
        sketches, counters = await self._take()
        failed = await asyncio.to_thread(self._send, list(self._portions(now)))
        if self._temporality is _DELTA:
            self._sketches, self._counters = {}, {}
            self._reader.give_back(
                [(key, sketch) for key, sketch in sketches if key in failed],
                [(key, amount) for key, amount in counters if key in failed],
            )
            if not failed:
                self._since_ns = now
        return not failed

    def _send(self, portions: Sequence[list[Point]]) -> set[Key]:
        """Encode and send, in a thread; return the series that did not arrive."""
        failed: set[Key] = set()
        for points in portions:
            # Where one did not arrive the others would not either, and each would be tried for seconds.
            if failed or self._exporter.export(self._data(points)) is not MetricExportResult.SUCCESS:
                failed.update(key for key, _ in points)
            time.sleep(_TURN_SECONDS)
        return failed

    async def _loop(self) -> None:
        while not await waited(self._stop, self._interval):
            await self._try()
        await self._try()

    async def _try(self) -> None:
        try:
            await self.export()
        except Exception:
            log.exception("unexpected failure while exporting metrics")

    async def _take(self) -> tuple[list[tuple[Key, Sketch]], list[tuple[Key, int]]]:
        sketches: list[tuple[Key, Sketch]] = []
        for key, sketch in self._reader.take_sketches():
            sketches.append((key, sketch))
            self._sketches.setdefault(key, Sketch()).merge(sketch)
            if len(sketches) % _SKETCHES_PER_TURN == 0:
                await asyncio.sleep(0)  # events go first
        counters = list(self._reader.take_counters())
        for key, amount in counters:
            self._counters[key] = self._counters.get(key, 0) + amount
        if self._temporality is _CUMULATIVE:
            for key in self._reader.known_counters():
                self._counters.setdefault(key, 0)  # what has not happened yet is known to be so
        return sketches, counters

    def _portions(self, now: int) -> Iterator[list[Point]]:
        """Yield all points, a request's worth at a time."""
        since = self._born_ns if self._temporality is _CUMULATIVE else self._since_ns
        points: list[Point] = [
            (key, _histogram_point(key, sketch, since, now)) for key, sketch in self._sketches.items()
        ]
        points += [
            (key, NumberDataPoint(dict(key.attributes), since, now, amount)) for key, amount in self._counters.items()
        ]
        points += [
            (key, NumberDataPoint(dict(key.attributes), 0, now, value)) for key, value in self._reader.read_gauges()
        ]
        for begin in range(0, len(points), _POINTS_PER_REQUEST):
            yield points[begin : begin + _POINTS_PER_REQUEST]

    def _data(self, points: Iterable[Point]) -> MetricsData:
        by_name: dict[str, list[Any]] = {}
        for key, point in points:
            by_name.setdefault(key.name, []).append(point)
        metrics = [Metric(name, "", UNITS[name], self._kind(of_name)) for name, of_name in by_name.items()]
        scope = ScopeMetrics(InstrumentationScope("lanecast", __version__), metrics, "")
        return MetricsData([ResourceMetrics(self._resource, [scope], "")])

    def _kind(self, points: list[Any]) -> ExponentialHistogram | Sum | Gauge:
        if isinstance(points[0], ExponentialHistogramDataPoint):
            return ExponentialHistogram(points, self._temporality)
        if isinstance(points[0].value, int):
            return Sum(points, self._temporality, is_monotonic=True)
        return Gauge(points)


def collector_exporter(instruments: Instruments, service: str, instance: str) -> CollectorExporter | None:
    """Return the exporter that the variables ask for; None where they name no collector.

    Raises:
        ConfigError: a variable cannot be used.
    """
    if not environment.exports("METRICS"):
        return None
    interval = environment.number("OTEL_METRIC_EXPORT_INTERVAL", 60_000) / 1e3
    resource = environment.resource(service, instance)
    return CollectorExporter(instruments, environment.metric_exporter(), resource, interval, temporality())


async def waited(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event for so long at most; say whether it came."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


def _histogram_point(key: Key, sketch: Sketch, since: int, now: int) -> ExponentialHistogramDataPoint:
    used = sketch.used()
    return ExponentialHistogramDataPoint(
        attributes=dict(key.attributes),
        start_time_unix_nano=since,
        time_unix_nano=now,
        count=sketch.count,
        sum=sketch.sum_ns / 1e9,
        scale=SCALE,
        zero_count=0,
        positive=Buckets(MIN_INDEX + used.start, sketch.counts[used.start : used.stop]),
        negative=Buckets(0, []),
        flags=0,
        min=(sketch.minimum_ns or 0) / 1e9,
        max=sketch.maximum_ns / 1e9,
    )
