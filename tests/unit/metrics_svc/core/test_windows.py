"""Slots of time: any order, any split, any age gives the same answer; memory is bounded."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from lanecast.core.instruments import CONNECTION_ACTIVE, EVENT_ACCEPTED, HOP_DURATION, Key
from lanecast.core.sketch import Sketch
from metrics_svc.core.catalogue import Kind
from metrics_svc.core.packed import pack
from metrics_svc.core.series import Series
from metrics_svc.core.windows import TIERS, Windows

NOW = 1_800_000_000  # a multiple of every slot width


def counter() -> Series:
    return Series(Key(EVENT_ACCEPTED, ()), Kind.COUNTER, "")


def histogram() -> Series:
    return Series(Key(HOP_DURATION, ()), Kind.HISTOGRAM, "")


def sketch_of(*values: int) -> Sketch:
    sketch = Sketch()
    for value in values:
        sketch.record_ns(value)
    return sketch


def total(windows: Windows, series: Series, start: int, end: int, now: int) -> float:
    return windows.span(start, end, now).total([series])


samples = st.lists(st.tuples(st.integers(0, 119), st.integers(1, 10**9)), min_size=1, max_size=80)


@given(samples, st.integers(0, 2**32))
def test_any_order_and_split_of_histograms_equals_the_whole(values: list[tuple[int, int]], seed: int) -> None:
    series, windows, whole = histogram(), Windows(NOW - 200), Sketch()
    shuffled = values[:]
    random.Random(seed).shuffle(shuffled)
    for age, value in shuffled:
        windows.add(series, NOW - age, pack(sketch_of(value)), NOW)
        whole.record_ns(value)
    windows.advance(NOW)
    merged = windows.span(NOW - 119, NOW + 1, NOW).sketch([series])
    assert (merged.counts, merged.sum_ns, merged.minimum_ns, merged.maximum_ns) == (
        whole.counts, whole.sum_ns, whole.minimum_ns, whole.maximum_ns,
    )  # fmt: skip


arrivals = st.lists(
    st.tuples(st.integers(0, 200), st.integers(0, 4000), st.integers(1, 100)),  # pause, lateness, amount
    min_size=1,
    max_size=60,
)


@given(arrivals)
def test_roll_up_and_lateness_lose_nothing_and_double_nothing(steps: list[tuple[int, int, int]]) -> None:
    series, now = counter(), NOW
    windows = Windows(now)
    kept: list[tuple[int, int]] = []
    for pause, lateness, amount in steps:
        now += pause
        windows.advance(now)
        assert windows.add(series, now - lateness, amount, now)
        kept.append((now - lateness, amount))
    windows.advance(now)
    span = windows.span(now - 80_000, now + 1, now)
    assert span.total([series]) == sum(amount for second, amount in kept if second >= span.start)


@given(arrivals, st.integers(1, 3600))
def test_a_window_holds_exactly_the_seconds_it_names(steps: list[tuple[int, int, int]], window: int) -> None:
    series, now = counter(), NOW
    windows = Windows(now - 90_000)
    kept: list[tuple[int, int]] = []
    for pause, lateness, amount in steps:
        now += pause
        windows.advance(now)
        windows.add(series, now - lateness, amount, now)
        kept.append((now - lateness, amount))
    windows.advance(now)
    span = windows.span(now - window, now + 1, now)
    assert now - window <= span.start <= now - window + 60
    assert span.total([series]) == sum(amount for second, amount in kept if span.start <= second < span.end)


def test_recent_windows_are_exact_to_the_second() -> None:
    series, windows = counter(), Windows(NOW)
    for second in range(NOW, NOW + 100):
        windows.advance(second)
        windows.add(series, second, 1, second)
    assert total(windows, series, NOW + 90, NOW + 100, NOW + 99) == 10
    assert total(windows, series, NOW + 43, NOW + 44, NOW + 99) == 1


def test_memory_is_bounded_by_series_times_slots_however_long_it_runs() -> None:
    series, windows = [counter() for _ in range(3)], Windows(NOW)
    most = sum(number for _, number in TIERS) + len(TIERS)
    for second in range(NOW, NOW + 3 * 86_400, 7):
        windows.advance(second)
        for one in series:
            windows.add(one, second, 1, second)
        facts = windows.statistics()
        assert facts["slots"] <= most
        assert facts["values"] <= most * len(series)


def test_what_is_older_than_31_days_is_refused() -> None:
    series, windows = counter(), Windows(NOW)
    assert not windows.add(series, NOW - 127 * 21_600, 1, NOW)
    assert windows.add(series, NOW - 125 * 21_600, 1, NOW)


def test_a_window_does_not_reach_back_beyond_the_first_data() -> None:
    series, windows = counter(), Windows(NOW)
    windows.advance(NOW + 30)
    windows.add(series, NOW + 29, 6, NOW + 30)
    span = windows.span(NOW - 1000, NOW + 30, NOW + 30)
    assert (span.start, span.seconds) == (NOW, 30)


def test_a_jump_of_the_clock_and_back_does_not_stop_counting() -> None:
    series, windows = counter(), Windows(NOW)
    windows.add(series, NOW, 1, NOW)
    windows.advance(NOW + 10**7)
    windows.add(series, NOW + 10**7, 5, NOW + 10**7)
    windows.advance(NOW + 1)
    windows.add(series, NOW + 1, 2, NOW + 1)
    windows.add(series, NOW + 1, 3, NOW + 1)
    assert total(windows, series, NOW + 1, NOW + 2, NOW + 1) == 5
    windows.advance(NOW + 300)
    assert total(windows, series, NOW, NOW + 300, NOW + 300) == 5


def test_a_long_sleep_of_the_process_keeps_what_was_there() -> None:
    series, windows = counter(), Windows(NOW)
    for second in range(NOW, NOW + 60):
        windows.advance(second)
        windows.add(series, second, 1, second)
    windows.advance(NOW + 20_000)
    assert total(windows, series, NOW, NOW + 20_000, NOW + 20_000) == 60


def test_take_back_undoes_an_addition_in_every_tier() -> None:
    series, windows = counter(), Windows(NOW)
    windows.add(series, NOW, 10, NOW)
    windows.add(series, NOW, 4, NOW)
    windows.advance(NOW + 100)
    windows.take_back(series, NOW, 4)
    assert total(windows, series, NOW - 10, NOW + 100, NOW + 100) == 10
    windows.advance(NOW + 4000)
    assert total(windows, series, NOW - 4000, NOW + 4000, NOW + 4000) == 10


def test_the_last_value_of_a_gauge_survives_the_roll_up() -> None:
    gauge, windows = Series(Key(CONNECTION_ACTIVE, ()), Kind.GAUGE, "gateway_svc/g1"), Windows(NOW)
    for step in range(30):
        windows.advance(NOW + step)
        windows.add(gauge, NOW + step, float(step), NOW + step)
    assert windows.span(NOW + 20, NOW + 30, NOW + 29).last(gauge) == 29.0
    windows.advance(NOW + 1000)
    assert windows.span(NOW, NOW + 60, NOW + 1000).last(gauge) is not None
    assert windows.span(NOW, NOW + 60, NOW + 1000).last(counter()) is None


def test_forgotten_series_leave_nothing_behind() -> None:
    series, windows = counter(), Windows(NOW)
    windows.add(series, NOW, 1, NOW)
    windows.forget([series])
    assert windows.statistics()["values"] == 0


@given(st.integers(0, 90_000), st.integers(1, 90_000))
def test_first_data_is_found_at_any_age(age: int, window: int) -> None:
    series, windows = counter(), Windows(NOW - age)
    windows.add(series, NOW - age, 1, NOW - age)
    for now in range(NOW - age, NOW, 50):
        windows.advance(now)
    windows.advance(NOW)
    span = windows.span(NOW - window, NOW + 1, NOW)
    assert span.end == NOW + 1
    assert span.start >= NOW - window - 600
    if age < window - 600 and age < 80_000:
        assert span.total([series]) == 1
