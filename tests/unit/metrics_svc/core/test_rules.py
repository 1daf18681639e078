"""The alert rules: from which values on they hold, and that few events wake nobody up."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanecast.core import instruments as names
from lanecast.core.priority import LANES, Priority
from metrics_svc.core.alerts import AlertBook, Reading, Severity, State
from metrics_svc.core.objectives import DEFAULTS
from metrics_svc.core.rules import BURN_RULES, MIN_BAD, MIN_TOTAL, WINDOWS, Health, Rules
from metrics_svc.core.slo import Counts


def rules(bench: Any, scale: float = 1.0) -> Rules:
    return Rules(bench.telemetry, DEFAULTS, scale=scale, blame=lambda lane, seconds: "Slow is the log.")


def same(counts: Counts) -> dict[str, dict[Priority, Counts]]:
    """The same counts in every window and lane."""
    return {window: dict.fromkeys(LANES, counts) for window in WINDOWS}


def read(bench: Any, counts: dict[str, dict[Priority, Counts]], problem: str = "") -> dict[str, Reading]:
    health = Health(bench.now_ns - 3600 * 10**9, problem)
    return {one.rule: one for one in rules(bench).read(counts, health, bench.now_ns)}


@pytest.mark.parametrize(
    ("long", "factor", "severity"),
    [("1h", 14.4, Severity.PAGE), ("6h", 6, Severity.PAGE), ("1d", 3, Severity.TICKET), ("3d", 1, Severity.TICKET)],
)
def test_each_row_of_the_table_holds_from_its_factor_on(
    bench: Any, long: str, factor: float, severity: Severity
) -> None:
    allowed = 1 - DEFAULTS[Priority.LOW].objective
    for part, holds in ((0.99, False), (1.01, True)):
        late = round(100_000 * allowed * factor * part)
        found = read(bench, same(Counts(good=100_000 - late, late=late)))[f"slo-burn-rate-low-{long}"]
        assert (found.holds, found.severity, found.lane) == (holds, severity, Priority.LOW)
    assert "times too fast" in found.summary
    assert found.summary.endswith("Slow is the log.")


def test_both_windows_are_needed(bench: Any) -> None:
    bad, fine = Counts(good=500, late=500), Counts(good=1000)
    for rule in BURN_RULES:
        for window in (rule.long, rule.short):
            counts = same(bad)
            counts[window] = dict.fromkeys(LANES, fine)
            assert not read(bench, counts)[f"slo-burn-rate-high-{rule.long}"].holds


@given(st.integers(0, 400), st.integers(0, 30), st.integers(0, 30))
def test_without_enough_events_nothing_burns(new_bench: Any, good: int, late: int, lost: int) -> None:
    found = read(new_bench(), same(Counts(good=good, late=late, far_late=late, lost=lost)))
    burning = [one for one in found.values() if one.rule.startswith("slo-") and one.holds]
    if late + lost < MIN_BAD or good + late + lost < MIN_TOTAL:
        assert burning == []


def test_the_second_limit_and_losses_have_budgets_of_their_own(bench: Any) -> None:
    found = read(bench, same(Counts(good=98_000, late=400, far_late=200, lost=100)))
    holding = {rule for rule, one in found.items() if one.holds and rule.startswith("slo-burn-rate-critical")}
    assert "slo-burn-rate-critical-loss-6h" in holding
    assert "slo-burn-rate-critical-second-limit-1d" in holding
    assert "slo-burn-rate-critical-3d" not in holding
    assert "slo-burn-rate-high-second-limit-1h" not in found


def test_a_spent_budget_is_told_until_some_is_back(bench: Any) -> None:
    for late, holds, stays in ((101, True, True), (96, False, True), (94, False, False)):
        found = read(bench, same(Counts(good=10_000 - late, late=late)))["slo-budget-spent-low"]
        assert (found.holds, found.stays) == (holds, stays)


def test_blocked_peers_have_an_alert_of_their_own(bench: Any) -> None:
    found = read(bench, same(Counts(good=1000, blocked=100)))
    assert [rule for rule, one in found.items() if one.holds] == [
        f"blocked-by-peer-{lane.name.lower()}" for lane in LANES
    ]
    assert not read(bench, same(Counts(good=1000, blocked=40)))["blocked-by-peer-low"].holds
    assert not read(bench, same(Counts(good=20, blocked=9)))["blocked-by-peer-low"].holds


def test_a_lane_that_falls_silent_is_absent_until_it_is_back(bench: Any) -> None:
    counts = same(Counts(good=1000))
    counts["5m"] = dict.fromkeys(LANES, Counts())
    assert read(bench, counts)["lane-absent-high"].holds
    counts["1h"] = dict.fromkeys(LANES, Counts())
    found = read(bench, counts)["lane-absent-high"]
    assert (found.holds, found.stays) == (False, True)
    counts["5m"] = dict.fromkeys(LANES, Counts(good=1))
    assert not read(bench, counts)["lane-absent-high"].stays


def test_a_service_that_reports_no_more_is_told_and_our_own_start_is_not(bench: Any) -> None:
    bench.count(names.EVENT_ACCEPTED, 1, lane="LOW")
    bench.later(20)
    bench.gauge(names.CONNECTION_ACTIVE, 1)
    found = read(bench, same(Counts()))
    assert found["telemetry-silent-publisher_svc/publisher-1"].holds
    assert "has not reported for 20 s" in found["telemetry-silent-publisher_svc/publisher-1"].summary
    assert not found["telemetry-silent-gateway_svc/gateway-1"].holds
    just_started = rules(bench).read(same(Counts()), Health(bench.now_ns - 10**9), bench.now_ns)
    assert not any(one.holds for one in just_started)
    bench.later(3600)
    assert "telemetry-silent-publisher_svc/publisher-1" not in read(bench, same(Counts()))


def test_dropped_telemetry_and_an_unwritable_history_are_told(bench: Any) -> None:
    bench.count(names.TELEMETRY_DROPPED, 3, signal="traces")
    found = read(bench, same(Counts()), "the disk is full")
    assert found["telemetry-dropped"].holds
    assert found["history-unwritable"].holds
    assert "the disk is full" in found["history-unwritable"].summary


def test_a_slow_quarter_of_an_hour_pages_within_its_window_and_ends(bench: Any) -> None:
    """The whole chain on a clock that the test moves: reports, counts, rules, alerts."""
    found, book, health = rules(bench), AlertBook(), Health(bench.now_ns)
    changes = []

    def minute(seconds: float) -> None:
        for _ in range(6):
            bench.deliveries("CRITICAL", [seconds] * 20)
            counts = found.counts(bench.now_ns)
            changed = book.update(bench.now_ns, found.read(counts, health, bench.now_ns))
            now = (bench.now_ns - health.started_ns) // 60_000_000_000
            changes.extend((alert.rule, alert.state, now) for alert in changed)
            bench.later(10)

    for _ in range(60):
        minute(0.0005)
    assert changes == []
    for _ in range(15):
        minute(0.003)
    page = [(state, at) for rule, state, at in changes if rule == "slo-burn-rate-critical-1h"]
    assert [state for state, _ in page] == [State.PENDING, State.FIRING]
    assert page[1][1] <= 60 + 12
    for _ in range(60):
        minute(0.0005)
    (end,) = [at for rule, state, at in changes if rule == "slo-burn-rate-critical-1h" and state is State.RESOLVED]
    assert end <= 75 + 8
    assert found.burn_rate(Priority.CRITICAL, found.counts(bench.now_ns), "5m") == 0.0
    assert found.budget_remaining(Priority.CRITICAL, found.counts(bench.now_ns)) < 0
    assert found.budget_remaining(Priority.HIGH, found.counts(bench.now_ns)) == 1.0
