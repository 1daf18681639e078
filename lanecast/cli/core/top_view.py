"""What `lanecast top` shows, as lines of styled text for a width and height.

Owns the layout: a head, the lanes, their hops, event types, alerts and advice; what does not fit in height is left out
from the bottom, and said so. Reads the messages of the contract; knows neither the terminal nor the service. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap

from rich.text import Text

from lanecast.cli.core.tables import ago, millis, percent, rate
from lanecast.core.priority import LANES, Priority
from lanecast.v1 import metrics_pb2 as pb

MIN_WIDTH = 40
MOST_ALERTS = 4
"""Firing alerts shown with what is wrong; of the others, how many there are."""
WINDOWS = (10, 60, 300, 3600)
"""Seconds; the key w goes from one to the next."""
HOPS: tuple[tuple[pb.Hop.ValueType, str], ...] = (
    (pb.HOP_SDK_QUEUE, "sdk"),
    (pb.HOP_INGEST, "ingest"),
    (pb.HOP_LOG, "log"),
    (pb.HOP_LANE_WAIT, "wait"),
    (pb.HOP_TRANSIT, "transit"),
    (pb.HOP_EDGE_WAIT, "edge"),
    (pb.HOP_SOCKET_WRITE, "socket"),
    (pb.HOP_LAST_MILE, "browser"),
)
_GRADE_STYLES = {0: "dim", 1: "bold green", 2: "bold green", 3: "bold yellow", 4: "bold red", 5: "bold red"}
KEYS = "q quit  w window  t types  space pause"


@dataclass(slots=True)
class Snapshot:
    """What the service said at one moment."""

    target: str
    window: int
    now: float
    """Seconds since the Unix epoch."""
    latency: pb.GetLatencyResponse
    throughput: pb.GetThroughputResponse
    status: pb.GetOptimizationStatusResponse
    alerts: list[pb.Alert] | None = None
    """None: this service has none to tell of."""
    types: pb.GetLatencyResponse | None = None
    problem: str = ""
    """Why it is not newer than it is."""
    seen: float = 0.0
    """When that was found out, as `now`."""
    paused: bool = False
    keys: bool = True


def view(snapshot: Snapshot, width: int, height: int | None = None) -> list[Text]:
    """Return the lines; all of them where `height` is None."""
    width = max(width, MIN_WIDTH)
    lines = [*_head(snapshot, width), Text(), *_lanes(snapshot, width), Text(), *_hops(snapshot, width)]
    if snapshot.types is not None:
        lines += [Text(), *_types(snapshot.types, width)]
    lines += [Text(), *_alerts(snapshot, width), *_advice(snapshot, width)]
    if height is None:
        return [_cut(line, width) for line in lines]
    room = height - (1 if snapshot.keys else 0)
    if len(lines) > room:
        lines = [
            *lines[: max(0, room - 1)],
            Text(f"… {len(lines) - room + 1} more lines: make the window taller", "dim"),
        ]
    if snapshot.keys:
        lines += [Text()] * (room - len(lines)) + [Text(KEYS, "dim")]
    return [_cut(line, width) for line in lines]


def _head(snapshot: Snapshot, width: int) -> list[Text]:
    letter = "-ABCDF"[snapshot.status.grade]
    score = f" {snapshot.status.score:.0f}/100" if snapshot.status.grade else " no data"
    title = Text.assemble(("grade ", "dim"), (letter, _GRADE_STYLES[snapshot.status.grade]), (score, "dim"))
    title.append("   last ", "dim").append(_duration(snapshot.window))
    if snapshot.paused:
        title.append("   paused", "bold")
    connections = snapshot.throughput.connections
    title.append(f"   {connections:,}").append(" connection   at " if connections == 1 else " connections   at ", "dim")
    title.append(snapshot.target)
    lines = [title, *_processes(snapshot, width)]
    if snapshot.problem:
        old = f"these figures are {ago(time_since(snapshot))} old: "
        lines += [Text(part, "bold red") for part in wrap(old + snapshot.problem, width)]
    return lines


def time_since(snapshot: Snapshot) -> float:
    """Return the age of what is shown, in seconds."""
    return max(0.0, snapshot.seen - snapshot.now)


def _processes(snapshot: Snapshot, width: int) -> list[Text]:
    found = []
    for process in snapshot.throughput.processes:
        age = snapshot.now - process.last_report_time.ToNanoseconds() / 1e9
        silent = age > 15
        found.append((f"{process.instance} silent for {ago(age)}" if silent else process.instance, silent))
    if not found:
        return [Text("no process reports: set LANECAST_METRICS_TARGET for publisher and gateways", "yellow")]
    line, used = Text("reporting ", "dim"), 10
    for index, (name, silent) in enumerate(found):
        if used + len(name) > width - 8 and index:
            line.append(f"+{len(found) - index}", "dim")
            break
        line.append(name + "  ", "bold red" if silent else "")
        used += len(name) + 2
    return [line]


def _lanes(snapshot: Snapshot, width: int) -> list[Text]:
    heads = ("lane", "limit", "in limit", "p50", "p99", "p99.9", "max", "acc/s", "del/s", "drop/s", "queue")
    server = {one.lane: one for one in snapshot.latency.figures if one.scope == pb.LATENCY_SCOPE_SERVER}
    rates = {one.lane: one for one in snapshot.throughput.figures}
    status = {one.lane: one for one in snapshot.status.lanes}
    rows = [_lane_row(lane, server.get(lane.wire_value), rates.get(lane.wire_value)) for lane in LANES]
    bad = {
        number: {2: "bold red"}
        for number, lane in enumerate(LANES)
        if lane.wire_value in server and server[lane.wire_value].within_budget < status[lane.wire_value].objective
    }
    for number, lane in enumerate(LANES):
        if lane.wire_value in rates and rates[lane.wire_value].dropped_per_second:
            bad.setdefault(number, {})[9] = "bold red"
    return _grid(heads, rows, width, bad, note="delivery at the server, ms")


def _lane_row(lane: Priority, figure: pb.LatencyFigure | None, rates: pb.ThroughputFigure | None) -> list[str]:
    times = ["-"] * 6
    if figure is not None:
        values = (figure.p50_seconds, figure.p99_seconds, figure.p999_seconds, figure.max_seconds)
        times = [
            millis(figure.budget_seconds).rstrip("0").rstrip("."),
            percent(figure.within_budget),
            *map(millis, values),
        ]
    speeds = ["-"] * 4
    if rates is not None:
        values3 = (rates.accepted_per_second, rates.delivered_per_second, rates.dropped_per_second)
        speeds = [*map(rate, values3), str(rates.queue_depth)]
    return [lane.name, *times, *speeds]


def _hops(snapshot: Snapshot, width: int) -> list[Text]:
    figures = {(one.lane, one.hop): one for one in snapshot.latency.figures if one.scope == pb.LATENCY_SCOPE_HOP}
    slowest = {one.lane: one.slowest_hop for one in snapshot.status.lanes}
    rows, marks = [], {}
    for number, lane in enumerate(LANES):
        cells = [figures.get((lane.wire_value, hop)) for hop, _ in HOPS]
        rows.append([lane.name, *(millis(cell.p95_seconds) if cell is not None else "-" for cell in cells)])
        found = [index for index, (hop, _) in enumerate(HOPS, 1) if hop == slowest.get(lane.wire_value)]
        marks[number] = dict.fromkeys(found, "bold yellow")
    return _grid(("lane", *(name for _, name in HOPS)), rows, width, marks, note="p95 of each hop, ms")


def _types(latency: pb.GetLatencyResponse, width: int) -> list[Text]:
    figures = [one for one in latency.figures if one.scope == pb.LATENCY_SCOPE_SERVER and one.type]
    if not figures:
        return [Text("no event type has deliveries in the window", "dim")]
    whole = all(len(one.type) <= width - 54 for one in figures)
    rows = [
        [
            one.type if whole else one.type.rpartition(".")[2][: max(8, width - 54)],
            Priority(one.lane).name,
            percent(one.within_budget),
            millis(one.p50_seconds),
            millis(one.p99_seconds),
            str(one.count),
        ]
        for one in sorted(figures, key=lambda one: (-one.count, one.type))
    ]
    return _grid(("event type", "lane", "in limit", "p50", "p99", "events"), rows, width, {}, left=2)


def _alerts(snapshot: Snapshot, width: int) -> list[Text]:
    if snapshot.alerts is None:
        return []
    active = [one for one in snapshot.alerts if one.state in {pb.ALERT_STATE_PENDING, pb.ALERT_STATE_FIRING}]
    if not active:
        return [Text.assemble(("alerts ", "bold"), ("none", "green"))]
    firing = sorted((one for one in active if one.state == pb.ALERT_STATE_FIRING), key=lambda one: -one.severity)
    lines: list[Text] = []
    for alert in firing[:MOST_ALERTS]:
        page = alert.severity == pb.ALERT_SEVERITY_PAGE
        first = alert.summary.split(". ")[0]  # what is wrong; `lanecast alerts list` says the rest
        lines += _wrapped("FIRING " if page else "firing ", first, width, "bold red" if page else "yellow")
    more, pending = len(firing) - MOST_ALERTS, len(active) - len(firing)
    counts = [f"{more} more firing"] * (more > 0) + [f"{pending} pending"] * (pending > 0)
    if counts:
        lines.append(Text.assemble(("alerts ", "bold"), " and ".join(counts), (": lanecast alerts list", "dim")))
    return lines


def _advice(snapshot: Snapshot, width: int) -> list[Text]:
    lines: list[Text] = []
    for advice in snapshot.status.advice[:4]:
        lines += _wrapped("advice ", advice.action, width, "bold")
        lines += [Text(f"       {part}", "dim") for part in wrap(advice.evidence, width - 7)]
    return lines


def _wrapped(head: str, text: str, width: int, style: str) -> list[Text]:
    first, *rest = wrap(text, max(20, width - len(head))) or [""]
    return [Text.assemble((head, style), first), *(Text(" " * len(head) + part) for part in rest)]


def _grid(
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int,
    marks: dict[int, dict[int, str]],
    *,
    left: int = 1,
    note: str = "",
) -> list[Text]:
    """Return a table that takes the width, at most three spaces between columns; last columns go where it is narrow."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    columns = len(heads)
    while columns > 2 and sum(widths[:columns]) + columns - 1 > width:
        columns -= 1
    gap = " " * max(1, min(3, (width - sum(widths[:columns])) // max(1, columns - 1)))

    def line(cells: Sequence[str], styles: dict[int, str], base: str) -> Text:
        text = Text(style=base)
        for index, cell in enumerate(cells[:columns]):
            padded = cell.ljust(widths[index]) if index < left else cell.rjust(widths[index])
            text.append((gap if index else "") + padded, styles.get(index))
        return text

    lines = [line(heads, {}, "bold")]
    lines += [line(row, marks.get(number, {}), "") for number, row in enumerate(rows)]
    return [Text(note, "dim"), *lines] if note else lines


def _duration(seconds: int) -> str:
    return f"{seconds // 3600} h" if seconds >= 3600 else f"{seconds // 60} min" if seconds >= 60 else f"{seconds} s"


def _cut(line: Text, width: int) -> Text:
    line.truncate(width, overflow="ellipsis")
    return line
