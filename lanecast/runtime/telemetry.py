"""All telemetry that leaves a service process: metrics to metrics_svc, metrics and spans to a collector.

Owns which exporters there are and the order of starting and stopping them, and the sampling of the event loop's lag.
Made and closed by each service's `app`. Where nothing is configured nothing runs but the lag, ten times a second.
OpenTelemetry's SDK is imported only where a collector is named: it takes a fifth of a start, for which others wait when
a process was killed.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from lanecast.core.instruments import EVENTLOOP_LAG, TELEMETRY_DROPPED, Instruments
from lanecast.core.spans import SpanSink
from lanecast.runtime import environment
from lanecast.runtime.otlp import OtlpExporter

if TYPE_CHECKING:
    from lanecast.runtime.collector import CollectorExporter
    from lanecast.runtime.traces import SpanExport

LAG_SECONDS = 0.1


class LoopLag:
    """Sleeps for a fixed time again and again and counts how much longer it took."""

    def __init__(self, instruments: Instruments, role: str) -> None:
        self._sketch = instruments.sketch(EVENTLOOP_LAG, role=role)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to measure."""
        self._task = asyncio.create_task(self._measure(), name="loop-lag")

    async def close(self) -> None:
        """Stop. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _measure(self) -> None:
        while True:
            due = time.monotonic_ns() + int(LAG_SECONDS * 1e9)
            await asyncio.sleep(LAG_SECONDS)
            self._sketch.record_ns(max(1, time.monotonic_ns() - due))


class Telemetry:
    """The telemetry of one service process."""

    def __init__(self, instruments: Instruments, role: str, instance: str, metrics_target: str = "") -> None:
        """Read the variables; nothing is opened before `start`.

        Args:
            instruments: What is measured.
            role: `publisher`, `gateway` or `metrics`.
            instance: Name of this process.
            metrics_target: Where metrics_svc receives OTLP; empty for nowhere.

        Raises:
            ConfigError: a variable cannot be used.
        """
        service = f"{role}_svc"
        self._to_metrics: OtlpExporter | None = None
        if metrics_target and not environment.disabled():
            self._to_metrics = OtlpExporter(instruments, metrics_target, service=service, instance=instance)
        self._to_collector: CollectorExporter | None = None
        if environment.exports("METRICS"):
            from lanecast.runtime.collector import collector_exporter

            self._to_collector = collector_exporter(instruments, service, instance)
        spans_dropped = instruments.counter(TELEMETRY_DROPPED, signal="traces")
        self._spans: SpanExport | None = None
        if environment.exports("TRACES"):
            from lanecast.runtime.traces import span_export

            self._spans = span_export(spans_dropped, service, instance)
        self._lag = LoopLag(instruments, role)

    @property
    def spans(self) -> SpanSink | None:
        """Where to note spans; None where none are exported."""
        return self._spans

    def start(self) -> None:
        """Begin to measure and export."""
        self._lag.start()
        for part in (self._to_metrics, self._to_collector, self._spans):
            if part:
                part.start()

    async def close(self) -> None:
        """Export once more and stop. Idempotent."""
        await self._lag.close()
        for part in (self._spans, self._to_collector, self._to_metrics):
            if part:
                await part.close()
