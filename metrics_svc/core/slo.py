"""Live deliveries counted against their lane's objective, and the error budget.

Owns what is good, late, lost and blocked by the peer. The counts follow from what is reported anyway: each delivery
histogram is cut at the lane's limits as it comes in, so that limits are set in one place and delivering costs nothing
more. They are series of their own, `lanecast.slo.events`, and therefore have all windows and a history. A series
without `type` holds all types together, as with latencies. Used by `telemetry`, the alert rules and the grade.

Lost is what a subscriber should have had and did not get (expired, or shed from its queue), and what was refused
because the service could not take it. A conflated event was superseded by its own publisher's wish, and a malformed one
or one above a publisher's rate is that publisher's matter: neither is counted.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import ceil, log2

from lanecast.core import instruments as names
from lanecast.core.instruments import Key
from lanecast.core.priority import LANES, Priority
from lanecast.core.sketch import MIN_INDEX, SCALE
from metrics_svc.core.catalogue import SERVER, Kind
from metrics_svc.core.objectives import Objective, Objectives
from metrics_svc.core.packed import PackedSketch
from metrics_svc.core.series import Series
from metrics_svc.core.telemetry import Point, Telemetry
from metrics_svc.core.windows import Span

GOOD, LATE, LOST, BLOCKED = "good", "late", "lost", "blocked_by_peer"
RESULTS = (GOOD, LATE, LOST, BLOCKED)
"""Values of the attribute `result`."""

NOT_LOST = frozenset({"conflated"})
"""Reasons of a drop that are no loss."""
REFUSED_BY_US = frozenset({"OVERLOADED", "LOG_UNAVAILABLE", "INTERNAL"})
"""Reasons of a rejection that the service answers for."""

_LANES = {lane.name: lane for lane in LANES}
_KEPT: tuple[str, ...] = ("type", "arm")


@dataclass(frozen=True, slots=True)
class Counts:
    """Live deliveries of one lane in one window."""

    good: int = 0
    late: int = 0
    far_late: int = 0
    """Of the late ones, those beyond the second limit."""
    lost: int = 0
    blocked: int = 0
    """Outside the objective: the peer's own buffer was full."""

    @property
    def total(self) -> int:
        """Everything that the objective is about."""
        return self.good + self.late + self.lost

    @property
    def bad(self) -> int:
        """What counts against the objective."""
        return self.late + self.lost


@dataclass(frozen=True, slots=True)
class Target:
    """One share that a lane promises to keep."""

    name: str
    """`latency`, `second-limit` or `loss`."""
    allowed: float
    """Share of deliveries that may be bad."""
    bad: Callable[[Counts], int]
    text: str
    """What is counted as bad, in words."""

    def burn(self, counts: Counts) -> float:
        """Return how fast the budget is spent: 1 spends it in exactly the period. 0 without deliveries."""
        return self.bad(counts) / counts.total / self.allowed if counts.total else 0.0

    def remaining(self, counts: Counts) -> float:
        """Return the share of the budget that is left, given the counts of the whole period; negative: overspent."""
        return 1.0 - self.burn(counts)


def targets(objective: Objective) -> tuple[Target, ...]:
    """Return everything a lane promises."""
    limit = f"{objective.limit_seconds * 1e3:g} ms"
    found = [Target("latency", 1 - objective.objective, lambda counts: counts.bad, f"later than {limit} or lost")]
    second = objective.second
    if second is not None:
        text = f"later than {second.seconds * 1e3:g} ms or lost"
        found.append(Target("second-limit", 1 - second.objective, lambda counts: counts.far_late + counts.lost, text))
    found.append(Target("loss", objective.loss_budget, lambda counts: counts.lost, "lost"))
    return tuple(found)


