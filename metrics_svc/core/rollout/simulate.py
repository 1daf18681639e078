"""Rollouts in a world that is made up, to count how often the rules are wrong.

Owns the made-up world: channels of unequal traffic and speed, latencies with a long tail, and stalls that meet both
arms at once, as they do on real hosts. What decides is the real machine with the real rules. Pure: a seed gives the
same run again. Run by `metrics_svc.simulate`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from lanecast.core.bucketing import PARTS, Arm, arm_of, bucket, part
from lanecast.core.priority import Priority
from lanecast.core.sketch import BUCKETS, MIN_INDEX, SCALE
from metrics_svc.core.rollout.history import CREATED, Entry, apply, plan_data
from metrics_svc.core.rollout.machine import Asked, Before, Sight, ask, tick
from metrics_svc.core.rollout.model import NANOS, Plan, Rollout, Stage, State, Verb, Verdict
from metrics_svc.core.rollout.needs import MIN_LOOKS_BEFORE
from metrics_svc.core.rollout.rules import Case, judge, timeline
from metrics_svc.core.rollout.samples import Counts, Samples

Numbers = npt.NDArray[np.float64]

_AGENT = "publisher-1"
_LIMIT_SECONDS = 1.0
_TAIL = 1.2816
"""The slowest tenth of a normal distribution begins here."""
_HEAVY_FREEDOM = 3
_HEAVY_SCALE = 1 / 3**0.5
_HEAVY_TAIL = 1.6377 * _HEAVY_SCALE
"""The same of Student's distribution with three degrees of freedom, at a standard deviation of one."""


@dataclass(frozen=True, slots=True)
class World:
    """What the simulated system is like."""

    channels: int = 600
    lanes: tuple[Priority, ...] = (Priority.HIGH, Priority.NORMAL)
    rate: float = 2.0
    """Events per second of a channel and lane, on average; some channels have twenty times those of others."""
    median_seconds: float = 0.002
    spread: float = 0.45
    """Standard deviation of the logarithm of a latency."""
    between_channels: float = 0.08
    """The same between channels, for good."""
    stall_share: float = 0.15
    """Share of looks in which the host stalls: latencies of both arms are up to three times as long."""
    tail_effect: float = 0.0
    """By how much the slowest tenth of the candidate's deliveries in the first lane is slower; 0.3 for +30 % at p99."""
    delivered_share: float = 1.0
    """Share of the candidate's events in the last lane that are ever delivered."""
    both_effect: float = 0.0
    """By how much all deliveries of the first lane are slower once channels are exposed."""
    lost_events: int = 0
    """Candidate events lost in each look."""
    heavy_tailed: bool = False
    """True: noise is not normal but Student's with three degrees of freedom, of deliveries and of channels."""


@dataclass(slots=True)
class Outcome:
    """What became of one simulated rollout."""

    state: State
    hold: str
    looks: int
    """Looks with exposure."""
    seconds: float
    """Simulated time."""
    highest: int
    """Highest exposure in hundredths of a percent."""
    reason: str
    verdicts: list[Verdict] = field(default_factory=list)


