"""What reports read of the past.

Owns the port between reports and whatever keeps the figures, and its implementation by the windows of `telemetry`,
which reach back 31 days and survive restarts. Used by `report`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from lanecast.core.priority import LANES, Priority
from metrics_svc.core import latency, throughput
from metrics_svc.core.latency import LatencyReport
from metrics_svc.core.objectives import DEFAULTS, Objectives
from metrics_svc.core.selection import Selection
from metrics_svc.core.slo import Counts, Ledger
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
    counts: Mapping[Priority, Counts]
    """Deliveries against the objective of their lane."""

    @property
    def seconds(self) -> int:
        """Length of what is covered."""
        return max(0, self.end - self.start)


class History(Protocol):
    """Figures of the past."""

    @property
    def objectives(self) -> Objectives:
        """What each lane promises."""

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

    def __init__(self, telemetry: Telemetry, objectives: Objectives = DEFAULTS) -> None:
        self._telemetry = telemetry
        self._objectives = objectives
        self._limits = {lane: objective.limit_seconds for lane, objective in objectives.items()}
        self._ledger = Ledger(telemetry)

    @property
    def objectives(self) -> Objectives:
        """See `History`."""
        return self._objectives

    def stretch(self, start: int, end: int, now_ns: int, selection: Selection) -> Stretch:
        """See `History`."""
        telemetry = self._telemetry
        span = telemetry.span(start, max(start + 1, min(end, now_ns // NANOS + 1)), now_ns)
        figures = latency.figures_of(telemetry, selection, span, self._limits)
        rates = throughput.rates_of(telemetry, selection, span, now_ns)
        report = LatencyReport(span.end * NANOS, float(span.seconds), figures)
        counts = {lane: self._ledger.counts(span, lane) for lane in LANES}
        return Stretch(span.start, span.end, report, rates, counts)

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