def deriver(objectives: Objectives) -> Callable[[Iterable[Point]], Iterable[Point]]:
    """Return the function that turns the points of one report into SLO counts; see `Telemetry`."""
    cuts = {lane: _Cut(objective) for lane, objective in objectives.items()}

    def derive(points: Iterable[Point]) -> Iterable[Point]:
        # Added up by key and interval: a report that comes again must yield the same points again.
        found: dict[tuple[Key, int, int], int] = {}
        for point in points:
            for key, amount in _counts_of(point, cuts):
                place = (key, point.start_ns, point.end_ns)
                found[place] = found.get(place, 0) + amount
        return [Point(key, Kind.COUNTER, start, end, amount) for (key, start, end), amount in found.items()]

    return derive


class Ledger:
    """Reads the counts of a lane from the windows of `telemetry`."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        for lane in LANES:  # made first, so that no flood of other series can take their place
            for result in RESULTS:
                telemetry.reserve(_key(names.SLO_EVENTS, lane.name, {"result": result}), Kind.COUNTER)
            telemetry.reserve(_key(names.SLO_FAR_LATE, lane.name, {}), Kind.COUNTER)

    def counts(self, span: Span, lane: Priority, type_name: str = "") -> Counts:
        """Return what a lane counted in a stretch of time, of one type or of all together."""

        def total(name: str, **attributes: str) -> int:
            return round(span.total(self._of_type(name, type_name, lane=lane.name, **attributes)))

        return Counts(
            good=total(names.SLO_EVENTS, result=GOOD),
            late=total(names.SLO_EVENTS, result=LATE),
            far_late=total(names.SLO_FAR_LATE),
            lost=total(names.SLO_EVENTS, result=LOST),
            blocked=total(names.SLO_EVENTS, result=BLOCKED),
        )

    def types(self) -> list[str]:
        """Return the event types of which anything is counted, in order."""
        found = {series.attributes.get("type", "") for series in self._telemetry.series(names.SLO_EVENTS)}
        return sorted(found - {""})

    def _of_type(self, name: str, type_name: str, **attributes: str) -> list[Series]:
        series = self._telemetry.series(name, **attributes)
        return [one for one in series if one.attributes.get("type", "") == type_name]


class _Cut:
    """Where a histogram is cut."""

    def __init__(self, objective: Objective) -> None:
        self.limit = _last_bucket(objective.limit_seconds)
        self.far = None if objective.second is None else _last_bucket(objective.second.seconds)


def _last_bucket(seconds: float) -> int:
    # The bucket that holds the limit counts as within, as in `Sketch.share_within`.
    return ceil(log2(seconds) * (1 << SCALE)) - 1 - MIN_INDEX


def _counts_of(point: Point, cuts: dict[Priority, _Cut]) -> Iterator[tuple[Key, int]]:
    attributes = dict(point.key.attributes)
    lane = _LANES.get(attributes.get("lane", ""))
    if lane is None:
        return
    kept: dict[str, str] = {name: attributes[name] for name in _KEPT if name in attributes}
    value = point.value
    if isinstance(value, PackedSketch):
        if point.key.name == names.DELIVERY_DURATION and attributes.get("scope") == SERVER:
            yield from _cut(value, lane.name, cuts[lane], kept)
    elif _is_lost(point.key.name, attributes.get("reason", "")) and value >= 0:
        yield _key(names.SLO_EVENTS, lane.name, {**kept, "result": LOST}), int(value)


def _cut(value: PackedSketch, lane: str, cut: _Cut, kept: dict[str, str]) -> Iterator[tuple[Key, int]]:
    within = sum(value.counts[: bisect_right(value.indexes, cut.limit)])
    if within:
        yield _key(names.SLO_EVENTS, lane, {**kept, "result": GOOD}), within
    if value.count > within:
        yield _key(names.SLO_EVENTS, lane, {**kept, "result": LATE}), value.count - within
    far = 0 if cut.far is None else sum(value.counts[bisect_right(value.indexes, cut.far) :])
    if far:
        yield _key(names.SLO_FAR_LATE, lane, kept), far


def _is_lost(name: str, reason: str) -> bool:
    if name == names.EVENT_DROPPED:
        return reason not in NOT_LOST
    return name == names.EVENT_REJECTED and reason in REFUSED_BY_US


def _key(name: str, lane: str, attributes: dict[str, str]) -> Key:
    return Key(name, tuple(sorted({"lane": lane, **attributes}.items())))
