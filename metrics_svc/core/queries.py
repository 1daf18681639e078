"""Answers to queries, each computed once for all who ask the same at the same moment.

Owns a small cache: many streams and pages ask for the same window each second. Called by the gRPC and HTTP shells.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import TypeVar

from lanecast.core.priority import LANES, Priority
from metrics_svc.core import grade, latency, plot, throughput
from metrics_svc.core.grade import Evidence, Status
from metrics_svc.core.latency import LatencyReport
from metrics_svc.core.objectives import DEFAULTS, Objectives
from metrics_svc.core.selection import Selection
from metrics_svc.core.slo import Counts, Ledger
from metrics_svc.core.telemetry import NANOS, Telemetry
from metrics_svc.core.throughput import ThroughputReport
from metrics_svc.core.windows import Span

T = TypeVar("T")

MAX_CACHED = 64
"""Most answers kept; all of them belong to the present second."""


class Queries:
    """Latency, throughput and grade over what `telemetry` holds."""

    def __init__(self, telemetry: Telemetry, objectives: Objectives = DEFAULTS) -> None:
        self._telemetry = telemetry
        self._objectives = objectives
        self._limits = {lane: objective.limit_seconds for lane, objective in objectives.items()}
        self._ledger = Ledger(telemetry)
        self._moment = (-1, -1)
        self._answers: dict[tuple[str, Selection, int], object] = {}
        self._blamed: dict[tuple[Priority, int], tuple[int, str]] = {}

    def latency(self, selection: Selection, now_ns: int, window_seconds: int) -> LatencyReport:
        """Return latency per lane, scope and hop."""
        return self._once(
            "latency",
            selection,
            window_seconds,
            now_ns,
            lambda: latency.report(self._telemetry, selection, now_ns, window_seconds, self._limits),
        )

    def throughput(self, selection: Selection, now_ns: int, window_seconds: int) -> ThroughputReport:
        """Return rates per lane, connections and processes."""
        return self._once(
            "throughput",
            selection,
            window_seconds,
            now_ns,
            lambda: throughput.report(self._telemetry, selection, now_ns, window_seconds),
        )

    def blame(self, lane: Priority, now_ns: int, window_seconds: int, keep_seconds: float) -> str:
        """Return a sentence about the hop that costs a lane the most, at most so old; empty: nothing is known.

        Alerts that burn ask for it each second, for several windows; computing it is most of what they cost.
        """
        known = self._blamed.get((lane, window_seconds))
        if known is not None and 0 <= now_ns - known[0] < keep_seconds * NANOS:
            return known[1]
        report = self.latency(Selection(lanes=(lane,)), now_ns, window_seconds)
        text = grade.blame(report, lane)
        self._blamed[lane, window_seconds] = (now_ns, text)
        return text

    def history(self, now_ns: int, window_seconds: int) -> Generator[None, None, tuple[plot.Step, ...]]:
        """Return the figures of each step of a window; pauses after each."""
        return plot.steps(self._telemetry, self._limits, now_ns, window_seconds)

    def status(self, now_ns: int, window_seconds: int) -> Status:
        """Return the grade."""
        return self._once("status", Selection(), window_seconds, now_ns, lambda: self._status(now_ns, window_seconds))

    def _status(self, now_ns: int, window_seconds: int) -> Status:
        everything = Selection()
        now = now_ns // NANOS
        span = self._telemetry.span(now - window_seconds, now + 1, now_ns)
        evidence = Evidence(
            latency=self.latency(everything, now_ns, window_seconds),
            throughput=self.throughput(everything, now_ns, window_seconds),
            counts={lane: self._ledger.counts(span, lane) for lane in LANES},
            objectives=self._objectives,
            types=dict(self._types(span)),
        )
        return grade.status(evidence, now_ns)

    def _types(self, span: Span) -> Iterator[tuple[str, dict[Priority, Counts]]]:
        for name in self._ledger.types():
            counts = {lane: self._ledger.counts(span, lane, name) for lane in LANES}
            if any(one.total for one in counts.values()):
                yield name, counts

    def _once(self, what: str, selection: Selection, window: int, now_ns: int, compute: Callable[[], T]) -> T:
        moment = (now_ns // NANOS, self._telemetry.version)
        if moment != self._moment or len(self._answers) >= MAX_CACHED:
            self._answers.clear()
            self._moment = moment
        key = (what, selection, window)
        if key not in self._answers:
            self._answers[key] = compute()
        return self._answers[key]  # type: ignore[return-value]
