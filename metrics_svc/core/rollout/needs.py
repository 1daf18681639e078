"""What the stages of a plan need before they can be judged, and how long that takes.

Owns the minimum numbers and the arithmetic that `validate` prints. Needs neither samples nor statistics.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from lanecast.core.bucketing import BUCKETS
from lanecast.core.priority import LANES, Priority
from metrics_svc.core.rollout.model import Plan

MIN_TAIL = 20
"""Samples beyond a quantile, in each arm."""
MIN_CHANNELS = 20
"""Channels in each arm."""
MIN_PARTS = 8
"""Parts of each arm that have enough samples."""
MIN_LOOKS_BEFORE = 12
MIN_LOOKS = 6
"""Looks before the first exposure, and in a stage, to compare the control with itself."""

_OBJECTIVES = {Priority.CRITICAL: 0.99, Priority.HIGH: 0.995, Priority.NORMAL: 0.995, Priority.LOW: 0.99}


@dataclass(frozen=True, slots=True)
class Traffic:
    """What goes through a lane at present."""

    channels: int
    rate: float
    """Events per second that are delivered."""


@dataclass(frozen=True, slots=True)
class Need:
    """What one stage needs in one lane."""

    percent: int
    lane: Priority
    channels_needed: int
    """In the whole lane, so that each arm has its share."""
    channels_active: int
    samples_needed: int
    """In each arm."""
    seconds: float | None
    """How long the samples take at the present traffic; None: for ever."""


def objective_of(plan: Plan, lane: Priority) -> float:
    """Return the share of deliveries in a lane that must be within the candidate's limit."""
    return plan.objective or _OBJECTIVES[lane]


def smallest_arm(exposure: int) -> float:
    """Return the share of all channels in the smaller of the arms that are compared."""
    rest = BUCKETS - exposure
    return (min(exposure, rest) if rest else exposure) / BUCKETS


def samples_needed(plan: Plan, lane: Priority) -> int:
    """Return how many samples each arm needs."""
    return round(MIN_TAIL / (1 - max(*plan.quantiles, objective_of(plan, lane))))


def needs(plan: Plan, traffic: Mapping[Priority, Traffic]) -> list[Need]:
    """Return what each stage needs in each lane that has traffic."""
    found: list[Need] = []
    for number, stage in enumerate(plan.stages):
        share = smallest_arm(plan.exposure(number))
        for lane in LANES:
            present = traffic.get(lane)
            if present is None or not present.channels:
                continue
            wanted = samples_needed(plan, lane)
            seconds = wanted / (present.rate * share) if present.rate else None
            channels = ceil(MIN_CHANNELS / share)
            found.append(Need(stage.percent, lane, channels, present.channels, wanted, seconds))
    return found


def judged_lanes(plan: Plan, channels: Mapping[Priority, int]) -> tuple[Priority, ...]:
    """Return the lanes with enough channels to be judged in every stage; the others have too few to say anything."""
    share = min(smallest_arm(plan.exposure(number)) for number in range(len(plan.stages)))
    return tuple(lane for lane in LANES if channels.get(lane, 0) * share >= MIN_CHANNELS)


def stage_seconds(plan: Plan, stage: int, of_stage: list[Need]) -> float | None:
    """Return the least time of a stage at the present traffic; None: it never ends."""
    judged = [need for need in of_stage if need.channels_active >= need.channels_needed]
    if not judged or any(need.seconds is None for need in judged):
        return None
    slowest = max(need.seconds or 0.0 for need in judged)
    return plan.settle_seconds + max(plan.stages[stage].min_seconds, slowest)


def explain(plan: Plan, traffic: Mapping[Priority, Traffic]) -> list[str]:
    """Return sentences that say why the plan cannot be judged at the present traffic; empty where it can."""
    problems = plan.problems()
    if problems:
        return problems
    lanes = judged_lanes(plan, {lane: present.channels for lane, present in traffic.items()})
    if lanes:
        return []
    share = min(smallest_arm(plan.exposure(number)) for number in range(len(plan.stages)))
    most = max((present.channels for present in traffic.values()), default=0)
    needed = ceil(MIN_CHANNELS / share)
    text = (
        f"no lane has the channels to be judged: its smallest arm has {share:.0%} of them and needs {MIN_CHANNELS},"
        f" which makes {needed} active channels in one lane; the most there are is {most}"
    )
    return [text]


def least_samples(plan: Plan) -> int:
    """Return how many samples an arm needs in the lane that needs the fewest."""
    return min(samples_needed(plan, lane) for lane in LANES)
