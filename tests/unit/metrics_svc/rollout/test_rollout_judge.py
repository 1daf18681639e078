"""What enters a verdict: of what gateways report, only what is of this generation, new, and measured by like clocks."""

from __future__ import annotations

from array import array

import pytest

from lanecast.core.bucketing import Arm
from lanecast.core.instruments import ROLLOUT_LATENCY, Key
from lanecast.core.priority import Priority
from metrics_svc.core.catalogue import Kind
from metrics_svc.core.packed import PackedSketch
from metrics_svc.core.telemetry import NANOS, Point, Process
from metrics_svc.rollout.judge import STALE_NANOS, Judge

NOW = 1_000 * NANOS
GATEWAY = Process("gateway_svc", "gateway-1")


def point(*, generation: int = 7, age_ns: int = 0, skewed: int = 0, start_ns: int = 1) -> Point:
    name = {"arm": "candidate", "generation": str(generation), "lane": "HIGH", "part": "3"}
    value = PackedSketch(array("q", [10]), array("q", [5]), 5, 50, 10, 10, skewed)
    return Point(Key(ROLLOUT_LATENCY, tuple(sorted(name.items()))), Kind.HISTOGRAM, start_ns, NOW - age_ns, value)


@pytest.mark.parametrize(
    ("reported", "counted"),
    [
        (point(), 5),
        (point(age_ns=STALE_NANOS), 5),
        (point(age_ns=STALE_NANOS + 1), 0),
        (point(skewed=1), 0),
        (point(generation=6), 0),
    ],
    ids=["new", "just new enough", "stale", "coarse", "of another generation"],
)
def test_only_valid_latencies_are_counted(reported: Point, counted: int) -> None:
    judge = Judge(7)
    judge.take(GATEWAY, reported, NOW)
    assert judge.samples.of(Priority.HIGH, Arm.CANDIDATE).sum() == counted


def test_a_report_that_comes_again_is_counted_once() -> None:
    judge = Judge(7)
    for _ in range(2):
        judge.take(GATEWAY, point(), NOW)
    judge.take(GATEWAY, point(start_ns=2), NOW)
    assert judge.samples.of(Priority.HIGH, Arm.CANDIDATE).sum() == 10
