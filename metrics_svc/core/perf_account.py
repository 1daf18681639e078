"""The account of a performance test: what was sent, what came, how long it took, and the grade of it.

Owns the figures of one test. All times are stamps of one clock, nanoseconds since the Unix epoch. Fed by the process
that runs the test, with one call for each event sent and received. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from lanecast.core.priority import LANES, Priority
from lanecast.core.sketch import Sketch
from metrics_svc.core import grade
from metrics_svc.core.catalogue import END_TO_END, HOPS, SERVER
from metrics_svc.core.latency import HOP, LatencyFigure, LatencyReport, figure_of
from metrics_svc.core.objectives import DEFAULTS, Objective, Objectives
from metrics_svc.core.perf_plan import PerfPlan
from metrics_svc.core.slo import Counts
from metrics_svc.core.telemetry import Process
from metrics_svc.core.throughput import ThroughputFigure, ThroughputReport

LATE_SECONDS = 0.005
"""Lateness of the sender from which the result is said to be about the sender as well."""
_EXPECTED = 255
"""Most receipts of one event that are told apart."""


@dataclass(frozen=True, slots=True)
class Stamps:
    """The stamps that an event brought along; zero where a hop set none."""

    created: int
    sent: int
    accepted: int
    stored: int
    flushed: int
    edge_received: int
    edge_sent: int
    received: int


class _Lane:
    __slots__ = ("end_to_end", "hops", "received", "sent", "server")

    def __init__(self) -> None:
        self.end_to_end = Sketch()
        self.server = Sketch()
        self.hops = {hop: Sketch() for hop in HOPS}
        self.sent = 0
        self.received = 0


class PerfAccount:
    """Everything counted in one test."""

    def __init__(self, plan: PerfPlan, objectives: Objectives = DEFAULTS) -> None:
        self._plan = plan
        self._objectives = objectives
        self._pattern = plan.lanes()
        self._lanes = {lane: _Lane() for lane in LANES}
        self._times = bytearray(plan.events)
        """How often each event was received."""
        self._refused = bytearray(plan.events)
        self.lateness = Sketch()
        self.sent = 0
        """Events handed to the SDK; they are sent in order."""
        self.received = 0
        """Events received at least once."""
        self.duplicated = 0
        self.rejected = 0
        self.foreign = 0
        """Events on the test's channels that are none of its own."""
        self.started_ns = 0
        """When the first event was due."""

    def lane_of(self, number: int) -> Priority:
        """Return the lane of an event."""
        return self._pattern[number % len(self._pattern)]

    def on_sent(self, now_ns: int) -> None:
        """Count that the next event was handed to the SDK."""
        self.lateness.record_ns(max(0, now_ns - self.started_ns - self._plan.due_ns(self.sent)))
        self._lanes[self.lane_of(self.sent)].sent += 1
        self.sent += 1

    def on_refused(self, number: int) -> None:
        """Count that the publisher did not take an event."""
        if not self._refused[number]:
            self._refused[number] = 1
            self.rejected += 1

    def on_received(self, number: int, stamps: Stamps) -> None:
        """Count a delivery; only the first one of an event counts in latencies."""
        if not 0 <= number < self.sent:
            self.foreign += 1
            return
        if self._times[number]:
            self.duplicated += 1
            self._times[number] = min(_EXPECTED, self._times[number] + 1)
            return
        self._times[number] = 1
        self.received += 1
        lane = self._lanes[self.lane_of(number)]
        lane.received += 1
        lane.end_to_end.record_ns(stamps.received - self.started_ns - self._plan.due_ns(number))
        lane.server.record_ns(stamps.received - stamps.accepted)
        _record_hops(lane.hops, stamps)

    @property
    def lost(self) -> int:
        """Events that were taken and did not come back so far."""
        refused_and_lost = sum(1 for refused, came in zip(self._refused, self._times, strict=True) if refused > came)
        return self.sent - self.received - refused_and_lost

    @property
    def complete(self) -> bool:
        """True once everything that was sent has come back or was refused."""
        return self.received + self.rejected >= self.sent

    def figures(self) -> list[LatencyFigure]:
        """Return the figures so far, as metrics_svc shows them for users' events."""
        found: list[LatencyFigure | None] = []
        for lane, counted in self._lanes.items():
            found.append(
                figure_of(counted.server, scope=SERVER, lane=lane, budget=self._objectives[lane].limit_seconds)
            )
            found.append(figure_of(counted.end_to_end, scope=END_TO_END, lane=lane))
            found += [figure_of(sketch, scope=HOP, hop=hop, lane=lane) for hop, sketch in counted.hops.items()]
        return [figure for figure in found if figure is not None]

    def status(self, now_ns: int) -> grade.Status:
        """Return the grade, by the same rules as for users' events."""
        seconds = max(1e-9, self._plan.seconds)
        latency = LatencyReport(now_ns, seconds, tuple(self.figures()))
        rates = tuple(_rates(lane, counted, seconds) for lane, counted in self._lanes.items() if counted.sent)
        publisher = Process("publisher_svc", "")
        throughput = ThroughputReport(now_ns, seconds, rates, 0, ((publisher, now_ns),))
        counts = {lane: _counts(counted, self._objectives[lane]) for lane, counted in self._lanes.items()}
        return grade.status(grade.Evidence(latency, throughput, counts, self._objectives), now_ns)

    def remarks(self) -> list[str]:
        """Return what a reader of the result should know."""
        found: list[str] = []
        late = self.lateness.quantile(0.99)
        if late > LATE_SECONDS:
            found.append(
                f"Events were sent up to {late * 1e3:.1f} ms (p99) after they were due: the machine of metrics_svc is"
                " too slow for this rate, and the end-to-end figures include that."
            )
        if self.rejected:
            found.append(
                f"{self.rejected} events were not accepted: the publisher, or the test's own buffer, was full."
            )
        if self.lost:
            found.append(f"{self.lost} accepted events did not arrive within the time allowed after the last was sent.")
        if self.duplicated:
            found.append(f"{self.duplicated} deliveries came twice.")
        if self.foreign:
            found.append(f"{self.foreign} events on the test's channels were not sent by it.")
        skewed = sum(counted.server.skewed for counted in self._lanes.values())
        if skewed:
            found.append(f"{skewed} latencies were negative: the hosts' clocks disagree, and hops are not reliable.")
        return found


