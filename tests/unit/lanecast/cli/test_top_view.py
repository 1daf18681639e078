"""What `lanecast top` shows."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lanecast.cli.core import tables
from lanecast.cli.core.top_view import HOPS, Snapshot, view
from lanecast.v1 import metrics_pb2 as pb


def figure(lane: int, scope: int, hop: int = 0, **fields: Any) -> pb.LatencyFigure:
    times = {"p50_seconds": 0.000_4, "p95_seconds": 0.001, "p99_seconds": 0.012, "p999_seconds": 1.5, "max_seconds": 20}
    return pb.LatencyFigure(
        lane=lane, scope=scope, hop=hop, count=123_456, budget_seconds=0.001, within_budget=0.98, **{**times, **fields}
    )  # type: ignore[arg-type]


def snapshot(**changes: Any) -> Snapshot:
    latency = pb.GetLatencyResponse()
    throughput = pb.GetThroughputResponse(connections=12_345)
    status = pb.GetOptimizationStatusResponse(grade=pb.GRADE_C, score=71.0)
    for lane in (1, 2, 3, 4):
        latency.figures.append(figure(lane, pb.LATENCY_SCOPE_SERVER))
        latency.figures.extend(figure(lane, pb.LATENCY_SCOPE_HOP, hop) for hop, _ in HOPS)
        throughput.figures.append(
            pb.ThroughputFigure(lane=lane, accepted_per_second=12_345.6, delivered_per_second=999_999, queue_depth=8192)
        )
        status.lanes.append(pb.LaneStatus(lane=lane, objective=0.99, slowest_hop=pb.HOP_INGEST))
    throughput.processes.append(pb.ReportingProcess(instance="gateway-1"))
    throughput.processes[0].last_report_time.FromSeconds(1000)
    status.advice.append(pb.Advice(action="Add gateways.", evidence="CRITICAL: 98 % within 1 ms. " * 5))
    fields: dict[str, Any] = {
        "target": "127.0.0.1:7402",
        "window": 60,
        "now": 1030.0,
        "latency": latency,
        "throughput": throughput,
        "status": status,
        "alerts": [],
    }
    return Snapshot(**{**fields, **changes})


def lines(shown: Snapshot, width: int = 80, height: int | None = 24) -> list[str]:
    return [line.plain for line in view(shown, width, height)]


@given(st.integers(40, 200), st.integers(5, 60))
def test_it_never_leaves_the_window(width: int, height: int) -> None:
    types = pb.GetLatencyResponse(figures=[figure(1, pb.LATENCY_SCOPE_SERVER, type="lanecast.ai.v1.ConciergeInsight")])
    shown = lines(snapshot(types=types), width, height)
    assert len(shown) == height
    assert all(len(line) <= width for line in shown)


def test_at_80_columns_every_lane_has_every_column() -> None:
    shown = lines(snapshot())
    heads = next(line for line in shown if line.startswith("lane ") and "limit" in line)
    assert heads.split() == [
        "lane",
        "limit",
        "in",
        "limit",
        "p50",
        "p99",
        "p99.9",
        "max",
        "acc/s",
        "del/s",
        "drop/s",
        "queue",
    ]
    row = next(line for line in shown if line.startswith("NORMAL"))
    assert row.split() == ["NORMAL", "1", "98.00%", "0.400", "12.0", "1500", "20000", "12.3k", "1000k", "0", "8192"]
    hops = next(line for line in shown if line.endswith("browser"))
    assert hops.split() == ["lane", *(name for _, name in HOPS)]


def test_a_process_that_went_silent_an_alert_and_a_lost_service_are_said() -> None:
    alert = pb.Alert(
        state=pb.ALERT_STATE_FIRING,
        severity=pb.ALERT_SEVERITY_PAGE,
        summary="CRITICAL burns its budget. Add a gateway.",
    )
    ticket = pb.Alert(state=pb.ALERT_STATE_FIRING, severity=pb.ALERT_SEVERITY_TICKET, summary="LOW is late.")
    soon = pb.Alert(state=pb.ALERT_STATE_PENDING, summary="not yet")
    gone = pb.Alert(state=pb.ALERT_STATE_RESOLVED, summary="over")
    text = "\n".join(
        lines(
            snapshot(
                alerts=[soon, ticket, *[alert] * 4, gone, soon],
                problem="no metrics service answers at 127.0.0.1:7402: " * 3,
                seen=1090.0,
            ),
            height=40,
        )
    )
    assert "gateway-1 silent for 30s" in text
    assert text.count("FIRING CRITICAL burns its budget\n") == 4
    assert "alerts 1 more firing and 2 pending: lanecast alerts list" in text
    assert "not yet" not in text
    assert "over" not in text.split()
    assert "these figures are 1m old: no metrics service answers at" in text
    assert text.count("127.0.0.1:7402:") == 3, "it is wrapped, not cut"


def test_without_data_it_says_so() -> None:
    empty = snapshot(
        latency=pb.GetLatencyResponse(),
        throughput=pb.GetThroughputResponse(),
        status=pb.GetOptimizationStatusResponse(),
        alerts=None,
    )
    text = "\n".join(lines(empty))
    assert "grade - no data" in text
    assert "no process reports" in text
    assert "alerts" not in text
    assert "paused   12,345 connections" in "\n".join(lines(snapshot(paused=True)))


def test_numbers_keep_three_digits() -> None:
    assert [tables.millis(value) for value in (0.000_123, 0.001_5, 0.02, 0.3)] == ["0.123", "1.50", "20.0", "300"]
    assert [tables.percent(value) for value in (1.0, 0.999_99, 0.5)] == ["100%", "99.99%", "50.00%"]
    rates = [tables.rate(value) for value in (0.0, 9.96, 1234.0, 12_345.0, 123_456.0)]
    assert rates == ["0", "10.0", "1234", "12.3k", "123k"]
    assert [tables.ago(value) for value in (-1, 59, 61, 7200, 200_000)] == ["0s", "59s", "1m", "2h", "2d"]
