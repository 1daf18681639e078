"""Figures over time: how a window is cut, and that nothing is counted twice or forgotten."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from lanecast.core import instruments as names
from lanecast.core.instruments import Key
from lanecast.core.priority import BUDGET_SECONDS, Priority
from metrics_svc.core.catalogue import Kind
from metrics_svc.core.plot import MAX_POINTS, Step, step_of, steps
from metrics_svc.core.telemetry import NANOS, Point, Process, Telemetry

BEGIN = 1_800_000_000


def finish(work: Generator[None, None, tuple[Step, ...]]) -> tuple[Step, ...]:
    while True:
        try:
            next(work)
        except StopIteration as stop:
            found: tuple[Step, ...] = stop.value
            return found


@pytest.mark.parametrize(
    ("window", "step"), [(1, 1), (120, 1), (600, 10), (3_600, 60), (86_400, 600), (172_800, 3_600), (2_592_000, 21_600)]
)
def test_a_step_is_as_fine_as_is_kept_and_can_be_drawn(window: int, step: int) -> None:
    assert step_of(window) == step
    assert window / step_of(window) <= MAX_POINTS


def test_every_delivery_is_in_one_step() -> None:
    telemetry = Telemetry(BEGIN * NANOS)
    key = Key(names.EVENT_DELIVERED, (("lane", "LOW"),))
    gateway = Process("gateway_svc", "g1")
    for second in range(30):
        now = (BEGIN + second) * NANOS
        telemetry.add(gateway, [Point(key, Kind.COUNTER, now, now + NANOS, second)], now + NANOS)
    found = finish(steps(telemetry, BUDGET_SECONDS, (BEGIN + 40) * NANOS, 60))
    assert found[0].start == BEGIN
    delivered = {step.start: lane.delivered for step in found for lane in step.lanes}
    assert delivered == {BEGIN + second: second for second in range(1, 30)}
    assert {lane.lane for step in found for lane in step.lanes} == {Priority.LOW}
