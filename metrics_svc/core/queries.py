"""Answers to queries, each computed once for all who ask the same at the same moment.

Owns a small cache: many streams and pages ask for the same window each second. Called by the gRPC and HTTP shells.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from metrics_svc.core import grade, latency, throughput
from metrics_svc.core.grade import Status
from metrics_svc.core.latency import LatencyReport
from metrics_svc.core.selection import Selection
from metrics_svc.core.telemetry import NANOS, Telemetry
from metrics_svc.core.throughput import ThroughputReport

T = TypeVar("T")

MAX_CACHED = 64
"""Most answers kept; all of them belong to the present second."""


class Queries:
    """Latency, throughput and grade over what `telemetry` holds."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._moment = (-1, -1)
        self._answers: dict[tuple[str, Selection, int], object] = {}

    def latency(self, selection: Selection, now_ns: int, window_seconds: int) -> LatencyReport:
        """Return latency per lane, scope and hop."""
        return self._once(
            "latency",
            selection,
            window_seconds,
            now_ns,
            lambda: latency.report(self._telemetry, selection, now_ns, window_seconds),
        )

    def throughput(self, selection: Selection, now_ns: int, window_seconds: int) -> ThroughputReport:
        """Return rates per lane, connections and processes."""
        return self._once(
            "throughput",
            selection,
            window_seconds,
            now_ns,
            lambda: throughput.report(self._telemetry, selection, now_ns, window_seconds),
        )

    def status(self, now_ns: int, window_seconds: int) -> Status:
        """Return the grade."""
        everything = Selection()
        return grade.status(
            self.latency(everything, now_ns, window_seconds),
            self.throughput(everything, now_ns, window_seconds),
            now_ns,
        )

    def _once(self, what: str, selection: Selection, window: int, now_ns: int, compute: Callable[[], T]) -> T:
        moment = (now_ns // NANOS, self._telemetry.version)
        if moment != self._moment or len(self._answers) >= MAX_CACHED:
            self._answers.clear()
            self._moment = moment
        key = (what, selection, window)
        if key not in self._answers:
            self._answers[key] = compute()
        return self._answers[key]  # type: ignore[return-value]
