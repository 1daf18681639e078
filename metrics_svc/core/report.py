"""What a report says of a period, before it has a form.

Owns which figures a report has and how the period is cut up for its plots. Reads a `History`; rendered by
`report_text` and `report_html`. Building is a generator that pauses after each part, since a day of figures takes a
while to add up and metrics_svc must go on answering.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from lanecast.core.priority import LANES, Priority
from lanecast.errors import StatusError
from metrics_svc.core import grade
from metrics_svc.core.catalogue import HOPS, SERVER
from metrics_svc.core.grade import Evidence, Status
from metrics_svc.core.history import History, Stretch
from metrics_svc.core.latency import HOP, LatencyFigure
from metrics_svc.core.objectives import Objective, Objectives
from metrics_svc.core.selection import Selection
from metrics_svc.core.slo import Counts, targets
from metrics_svc.core.telemetry import NANOS
from metrics_svc.core.throughput import ThroughputFigure

INVALID_ARGUMENT = 3
"""The canonical gRPC code."""
PERFORMANCE, SLA = "performance", "sla"
MAX_POINTS = 60
MAX_PERIOD_SECONDS = 31 * 86_400
MAX_TITLE_BYTES = 200
_STEPS = (1, 10, 60, 600, 3_600, 21_600, 86_400)


@dataclass(frozen=True, slots=True)
class ReportOrder:
    """Which report is wanted."""

    kind: str
    """`PERFORMANCE` or `SLA`."""
    title: str
    start: int
    """First second of the period, since the Unix epoch."""
    end: int
    """Second after its last."""

    def check(self, now: int) -> None:
        """Refuse what cannot be reported on.

        Raises:
            StatusError: INVALID_ARGUMENT; says what is wrong.
        """
        if self.end <= self.start:
            raise _invalid("the period ends before it begins: give a start before the end", "start_time")
        if self.end - self.start > MAX_PERIOD_SECONDS:
            raise _invalid("the period is longer than 31 days: give a later start or an earlier end", "start_time")
        if self.start >= now + 1:
            raise _invalid("the period lies in the future: give an earlier start", "start_time")
        if len(self.title.encode()) > MAX_TITLE_BYTES or not all(char.isprintable() for char in self.title):
            raise _invalid(f"the title must be printable and have at most {MAX_TITLE_BYTES} bytes", "title")


@dataclass(frozen=True, slots=True)
class LaneRecord:
    """One lane over the period."""

    objective: Objective
    counts: Counts
    figure: LatencyFigure | None
    """Deliveries measured at the server; None where there were none."""
    rates: ThroughputFigure | None
    seconds: float

    @property
    def lane(self) -> Priority:
        """Which lane."""
        return self.objective.lane

    @property
    def delivered(self) -> int:
        """Deliveries that the objective is about."""
        return self.counts.good + self.counts.late

    @property
    def accepted(self) -> int:
        """Events accepted."""
        return round(self.rates.accepted * self.seconds) if self.rates is not None else 0

    @property
    def good(self) -> float | None:
        """Share of deliveries within the lane's limit, lost ones counted as not; None where there were none."""
        return self.counts.good / self.counts.total if self.counts.total else None

    @property
    def budget_used(self) -> float | None:
        """Share of the budget that the period has used, of the one it used most of: 1 is all of it."""
        return max(target.burn(self.counts) for target in targets(self.objective)) if self.counts.total else None

    @property
    def loss(self) -> float | None:
        """Share of deliveries that were lost; None where there were none."""
        return self.counts.lost / self.counts.total if self.counts.total else None

    @property
    def verdict(self) -> str:
        """`met`, `missed` or `no data`."""
        if self.budget_used is None:
            return "no data"
        return "missed" if self.budget_used > 1 else "met"


@dataclass(frozen=True, slots=True)
class Point:
    """One step of the period, for plots."""

    start: int
    p50: dict[Priority, float]
    """Seconds, of lanes with deliveries."""
    p99: dict[Priority, float]
    good: dict[Priority, float]
    delivered: dict[Priority, float]
    """Per second."""


@dataclass(frozen=True, slots=True)
class ReportData:
    """Everything a report says."""

    order: ReportOrder
    made_ns: int
    covered: Stretch
    status: Status
    lanes: tuple[LaneRecord, ...]
    hops: tuple[LatencyFigure, ...]
    types: tuple[LatencyFigure, ...]
    """Deliveries by event type."""
    step: int
    """Seconds between two points."""
    points: tuple[Point, ...]

    @property
    def title(self) -> str:
        """The title, or one made of the period."""
        if self.order.title:
            return self.order.title
        name = "Service levels" if self.order.kind == SLA else "Delivery performance"
        start, end = when(self.order.start), when(self.order.end)
        day, _, time = start.partition(" ")
        if end.startswith(day):  # said once
            return f"{name}, {day}, {time.removesuffix(' UTC')} to {end.removeprefix(day).strip()}"
        return f"{name}, {start} to {end}"

    @property
    def partial(self) -> bool:
        """True where figures are kept for less than the period."""
        return self.covered.start > self.order.start + self.step or not self.covered.seconds


