"""Latency figures per lane, scope, hop and type.

Owns which series make up a figure and what is computed of it. Reads `telemetry`; called by `queries` and the grade.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from lanecast.core.instruments import CLOCK_ERROR_BOUND, DELIVERY_DURATION, HOP_DURATION
from lanecast.core.priority import BUDGET_SECONDS, LANES, Priority
from lanecast.core.sketch import Sketch
from metrics_svc.core.catalogue import END_TO_END, HOPS, SCOPES, SERVER
from metrics_svc.core.selection import EACH_TYPE, MAX_TYPES, Selection
from metrics_svc.core.series import Series
from metrics_svc.core.telemetry import NANOS, Telemetry
from metrics_svc.core.windows import Span

HOP = "hop"
"""Scope of a figure about one hop."""

_QUANTILES = (0.5, 0.95, 0.99, 0.999)


@dataclass(frozen=True, slots=True)
class LatencyFigure:
    """Quantiles of one latency, in seconds."""

    scope: str
    """`server`, `end_to_end` or `hop`."""
    hop: str
    """Where the scope is `hop`."""
    lane: Priority
    type: str
    """Empty: all types together."""
    arm: str
    """Empty: both arms together."""
    count: int
    p50: float
    p95: float
    p99: float
    p999: float
    maximum: float
    mean: float
    budget: float
    """Zero where the scope has none."""
    within_budget: float
    """Share of samples, 0 to 1; zero where the scope has no budget."""
    clock_bound: float = 0.0
    """Each sample may be wrong by so many seconds at most, since several machines' clocks are in it."""


@dataclass(frozen=True, slots=True)
class LatencyReport:
    """Latency over a window."""

    end_ns: int
    window_seconds: float
    figures: tuple[LatencyFigure, ...]


def report(
    telemetry: Telemetry,
    selection: Selection,
    now_ns: int,
    window_seconds: int,
    limits: Mapping[Priority, float] = BUDGET_SECONDS,
) -> LatencyReport:
    """Return one figure for each lane, scope and hop that has data in the window up to now.

    The window begins with a whole second, so it may reach back up to a second further than asked.
    """
    now = now_ns // NANOS
    span = telemetry.span(now - window_seconds, now + 1, now_ns)
    found = figures_of(telemetry, selection, span, limits)
    return LatencyReport(now_ns, max(1.0, now_ns / NANOS - span.start), found)


def figures_of(
    telemetry: Telemetry,
    selection: Selection,
    span: Span,
    limits: Mapping[Priority, float] = BUDGET_SECONDS,
) -> tuple[LatencyFigure, ...]:
    """Return one figure for each lane, scope and hop that has data in a span."""
    lanes, selection = selection.lanes or LANES, named(telemetry, selection)
    bounds = _clock_bounds(telemetry, span)
    return tuple(
        replace(figure, clock_bound=_clock_bound(figure, bounds))
        for lane in lanes
        for figure in _lane_figures(telemetry, span, selection, lane, limits[lane])
    )


_ROLES: dict[tuple[str, str], tuple[str, ...]] = {
    (SERVER, ""): ("gateway",),
    (END_TO_END, ""): ("gateway", "browser"),
    (HOP, "transit"): ("gateway",),
    (HOP, "last_mile"): ("browser",),
}
"""Who compares clocks for a figure, by scope and hop; the stamps of the others come from one process each."""


def _clock_bounds(telemetry: Telemetry, span: Span) -> dict[str, float]:
    """Return the largest bound that each role told of within a span, in seconds."""
    most = {
        role: span.sketch(telemetry.series(CLOCK_ERROR_BOUND, role=role)).maximum_ns for role in ("gateway", "browser")
    }
    # A bound of zero is kept as a nanosecond, since nothing is smaller in a histogram.
    return {role: nanos / 1e9 if nanos > 1 else 0.0 for role, nanos in most.items()}


def _clock_bound(figure: LatencyFigure, bounds: Mapping[str, float]) -> float:
    # What is above half of what the lane promises is coarse, and in no figure.
    most = BUDGET_SECONDS[figure.lane] / 2
    return min(most, sum(bounds[role] for role in _ROLES.get((figure.scope, figure.hop), ())))


def named(telemetry: Telemetry, selection: Selection) -> Selection:
    """Return a selection with the names of types in place of `EACH_TYPE`."""
    if selection.types != (EACH_TYPE,):
        return selection
    return replace(selection, types=types_of(telemetry)[:MAX_TYPES] or (EACH_TYPE,))


def types_of(telemetry: Telemetry) -> tuple[str, ...]:
    """Return the full names of the types that have figures of their own, in order."""
    found = {series.attributes.get("type", "") for series in telemetry.series(DELIVERY_DURATION)}
    return tuple(sorted(found - {""}))


def _lane_figures(
    telemetry: Telemetry, span: Span, selection: Selection, lane: Priority, limit: float
) -> Iterator[LatencyFigure]:
    for type_name in selection.types or ("",):
        for scope in SCOPES:
            series = of_type(telemetry.series(DELIVERY_DURATION, lane=lane.name, scope=scope), type_name)
            budget = limit if scope == SERVER else 0.0
            yield from _figure(span, series, selection, scope=scope, lane=lane, type_name=type_name, budget=budget)
    if selection.types:
        return  # hops are measured for all types together
    for hop in HOPS:
        series = telemetry.series(HOP_DURATION, lane=lane.name, hop=hop)
        yield from _figure(span, series, selection, scope=HOP, hop=hop, lane=lane)


def of_type(series: list[Series], type_name: str) -> list[Series]:
    """Return the series of one type; for the empty name those that hold all types together."""
    return [one for one in series if one.attributes.get("type", "") == type_name]


def of_arm(series: list[Series], arm: str) -> list[Series]:
    """Return the series of one rollout arm; for the empty name all."""
    return [one for one in series if one.attributes.get("arm") == arm] if arm else series


def _figure(
    span: Span,
    series: list[Series],
    selection: Selection,
    *,
    scope: str,
    lane: Priority,
    hop: str = "",
    type_name: str = "",
    budget: float = 0.0,
) -> Iterator[LatencyFigure]:
    sketch = span.sketch(of_arm(series, selection.arm))
    figure = figure_of(sketch, scope=scope, hop=hop, lane=lane, type_name=type_name, arm=selection.arm, budget=budget)
    if figure is not None:
        yield figure


def figure_of(
    sketch: Sketch,
    *,
    scope: str,
    lane: Priority,
    hop: str = "",
    type_name: str = "",
    arm: str = "",
    budget: float = 0.0,
) -> LatencyFigure | None:
    """Return the figure of one histogram; None where it is empty."""
    count = sketch.count
    if not count:
        return None
    p50, p95, p99, p999 = sketch.quantiles(_QUANTILES)
    return LatencyFigure(
        scope=scope,
        hop=hop,
        lane=lane,
        type=type_name,
        arm=arm,
        count=count,
        p50=p50,
        p95=p95,
        p99=p99,
        p999=p999,
        maximum=sketch.maximum_ns / 1e9,
        mean=sketch.sum_ns / count / 1e9,
        budget=budget,
        within_budget=sketch.share_within(budget) if budget else 0.0,
    )