def _record_hops(hops: dict[str, Sketch], stamps: Stamps) -> None:
    if stamps.sent:
        hops["sdk_queue"].record_ns(stamps.sent - stamps.created)
        hops["ingest"].record_ns(stamps.accepted - stamps.sent)
    if stamps.stored:
        hops["log"].record_ns(stamps.stored - stamps.accepted)
        hops["lane_wait"].record_ns(stamps.flushed - stamps.stored)
    if stamps.flushed:
        hops["transit"].record_ns(stamps.edge_received - stamps.flushed)
    hops["edge_wait"].record_ns(stamps.edge_sent - stamps.edge_received)
    hops["last_mile"].record_ns(stamps.received - stamps.edge_sent)  # with the write to the socket


def _counts(counted: _Lane, objective: Objective) -> Counts:
    total = counted.server.count
    good = round(counted.server.share_within(objective.limit_seconds) * total)
    second = objective.second
    far_late = 0 if second is None else total - round(counted.server.share_within(second.seconds) * total)
    return Counts(good=good, late=total - good, far_late=far_late, lost=counted.sent - counted.received)


def _rates(lane: Priority, counted: _Lane, seconds: float) -> ThroughputFigure:
    lost = max(0, counted.sent - counted.received)
    return ThroughputFigure(
        lane=lane,
        accepted=(counted.sent - lost) / seconds,
        delivered=counted.received / seconds,
        rejected=0.0,
        duplicate=0.0,
        dropped=lost / seconds,
        mean_batch_size=0.0,
        queue_depth=0,
    )
