"""The grade of the whole, of each lane and of each AI system, with reasons and advice.

Owns the weights and what counts as missed. A lane is judged by its SLO counts: what it has spent of its error budget,
of its second limit's and of its loss budget. What was not measured counts as missed, so missing data never raises a
grade; a lane without traffic is left out only where the publishers report and say that nothing came. Reads the reports
of `latency` and `throughput` and the counts of `slo`; called by `queries`.

The score is weighted by budgets: a lane that has spent nothing of its budget has all its points, one that has just
spent it 60 %, and beyond that the points fall in proportion to what is overspent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from lanecast.core.priority import LANES, Priority
from metrics_svc.core.latency import HOP, LatencyFigure, LatencyReport
from metrics_svc.core.objectives import Objective, Objectives
from metrics_svc.core.slo import Counts, Target, targets
from metrics_svc.core.throughput import ThroughputFigure, ThroughputReport

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
MET_SCORE = 0.6
"""Part of its points that a lane has which has just spent its budget."""
SILENT_SECONDS = 15
"""A process that reported within the window but not for this long has gone silent."""

# The hops that the lane's limit is about, and what helps where most of the time goes there.
_FIX = {
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
class TypeStatus:
    """How the events of one AI system keep the objectives of their lanes."""

    type: str
    grade: Grade
    score: float
    lanes: tuple[LaneStatus, ...]


@dataclass(frozen=True, slots=True)
class Status:
    """The grade with its reasons."""

    grade: Grade
    score: float
    """0 to 100."""
    lanes: tuple[LaneStatus, ...]
    advice: tuple[Advice, ...]
    types: tuple[TypeStatus, ...] = ()


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a grade is made of: the reports and counts of one window."""

    latency: LatencyReport
    throughput: ThroughputReport
    counts: Mapping[Priority, Counts]
    objectives: Objectives
    types: Mapping[str, Mapping[Priority, Counts]] = field(default_factory=dict)
    """Counts of each event type."""


def status(evidence: Evidence, now_ns: int) -> Status:
    """Return the grade of a window."""
    throughput = evidence.throughput
    silent = _silent(throughput, now_ns)
    known_traffic = _reports(throughput, "publisher") and not any(name.startswith("publisher") for name, _ in silent)
    lanes = tuple(_lane_status(lane, evidence, known_traffic=known_traffic) for lane in LANES)
    judged = [lane for lane in lanes if lane.standing is not Standing.IDLE]
    if all(lane.standing is Standing.UNMEASURED for lane in judged) and not _traffic(throughput):
        return Status(Grade.UNKNOWN, 0.0, lanes, (_NO_DATA,))
    advice = (*_silence_advice(silent), *_lane_advice(judged, evidence))
    types = tuple(_type_status(name, counts, evidence) for name, counts in sorted(evidence.types.items()))
    return Status(_grade(judged, silent=bool(silent)), _score(judged), lanes, advice, types)


def blame(latency: LatencyReport, lane: Priority) -> str:
    """Return a sentence that names the hop which costs a lane the most; empty where no hop was measured."""
    hop = _hop_figure(latency, lane, _slowest_hop(latency, lane))
    if hop is None:
        return ""
    share = _share(latency, lane, hop)
    return f"Most of the time goes to {hop.hop}: p95 {_ms(hop.p95)}, p99 {_ms(hop.p99)}{share}. {_FIX[hop.hop]}"


_NO_DATA = Advice(
    "Start the publisher and a gateway with LANECAST_METRICS_TARGET set, and let events flow.",
    "No delivery was measured and no event was counted in the window.",
)


def _lane_status(lane: Priority, evidence: Evidence, *, known_traffic: bool) -> LaneStatus:
    counts, objective = evidence.counts[lane], evidence.objectives[lane]
    hop = _slowest_hop(evidence.latency, lane)
    if counts.total:
        return _measured(counts, objective, hop)
    rates = next((one for one in evidence.throughput.figures if one.lane is lane), None)
    standing, reason = _without_deliveries(lane, rates, known_traffic=known_traffic)
    return LaneStatus(lane, standing, 0.0, objective.objective, 0.0, hop, reason)


def _type_status(name: str, counts: Mapping[Priority, Counts], evidence: Evidence) -> TypeStatus:
    lanes = tuple(
        _measured(one, evidence.objectives[lane], _slowest_hop(evidence.latency, lane))
        for lane, one in counts.items()
        if one.total
    )
    return TypeStatus(name, _grade(lanes, silent=False), _score(lanes), lanes)


def _measured(counts: Counts, objective: Objective, hop: str) -> LaneStatus:
    worst = min(targets(objective), key=lambda target: target.remaining(counts))
    remaining = worst.remaining(counts)
    standing, reason = _judge(counts, objective, worst, remaining)
    good = counts.good / counts.total
    return LaneStatus(objective.lane, standing, good, objective.objective, remaining, hop, reason)


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


