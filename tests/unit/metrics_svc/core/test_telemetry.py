"""Reports: repetitions count once, limits hold, refusals say why."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lanecast.core.instruments import CONNECTION_ACTIVE, EVENT_ACCEPTED, EVENT_DELIVERED, HOP_DURATION, QUEUE_DEPTH, Key
from lanecast.core.sketch import Sketch
from metrics_svc.core.catalogue import Kind
from metrics_svc.core.packed import pack
from metrics_svc.core.telemetry import MAX_PROCESSES, NANOS, Point, Process, Telemetry

START = 1_800_000_000
GATEWAY = Process("gateway_svc", "gateway-1")


def accepted(telemetry: Telemetry, now_ns: int) -> float:
    now = now_ns // NANOS
    return telemetry.span(now - 3000, now + 1, now_ns).total(telemetry.series(EVENT_ACCEPTED))


def counter_point(start: float, end: float, amount: int, **attributes: str) -> Point:
    key = Key(EVENT_ACCEPTED, tuple(sorted(attributes.items())))
    return Point(key, Kind.COUNTER, round((START + start) * NANOS), round((START + end) * NANOS), amount)


def histogram_point(start: float, end: float, *values: int) -> Point:
    sketch = Sketch()
    for value in values:
        sketch.record_ns(value)
    key = Key(HOP_DURATION, (("hop", "transit"), ("lane", "LOW")))
    return Point(key, Kind.HISTOGRAM, round((START + start) * NANOS), round((START + end) * NANOS), pack(sketch))


def test_the_same_report_twice_counts_once() -> None:
    telemetry, now = Telemetry(START * NANOS), (START + 10) * NANOS
    points = [counter_point(8, 9, 100, lane="LOW"), histogram_point(8, 9, 1000, 2000)]
    assert telemetry.add(GATEWAY, points, now).accepted == 2
    outcome = telemetry.add(GATEWAY, points, now)
    assert (outcome.accepted, outcome.repeated, outcome.refused) == (0, 2, {})
    assert accepted(telemetry, now) == 100


def test_a_longer_report_of_the_same_time_replaces_the_shorter_one() -> None:
    telemetry, now = Telemetry(START * NANOS), (START + 10) * NANOS
    telemetry.add(GATEWAY, [counter_point(5, 6.5, 90), histogram_point(5, 6.5, 1000, 2000)], now)
    telemetry.add(GATEWAY, [counter_point(5, 8, 150), histogram_point(5, 8, 1000, 2000, 3000)], now)
    assert accepted(telemetry, now) == 150
    series = telemetry.series(HOP_DURATION)
    merged = telemetry.span(START, START + 11, now).sketch(series)
    assert (merged.count, merged.sum_ns) == (3, 6000)
    assert (series[0].total.count, series[0].total.sum_ns, sum(series[0].total.buckets)) == (3, 6000, 3)
    assert telemetry.series(EVENT_ACCEPTED)[0].total == 150


def test_the_shorter_report_is_a_repetition_when_it_comes_last() -> None:
    telemetry, now = Telemetry(START * NANOS), (START + 10) * NANOS
    telemetry.add(GATEWAY, [counter_point(5, 8, 150)], now)
    assert telemetry.add(GATEWAY, [counter_point(5, 6, 90)], now).repeated == 1
    assert accepted(telemetry, now) == 150


def test_two_processes_of_one_name_do_not_hide_each_other() -> None:
    telemetry, now = Telemetry(START * NANOS), (START + 10) * NANOS
    telemetry.add(GATEWAY, [counter_point(5, 6, 10)], now)
    telemetry.add(GATEWAY, [counter_point(5.1, 6.1, 20)], now)
    assert accepted(telemetry, now) == 30


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=20), st.data())
def test_retries_in_any_pattern_add_up_to_what_was_counted(amounts: list[int], data: Any) -> None:
    """A reporter that does not know whether a report arrived sends it again within the next, longer one."""
    telemetry, now = Telemetry(START * NANOS), (START + 100) * NANOS
    begin, kept, arrived_last = 0.0, 0, True
    for step, amount in enumerate(amounts):
        kept += amount
        end = step + 1.0
        arrived_last, answered = data.draw(st.tuples(st.booleans(), st.booleans()))
        if arrived_last:
            telemetry.add(GATEWAY, [counter_point(begin, end, kept)], now)
        if arrived_last and answered:
            begin, kept = end, 0
    telemetry.add(GATEWAY, [counter_point(begin, len(amounts) + 1.0, kept)], now)
    assert accepted(telemetry, now) == sum(amounts)


@given(st.integers(0, 10**6), st.floats(0, 300), st.floats(0.001, 700))
def test_a_counter_is_spread_over_its_interval_and_nothing_is_lost(amount: int, start: float, length: float) -> None:
    telemetry, now = Telemetry(START * NANOS), (START + 1000) * NANOS
    telemetry.add(GATEWAY, [counter_point(start, start + length, amount)], now)
    assert accepted(telemetry, now) == amount


def test_a_rate_is_even_although_reports_and_seconds_do_not_coincide() -> None:
    telemetry, now = Telemetry(START * NANOS), (START + 60) * NANOS
    for step in range(50):
        telemetry.add(GATEWAY, [counter_point(step * 1.1, (step + 1) * 1.1, 1100)], now)
    series = telemetry.series(EVENT_ACCEPTED)
    rates = [telemetry.span(START + at, START + at + 1, now).total(series) for at in range(1, 50)]
    assert set(rates) <= {999, 1000, 1001}


def test_points_that_share_a_series_are_not_taken_for_repetitions() -> None:
    telemetry, now = Telemetry(START * NANOS), (START + 10) * NANOS
    points = [counter_point(8, 9, 5, lane="LOW", session="a"), counter_point(8, 9, 7, lane="LOW", session="b")]
    telemetry.add(GATEWAY, points, now)
    assert accepted(telemetry, now) == 12
    assert [series.attributes for series in telemetry.series(EVENT_ACCEPTED)] == [{"lane": "LOW"}]


def test_gauges_belong_to_their_process(bench: Any) -> None:
    bench.gauge(CONNECTION_ACTIVE, 3.0)
    bench.gauge(CONNECTION_ACTIVE, 4.0, Process("gateway_svc", "gateway-2"))
    bench.gauge(QUEUE_DEPTH, 1.0, queue="ingest")
    bench.gauge(QUEUE_DEPTH, 2.0, queue="stream")
    assert len(bench.telemetry.series(CONNECTION_ACTIVE)) == 2
    assert len(bench.telemetry.series(QUEUE_DEPTH)) == 2


def test_over_the_limit_new_types_count_as_other_and_the_rest_is_refused(small_bench: Any) -> None:
    for number in range(8):
        small_bench.deliveries("LOW", [0.001], type=f"shop.v1.Event{number}")
    outcome = small_bench.count(EVENT_DELIVERED, 1, lane="LOW")
    assert list(outcome.refused) == ["there are 8 series already; no more are kept"]
    small_bench.deliveries("LOW", [0.001, 0.002], type="shop.v1.Late")
    small_bench.deliveries("LOW", [0.003], type="shop.v1.Later")
    other = small_bench.telemetry.series("lanecast.delivery.duration", type="other")
    assert [series.total.count for series in other] == [3]
    for lane in ("HIGH", "NORMAL", "CRITICAL"):
        small_bench.deliveries(lane, [0.001], type="shop.v1.Late")
    assert small_bench.telemetry.statistics()["series"] <= 9
    assert small_bench.telemetry.refused >= 1


def test_refusals_say_what_is_wrong(bench: Any) -> None:
    point = bench.point(EVENT_ACCEPTED, Kind.COUNTER, 1, lane="LOW")
    old, ahead = bench.now_ns - 32 * 86_400 * NANOS, bench.now_ns + 120 * NANOS
    bad = {
        "not a metric of Lanecast": replace(point, key=Key("http.server.duration", ())),
        "is a counter, not a gauge": replace(point, kind=Kind.GAUGE),
        "the attribute lane is 'URGENT'": bench.point(EVENT_ACCEPTED, Kind.COUNTER, 1, lane="URGENT"),
        "use at most 128": bench.point(EVENT_ACCEPTED, Kind.COUNTER, 1, reason="x" * 200),
        "gauges cannot be added up": bench.point(CONNECTION_ACTIVE, Kind.GAUGE, 1.0, session="a"),
        "lies in the future": replace(point, start_ns=0, end_ns=ahead),
        "older than anything": replace(point, start_ns=0, end_ns=old),
        "ends before it starts": replace(point, start_ns=point.end_ns + 1),
        "no plausible number": replace(point, value=float("nan")),
    }
    for text, wrong in bad.items():
        outcome = bench.report(bench.gateway, wrong)
        assert outcome.accepted == 0
        assert text in next(iter(outcome.refused))
    assert bench.telemetry.refused == len(bad)


def test_processes_are_bounded_and_the_longest_silent_goes_first(bench: Any) -> None:
    for number in range(MAX_PROCESSES + 10):
        bench.later(0.001)
        bench.count(EVENT_ACCEPTED, 1, Process("publisher_svc", f"p{number:04}"))
    names = [process.instance for process, _ in bench.telemetry.processes(0)]
    assert len(names) == MAX_PROCESSES
    assert names[0] == "p0010"


def test_series_that_nobody_reports_for_a_month_and_gauges_and_processes_of_yesterday_are_forgotten(bench: Any) -> None:
    bench.count(EVENT_ACCEPTED, 1, lane="LOW")
    bench.gauge(CONNECTION_ACTIVE, 1)
    bench.later(90_000)
    bench.count(EVENT_ACCEPTED, 1, lane="HIGH")
    assert [series.attributes["lane"] for series in bench.telemetry.series(EVENT_ACCEPTED)] == ["LOW", "HIGH"]
    assert bench.telemetry.series(CONNECTION_ACTIVE) == []
    assert [process.service for process, _ in bench.telemetry.processes(0)] == ["publisher_svc"]
    bench.later(31 * 86_400)
    bench.count(EVENT_ACCEPTED, 1, lane="HIGH")
    assert [series.attributes["lane"] for series in bench.telemetry.series(EVENT_ACCEPTED)] == ["HIGH"]
