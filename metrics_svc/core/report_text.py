"""Reports and the service level document as Markdown.

Owns the sentences and tables of both. Called by `reports`; the HTML form is in `report_html`. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lanecast.core.priority import LANES, Priority
from metrics_svc.core.latency import LatencyFigure
from metrics_svc.core.objectives import Objective
from metrics_svc.core.report import SLA, LaneRecord, ReportData, hop_table, when

Table = tuple[Sequence[str], Sequence[Sequence[str]]]
"""Heads and rows."""

NONE = "n/a"

MEASURED = (
    "A delivery counts from the moment the publisher service took the event off the wire, before any queue, until the "
    "gateway's kernel took its last byte. Replays and performance tests do not count. Quantiles are exact to 0.55 %."
)


def markdown(data: ReportData) -> str:
    """Return the document of a report's kind."""
    return _sla(data) if data.order.kind == SLA else _performance(data)


def _performance(data: ReportData) -> str:
    parts = [f"# {escape(data.title)}", summary(data), "## Lanes", _table(lane_table(data))]
    parts += ["## Where the time goes", HOPS_TEXT, _table(hops(data))] if data.hops else []
    parts += ["## AI systems", _table(type_table(data))] if data.types else []
    parts += ["## What to change"]
    parts += [f"- **{escape(item.action)}** {escape(item.evidence)}" for item in data.status.advice] or [NO_ADVICE]
    return "\n\n".join([*parts, f"_{MEASURED}_"]) + "\n"


HOPS_TEXT = (
    "95th percentile of each hop in milliseconds, in the order of an event's way. Bold is what costs a lane's latency"
    " at the server the most."
)
NO_ADVICE = "Nothing: no lane missed its objective."


def summary(data: ReportData) -> str:
    """Return the paragraph at the top."""
    grade = f"Grade **{data.status.grade.name}**" if data.status.grade else "**No grade**: nothing was measured"
    missed = [lane.lane.name for lane in data.lanes if lane.verdict == "missed"]
    empty = [lane.lane.name for lane in data.lanes if lane.verdict == "no data"]
    text = f"{grade} (score {data.status.score:.1f} of 100). " if data.status.grade else f"{grade}. "
    text += f"{and_list(missed)} missed the objective. " if missed else ""
    text += f"{and_list(empty)} had no deliveries. " if empty else ""
    text += f"Period: {when(data.order.start)} to {when(data.order.end)}."
    return text + coverage(data)


def coverage(data: ReportData) -> str:
    """Return a sentence about a part of the period without figures; empty where there is none."""
    if not data.partial:
        return ""
    return f" **Figures are kept from {when(data.covered.start)} on**; what was before is not in this report."


def lane_table(data: ReportData) -> Table:
    """Return the table of lanes."""
    latencies = ("p50 ms", "p95 ms", "p99 ms", "p99.9 ms")
    heads = ("lane", "limit ms", "in limit", "objective", *latencies, "delivered", "lost", "verdict")
    return heads, [_lane_row(lane) for lane in data.lanes]


def _lane_row(lane: LaneRecord) -> Sequence[str]:
    figure = lane.figure
    times = [millis(figure.p50), millis(figure.p95), millis(figure.p99), millis(figure.p999)] if figure else [NONE] * 4
    limit, objective = f"{lane.objective.limit_seconds * 1e3:g}", percent(lane.objective.objective)
    counts = (f"{lane.delivered:,}", f"{lane.counts.lost:,}")
    return (lane.lane.name, limit, _share(lane.good), objective, *times, *counts, lane.verdict)


def hops(data: ReportData) -> Table:
    """Return the table of hops by lane."""
    slowest = {status.lane: status.slowest_hop for status in data.status.lanes}
    rows = []
    for hop, figures in hop_table(data):
        rows.append([hop, *(_hop_cell(figures.get(lane), bold=slowest.get(lane) == hop) for lane in LANES)])
    return ("hop", *(lane.name for lane in LANES)), rows


def _hop_cell(figure: LatencyFigure | None, *, bold: bool) -> str:
    if figure is None:
        return NONE
    return f"**{millis(figure.p95)}**" if bold else millis(figure.p95)


