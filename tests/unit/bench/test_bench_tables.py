# ruff: noqa: RUF001 - the signs that tables show
"""bench.tables and bench.render: from a result to what is shown."""

from __future__ import annotations

from typing import Any

import pytest

from bench import figures, plots, render, tables
from bench.scenario import Load, Scenario, Window
from lanecast.core.sketch import Sketch

SCENARIO = Scenario("test", "Test <1>", 10, 10, (Load(100, {"CRITICAL": 1}),), limits_ms={"CRITICAL": 2.0})


def lane(milliseconds: float) -> dict[str, Any]:
    sketch = Sketch()
    sketch.record_ns(int(milliseconds * 1e6))
    found = figures.latency(sketch).as_dict()
    return {**found, "from_send_p50_ms": 0.1, "from_send_p99_ms": 0.2, "skewed": 0, "buckets": {}}


def outcome(system: str, repeat: int, p99: float, *, lost: int = 0, steal: float | None = 0.01) -> dict[str, Any]:
    return {
        "system": system,
        "repeat": repeat,
        "version": f"{system} 1.0",
        "windows": {"all": {"CRITICAL": lane(p99), "ALL": lane(p99)}},
        "over_time": [{"seconds": second, "count": 5, "p50_ms": 1.0, "p99_ms": 2.0} for second in range(8)],
        "account": {
            "expected": 100, "lost": lost, "duplicated": 0, "unexpected": 0, "foreign": 0, "refused_events": 0,
        },
        "generator": {"lateness": {"p50_ms": 0.01, "p99_ms": 0.02}},
        "receiver": {"notes": {"gap_events": 3}, "closed": {}, "events_per_frame": 1.5},
        "cost": {
            "deliveries_per_second": 100.0, "server_cpu_seconds_per_million": 50.0 * repeat,
            "receiver_micros_per_delivery": 9.0, "receiver_busy": 0.2, "generator_busy": 0.1,
            "steal": steal, "idle": 0.5, "rss_over_time": [(second, 2**20 * (second + 1)) for second in range(8)],
        },
        "memory": {"empty_bytes": 2**20, "connected_bytes": 2**21, "per_connection_bytes": 8192},
        "floor": [{"p50_ms": 0.1, "p99_ms": 0.3}, {"p50_ms": 0.1, "p99_ms": 0.4}],
        "reported": {},
    }  # fmt: skip


def result(*runs: dict[str, Any], scenario: Scenario = SCENARIO) -> dict[str, Any]:
    return {"scenario": scenario.as_dict(), "runs": list(runs), "machine": {"cpu": "x", "versions": {"grpcio": "1"}}}


def by_title(found: list[tables.Table], start: str) -> tables.Table:
    return next(table for table in found if table.title.startswith(start))


def test_medians_ranges_ratios_and_limits() -> None:
    runs = [outcome("lanecast", n, p99) for n, p99 in enumerate((1.0, 3.0, 1.5), 1)]
    runs += [outcome("nats", n, p99) for n, p99 in enumerate((6.0, 4.5, 3.0), 1)]
    table = by_title(tables.build(result(*runs)), "Scheduled send")
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert [row["lane"] for row in rows] == ["CRITICAL", "CRITICAL"]
    assert rows[0]["p99 ms"] == "1.50 (1.00–3.00)"
    assert rows[0]["p99 limit"] == "≤ 2.00: yes"
    assert rows[1]["p99 ÷ ours"] == "3.00 ×"
    assert rows[1]["p99 limit"] == "≤ 2.00: no"


def test_losses_are_added_up_over_runs() -> None:
    found = tables.build(result(outcome("lanecast", 1, 1, lost=2), outcome("lanecast", 2, 1, lost=3)))
    account = {row[0]: row[1:] for row in by_title(found, "Account").rows}
    assert account["lost"] == ("5",)
    assert account["deliveries due"] == ("200",)
    assert account["server CPU s per million"] == ("75.0 (50.0–100)",)
    assert account["named by gaps"] == ("6",)


