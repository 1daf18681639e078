"""Figures of each lane over time.

Owns how a window is cut into steps, and what a step says. Reads `telemetry`; called by the gRPC and HTTP shells through
`queries`. Making the points is a generator that pauses after each, since metrics_svc must go on answering meanwhile.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass

from lanecast.core import instruments as names
from lanecast.core.priority import LANES, Priority
from metrics_svc.core.catalogue import SERVER
from metrics_svc.core.latency import figure_of, of_type
from metrics_svc.core.telemetry import NANOS, Telemetry
from metrics_svc.core.windows import TIERS, Span

DEFAULT_WINDOW_SECONDS = 600
MAX_POINTS = 170
SETTLE_SECONDS = 1
"""The last step ends this much before the present second, whose reports are still to come."""


@dataclass(frozen=True, slots=True)
class LaneStep:
    """One lane in one step: latencies in seconds, rates per second."""

    lane: Priority
    count: int
    p50: float
    p99: float
    within_budget: float
    accepted: float
    delivered: float
    rejected: float
    dropped: float


@dataclass(frozen=True, slots=True)
class Step:
    """What happened in one step."""

    start: int
    lanes: tuple[LaneStep, ...]


def step_of(window: int) -> int:
    """Return the seconds of a step: the finest slots that are kept as long as the window, few enough to draw."""
    return next(
        (width for width, slots in TIERS if window <= width * (slots - 5) and window / width <= MAX_POINTS),
        TIERS[-1][0],
    )


def steps(
    telemetry: Telemetry, limits: Mapping[Priority, float], now_ns: int, window: int
) -> Generator[None, None, tuple[Step, ...]]:
    """Return the steps of the window up to now, from where anything is kept; pauses after each."""
    width, now = step_of(window), now_ns // NANOS
    end = now - SETTLE_SECONDS
    start = max(end - window, telemetry.origin)
    found = []
    for begin in range(start - start % width, end, width):
        span = telemetry.span(begin, min(begin + width, end), now_ns)
        found.append(Step(begin, tuple(lane for each in LANES if (lane := _lane(telemetry, span, each, limits[each])))))
        yield
    return tuple(found)


def _lane(telemetry: Telemetry, span: Span, lane: Priority, limit: float) -> LaneStep | None:
    def rate(name: str) -> float:
        return span.total(telemetry.series(name, lane=lane.name)) / span.seconds

    series = of_type(telemetry.series(names.DELIVERY_DURATION, lane=lane.name, scope=SERVER), "")
    figure = figure_of(span.sketch(series), scope=SERVER, lane=lane, budget=limit)
    rates = [
        rate(name) for name in (names.EVENT_ACCEPTED, names.EVENT_DELIVERED, names.EVENT_REJECTED, names.EVENT_DROPPED)
    ]
    if figure is None:
        return LaneStep(lane, 0, 0.0, 0.0, 0.0, *rates) if any(rates) else None
    return LaneStep(lane, figure.count, figure.p50, figure.p99, figure.within_budget, *rates)
