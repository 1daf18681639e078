"""The grade of the whole and of each lane, with reasons and advice.

Owns the objectives' weights and what counts as missed. A lane is judged by deliveries measured at the server: the
share within the lane's budget against its objective, and events dropped against its loss budget. What was not measured
counts as missed, so missing data never raises a grade; a lane without traffic is left out only where the publishers
report and say that nothing came. Reads the reports of `latency` and `throughput`; called by `queries`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from lanecast.core.priority import BUDGET_SECONDS, LANES, Priority
from metrics_svc.core.catalogue import SERVER
from metrics_svc.core.latency import HOP, LatencyFigure, LatencyReport
from metrics_svc.core.throughput import ThroughputFigure, ThroughputReport

OBJECTIVE: dict[Priority, float] = {
    Priority.CRITICAL: 0.99,
    Priority.HIGH: 0.995,
    Priority.NORMAL: 0.995,
    Priority.LOW: 0.99,
}
"""Share of deliveries that must be within the lane's budget."""

LOSS_BUDGET: dict[Priority, float] = {
    Priority.CRITICAL: 0.0001,
    Priority.HIGH: 0.0005,
    Priority.NORMAL: 0.001,
    Priority.LOW: 0.005,
}
"""Share of events that may be dropped."""

WEIGHT: dict[Priority, float] = {
    Priority.CRITICAL: 0.4,
    Priority.HIGH: 0.3,
    Priority.NORMAL: 0.2,
    Priority.LOW: 0.1,
}
"""Share of a lane in the score."""

ENOUGH = 20
"""Deliveries below which a lane cannot be more than met."""
ROOM = 0.5
"""Share of the error budget that must be left for the best grade."""
FAILING_SCORE = 40.0
SILENT_SECONDS = 15
"""A process that reported within the window but not for this long has gone silent."""

_FIX = {
    "sdk_queue": "Publish from more than one stream, or flush the SDK's buffer less late.",
    "ingest": "Bring the AI services closer to the publisher, or send more events in each message.",
    "log": "Move the data directory to a faster disk, or use durability=process.",
    "lane_wait": "Shorten the linger of the lane, or add a publisher: the publisher's event loop is busy.",
    "transit": "Run the gateway nearer to the publisher, or add gateways.",
    "edge_wait": "Add gateways: the gateway's event loop is busy.",
    "socket_write": "Look for slow browsers or networks: sockets do not take what is written.",
    "": "Record hop latencies in the publisher and the gateway, so that the cause can be named.",
}


class Grade(IntEnum):
    """A grade, best first; the numbers are those of the contract."""

    UNKNOWN = 0
    A = 1
    B = 2
    C = 3
    D = 4
    F = 5


class Standing(IntEnum):
    """How a lane keeps its objective, best first."""

    ROOM = 0
    MET = 1
    MISSED = 2
    UNMEASURED = 3
    IDLE = 4


@dataclass(frozen=True, slots=True)
class LaneStatus:
    """How one lane keeps its objective."""

    lane: Priority
    standing: Standing
    good_ratio: float
    objective: float
    budget_remaining: float
    slowest_hop: str
    reason: str


@dataclass(frozen=True, slots=True)
class Advice:
    """A change that would help, and the figures behind it."""

    action: str
    evidence: str


@dataclass(frozen=True, slots=True)
class Status:
    """The grade with its reasons."""

    grade: Grade
    score: float
    """0 to 100."""
    lanes: tuple[LaneStatus, ...]
    advice: tuple[Advice, ...]


def status(latency: LatencyReport, throughput: ThroughputReport, now_ns: int) -> Status:
    """Return the grade of a window."""
    silent = _silent(throughput, now_ns)
    known_traffic = _reports(throughput, "publisher") and not any(name.startswith("publisher") for name, _ in silent)
    lanes = tuple(_lane_status(lane, latency, throughput, known_traffic=known_traffic) for lane in LANES)
    judged = [lane for lane in lanes if lane.standing is not Standing.IDLE]
    if all(lane.standing is Standing.UNMEASURED for lane in judged) and not _traffic(throughput):
        return Status(Grade.UNKNOWN, 0.0, lanes, (_NO_DATA,))
    score = _score(judged)
    advice = [*_silence_advice(silent), *_lane_advice(judged, latency)]
    return Status(_grade(judged, score, silent=bool(silent)), score, lanes, tuple(advice))


_NO_DATA = Advice(
    "Start the publisher and a gateway with LANECAST_METRICS_TARGET set, and let events flow.",
    "No delivery was measured and no event was counted in the window.",
)


def _lane_status(
    lane: Priority, latency: LatencyReport, throughput: ThroughputReport, *, known_traffic: bool
) -> LaneStatus:
    figure = _server_figure(latency, lane)
    rates = next((one for one in throughput.figures if one.lane is lane), None)
    hop = _slowest_hop(latency, lane)
    objective = OBJECTIVE[lane]
    if figure is None:
        standing, reason = _without_deliveries(lane, rates, known_traffic=known_traffic)
        return LaneStatus(lane, standing, 0.0, objective, 0.0, hop, reason)
    good = figure.within_budget
    remaining = 1.0 - (1.0 - good) / (1.0 - objective)
    standing, reason = _judge(lane, figure, rates, remaining)
    return LaneStatus(lane, standing, good, objective, remaining, hop, reason)