def test_doubtful_runs_are_marked() -> None:
    good = outcome("nats", 1, 1.0)
    assert tables.marks(good) == []
    bad = outcome("nats", 1, 1.0, steal=0.05)
    bad["cost"]["receiver_busy"] = 0.95
    bad["generator"]["lateness"]["p99_ms"] = 0.9
    bad["receiver"]["closed"] = {"end of stream": 1}
    assert [mark.split()[0] for mark in tables.marks(bad)] == ["steal", "receiver", "generator", "connections"]
    assert tables.marks(outcome("nats", 1, 1.0, steal=None)) == ["steal time unknown"]


def test_what_metrics_svc_reports_stands_beside() -> None:
    run = outcome("lanecast", 1, 1.0)
    figure = {"p50_ms": 0.2, "p95_ms": 0.4, "p99_ms": 0.8, "p999_ms": 0.9, "max_ms": 1.0}
    server = {**figure, "budget_ms": 1.0, "within_budget": 0.999}
    run["reported"] = {"server": {"CRITICAL": server}, "hops": {"log": {"CRITICAL": figure}}}
    found = tables.build(result(run))
    assert by_title(found, "Publisher accept").rows[0][-1] == "≤ 1.00: yes"
    assert by_title(found, "Hops").rows == [("log", "0.200 / 0.800", "–", "–", "–")]


def test_a_report_that_failed_is_shown_as_such() -> None:
    run = outcome("lanecast", 1, 1.0)
    run["reported"] = {"problem": "it was not there"}
    assert by_title(tables.build(result(run)), "Reported").rows == [("it was not there",)]


def test_isolation_compares_the_first_and_the_last_window() -> None:
    scenario = Scenario(
        "test", "t", 10, 10, SCENARIO.loads, kind="isolation", windows=(Window("idle", 0, 0.5), Window("busy", 0.5, 1))
    )
    run = outcome("nats", 1, 1.0)
    run["windows"] = {"idle": {"CRITICAL": lane(1.0)}, "busy": {"CRITICAL": lane(8.0)}}
    assert by_title(tables.build(result(run, scenario=scenario)), "CRITICAL beside").rows == [
        ("nats", "1.00", "8.00", "8.00 ×")
    ]


def test_a_soak_shows_drift() -> None:
    scenario = Scenario("test", "t", 10, 10, SCENARIO.loads, kind="soak")
    (row,) = by_title(tables.build(result(outcome("nats", 1, 1.0), scenario=scenario)), "Memory").rows
    assert row[-2:] == ("5.00", "1.00")


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0, "0"), (0.1234, "0.123"), (1.234, "1.23"), (12.34, "12.3"), (1234.5, "1,234"), (-2.0, "-2.00")],
)
def test_figures_have_three_digits(value: float | None, text: str) -> None:
    assert tables.number(value) == text


def test_a_sweep_shows_every_trial_and_the_ratio() -> None:
    account = {"lost": 0, "duplicated": 0, "refused_events": 7}
    trial = {"deliveries_per_second": 1000.0, "p50_ms": 1.0, "p99_ms": 3.0, "held": True, "account": account}
    failed = {**trial, "deliveries_per_second": 2000.0, "p99_ms": None, "p50_ms": None, "held": False}
    found = [
        {"system": "lanecast", "deliveries_per_second": 1000.0, "trials": [failed, trial]},
        {"system": "nats", "deliveries_per_second": 500.0, "trials": []},
        {"system": "nchan", "deliveries_per_second": 0.0, "trials": []},
    ]
    result = {"p99_ms": 10.0, "found": found, "scenario": SCENARIO.as_dict(), "machine": {"cpu": "x"}}
    reached, trials = tables.sweep(result)
    assert reached.rows == [("lanecast", "1,000", ""), ("nats", "500", "2.00 ×"), ("nchan", "none", "")]
    assert trials.rows == [
        ("lanecast", "1,000", "1.00", "3.00", "0 / 0 / 7", "yes"),
        ("lanecast", "2,000", "–", "–", "0 / 0 / 7", "no"),
    ]
    assert plots.draw_sweep(result).startswith(b"\x89PNG")


def test_the_page_is_escaped_and_complete() -> None:
    data = result(outcome("lanecast", 1, 1.0))
    page = render.to_html(data["scenario"]["title"], data["machine"], tables.build(data), [b"picture"])
    assert "Test &lt;1&gt;" in page
    assert "data:image/png;base64,cGljdHVyZQ==" in page
    assert "Account and cost" in page
    assert page.count("<table>") == page.count("</table>") == 4
