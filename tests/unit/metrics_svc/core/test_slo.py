"""Good, late, lost and blocked: counted once, whatever comes again."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanecast.core import instruments as names
from lanecast.core.instruments import Key
from lanecast.core.priority import LANES, Priority
from lanecast.core.sketch import Sketch
from metrics_svc.core.catalogue import Kind
from metrics_svc.core.objectives import DEFAULTS
from metrics_svc.core.packed import pack
from metrics_svc.core.slo import Counts, Ledger, targets
from metrics_svc.core.telemetry import NANOS, Point


def counts(bench: Any, lane: Priority, type_name: str = "") -> Counts:
    now = bench.now_ns // NANOS
    span = bench.telemetry.span(now - 60, now + 1, bench.now_ns)
    found: Counts = Ledger(bench.telemetry).counts(span, lane, type_name)
    return found


@given(st.lists(st.floats(0.00001, 0.02), min_size=1, max_size=50), st.sampled_from(LANES))
def test_a_histogram_is_cut_at_the_limits(new_bench: Any, seconds: list[float], lane: Priority) -> None:
    bench = new_bench()
    bench.deliveries(lane.name, seconds)
    found, objective = counts(bench, lane), DEFAULTS[lane]
    near = 1.011  # one bucket
    surely_late = sum(value > objective.limit_seconds * near for value in seconds)
    perhaps_late = sum(value > objective.limit_seconds / near for value in seconds)
    assert found.total == len(seconds)
    assert surely_late <= found.late <= perhaps_late
    if objective.second is None:
        assert found.far_late == 0
    else:
        assert found.far_late <= found.late
        assert found.far_late >= sum(value > objective.second.seconds * near for value in seconds)


def test_types_are_counted_apart_and_the_whole_together(bench: Any) -> None:
    bench.deliveries("HIGH", [0.001, 0.02])
    bench.deliveries("HIGH", [0.02], type="a.B")
    assert counts(bench, Priority.HIGH) == Counts(good=1, late=1)
    assert counts(bench, Priority.HIGH, "a.B") == Counts(late=1)
    assert Ledger(bench.telemetry).types() == ["a.B"]


@pytest.mark.parametrize(
    ("name", "reason", "lost"),
    [
        (names.EVENT_DROPPED, "expired", 7),
        (names.EVENT_DROPPED, "shed", 7),
        (names.EVENT_DROPPED, "conflated", 0),
        (names.EVENT_REJECTED, "OVERLOADED", 7),
        (names.EVENT_REJECTED, "LOG_UNAVAILABLE", 7),
        (names.EVENT_REJECTED, "TYPE_UNKNOWN", 0),
        (names.EVENT_REJECTED, "RATE_LIMITED", 0),
    ],
)
def test_what_the_service_answers_for_is_lost(bench: Any, name: str, reason: str, lost: int) -> None:
    bench.count(name, 7, lane="LOW", reason=reason)
    assert counts(bench, Priority.LOW) == Counts(lost=lost)


def test_two_reasons_of_one_report_add_up(bench: Any) -> None:
    points = [
        bench.point(names.EVENT_DROPPED, Kind.COUNTER, 2, lane="LOW", reason=reason) for reason in ("shed", "expired")
    ]
    bench.report(bench.gateway, *points)
    assert counts(bench, Priority.LOW) == Counts(lost=4)


def test_blocked_is_outside_the_objective(bench: Any) -> None:
    bench.count(names.SLO_EVENTS, 5, bench.gateway, lane="LOW", result="blocked_by_peer")
    found = counts(bench, Priority.LOW)
    assert (found.blocked, found.total) == (5, 0)


@given(st.integers(1, 40), st.integers(0, 40), st.integers(1, 4))
def test_a_report_that_comes_again_counts_once(new_bench: Any, first: int, more: int, copies: int) -> None:
    bench = new_bench()

    def point(late: int, end_ns: int) -> Point:
        sketch = Sketch()
        sketch.record_ns(30_000_000, late)
        key = Key(names.DELIVERY_DURATION, (("lane", "NORMAL"), ("scope", "server")))
        return Point(key, Kind.HISTOGRAM, bench.now_ns - NANOS, end_ns, pack(sketch))

    for _ in range(copies):
        bench.report(bench.gateway, point(first, bench.now_ns))
    bench.report(bench.gateway, point(first + more, bench.now_ns + NANOS // 2))  # the same again, with what came since
    bench.later(1)
    assert counts(bench, Priority.NORMAL) == Counts(late=first + more)


def test_the_budget_is_what_the_objective_leaves() -> None:
    latency, second, loss = targets(DEFAULTS[Priority.CRITICAL])
    spent = Counts(good=980, late=10, lost=10)
    assert latency.burn(spent) == pytest.approx(2.0)
    assert latency.remaining(spent) == pytest.approx(-1.0)
    assert (second.name, second.burn(spent)) == ("second-limit", pytest.approx(10.0))
    assert (loss.name, loss.burn(spent)) == ("loss", pytest.approx(100.0))
    assert latency.burn(Counts()) == 0.0