class Simulation:
    """One rollout in one world."""

    def __init__(self, world: World, plan: Plan, seed: int) -> None:
        self._world = world
        self._random = np.random.default_rng(seed)
        self._now = 0
        entry = Entry(f"sim-{seed}", CREATED, 0, {"plan": plan_data(plan)})
        self.rollout: Rollout = apply(None, entry)
        names = [f"sim:{number}" for number in range(world.channels)]
        self._buckets = [bucket(self.rollout.salt, name) for name in names]
        self._parts = np.array([part(name) for name in names])
        size = (len(world.lanes), world.channels)
        self._rates = world.rate * np.exp(self._random.normal(-0.32, 0.8, size))
        self._offsets = self._random.normal(0, world.between_channels, size)
        self._assigned: dict[int, npt.NDArray[np.int64]] = {}
        self._samples = Samples(0)
        self._before: dict[Priority, list[float]] = {}
        self._reference: dict[Priority, Counts] = {}
        self._candidate_ns = 0

    def run(self, max_looks: int) -> Outcome:
        """Run until the rollout is over or held, or that many looks have passed with exposure."""
        self._write(ask(self.rollout, Verb.START, Asked("simulator"), self._sight()))
        verdicts: list[Verdict] = []
        highest, step = 0, self.rollout.plan.look_seconds
        limit = max_looks * 20
        while len(verdicts) < max_looks and limit:
            limit -= 1
            self._now += int(step * NANOS)
            exposed = self.rollout.exposure > 0
            if self.rollout.generation != self._samples.generation:
                self._begin_generation()
            self._deliver(step)
            self._write(tick(self.rollout, self._sight(look=exposed, step=step)))
            self._samples.pass_time(step)
            if exposed and self.rollout.verdict is not None:
                verdicts.append(self.rollout.verdict)
            highest = max(highest, self.rollout.exposure)
            if self.rollout.state in {State.COMPLETED, State.ROLLED_BACK, State.ROLLING_BACK, State.HELD}:
                break
        rollout = self.rollout
        hold = rollout.hold.value if rollout.hold else ""
        return Outcome(rollout.state, hold, len(verdicts), self._now / NANOS, highest, rollout.reason, verdicts)

    def _write(self, entries: list[Entry]) -> None:
        for entry in entries:
            was = self.rollout.state
            self.rollout = apply(self.rollout, entry)
            if was is State.SETTLING and self.rollout.state is State.ANALYSING:
                self._samples.restart()

    def _begin_generation(self) -> None:
        if self._samples.generation == 1:
            self._before = {lane: timeline(self._samples, lane) for lane in self._world.lanes}
        self._samples = Samples(self.rollout.generation)

    def _deliver(self, seconds: float) -> None:
        world, random = self._world, self._random
        arms = self._arms(self.rollout.exposure)
        stall = float(random.uniform(0, np.log(3))) if random.random() < world.stall_share else 0.0
        for row, lane in enumerate(world.lanes):
            shift = np.log(world.median_seconds) + self._offsets[row] + 0.1 * self._noise(world.channels) + stall
            if row == 0 and self.rollout.exposure:
                shift += np.log1p(world.both_effect)
            numbers = random.poisson(self._rates[row] * seconds)
            if row == len(world.lanes) - 1:
                numbers = np.where(arms == Arm.CANDIDATE, random.binomial(numbers, world.delivered_share), numbers)
            for arm in (Arm.CONTROL, Arm.CANDIDATE):
                effect = world.tail_effect if row == 0 and arm is Arm.CANDIDATE else 0.0
                self._deliver_arm(lane, arm, arms == arm, numbers, shift, effect)
        if (arms == Arm.CANDIDATE).any():
            self._candidate_ns = self._now
            if world.lost_events:
                self._samples.fault(Arm.CANDIDATE, "lost", world.lost_events)

    def _deliver_arm(
        self, lane: Priority, arm: Arm, chosen: npt.NDArray[np.bool_], numbers: npt.NDArray[np.int64], shift: Numbers,
        effect: float,
    ) -> None:  # fmt: skip
        own = numbers[chosen]
        noise = self._noise(int(own.sum()))
        logs = np.repeat(shift[chosen], own) + self._world.spread * noise
        if effect:
            logs += np.where(noise > (_HEAVY_TAIL if self._world.heavy_tailed else _TAIL), np.log1p(effect), 0.0)
        indexes = np.clip(np.ceil(logs / np.log(2) * (1 << SCALE)).astype(np.int64) - 1 - MIN_INDEX, 0, BUCKETS - 1)
        places = np.repeat(self._parts[chosen], own) * BUCKETS + indexes
        self._samples.add_block(lane, arm, np.bincount(places, minlength=PARTS * BUCKETS).reshape(PARTS, BUCKETS))

    def _arms(self, exposure: int) -> npt.NDArray[np.int64]:
        found = self._assigned.get(exposure)
        if found is None:
            found = np.array([arm_of(number, exposure) for number in self._buckets])
            self._assigned[exposure] = found
        return found

    def _noise(self, size: int) -> Numbers:
        if self._world.heavy_tailed:
            return self._random.standard_t(_HEAVY_FREEDOM, size) * _HEAVY_SCALE
        return self._random.normal(0, 1, size)

    def _sight(self, *, look: bool = False, step: float = 0.0) -> Sight:
        world, rollout = self._world, self.rollout
        agents = {_AGENT: rollout.generation}
        before = None
        if rollout.state is State.STARTING:
            enough = min(len(timeline(self._samples, lane)) for lane in world.lanes) >= MIN_LOOKS_BEFORE
            before = Before(enough, "enough samples", tuple(lane.name for lane in world.lanes))
        results = None
        if look:
            arms = self._arms(rollout.exposure)
            channels = {
                (lane, arm): int((arms == arm).sum()) for lane in world.lanes for arm in (Arm.CONTROL, Arm.CANDIDATE)
            }
            limits = dict.fromkeys(world.lanes, _LIMIT_SECONDS)
            results = judge(
                Case(
                    rollout.plan, rollout.exposure, rollout.stage, world.lanes, limits, self._samples, channels,
                    self._before, self._reference,
                )
            )  # fmt: skip
        return Sight(self._now, rollout.generation + 1, agents, results, step, before, self._candidate_ns, Verdict.PASS)


def plan_of_looks(looks: int, look_seconds: float = 5.0) -> Plan:
    """Return a plan whose first stage, 10 %, takes that many looks and no fewer."""
    seconds = looks * look_seconds
    stages = (Stage(10, seconds * 2, seconds * 4), Stage(100, seconds, seconds * 4))
    return Plan("baseline", "candidate", stages, look_seconds=look_seconds, settle_seconds=2 * look_seconds)


def whole_plan(look_seconds: float = 5.0) -> Plan:
    """Return a plan with all five stages, each as long as its verdict takes."""
    plan = Plan("baseline", "candidate", look_seconds=look_seconds, bake_seconds=60.0)
    return replace(plan, stages=tuple(replace(stage, min_seconds=30.0) for stage in plan.stages))
