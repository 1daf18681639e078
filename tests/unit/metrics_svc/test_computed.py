"""What metrics_svc computes, as an exporter reads it."""

from __future__ import annotations

from typing import Any

import pytest

from lanecast.core import instruments as names
from lanecast.core.instruments import Instruments
from metrics_svc.computed import COMPUTED, Computed
from metrics_svc.core.catalogue import METRICS, Kind
from metrics_svc.core.slo import Ledger
from metrics_svc.self_report import SelfReport


@pytest.fixture
def world(bench: Any) -> tuple[Any, Instruments, Any]:
    Ledger(bench.telemetry)
    instruments = Instruments()
    Computed(instruments, bench.telemetry)
    return bench, instruments, instruments.reader()


def read(reader: Any) -> dict[tuple[str, str], float]:
    """Return what grew since the last look, and the gauges, by name and the attribute that tells them apart."""
    list(reader.take_sketches())
    found = {**dict(reader.take_counters()), **dict(reader.read_gauges())}
    return {(key.name, "/".join(value for _, value in key.attributes)): value for key, value in found.items()}


def test_every_computed_metric_is_read_and_counters_grow_by_what_is_new(world: Any) -> None:
    bench, instruments, reader = world
    bench.deliveries("CRITICAL", [0.0005] * 3 + [0.002, 0.007])
    bench.count(names.SLO_EVENTS, 2, lane="CRITICAL", result="blocked_by_peer")
    for name in COMPUTED:
        if METRICS[name].kind is Kind.GAUGE:
            bench.report(bench.publisher, bench.point(name, Kind.GAUGE, 0.25, lane="CRITICAL"))
    bench.count(names.ROLLOUT_TRANSITIONS, 1, rollout="r", reason="baking")
    found = read(reader)
    assert found == {
        (names.SLO_EVENTS, "CRITICAL/good"): 3,
        (names.SLO_EVENTS, "CRITICAL/late"): 2,
        (names.SLO_FAR_LATE, "CRITICAL"): 1,
        (names.ROLLOUT_TRANSITIONS, "baking/r"): 1,
        **{(name, "CRITICAL"): 0.25 for name in COMPUTED if METRICS[name].kind is Kind.GAUGE},
    }
    assert {name for name, _ in found} == set(COMPUTED)
    bench.later(1)
    bench.deliveries("CRITICAL", [0.0005])
    assert {name: value for name, value in read(reader).items() if METRICS[name[0]].kind is Kind.COUNTER} == {
        (names.SLO_EVENTS, "CRITICAL/good"): 1
    }
    # What gateways count is theirs to export; what has not happened yet is known to be zero.
    results = {dict(key.attributes).get("result") for key in instruments.known_counters()}
    assert results == {"good", "late", "lost", None}


def test_a_gauge_that_nobody_sets_any_more_is_left_out(world: Any) -> None:
    bench, _, reader = world
    for name in (names.ROLLOUT_STAGE, names.SLO_BURN_RATE):
        bench.report(bench.publisher, bench.point(name, Kind.GAUGE, 1.0))
    assert read(reader) == {(names.ROLLOUT_STAGE, ""): 1.0, (names.SLO_BURN_RATE, ""): 1.0}
    bench.later(30)
    bench.report(bench.publisher, bench.point(names.SLO_BURN_RATE, Kind.GAUGE, 2.0))
    assert read(reader) == {(names.SLO_BURN_RATE, ""): 2.0}


def test_the_service_does_not_report_them_to_itself(world: Any) -> None:
    bench, instruments, _ = world
    bench.deliveries("LOW", [0.0005] * 3)
    report = SelfReport(instruments, bench.telemetry, "metrics-1", lambda: bench.now_ns)
    report.report()
    bench.later(1)
    report.report()
    (good,) = bench.telemetry.series(names.SLO_EVENTS, lane="LOW", result="good")
    assert good.total == 3