def _without_deliveries(lane: Priority, rates: ThroughputFigure | None, *, known_traffic: bool) -> tuple[Standing, str]:
    accepted = rates.accepted if rates is not None else 0.0
    if accepted:
        return Standing.UNMEASURED, (
            f"{lane.name}: {accepted:.1f} events/s were accepted but no delivery was measured: check that a gateway"
            " runs and that somebody subscribes."
        )
    if known_traffic:
        return Standing.IDLE, f"{lane.name}: no event was published; the lane is left out."
    return Standing.UNMEASURED, f"{lane.name}: no publisher reports, so nothing is known; it counts as missed."


def _judge(
    lane: Priority, figure: LatencyFigure, rates: ThroughputFigure | None, remaining: float
) -> tuple[Standing, str]:
    budget_ms = BUDGET_SECONDS[lane] * 1e3
    share = f"{figure.within_budget:.2%} of {figure.count} deliveries within {budget_ms:g} ms"
    if rates is not None and rates.dropped > LOSS_BUDGET[lane] * (rates.accepted + rates.dropped):
        text = f"{lane.name}: {rates.dropped:.2f} events/s were dropped, more than {LOSS_BUDGET[lane]:.2%}; {share}."
        return Standing.MISSED, text
    if remaining < 0:
        return Standing.MISSED, f"{lane.name}: {share}, objective {OBJECTIVE[lane]:.1%}."
    if figure.count < ENOUGH:
        return Standing.MET, f"{lane.name}: {share}; fewer than {ENOUGH} are too few for the best grade."
    if remaining < ROOM:
        return Standing.MET, f"{lane.name}: {share}; {remaining:.0%} of the error budget is left."
    return Standing.ROOM, f"{lane.name}: {share}."


def _score(judged: list[LaneStatus]) -> float:
    weights = sum(WEIGHT[lane.lane] for lane in judged)
    if not weights:
        return 0.0
    return 100.0 * sum(WEIGHT[lane.lane] * _lane_score(lane) for lane in judged) / weights


def _lane_score(lane: LaneStatus) -> float:
    if lane.standing is Standing.UNMEASURED:
        return 0.0
    kept = min(1.0, lane.good_ratio / lane.objective)
    return kept if lane.standing is not Standing.MISSED else min(kept, 0.6)


def _grade(judged: list[LaneStatus], score: float, *, silent: bool) -> Grade:
    missed = sum(lane.standing in {Standing.MISSED, Standing.UNMEASURED} for lane in judged)
    if missed and (score < FAILING_SCORE or all(lane.standing is Standing.UNMEASURED for lane in judged)):
        return Grade.F
    if missed:
        return Grade.C if missed == 1 else Grade.D
    room = all(lane.standing is Standing.ROOM for lane in judged)
    return Grade.A if room and not silent else Grade.B


def _lane_advice(judged: list[LaneStatus], latency: LatencyReport) -> list[Advice]:
    missed = [lane for lane in judged if lane.standing in {Standing.MISSED, Standing.UNMEASURED}]
    missed.sort(key=lambda lane: -WEIGHT[lane.lane])
    return [_advice_for(lane, latency) for lane in missed]


def _advice_for(lane: LaneStatus, latency: LatencyReport) -> Advice:
    if lane.standing is Standing.UNMEASURED:
        return Advice(f"Make the deliveries of {lane.lane.name} measurable.", lane.reason)
    hop = _hop_figure(latency, lane.lane, lane.slowest_hop)
    evidence = lane.reason
    if hop is not None:
        evidence += f" Slowest hop: {hop.hop}, p95 {hop.p95 * 1e3:.2f} ms, p99 {hop.p99 * 1e3:.2f} ms."
    return Advice(_FIX.get(lane.slowest_hop, _FIX[""]), evidence)


def _silence_advice(silent: list[tuple[str, float]]) -> list[Advice]:
    return [
        Advice(f"Find out what became of {name}.", f"It has not reported for {seconds:.0f} s.")
        for name, seconds in silent
    ]


def _silent(throughput: ThroughputReport, now_ns: int) -> list[tuple[str, float]]:
    ages = [(process.name, (now_ns - last) / 1e9) for process, last in throughput.processes]
    return [(name, age) for name, age in ages if age > SILENT_SECONDS]


def _reports(throughput: ThroughputReport, service: str) -> bool:
    return any(process.service.startswith(service) for process, _ in throughput.processes)


def _traffic(throughput: ThroughputReport) -> bool:
    return any(figure.accepted or figure.delivered for figure in throughput.figures)


def _server_figure(latency: LatencyReport, lane: Priority) -> LatencyFigure | None:
    return next((one for one in latency.figures if one.lane is lane and one.scope == SERVER and not one.type), None)


def _hop_figure(latency: LatencyReport, lane: Priority, hop: str) -> LatencyFigure | None:
    return next((one for one in latency.figures if one.lane is lane and one.scope == HOP and one.hop == hop), None)


def _slowest_hop(latency: LatencyReport, lane: Priority) -> str:
    hops = [one for one in latency.figures if one.lane is lane and one.scope == HOP and one.hop in _FIX]
    return max(hops, key=lambda one: one.p95).hop if hops else ""
