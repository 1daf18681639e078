"""What reports read of the past.

Owns the port between reports and whatever keeps the figures, and its implementation by the windows in memory, which
reach back 24 hours. A store that keeps longer implements the same methods. Used by `report`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from metrics_svc.core import latency, throughput
from metrics_svc.core.latency import LatencyReport
from metrics_svc.core.selection import Selection
from metrics_svc.core.telemetry import NANOS, Telemetry
from metrics_svc.core.throughput import ThroughputReport
from metrics_svc.core.windows import TIERS


@dataclass(frozen=True, slots=True)
class Stretch:
    """Figures of a stretch of time."""

    start: int
    """First second of it that is covered, since the Unix epoch; not before what was asked for, give or take a slot."""
    end: int
    """Second after the last."""
    latency: LatencyReport
    throughput: ThroughputReport

    @property
    def seconds(self) -> int:
        """Length of what is covered."""
        return max(0, self.end - self.start)


class History(Protocol):
    """Figures of the past."""

    def stretch(self, start: int, end: int, now_ns: int, selection: Selection) -> Stretch:
        """Return the figures from the second `start` until before the second `end`, as far as they are kept."""

    def finest(self, second: int, now_ns: int) -> int:
        """Return the length in seconds of the shortest stretch that figures are kept for since `second`."""

    def reaches(self, before: int) -> bool:
        """Say whether anything is kept from before a second."""

    def types(self) -> list[str]:
        """Return the full names of the event types that have figures of their own, in order."""


class RecentHistory:
    """The history that is in memory."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    def stretch(self, start: int, end: int, now_ns: int, selection: Selection) -> Stretch:
        """See `History`."""
        telemetry = self._telemetry
        span = telemetry.span(start, max(start + 1, min(end, now_ns // NANOS + 1)), now_ns)
        figures = latency.figures_of(telemetry, selection, span)
        rates = throughput.rates_of(telemetry, selection, span, now_ns)
        return Stretch(span.start, span.end, LatencyReport(span.end * NANOS, float(span.seconds), figures), rates)

    def finest(self, second: int, now_ns: int) -> int:
        """See `History`."""
        age = now_ns // NANOS - second
        return next((width for width, slots in TIERS if age < width * (slots - 2)), TIERS[-1][0])

    def reaches(self, before: int) -> bool:
        """See `History`."""
        return self._telemetry.origin < before

    def types(self) -> list[str]:
        """See `History`."""
        return list(latency.types_of(self._telemetry))
