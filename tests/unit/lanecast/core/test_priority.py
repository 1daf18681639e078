"""Lanes and their budgets."""

from __future__ import annotations

import pytest

from lanecast.core.priority import BUDGET_SECONDS, BULK_LANES, EXPRESS_LANES, LANES, Priority
from lanecast.v1 import event_pb2


@pytest.mark.parametrize("text", ["CRITICAL", "critical", " Critical ", "PRIORITY_CRITICAL", "priority_critical"])
def test_a_lane_is_found_by_any_of_its_spellings(text: str) -> None:
    assert Priority.parse(text) is Priority.CRITICAL


@pytest.mark.parametrize("text", ["", "URGENT", "PRIORITY_UNSPECIFIED", "1"])
def test_an_unknown_lane_names_the_four(text: str) -> None:
    with pytest.raises(ValueError, match="use one of CRITICAL, HIGH, NORMAL, LOW"):
        Priority.parse(text)


@pytest.mark.parametrize("lane", LANES)
def test_numbers_and_names_are_those_of_the_contract(lane: Priority) -> None:
    assert event_pb2.Priority.Value(lane.wire_name) == lane == lane.wire_value


def test_lanes_are_ordered_by_urgency_and_all_of_one_kind() -> None:
    assert (*EXPRESS_LANES, *BULK_LANES) == LANES == tuple(Priority)
    budgets = [BUDGET_SECONDS[lane] for lane in LANES]
    assert budgets == sorted(budgets) == [0.001, 0.005, 0.010, 0.050]
