"""The latency histogram: error bound, exact merging, edges."""

from __future__ import annotations

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanecast.core.sketch import BUCKETS, MIN_INDEX, Sketch

INSIDE = st.integers(1_000, 256 * 10**9)
"""Nanoseconds that have buckets of their own."""
ANY = st.integers(-(10**12), 10**13)


def sketch_of(values: list[int]) -> Sketch:
    sketch = Sketch()
    for value in values:
        sketch.record_ns(value)
    return sketch


def facts(sketch: Sketch) -> tuple[object, ...]:
    return sketch.counts, sketch.sum_ns, sketch.minimum_ns, sketch.maximum_ns, sketch.skewed


@given(st.lists(INSIDE, min_size=1, max_size=200), st.floats(0, 1))
def test_a_quantile_is_within_its_error_of_the_true_value(values: list[int], q: float) -> None:
    true = sorted(values)[max(1, ceil(q * len(values))) - 1] / 1e9
    assert sketch_of(values).quantile(q) == pytest.approx(true, rel=0.0055)


@given(INSIDE)
def test_a_value_lies_within_the_bounds_of_its_bucket(value: int) -> None:
    index = sketch_of([value]).counts.index(1)
    low, high = (2.0 ** ((MIN_INDEX + index + step) / 64) for step in (0, 1))
    assert low * (1 - 1e-9) <= value / 1e9 <= high * (1 + 1e-9)


@given(st.lists(st.lists(ANY, max_size=50), max_size=6))
def test_merging_is_as_if_one_had_counted_it_all(parts: list[list[int]]) -> None:
    merged = Sketch()
    for part in parts:
        merged.merge(sketch_of(part))
    assert facts(merged) == facts(sketch_of([value for part in parts for value in part]))


@given(st.lists(ANY, max_size=50), st.lists(ANY, max_size=50))
def test_taking_leaves_an_empty_sketch_that_counts_on(first: list[int], second: list[int]) -> None:
    sketch = sketch_of(first)
    taken = sketch.take()
    assert facts(taken) == facts(sketch_of(first))
    assert facts(sketch) == facts(Sketch())
    for value in second:
        sketch.record_ns(value)
    assert facts(sketch) == facts(sketch_of(second))
    assert facts(taken) == facts(sketch_of(first))


@given(st.lists(INSIDE, min_size=1, max_size=100))
def test_several_quantiles_are_what_each_is_alone(values: list[int]) -> None:
    sketch = sketch_of(values)
    qs = (0.0, 0.5, 0.95, 0.99, 1.0)
    assert sketch.quantiles(qs) == [sketch.quantile(q) for q in qs]


@given(st.lists(INSIDE, min_size=1, max_size=100), INSIDE)
def test_the_share_within_a_limit_errs_by_one_bucket_at_most(values: list[int], limit: int) -> None:
    share = sketch_of(values).share_within(limit / 1e9)
    low = sum(value <= limit * (1 - 0.011) for value in values) / len(values)
    high = sum(value <= limit * (1 + 0.011) for value in values) / len(values)
    assert low <= share <= high


def test_nothing_counted_has_no_latency_and_breaks_no_limit() -> None:
    sketch = Sketch()
    assert (sketch.count, sketch.mean_seconds, sketch.quantile(0.99), sketch.share_within(0.001)) == (0, 0.0, 0.0, 1.0)


def test_negative_durations_are_skew_and_zero_is_the_smallest() -> None:
    sketch = Sketch()
    sketch.record_ns(-5, count=3)
    sketch.record_ns(0)
    assert (sketch.skewed, sketch.count, sketch.minimum_ns, sketch.counts[0]) == (3, 1, 1, 1)


def test_what_is_out_of_range_is_counted_at_the_ends_and_never_above_the_maximum() -> None:
    sketch = sketch_of([1, 10**15])
    assert (sketch.counts[0], sketch.counts[BUCKETS - 1]) == (1, 1)
    assert sketch.quantile(1.0) <= 10**15 / 1e9
    assert sketch.quantile(0.0) >= 1e-9


def test_a_repeated_duration_is_counted_at_once() -> None:
    sketch = Sketch()
    sketch.record_ns(1_000_000, count=5)
    assert (sketch.count, sketch.sum_ns, sketch.mean_seconds) == (5, 5_000_000, pytest.approx(0.001))


@given(st.lists(st.tuples(st.integers(1, 100), st.integers(-10, 2**40)), max_size=20))
def test_many_ends_count_as_they_would_one_by_one(ends: list[tuple[int, int]]) -> None:
    at_once, one_by_one = Sketch(), Sketch()
    at_once.record_until(5, ends)
    for count, end_ns in ends:
        one_by_one.record_ns(end_ns - 5, count)
    for name in Sketch.__slots__:
        assert getattr(at_once, name) == getattr(one_by_one, name)
