"""Packed histograms against the dense sketch they stand for."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanecast.core.sketch import BUCKETS, MIN_INDEX, SCALE, Sketch
from metrics_svc.core.packed import from_exponential, merge, pack

durations = st.lists(st.integers(-5, 400_000_000_000), max_size=60)


def sketch_of(values: list[int]) -> Sketch:
    sketch = Sketch()
    for value in values:
        sketch.record_ns(value)
    return sketch


def state(sketch: Sketch) -> tuple[object, ...]:
    return sketch.counts, sketch.sum_ns, sketch.minimum_ns, sketch.maximum_ns, sketch.skewed


def unpacked(packed: object) -> tuple[object, ...]:
    sketch = Sketch()
    packed.add_to(sketch)  # type: ignore[attr-defined]
    return state(sketch)


@given(durations, st.integers(0, 60), st.integers(0, 60))
def test_merge_of_any_split_equals_the_whole(values: list[int], first: int, second: int) -> None:
    low, high = sorted((first, second))
    parts = [values[:low], values[low:high], values[high:]]
    assert unpacked(merge(pack(sketch_of(part)) for part in parts)) == state(sketch_of(values))


@given(durations, durations)
def test_without_undoes_a_merge(kept: list[int], extra: list[int]) -> None:
    one, other = pack(sketch_of(kept)), pack(sketch_of(extra))
    rest = merge([one, other]).without(other)
    assert (rest.indexes, rest.counts, rest.count, rest.sum_ns, rest.skewed) == (
        one.indexes, one.counts, one.count, one.sum_ns, one.skewed,
    )  # fmt: skip


@given(st.lists(st.floats(1e-5, 200.0), min_size=1, max_size=60), st.integers(SCALE, 20))
def test_a_finer_histogram_is_scaled_down_exactly(values: list[float], scale: int) -> None:
    factor = 1 << scale
    indexes = [math.ceil(math.log2(value) * factor) - 1 for value in values]
    offset = min(indexes)
    # A real histogram of scale 20 has few buckets; only the indexes matter here.
    ours = [0] * BUCKETS
    for index in indexes:
        part = from_exponential(scale, index, [1])
        ours[part.indexes[0]] += 1
    expected = [0] * BUCKETS
    for index in indexes:
        expected[(index >> (scale - SCALE)) - MIN_INDEX] += 1
    assert ours == expected
    assert from_exponential(scale, offset, [len(values)]).count == len(values)


def test_scaling_down_by_one_merges_pairs_and_keeps_reported_sum_and_extremes() -> None:
    packed = from_exponential(
        SCALE + 1, -1000, [1, 2, 3, 4], sum_seconds=0.5, minimum_seconds=0.01, maximum_seconds=0.2
    )
    assert list(packed.indexes) == [-500 - MIN_INDEX, -499 - MIN_INDEX]
    assert list(packed.counts) == [3, 7]
    assert (packed.count, packed.sum_ns, packed.minimum_ns, packed.maximum_ns) == (
        10,
        500_000_000,
        10_000_000,
        200_000_000,
    )


def test_out_of_range_zero_and_negative_values_have_a_place() -> None:
    packed = from_exponential(SCALE, MIN_INDEX - 5, [1] + [0] * (BUCKETS + 10) + [2], zeros=3, negatives=4)
    assert dict(zip(packed.indexes, packed.counts, strict=True)) == {0: 4, BUCKETS - 1: 2}
    assert packed.skewed == 4


def test_without_reported_extremes_they_come_from_the_buckets() -> None:
    packed = from_exponential(SCALE, -64, [1])  # (0.5, 0.5 * 2^(1/64)] seconds
    assert packed.minimum_ns == pytest.approx(500_000_000)
    assert packed.maximum_ns == pytest.approx(500_000_000 * 2 ** (1 / 64))


def test_a_coarser_histogram_is_refused_with_what_to_do() -> None:
    with pytest.raises(ValueError, match="export scale 6 or more"):
        from_exponential(SCALE - 1, 0, [1])


def test_counts_beyond_32_bits_are_kept() -> None:
    packed = from_exponential(SCALE, 0, [1 << 39])
    assert merge([packed, packed]).count == 1 << 40


def test_a_second_of_one_series_takes_hundreds_of_bytes() -> None:
    packed = pack(sketch_of([1_000_000 + 10_000 * step for step in range(100)]))
    assert packed.indexes.itemsize * len(packed.indexes) + packed.counts.itemsize * len(packed.counts) < 600