def type_table(data: ReportData) -> Table:
    """Return the table of event types."""
    heads = ("event type", "lane", "deliveries", "in limit", "p50 ms", "p99 ms")
    rows = [
        (one.type, one.lane.name, f"{one.count:,}", _share(one.within_budget), millis(one.p50), millis(one.p99))
        for one in data.types
    ]
    return heads, rows


def objective_table(data: ReportData) -> Table:
    """Return what is promised of each lane."""
    rows = [(lane.lane.name, *_promises(lane.objective), _PROMISE[lane.lane]) for lane in data.lanes]
    return ("lane", "limit", "deliveries within it", "and", "lost, at most", "under overload"), rows


def _promises(objective: Objective) -> Sequence[str]:
    second = objective.second
    wider = f"{percent(second.objective)} within {second.seconds * 1e3:g} ms" if second else NONE
    limit = f"{objective.limit_seconds * 1e3:g} ms"
    return limit, percent(objective.objective), wider, percent(objective.loss_budget)


_PROMISE = {
    Priority.CRITICAL: "never dropped, refused last",
    Priority.HIGH: "never dropped",
    Priority.NORMAL: "a slow reader gets it later, from the log",
    Priority.LOW: "refused first; a slow reader loses the oldest and is told which",
}


def record_table(data: ReportData) -> Table:
    """Return the record of the period against the objectives."""
    heads = ("lane", "deliveries", "within limit", "objective", "error budget used", "lost", "allowed", "verdict")
    rows = [
        (
            lane.lane.name,
            f"{lane.delivered:,}",
            percent(lane.good),
            percent(lane.objective.objective),
            percent(lane.budget_used, digits=0),
            percent(lane.loss),
            percent(lane.objective.loss_budget),
            lane.verdict,
        )
        for lane in data.lanes
    ]
    return heads, rows


def _sla(data: ReportData) -> str:
    parts = [
        f"# {escape(data.title)}",
        f"Period: {when(data.order.start)} to {when(data.order.end)}.{coverage(data)}",
        "## What is promised",
        _table(objective_table(data)),
        "## How it is measured",
        MEASURED,
        EXCLUDED,
        "## The record",
        verdict(data),
        _table(record_table(data)),
    ]
    return "\n\n".join(parts) + "\n"


EXCLUDED = (
    "Outside the objectives: what happens in the network and in the browser after the last byte was handed over, "
    "readers whose own connection is full, and replays that a reader asked for. "
    "A stretch of time without figures is no proof "
    "that an objective was met: a lane without data has the verdict “no data”."
)


def verdict(data: ReportData) -> str:
    """Return the sentence that says whether the objectives were met."""
    missed = [lane.lane.name for lane in data.lanes if lane.verdict == "missed"]
    met = [lane.lane.name for lane in data.lanes if lane.verdict == "met"]
    empty = [lane.lane.name for lane in data.lanes if lane.verdict == "no data"]
    said = []
    if missed:
        said.append(f"**Missed by {and_list(missed)}.**")
    if met:
        said.append(f"Met by {and_list(met)}.")
    if empty:
        said.append(f"No data of {and_list(empty)}.")
    return " ".join(said)


def _table(table: Table) -> str:
    heads, rows = table
    lines = [heads, ["---", *("---:" for _ in heads[1:])], *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in lines)


def escape(text: str) -> str:
    """Return text that Markdown takes literally: titles come from outside."""
    return "".join("\\" + char if char in "\\`*_{}[]<>#|" else char for char in text)


def millis(seconds: float) -> str:
    """Return seconds as milliseconds with three significant digits."""
    value = seconds * 1e3
    return (
        f"{value:.3f}"
        if value < 1
        else f"{value:.2f}"
        if value < 10
        else f"{value:.1f}"
        if value < 100
        else f"{value:,.0f}"
    )


def percent(share: float | None, digits: int | None = None) -> str:
    """Return a share as a percentage; never 100 % where something is missing from it."""
    if share is None:
        return NONE
    if digits is not None:
        return f"{share * 100:,.{digits}f} %"
    text = f"{share * 100:.3f}"
    if share < 1 and text == "100.000":
        text = "99.999"
    return f"{text.rstrip('0').rstrip('.')} %"


def _share(share: float | None) -> str:
    """Return a share with two decimals, or with more where it is near the whole."""
    return percent(share) if share is None or share > 0.999 else percent(share, 2)


def and_list(names: Iterable[str]) -> str:
    """Return `A, B and C`."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
