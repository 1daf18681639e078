"""Rates, gauges and processes."""

from __future__ import annotations

from typing import Any

import pytest

from lanecast.core import instruments as names
from lanecast.core.priority import Priority
from metrics_svc.core import throughput
from metrics_svc.core.selection import Selection
from metrics_svc.core.telemetry import Process


def report(bench: Any, window: int = 10, **selection: Any) -> throughput.ThroughputReport:
    return throughput.report(bench.telemetry, Selection(**selection), bench.now_ns, window)


def run(bench: Any, seconds: int) -> None:
    for _ in range(seconds):
        bench.later(1)
        bench.count(names.EVENT_ACCEPTED, 100, lane="NORMAL")
        bench.count(names.EVENT_DELIVERED, 300, bench.gateway, lane="NORMAL")
        bench.count(names.EVENT_REJECTED, 2, lane="NORMAL", reason="TYPE_UNKNOWN")
        bench.count(names.EVENT_REJECTED, 1, lane="NORMAL", reason="TOO_LARGE")
        bench.count(names.EVENT_REJECTED, 1, lane="unknown", reason="LANE_UNKNOWN")
        bench.count(names.EVENT_DUPLICATE, 5, lane="NORMAL")
        bench.count(names.EVENT_DROPPED, 1, bench.gateway, lane="NORMAL", reason="EXPIRED")
        bench.durations(names.BATCH_SIZE, [5.0] * 20, lane="NORMAL", role="publisher")


def test_rates_are_per_second_of_a_window_that_is_over(bench: Any) -> None:
    run(bench, 30)
    found = report(bench)
    (figure,) = found.figures
    assert found.window_seconds == 10
    assert 1e9 <= bench.now_ns - found.end_ns < 2e9
    assert figure == throughput.ThroughputFigure(Priority.NORMAL, 100, 300, 3, 5, 1, 5, 0)


def test_a_service_that_has_just_started_divides_by_the_time_it_knows(bench: Any) -> None:
    bench.telemetry = type(bench.telemetry)(bench.now_ns)
    run(bench, 4)
    found = report(bench, 60)
    assert found.window_seconds <= 4
    assert found.figures[0].accepted == pytest.approx(100)


def test_gauges_add_up_over_processes_and_expire(bench: Any) -> None:
    other = Process("gateway_svc", "gateway-2")
    bench.gauge(names.CONNECTION_ACTIVE, 3)
    bench.gauge(names.CONNECTION_ACTIVE, 4, other)
    bench.gauge(names.QUEUE_DEPTH, 7, lane="LOW", queue="outbox")
    found = report(bench)
    assert found.connections == 7
    assert [figure.queue_depth for figure in found.figures] == [7]
    bench.later(8)
    bench.gauge(names.CONNECTION_ACTIVE, 5, other)
    bench.later(8)
    assert report(bench).connections == 5


def test_processes_are_those_that_reported_within_the_window(bench: Any) -> None:
    bench.count(names.EVENT_ACCEPTED, 1, lane="LOW")
    bench.later(20)
    bench.count(names.EVENT_DELIVERED, 1, bench.gateway, lane="LOW")
    assert [process.instance for process, _ in report(bench, 10).processes] == ["gateway-1"]
    assert [process.instance for process, _ in report(bench, 60).processes] == ["gateway-1", "publisher-1"]


def test_types_select_deliveries(bench: Any) -> None:
    bench.deliveries("LOW", [0.001] * 30, type="shop.v1.A")
    bench.count(names.EVENT_ACCEPTED, 50, lane="LOW")
    bench.later(3)
    (figure,) = report(bench, types=("shop.v1.A",)).figures
    assert (figure.delivered, figure.accepted) == (3, 0)
