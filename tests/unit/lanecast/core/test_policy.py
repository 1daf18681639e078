"""Delivery policies."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lanecast.core.policy import BUILT_IN, DEFAULT, LEGACY_500MS, LanePolicy, Policy
from lanecast.core.priority import BUDGET_SECONDS, LANES, Priority


def test_the_default_promises_the_budgets_and_lingers_well_within_them() -> None:
    for lane in LANES:
        assert DEFAULT.lanes[lane].limit_seconds == BUDGET_SECONDS[lane]
        assert not DEFAULT.lanes[lane].fixed_window
        assert DEFAULT.lanes[lane].linger_seconds <= BUDGET_SECONDS[lane] / 2
    assert DEFAULT.lanes[Priority.CRITICAL].linger_seconds == 0
    assert BUILT_IN == {"default": DEFAULT, "legacy-500ms": LEGACY_500MS}


@pytest.mark.parametrize("settings", [(-0.1, 1, 1, 1.0), (0.0, 0, 1, 1.0), (0.0, 1, 0, 1.0), (0.0, 1, 1, 0.0)])
def test_settings_out_of_range_are_refused(settings: tuple[float, int, int, float]) -> None:
    with pytest.raises(ValueError, match="out of range"):
        LanePolicy(*settings)


def test_a_linger_beyond_the_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="a linger of 20 ms cannot keep a limit of 10 ms"):
        LanePolicy(0.02, 1, 1, 0.01)


def test_a_policy_has_all_lanes() -> None:
    with pytest.raises(ValueError, match="each of the four lanes"):
        Policy("half", {Priority.LOW: LanePolicy(0, 1, 1, 1)})


def test_a_digest_stands_for_the_settings_and_not_for_the_name() -> None:
    assert replace(DEFAULT, name="other").digest == DEFAULT.digest != LEGACY_500MS.digest
    assert len(DEFAULT.digest) == 64
    reordered = Policy("reordered", dict(reversed(DEFAULT.lanes.items())))
    assert reordered.digest == DEFAULT.digest