def build(history: History, order: ReportOrder, now_ns: int) -> Generator[None, None, ReportData]:
    """Return the figures of a period; pauses between its parts."""
    whole = history.stretch(order.start, order.end, now_ns, Selection())
    yield
    typed: tuple[LatencyFigure, ...] = ()
    for name in history.types():
        figures = history.stretch(order.start, order.end, now_ns, Selection(types=(name,))).latency.figures
        typed += tuple(figure for figure in figures if figure.scope == SERVER)
        yield
    step = max(step_of(whole.seconds), history.finest(whole.start, now_ns))
    points = []
    for start in range(whole.start - whole.start % step, min(order.end, now_ns // NANOS), step):
        points.append(_point(history.stretch(start, start + step, now_ns, Selection()), start))
        yield
    return ReportData(
        order=order,
        made_ns=now_ns,
        covered=whole,
        status=grade.status(_evidence(whole, history.objectives), whole.end * NANOS),
        lanes=tuple(_lane(history.objectives[lane], whole) for lane in LANES),
        hops=tuple(figure for figure in whole.latency.figures if figure.scope == HOP),
        types=typed,
        step=step,
        points=tuple(points),
    )


def step_of(seconds: int) -> int:
    """Return the length of a plot's step, so that a period has at most `MAX_POINTS` or steps of a day."""
    return next((step for step in _STEPS if seconds / step <= MAX_POINTS), _STEPS[-1])


def when(second: int) -> str:
    """Return a time as people write it."""
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%d %H:%M UTC")


def as_json(data: ReportData) -> dict[str, Any]:
    """Return the figures as a JSON object; latencies in seconds, times in seconds since the Unix epoch."""
    return {
        "kind": data.order.kind,
        "title": data.title,
        "period": {"start": data.order.start, "end": data.order.end},
        "covered": {"start": data.covered.start, "end": data.covered.end, "partial": data.partial},
        "made": data.made_ns // NANOS,
        "grade": data.status.grade.name,
        "score": round(data.status.score, 2),
        "lanes": [_lane_json(lane, data.status) for lane in data.lanes],
        "hops": [{"lane": one.lane.name, "hop": one.hop, **_quantiles(one)} for one in data.hops],
        "types": [
            {"lane": one.lane.name, "type": one.type, "within_budget": one.within_budget, **_quantiles(one)}
            for one in data.types
        ],
        "advice": [{"action": item.action, "evidence": item.evidence} for item in data.status.advice],
        "step_seconds": data.step,
        "points": [_point_json(point) for point in data.points],
    }


def _evidence(whole: Stretch, objectives: Objectives) -> Evidence:
    return Evidence(whole.latency, whole.throughput, whole.counts, objectives)


def _lane(objective: Objective, whole: Stretch) -> LaneRecord:
    lane = objective.lane
    figure = next((one for one in whole.latency.figures if one.lane is lane and one.scope == SERVER), None)
    rates = next((one for one in whole.throughput.figures if one.lane is lane), None)
    return LaneRecord(objective, whole.counts[lane], figure, rates, float(whole.seconds))


def _point(stretch: Stretch, start: int) -> Point:
    server = {figure.lane: figure for figure in stretch.latency.figures if figure.scope == SERVER}
    return Point(
        start=start,
        p50={lane: figure.p50 for lane, figure in server.items()},
        p99={lane: figure.p99 for lane, figure in server.items()},
        good={lane: figure.within_budget for lane, figure in server.items()},
        delivered={figure.lane: figure.delivered for figure in stretch.throughput.figures},
    )


def _lane_json(lane: LaneRecord, status: Status) -> dict[str, Any]:
    standing = next(one for one in status.lanes if one.lane is lane.lane)
    return {
        "lane": lane.lane.name,
        "limit_seconds": lane.objective.limit_seconds,
        "objective": lane.objective.objective,
        "second_limit": _second_json(lane.objective),
        "loss_budget": lane.objective.loss_budget,
        "accepted": lane.accepted,
        "delivered": lane.delivered,
        "good": lane.counts.good,
        "late": lane.counts.late,
        "lost": lane.counts.lost,
        "blocked_by_peer": lane.counts.blocked,
        "within_budget": lane.good,
        "error_budget_used": lane.budget_used,
        "loss": lane.loss,
        "verdict": lane.verdict,
        "slowest_hop": standing.slowest_hop,
        "reason": standing.reason,
        "latency": _quantiles(lane.figure) if lane.figure is not None else None,
    }


def _second_json(objective: Objective) -> dict[str, float] | None:
    second = objective.second
    return None if second is None else {"seconds": second.seconds, "objective": second.objective}


def _quantiles(figure: LatencyFigure) -> dict[str, float]:
    return {
        "count": figure.count,
        "p50": figure.p50,
        "p95": figure.p95,
        "p99": figure.p99,
        "p999": figure.p999,
        "max": figure.maximum,
        "mean": figure.mean,
    }


def _point_json(point: Point) -> dict[str, Any]:
    def named(values: dict[Priority, float]) -> dict[str, float]:
        return {lane.name: value for lane, value in values.items()}

    return {
        "start": point.start,
        "p50": named(point.p50),
        "p99": named(point.p99),
        "within_budget": named(point.good),
        "delivered_per_second": named(point.delivered),
    }


def hop_table(data: ReportData) -> list[tuple[str, dict[Priority, LatencyFigure]]]:
    """Return the hops that have figures, in the order of an event's way, with those of each lane."""
    rows = [(hop, {one.lane: one for one in data.hops if one.hop == hop}) for hop in HOPS]
    return [row for row in rows if row[1]]


def _invalid(message: str, field: str) -> StatusError:
    return StatusError(INVALID_ARGUMENT, "REPORT_INVALID", message, field=field)
