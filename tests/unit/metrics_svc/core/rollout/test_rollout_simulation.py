"""The rules in a made-up world: identical arms stay, harm goes back, and without data nothing moves.

These are small runs that must come out right every time; `lanecast rollout simulate` counts over many.
"""

from __future__ import annotations

import pytest

from metrics_svc import simulate
from metrics_svc.core.rollout.model import State, Verdict
from metrics_svc.core.rollout.simulate import Simulation, World, plan_of_looks, whole_plan

BACK = {State.ROLLING_BACK, State.ROLLED_BACK}


@pytest.mark.parametrize("seed", range(6))
def test_identical_arms_are_not_rolled_back(seed: int) -> None:
    assert Simulation(World(), plan_of_looks(20), seed).run(20).state not in BACK


@pytest.mark.parametrize("seed", range(4))
def test_a_tail_half_as_slow_again_is_rolled_back_and_never_passes(seed: int) -> None:
    outcome = Simulation(World(tail_effect=0.5), plan_of_looks(20), seed).run(20)
    assert outcome.state in BACK
    assert "HIGH: p9" in outcome.reason
    assert outcome.highest == 1_000
    assert Verdict.PASS not in outcome.verdicts


@pytest.mark.parametrize("seed", [10009, 10027, 10029, 10033])
def test_a_tail_slower_by_a_third_is_found_though_the_host_stalls(seed: int) -> None:
    outcome = Simulation(World(tail_effect=0.3), plan_of_looks(20), seed).run(20)
    assert outcome.state in BACK
    assert "HIGH: look by look, p9" in outcome.reason


def test_one_lost_event_is_rolled_back_at_the_first_look() -> None:
    outcome = Simulation(World(lost_events=1), plan_of_looks(20), 1).run(20)
    assert (outcome.state, outcome.looks) == (State.ROLLING_BACK, 1)
    assert "lost" in outcome.reason


def test_a_lane_that_hardly_comes_is_rolled_back() -> None:
    outcome = Simulation(World(delivered_share=0.2), plan_of_looks(20), 1).run(20)
    assert outcome.state in BACK
    assert "NORMAL: a candidate channel gets" in outcome.reason


def test_one_that_slows_both_arms_is_rolled_back() -> None:
    outcome = Simulation(World(both_effect=3.0), plan_of_looks(20), 1).run(20)
    assert outcome.state in BACK
    assert "times what it was before" in outcome.reason


@pytest.mark.parametrize("world", [World(rate=0.0), World(rate=0.01), World(channels=100)])
def test_without_data_nothing_ever_passes(world: World) -> None:
    outcome = Simulation(world, plan_of_looks(20), 1).run(60)
    assert Verdict.PASS not in outcome.verdicts
    assert outcome.highest <= 1_000
    assert outcome.state is not State.COMPLETED


def test_a_good_candidate_goes_through_all_stages() -> None:
    world = World(channels=1_500, rate=8.0, tail_effect=-0.4, stall_share=0.0)
    outcome = Simulation(world, whole_plan(), 3).run(300)
    assert outcome.state is State.COMPLETED, outcome
    assert outcome.highest == 10_000


def test_the_same_seed_gives_the_same_run() -> None:
    one, other = (Simulation(World(), plan_of_looks(20), 5).run(10) for _ in range(2))
    assert one == other


def test_the_command_prints_a_line_for_each_candidate(capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate.main(["--runs", "1", "--looks", "2", "--effects", "0", "--channels", "250"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines[:2]] == ["slowest tenth +0%", "half of the last lane never comes"]
    assert "times real speed" in lines[-1]
