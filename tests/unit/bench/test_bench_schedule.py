"""bench.schedule: the plan is complete, reproducible and independent of how it is shared out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench import schedule
from bench.scenario import Load, Scenario

SCENARIO = Scenario(
    "test",
    "test",
    sockets=8,
    channels=7,
    loads=(Load(1000, {"CRITICAL": 1, "NORMAL": 3}),),
    seconds=4,
    warmup_seconds=1,
)


def test_every_process_computes_the_same_plan() -> None:
    assert schedule.plan(SCENARIO) == schedule.plan(SCENARIO)
    assert schedule.plan(replace(SCENARIO, seed=2)) != schedule.plan(SCENARIO)


def test_rates_hold_and_events_are_in_order() -> None:
    plan = schedule.plan(SCENARIO)
    assert len(plan) == 5000
    assert list(plan.due_ns) == sorted(plan.due_ns)
    assert plan.due_ns[0] >= 0
    assert plan.due_ns[-1] < 5_000_000_000
    middle = sum(1_000_000_000 <= due < 3_000_000_000 for due in plan.due_ns)
    assert middle == pytest.approx(2000, rel=0.1)


def test_poisson_arrivals_vary_as_they_should_and_uniform_ones_do_not() -> None:
    gaps = np.diff(np.array(schedule.plan(SCENARIO).due_ns)) / 1e6
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.1)
    even = np.diff(np.array(schedule.plan(replace(SCENARIO, arrivals="uniform")).due_ns)) / 1e6
    assert even.std() < 1e-3


def test_each_channel_gets_its_events_numbered_without_holes() -> None:
    plan = schedule.plan(SCENARIO)
    for channel in range(7):
        numbers = [number for number, at in zip(plan.sequence, plan.channel, strict=True) if at == channel]
        assert numbers == list(range(schedule.events_in_channel(5000, 7, channel)))


def test_the_mix_is_kept_in_every_channel() -> None:
    plan = schedule.plan(replace(SCENARIO, loads=(Load(20_000, {"CRITICAL": 1, "NORMAL": 3}),)))
    lanes = np.array(plan.lane)
    assert set(lanes) == {1, 3}
    for channel in range(7):
        assert (lanes[np.array(plan.channel) == channel] == 1).mean() == pytest.approx(0.25, abs=0.02)


def test_publishers_share_the_events_without_overlap() -> None:
    whole = schedule.plan(SCENARIO)
    parts = [schedule.plan(replace(SCENARIO, publishers=3), number) for number in range(3)]
    joined = sorted((c, s) for part in parts for c, s in zip(part.channel, part.sequence, strict=True))
    assert joined == sorted(zip(whole.channel, whole.sequence, strict=True))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_loads_are_merged_by_time_and_keep_their_own_numbers() -> None:
    second = Load(100, {"LOW": 1}, begin=0.5)
    plan = schedule.plan(replace(SCENARIO, loads=(*SCENARIO.loads, second)))
    mine = [due for due, load in zip(plan.due_ns, plan.load, strict=True) if load == 1]
    assert len(mine) == 200
    assert min(mine) >= 3_000_000_000
    assert list(plan.due_ns) == sorted(plan.due_ns)


def test_a_load_can_have_a_publisher_of_its_own() -> None:
    loads = (replace(SCENARIO.loads[0], publisher=1), Load(100, {"LOW": 1}))
    scenario = replace(SCENARIO, loads=loads, publishers=2)
    first, second = (schedule.plan(scenario, number) for number in (0, 1))
    assert set(first.load) == {1}
    assert (len(first), len(second)) == (250, 5250)


def test_sizes_stay_within_their_range() -> None:
    plan = schedule.plan(replace(SCENARIO, payload_bytes=(256, 512)))
    assert min(plan.size) >= 256
    assert max(plan.size) <= 512
    assert np.mean(plan.size) == pytest.approx(384, rel=0.05)


def test_more_than_one_process_can_plan_is_refused() -> None:
    with pytest.raises(ValueError, match="publisher processes"):
        schedule.plan(replace(SCENARIO, seconds=1e9))
