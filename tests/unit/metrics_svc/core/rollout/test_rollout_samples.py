"""What both arms have shown: levelled by the control of each look, and each arm's silence."""

from __future__ import annotations

import numpy as np
import pytest

from lanecast.core.bucketing import PARTS, Arm
from lanecast.core.priority import Priority
from lanecast.core.sketch import BUCKETS
from metrics_svc.core.rollout.samples import LEAST_OF_A_LEVEL, Counts, Samples

HIGH = Priority.HIGH
MIDDLE = BUCKETS // 2


def block(*places: tuple[int, int, int]) -> Counts:
    """Return counts with a number at each (part, bucket)."""
    found = np.zeros((PARTS, BUCKETS), np.int64)
    for part, index, number in places:
        found[part, index] += number
    return found


def look(samples: Samples, control: Counts, candidate: Counts) -> None:
    samples.add_block(HIGH, Arm.CONTROL, control)
    samples.add_block(HIGH, Arm.CANDIDATE, candidate)
    samples.pass_time(5.0)


@pytest.mark.parametrize("stall", [0, 70, -300])
def test_looks_are_moved_until_the_control_has_its_median_in_the_middle(stall: int) -> None:
    samples = Samples(2)
    look(samples, block((0, 500, 30)), block((0, 500, 20), (1, 520, 10)))
    look(samples, block((0, 500 + stall, 30)), block((0, 500 + stall, 20), (1, 520 + stall, 10)))
    candidate = samples.levelled(HIGH, Arm.CANDIDATE)
    assert candidate[0, MIDDLE] == 40
    assert candidate[1, MIDDLE + 20] == 20
    assert candidate.sum() == 60
    assert samples.levelled(HIGH, Arm.CONTROL)[0, MIDDLE] == 60


@pytest.mark.parametrize("index", [0, BUCKETS - 1])
def test_what_would_leave_the_buckets_stays_at_their_end(index: int) -> None:
    samples = Samples(2)
    far = BUCKETS - 1 - index
    look(samples, block((3, index, 30)), block((3, far, 7)))
    assert samples.levelled(HIGH, Arm.CANDIDATE)[3, far] == 7
    assert samples.levelled(HIGH, Arm.CONTROL)[3, MIDDLE] == 30


def test_a_look_with_too_few_of_the_control_waits_for_the_next() -> None:
    samples = Samples(2)
    look(samples, block((0, 500, LEAST_OF_A_LEVEL - 1)), block((0, 510, 4)))
    assert samples.levelled(HIGH, Arm.CANDIDATE).sum() == 0
    look(samples, block((0, 500, 1)), block((0, 510, 5)))
    assert samples.levelled(HIGH, Arm.CANDIDATE)[0, MIDDLE + 10] == 9
    samples.restart()
    assert samples.levelled(HIGH, Arm.CANDIDATE).sum() == 0


def test_a_report_that_is_taken_back_in_a_later_look_leaves_no_negative_counts() -> None:
    samples = Samples(2)
    look(samples, block((0, 500, 30)), block())
    samples.take_back(HIGH, Arm.CONTROL, 0, [500], [30])
    samples.add(HIGH, Arm.CONTROL, 0, [500, 510], [30, 5])
    samples.pass_time(5.0)
    assert [int(counts.sum()) for counts in samples.control_looks(HIGH)] == [30, 5]
    samples.take_back(HIGH, Arm.CONTROL, 0, [510], [5])
    samples.pass_time(5.0)
    assert samples.control_looks(HIGH)[-1].min() == 0


def test_an_arm_falls_silent_by_itself() -> None:
    samples = Samples(2)
    look(samples, block((0, 500, 3)), block((0, 500, 3)))
    look(samples, block((0, 500, 3)), block())
    look(samples, block((0, 500, 3)), block())
    assert samples.silence(HIGH, Arm.CANDIDATE) == 10.0
    assert samples.silence(HIGH, Arm.CONTROL) == 0.0
    look(samples, block(), block((0, 500, 1)))
    assert (samples.silence(HIGH, Arm.CANDIDATE), samples.silence(HIGH, Arm.CONTROL)) == (0.0, 5.0)
