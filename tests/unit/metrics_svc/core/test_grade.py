"""The grade: what lowers it, and that missing data never raises it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanecast.core import instruments as names
from lanecast.core.priority import BUDGET_SECONDS, LANES, Priority
from metrics_svc.core.grade import Grade, Standing, Status
from metrics_svc.core.queries import Queries


def status(bench: Any, window: int = 60) -> Status:
    return Queries(bench.telemetry).status(bench.now_ns, window)


def traffic(
    bench: Any, good: dict[Priority, float], *, dropped: int = 0, silent: frozenset[Priority] = frozenset()
) -> None:
    """1,000 events in each lane of `good`, that share of them delivered within the budget."""
    for lane, share in good.items():
        bench.count(names.EVENT_ACCEPTED, 1000, lane=lane.name)
        if lane in silent:
            continue
        fine = round(1000 * share)
        bench.deliveries(lane.name, [BUDGET_SECONDS[lane] / 2] * fine + [BUDGET_SECONDS[lane] * 3] * (1000 - fine))
        bench.durations(names.HOP_DURATION, [BUDGET_SECONDS[lane]] * 10, lane=lane.name, hop="lane_wait")
        if dropped:
            bench.count(names.EVENT_DROPPED, dropped, bench.gateway, lane=lane.name)
    bench.later(3)
    bench.count(names.EVENT_ACCEPTED, 0, lane="LOW")
    bench.gauge(names.CONNECTION_ACTIVE, 1)


ALL_GOOD = dict.fromkeys(LANES, 1.0)


def test_all_objectives_met_with_room_is_a(bench: Any) -> None:
    traffic(bench, ALL_GOOD)
    found = status(bench)
    assert (found.grade, found.score, found.advice) == (Grade.A, 100.0, ())


def test_met_without_room_is_b(bench: Any) -> None:
    traffic(bench, {**ALL_GOOD, Priority.CRITICAL: 0.992})
    assert status(bench).grade is Grade.B


@pytest.mark.parametrize("lane", LANES)
def test_one_missed_objective_is_c_with_the_reason_and_what_to_do(bench: Any, lane: Priority) -> None:
    traffic(bench, {**ALL_GOOD, lane: 0.9})
    found = status(bench)
    missed = next(one for one in found.lanes if one.lane is lane)
    assert found.grade is Grade.C
    assert missed.standing is Standing.MISSED
    assert missed.budget_remaining < 0
    assert "90.00% of 1000 deliveries" in missed.reason
    assert missed.slowest_hop == "lane_wait"
    assert "linger" in found.advice[0].action


def test_several_missed_are_d_and_nearly_nothing_kept_is_f(bench: Any) -> None:
    traffic(bench, {**ALL_GOOD, Priority.LOW: 0.9, Priority.NORMAL: 0.9})
    assert status(bench).grade is Grade.D
    traffic(bench, dict.fromkeys(LANES, 0.0))
    bench.later(60)
    traffic(bench, dict.fromkeys(LANES, 0.1))
    assert status(bench, 20).grade is Grade.F


def test_losses_beyond_the_budget_are_a_missed_objective(bench: Any) -> None:
    traffic(bench, ALL_GOOD, dropped=30)
    found = status(bench)
    assert found.grade is Grade.D
    assert "30 of 1030 deliveries were lost" in found.lanes[0].reason
    assert "why events are lost" in found.advice[0].action


def test_nothing_at_all_is_no_grade(bench: Any) -> None:
    found = status(bench)
    assert (found.grade, found.score) == (Grade.UNKNOWN, 0.0)
    assert "Start the publisher" in found.advice[0].action


def test_a_lane_without_traffic_is_left_out_while_the_publisher_reports(bench: Any) -> None:
    traffic(bench, {Priority.CRITICAL: 1.0})
    found = status(bench)
    assert found.grade is Grade.A
    assert [one.standing for one in found.lanes[1:]] == [Standing.IDLE] * 3


def test_a_lane_without_traffic_counts_as_missed_where_no_publisher_reports(bench: Any) -> None:
    bench.deliveries("CRITICAL", [0.0001] * 100)
    found = status(bench)
    assert found.grade is Grade.D
    assert "no publisher reports" in found.lanes[1].reason


def test_accepted_but_never_delivered_is_missed(bench: Any) -> None:
    traffic(bench, ALL_GOOD, silent=frozenset(LANES))
    assert status(bench).grade is Grade.F


def test_a_silent_process_costs_the_best_grade(bench: Any) -> None:
    traffic(bench, ALL_GOOD)
    bench.later(20)
    bench.count(names.EVENT_ACCEPTED, 1, lane="LOW")
    found = status(bench)
    assert found.grade is Grade.B
    assert "gateway-1" in found.advice[0].action


def test_few_deliveries_are_not_enough_for_the_best_grade(bench: Any) -> None:
    bench.count(names.EVENT_ACCEPTED, 5, lane="LOW")
    bench.deliveries("LOW", [0.001] * 5)
    bench.later(3)
    assert status(bench).grade is Grade.B


shares = st.fixed_dictionaries({lane: st.sampled_from([0.0, 0.5, 0.9, 0.992, 0.997, 1.0]) for lane in LANES})


@given(good=shares, silent=st.frozensets(st.sampled_from(LANES), min_size=1))
def test_missing_deliveries_never_raise_the_grade_or_the_score(
    new_bench: Any, good: dict[Priority, float], silent: frozenset[Priority]
) -> None:
    whole, partial = new_bench(), new_bench()
    traffic(whole, good)
    traffic(partial, good, silent=silent)
    full, less = status(whole), status(partial)
    assert less.grade >= full.grade
    assert less.score <= full.score


def test_the_sentence_about_the_slowest_hop_is_kept_for_a_while(bench: Any) -> None:
    queries = Queries(bench.telemetry)
    bench.durations(names.HOP_DURATION, [0.001] * 10, lane="HIGH", hop="log")

    def blame(lane: Priority, seconds: int = 60) -> str:
        return queries.blame(lane, bench.now_ns, seconds, keep_seconds=10.0)

    assert "goes to log" in blame(Priority.HIGH)
    assert blame(Priority.LOW) == ""
    bench.later(9)
    bench.durations(names.HOP_DURATION, [0.5] * 10, lane="HIGH", hop="transit")
    assert "goes to log" in blame(Priority.HIGH)
    assert "goes to transit" in blame(Priority.HIGH, 30)
    bench.later(1)
    assert "goes to transit" in blame(Priority.HIGH)
    bench.later(-60)  # the clock was set back
    assert "goes to transit" not in blame(Priority.HIGH)
