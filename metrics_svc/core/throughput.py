"""Rates, queues, connections and who reports them.

Owns which counters and gauges make up a throughput figure. Reads `telemetry`; called by `queries` and the grade.
"""

from __future__ import annotations

from dataclasses import dataclass

from lanecast.core import instruments as names
from lanecast.core.priority import LANES, Priority
from metrics_svc.core.catalogue import SERVER
from metrics_svc.core.latency import named, of_arm, of_type
from metrics_svc.core.selection import Selection
from metrics_svc.core.series import Series
from metrics_svc.core.telemetry import NANOS, Process, Telemetry
from metrics_svc.core.windows import Span

SETTLE_SECONDS = 1
"""Rates end this much earlier than the present second: processes report once a second, so the last is incomplete."""
GAUGE_SECONDS = 10
"""A gauge that was not reported for this long is no longer believed."""


@dataclass(frozen=True, slots=True)
class ThroughputFigure:
    """Rates of one lane, per second."""

    lane: Priority
    accepted: float
    delivered: float
    rejected: float
    duplicate: float
    dropped: float
    mean_batch_size: float
    queue_depth: int


@dataclass(frozen=True, slots=True)
class ThroughputReport:
    """Throughput over a window."""

    end_ns: int
    window_seconds: float
    figures: tuple[ThroughputFigure, ...]
    connections: int
    processes: tuple[tuple[Process, int], ...]
    """Who reported within the window, with the time of the last report in nanoseconds since the Unix epoch."""


def report(telemetry: Telemetry, selection: Selection, now_ns: int, window_seconds: int) -> ThroughputReport:
    """Return one figure for each lane with data in a window that ended one to two seconds ago.

    With types selected only deliveries are known; the other rates are zero.
    """
    now = now_ns // NANOS
    end = now - SETTLE_SECONDS
    return rates_of(telemetry, selection, telemetry.span(end - window_seconds, end, now_ns), now_ns)


def rates_of(telemetry: Telemetry, selection: Selection, span: Span, now_ns: int) -> ThroughputReport:
    """Return one figure for each lane with data in a span; queues and connections are those of the present."""
    now, selection = now_ns // NANOS, named(telemetry, selection)
    recent = telemetry.span(now - GAUGE_SECONDS, now + 1, now_ns)
    figures = [_figure(telemetry, span, recent, selection, lane) for lane in selection.lanes or LANES]
    return ThroughputReport(
        end_ns=span.end * NANOS,
        window_seconds=span.seconds,
        figures=tuple(figure for figure in figures if figure is not None),
        connections=gauge(recent, telemetry.series(names.CONNECTION_ACTIVE)),
        processes=tuple(telemetry.processes(span.start * NANOS)),
    )


def gauge(recent: Span, series: list[Series]) -> int:
    """Return the sum of gauges over processes, leaving out what is no longer reported."""
    return round(sum(recent.last(one) or 0.0 for one in series))


def _figure(
    telemetry: Telemetry, span: Span, recent: Span, selection: Selection, lane: Priority
) -> ThroughputFigure | None:
    def total(name: str) -> float:
        return 0.0 if selection.types else span.total(of_arm(telemetry.series(name, lane=lane.name), selection.arm))

    accepted, delivered = total(names.EVENT_ACCEPTED), total(names.EVENT_DELIVERED)
    if selection.types:
        delivered = _delivered_of_types(telemetry, span, selection, lane)
    rejected, duplicate = total(names.EVENT_REJECTED), total(names.EVENT_DUPLICATE)
    dropped = total(names.EVENT_DROPPED)
    depth = 0 if selection.types else gauge(recent, telemetry.series(names.QUEUE_DEPTH, lane=lane.name))
    if not any((accepted, delivered, rejected, duplicate, dropped, depth)):
        return None
    seconds = span.seconds
    return ThroughputFigure(
        lane=lane,
        accepted=accepted / seconds,
        delivered=delivered / seconds,
        rejected=rejected / seconds,
        duplicate=duplicate / seconds,
        dropped=dropped / seconds,
        mean_batch_size=0.0 if selection.types else _mean_batch_size(telemetry, span, selection, lane),
        queue_depth=depth,
    )


def _delivered_of_types(telemetry: Telemetry, span: Span, selection: Selection, lane: Priority) -> int:
    series = of_arm(telemetry.series(names.DELIVERY_DURATION, lane=lane.name, scope=SERVER), selection.arm)
    return span.sketch(one for type_name in selection.types for one in of_type(series, type_name)).count


def _mean_batch_size(telemetry: Telemetry, span: Span, selection: Selection, lane: Priority) -> float:
    series = telemetry.series(names.BATCH_SIZE, lane=lane.name, role="publisher")
    sizes = span.sketch(of_arm(series, selection.arm))
    return sizes.sum_ns / 1e9 / sizes.count if sizes.count else 0.0
