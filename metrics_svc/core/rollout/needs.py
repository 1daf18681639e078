"""What the stages of a plan need before they can be judged, and how long that takes.

Owns the minimum numbers and the arithmetic that `validate` prints. Needs neither samples nor statistics.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, comb

from lanecast.core.bucketing import BUCKETS
from lanecast.core.priority import LANES, Priority
from metrics_svc.core.rollout.model import Plan

MIN_TAIL = 20
"""Samples beyond a quantile, in each arm."""
MIN_CHANNELS = 20
"""Channels in each arm."""
SURE = 0.99
"""Chance that both arms get their channels, from which on a lane has enough of them."""
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


def chance_of_channels(channels: int, exposure: int) -> float:
    """Return a lower bound of the chance that each arm gets the channels it needs: they fall into buckets by chance."""
    shares = [exposure / BUCKETS]
    if exposure < BUCKETS:
        shares.append(smallest_arm(exposure))
    return max(0.0, 1.0 - sum(_chance_of_fewer(channels, share) for share in shares))


def _chance_of_fewer(channels: int, share: float) -> float:
    if share >= 1:
        return float(channels < MIN_CHANNELS)
    terms = (
        comb(channels, k) * share**k * (1 - share) ** (channels - k) for k in range(min(MIN_CHANNELS, channels + 1))
    )
    return min(1.0, sum(terms))


def channels_wanted(exposure: int) -> int:
    """Return the fewest channels of a lane that are surely enough."""
    low = high = ceil(MIN_CHANNELS / smallest_arm(exposure))
    while chance_of_channels(high, exposure) < SURE:
        low, high = high, 2 * high
    while low < high:
        middle = (low + high) // 2
        if chance_of_channels(middle, exposure) < SURE:
            low = middle + 1
        else:
            high = middle
    return high


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
    exposure = min((plan.exposure(number) for number in range(len(plan.stages))), key=smallest_arm)
    share, most = smallest_arm(exposure), max((present.channels for present in traffic.values()), default=0)
    wanted = channels_wanted(exposure)
    if most * share >= MIN_CHANNELS:
        chance = chance_of_channels(most, exposure)
        text = (
            f"a lane may get too few channels into one arm: of its {most}, about {most * share:.0f} come into the"
            f" smaller one, and the chance that each gets the {MIN_CHANNELS} it needs is {chance:.0%}; {wanted} active"
            f" channels make it {SURE:.0%}"
        )
        return [] if chance >= SURE else [text]
    text = (
        f"no lane has the channels to be judged: its smallest arm has {share:.0%} of them and needs {MIN_CHANNELS},"
        f" for which {wanted} active channels in one lane are surely enough; the most there are is {most}"
    )
    return [text]


def least_samples(plan: Plan) -> int:
    """Return how many samples an arm needs in the lane that needs the fewest."""
    return min(samples_needed(plan, lane) for lane in LANES)
