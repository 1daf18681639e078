"""Latency figures against exact values."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from lanecast.core.instruments import HOP_DURATION
from lanecast.core.priority import LANES, Priority
from metrics_svc.core import latency
from metrics_svc.core.selection import Selection


def report(bench: Any, window: int = 60, **selection: Any) -> latency.LatencyReport:
    return latency.report(bench.telemetry, Selection(**selection), bench.now_ns, window)


def nearest_rank(values: list[float], q: float) -> float:
    return sorted(values)[max(1, math.ceil(q * len(values))) - 1]


def test_quantiles_are_within_the_promised_error_of_the_exact_ones(bench: Any) -> None:
    rng = random.Random(7)
    values = [rng.lognormvariate(-8, 1) for _ in range(5_000)]
    for step in range(5):
        bench.later(1)
        bench.deliveries("HIGH", values[step::5])
    (figure,) = report(bench).figures
    assert figure.count == 5_000
    for q, found in ((0.5, figure.p50), (0.95, figure.p95), (0.99, figure.p99), (0.999, figure.p999)):
        assert found == pytest.approx(nearest_rank(values, q), rel=0.0055)
    assert figure.maximum == pytest.approx(max(values), abs=1e-9)
    assert figure.mean == pytest.approx(sum(values) / len(values), rel=1e-6)


def test_within_budget_is_the_share_at_or_below_the_budget(bench: Any) -> None:
    bench.deliveries("CRITICAL", [0.0005] * 97 + [0.001] * 2 + [0.002])
    (figure,) = report(bench).figures
    assert (figure.budget, figure.within_budget) == (0.001, 0.99)


def test_only_server_figures_have_a_budget_and_come_first(bench: Any) -> None:
    bench.deliveries("LOW", [0.1], scope="end_to_end")
    bench.deliveries("LOW", [0.01])
    bench.durations(HOP_DURATION, [0.001], hop="last_mile", lane="LOW")
    bench.durations(HOP_DURATION, [0.002], hop="ingest", lane="LOW")
    figures = report(bench).figures
    assert [(figure.scope, figure.hop) for figure in figures] == [
        ("server", ""),
        ("end_to_end", ""),
        ("hop", "ingest"),
        ("hop", "last_mile"),
    ]
    assert [figure.budget for figure in figures] == [0.05, 0, 0, 0]
    assert [figure.within_budget for figure in figures] == [1.0, 0, 0, 0]


def test_types_are_figures_of_their_own_and_do_not_count_twice(bench: Any) -> None:
    bench.deliveries("LOW", [0.01, 0.02])
    bench.deliveries("LOW", [0.01], type="shop.v1.A")
    bench.deliveries("LOW", [0.02], type="shop.v1.B")
    assert [figure.count for figure in report(bench).figures] == [2]
    chosen = report(bench, types=("shop.v1.B", "shop.v1.None")).figures
    assert [(figure.type, figure.count) for figure in chosen] == [("shop.v1.B", 1)]


def test_arms_are_merged_unless_one_is_selected(bench: Any) -> None:
    bench.deliveries("LOW", [0.01] * 3, arm="baseline")
    bench.deliveries("LOW", [0.02] * 4, arm="candidate")
    assert [figure.count for figure in report(bench).figures] == [7]
    assert [(figure.arm, figure.count) for figure in report(bench, arm="candidate").figures] == [("candidate", 4)]


def test_lanes_are_ordered_and_selected(bench: Any) -> None:
    for lane in reversed(LANES):
        bench.deliveries(lane.name, [0.001])
    assert [figure.lane for figure in report(bench).figures] == list(LANES)
    chosen = report(bench, lanes=(Priority.HIGH,)).figures
    assert [figure.lane for figure in chosen] == [Priority.HIGH]


def test_what_left_the_window_is_gone(bench: Any) -> None:
    bench.deliveries("LOW", [0.5])
    bench.later(30)
    bench.deliveries("LOW", [0.01])
    assert [figure.count for figure in report(bench, 60).figures] == [2]
    assert [figure.count for figure in report(bench, 10).figures] == [1]
    bench.later(100)
    assert report(bench, 60).figures == ()