def _judge(counts: Counts, objective: Objective, worst: Target, remaining: float) -> tuple[Standing, str]:
    name = objective.lane.name
    limit_ms = objective.limit_seconds * 1e3
    share = f"{counts.good / counts.total:.2%} of {counts.total} deliveries within {limit_ms:g} ms"
    if remaining < 0 and worst.name == "latency":
        return Standing.MISSED, f"{name}: {share}, objective {objective.objective * 100:.6g}%."
    if remaining < 0:
        bad = worst.bad(counts)
        text = (
            f"{name}: {bad} of {counts.total} deliveries were {worst.text}, allowed are {worst.allowed:.4%}; {share}."
        )
        return Standing.MISSED, text
    if counts.total < ENOUGH:
        return Standing.MET, f"{name}: {share}; fewer than {ENOUGH} are too few for the best grade."
    if remaining < ROOM:
        return Standing.MET, f"{name}: {share}; {remaining:.0%} of the error budget is left."
    return Standing.ROOM, f"{name}: {share}."


def _score(judged: Sequence[LaneStatus]) -> float:
    return 100.0 * _weighted([(lane.lane, _points(lane)) for lane in judged])


def _weighted(values: Sequence[tuple[Priority, float]]) -> float:
    weights = sum(WEIGHT[lane] for lane, _ in values)
    return sum(WEIGHT[lane] * value for lane, value in values) / weights if weights else 0.0


def _points(lane: LaneStatus) -> float:
    if lane.standing is Standing.UNMEASURED:
        return 0.0
    spent = 1.0 - lane.budget_remaining
    return 1.0 - (1.0 - MET_SCORE) * spent if spent <= 1.0 else MET_SCORE / spent


def _work(lane: LaneStatus) -> float:
    """Return how much of its work a lane does, which is another question than how much budget it has left."""
    if lane.standing is Standing.UNMEASURED:
        return 0.0
    kept = min(1.0, lane.good_ratio / lane.objective)
    return kept if lane.standing is not Standing.MISSED else min(kept, MET_SCORE)


def _grade(judged: Sequence[LaneStatus], *, silent: bool) -> Grade:
    missed = sum(lane.standing in {Standing.MISSED, Standing.UNMEASURED} for lane in judged)
    work = 100.0 * _weighted([(lane.lane, _work(lane)) for lane in judged])
    if missed and (work < FAILING_SCORE or all(lane.standing is Standing.UNMEASURED for lane in judged)):
        return Grade.F
    if missed:  # so a missed objective of CRITICAL never leaves more than a C
        return Grade.C if missed == 1 else Grade.D
    room = all(lane.standing is Standing.ROOM for lane in judged)
    return Grade.A if room and not silent else Grade.B


def _lane_advice(judged: Sequence[LaneStatus], evidence: Evidence) -> list[Advice]:
    missed = [lane for lane in judged if lane.standing in {Standing.MISSED, Standing.UNMEASURED}]
    missed.sort(key=lambda lane: -WEIGHT[lane.lane] * (1.0 - _points(lane)))
    return [_advice_for(lane, evidence) for lane in missed]


def _advice_for(lane: LaneStatus, evidence: Evidence) -> Advice:
    costs = WEIGHT[lane.lane] * (1.0 - _points(lane))
    if lane.standing is Standing.UNMEASURED:
        return Advice(f"Make the deliveries of {lane.lane.name} measurable.", lane.reason)
    text = f"{lane.reason} It costs {100 * costs:.0f} of 100 points."
    if _mostly_lost(evidence, lane.lane):
        return Advice("Find out why events are lost: look at lanecast.event.dropped and rejected by reason.", text)
    hop = _hop_figure(evidence.latency, lane.lane, lane.slowest_hop)
    if hop is not None:
        share = _share(evidence.latency, lane.lane, hop)
        text += f" Slowest hop: {hop.hop}, p95 {_ms(hop.p95)}, p99 {_ms(hop.p99)}{share}."
    return Advice(_FIX.get(lane.slowest_hop, _FIX[""]), text)


def _mostly_lost(evidence: Evidence, lane: Priority) -> bool:
    return evidence.counts[lane].lost > evidence.counts[lane].late


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


def _hop_figure(latency: LatencyReport, lane: Priority, hop: str) -> LatencyFigure | None:
    return next((one for one in latency.figures if one.lane is lane and one.scope == HOP and one.hop == hop), None)


def _slowest_hop(latency: LatencyReport, lane: Priority) -> str:
    hops = [one for one in latency.figures if one.lane is lane and one.scope == HOP and one.hop in _FIX]
    return max(hops, key=lambda one: one.p95).hop if hops else ""


def _share(latency: LatencyReport, lane: Priority, hop: LatencyFigure) -> str:
    """Return, as the end of a sentence, which part of the mean of all hops one of them is."""
    whole = sum(one.mean for one in latency.figures if one.lane is lane and one.scope == HOP and one.hop in _FIX)
    return f", {hop.mean / whole:.0%} of the mean" if whole else ""


def _ms(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.2f} ms"
