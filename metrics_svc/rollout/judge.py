"""What the controller knows of the arms, and asks the rules.

Owns the samples of the newest generation, what was before the rollout, and the control that was seen last. The only
shell that needs numpy and scipy: the controller imports it when a rollout is started.
"""

from __future__ import annotations

from collections.abc import Mapping

from lanecast.core.bucketing import Arm
from lanecast.core.instruments import ROLLOUT_FAULTS, ROLLOUT_LATENCY, Key
from lanecast.core.policy import Policy
from lanecast.core.priority import LANES, Priority
from metrics_svc.core.packed import PackedSketch
from metrics_svc.core.rollout import statistics
from metrics_svc.core.rollout.machine import Before
from metrics_svc.core.rollout.model import Plan, Rollout, Verdict
from metrics_svc.core.rollout.needs import MIN_LOOKS, MIN_LOOKS_BEFORE, Traffic, explain, judged_lanes
from metrics_svc.core.rollout.results import RuleResult
from metrics_svc.core.rollout.rules import Case, Channels, judge, timeline
from metrics_svc.core.rollout.samples import Counts, Samples
from metrics_svc.core.telemetry import Point, Process

_RECOVERED_RATIO = 1.5
STALE_NANOS = 30_000_000_000
"""Latencies that were reported this long ago enter no verdict: a connection that was away brings them late."""
_ARMS = {arm.name.lower(): arm for arm in Arm}


class Judge:
    """See the module."""

    def __init__(self, generation: int, before: Mapping[str, list[float]] | None = None) -> None:
        self.samples = Samples(generation)
        self.before = {Priority[name]: list(series) for name, series in (before or {}).items()}
        self._reference: dict[Priority, Counts] = {}
        self._recent: dict[tuple[Process, Key], Point] = {}

    @property
    def generation(self) -> int:
        """The generation whose samples are kept."""
        return self.samples.generation

    def begin(self, generation: int) -> None:
        """Forget the samples of the generation before, except for its control."""
        for lane in LANES:
            control = self.samples.of(lane, Arm.CONTROL)
            if control.any():
                self._reference[lane] = control.copy()
        self.samples = Samples(generation)
        self._recent.clear()

    def restart(self) -> None:
        """Begin the analysis: what has come so far was still settling."""
        self.samples.restart()
        self._recent.clear()

    def take(self, process: Process, point: Point, now_ns: int) -> None:
        """Count a point that a gateway has reported; one that comes again replaces the first."""
        attributes = dict(point.key.attributes)
        arm = _ARMS.get(attributes.get("arm", ""))
        if arm is None or attributes.get("generation") != str(self.generation):
            return
        if point.key.name == ROLLOUT_FAULTS and isinstance(point.value, int):
            self.samples.fault(arm, attributes.get("reason", ""), point.value)
        if point.key.name != ROLLOUT_LATENCY or not isinstance(point.value, PackedSketch):
            return
        lane, part = attributes.get("lane", ""), attributes.get("part", "")
        if lane not in Priority.__members__ or not part.isdecimal() or now_ns - point.end_ns > STALE_NANOS:
            return
        if point.value.skewed:
            return  # a negative latency: two hosts' clocks differ by more than what is measured
        before = self._recent.get((process, point.key))
        if before is not None and before.start_ns == point.start_ns and isinstance(before.value, PackedSketch):
            old = before.value
            self.samples.take_back(Priority[lane], arm, int(part), old.indexes, old.counts)
        self._recent[process, point.key] = point
        self.samples.add(Priority[lane], arm, int(part), point.value.indexes, point.value.counts)

    def end_look(self, seconds: float) -> None:
        """Say that a look is over."""
        self.samples.pass_time(seconds)

    def look(self, rollout: Rollout, candidate: Policy, channels: Channels) -> tuple[RuleResult, ...]:
        """Return what the rules say."""
        lanes = tuple(Priority[name] for name in rollout.lanes)
        limits = {lane: candidate.lanes[lane].limit_seconds for lane in LANES}
        return judge(
            Case(
                rollout.plan, rollout.exposure, rollout.stage, lanes, limits, self.samples, channels, self.before,
                self._reference,
            )
        )  # fmt: skip

    def see_before(self, plan: Plan, channels: Mapping[Priority, int]) -> Before:
        """Say whether what was before is known well enough to begin, and remember it."""
        lanes = judged_lanes(plan, channels)
        if not lanes:
            traffic = {lane: Traffic(number, 1.0) for lane, number in channels.items()}
            return Before(False, (explain(plan, traffic) or ["no lane has traffic"])[0], ())
        self.before = {lane: timeline(self.samples, lane) for lane in lanes}
        fewest = min(lanes, key=lambda lane: len(self.before[lane]))
        number = len(self.before[fewest])
        names = tuple(lane.name for lane in lanes)
        if number < MIN_LOOKS_BEFORE:
            return Before(False, f"{fewest.name}: {number} looks of {MIN_LOOKS_BEFORE} at how things are", names)
        return Before(True, f"judging {', '.join(names)}", names)

    def recovered(self) -> Verdict:
        """Say whether figures are as before the rollout."""
        verdicts: list[Verdict] = []
        for lane, before in self.before.items():
            now = timeline(self.samples, lane)
            if len(now) < min(MIN_LOOKS, 3) or len(before) < 2:
                return Verdict.NO_DATA
            found = statistics.ratio(now, before)
            verdicts.append(Verdict.FAIL if found.low > _RECOVERED_RATIO else Verdict.PASS)
        return Verdict.FAIL if Verdict.FAIL in verdicts else Verdict.PASS
