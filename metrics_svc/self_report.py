"""Adds what metrics_svc measures of itself to its own telemetry, as if it had come from another process.

Owns the one task that does so. Started and closed by `app`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from lanecast.core.instruments import Instruments
from metrics_svc.computed import COMPUTED
from metrics_svc.core.catalogue import Kind
from metrics_svc.core.packed import pack
from metrics_svc.core.telemetry import Point, Process, Telemetry

log = logging.getLogger(__name__)

REPORT_SECONDS = 1.0


class SelfReport:
    """Reports once a second until closed."""

    def __init__(
        self, instruments: Instruments, telemetry: Telemetry, instance: str, clock_ns: Callable[[], int]
    ) -> None:
        self._reader = instruments.reader()
        self._telemetry = telemetry
        self._process = Process("metrics_svc", instance)
        self._clock_ns = clock_ns
        self._reported_ns = clock_ns()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to report."""
        self._task = asyncio.create_task(self._loop(), name="self-report")

    async def close(self) -> None:
        """Stop. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def report(self) -> None:
        """Add what was measured since the last report to the telemetry."""
        now_ns, since_ns = self._clock_ns(), self._reported_ns
        points = [
            Point(key, Kind.HISTOGRAM, since_ns, now_ns, pack(sketch)) for key, sketch in self._reader.take_sketches()
        ]
        points += [Point(key, Kind.COUNTER, since_ns, now_ns, amount) for key, amount in self._reader.take_counters()]
        points += [Point(key, Kind.GAUGE, 0, now_ns, value) for key, value in self._reader.read_gauges()]
        points = [point for point in points if point.key.name not in COMPUTED]  # from there they come
        self._telemetry.add(self._process, points, now_ns)
        self._reported_ns = now_ns

    async def _loop(self) -> None:
        while True:
            await asyncio.sleep(REPORT_SECONDS)
            try:
                self.report()
            except Exception:
                log.exception("unexpected failure while reporting on this process")
