"""Measures how late the event loop wakes up, and reports it to our own telemetry.

Owns the one task that does both. It is started and closed by `app`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from lanecast.core.instruments import EVENTLOOP_LAG, Instruments
from metrics_svc.core.catalogue import Kind
from metrics_svc.core.packed import pack
from metrics_svc.core.telemetry import Point, Process, Telemetry

INTERVAL_SECONDS = 0.1
_REPORT_SECONDS = 1.0


class LoopLag:
    """Sleeps for a fixed time again and again and counts how much longer it took."""

    def __init__(self, telemetry: Telemetry, instance: str, clock_ns: Callable[[], int]) -> None:
        self._telemetry = telemetry
        self._process = Process("metrics_svc", instance)
        self._clock_ns = clock_ns
        self._instruments = Instruments()
        self._sketch = self._instruments.sketch(EVENTLOOP_LAG, role="metrics")
        self._reported_ns = clock_ns()
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

    def report(self) -> None:
        """Add what was measured since the last report to the telemetry."""
        now_ns = self._clock_ns()
        points = [
            Point(key, Kind.HISTOGRAM, self._reported_ns, now_ns, pack(sketch))
            for key, sketch in self._instruments.take_sketches()
        ]
        self._telemetry.add(self._process, points, now_ns)
        self._reported_ns = now_ns

    async def _measure(self) -> None:
        loop = asyncio.get_running_loop()
        rest = _REPORT_SECONDS
        while True:
            due = loop.time() + INTERVAL_SECONDS
            await asyncio.sleep(INTERVAL_SECONDS)
            self._sketch.record_ns(max(0, int((loop.time() - due) * 1e9)))
            rest -= INTERVAL_SECONDS
            if rest <= 0:
                self.report()
                rest = _REPORT_SECONDS
