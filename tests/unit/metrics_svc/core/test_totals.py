"""Classic buckets against counting by hand."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lanecast.core.sketch import Sketch
from metrics_svc.core.packed import PackedSketch, pack
from metrics_svc.core.totals import BOUNDS, HistogramTotal

durations = st.lists(st.integers(1, 300_000_000_000), max_size=50)


def packed(values: list[int]) -> PackedSketch:
    sketch = Sketch()
    for value in values:
        sketch.record_ns(value)
    return pack(sketch)


@given(durations)
def test_buckets_agree_with_the_values_but_for_one_sketch_bucket(values: list[int]) -> None:
    total = HistogramTotal()
    total.add(packed(values))
    assert (total.count, total.sum_ns, sum(total.buckets)) == (len(values), sum(values), len(values))
    below = 0
    for bound, inside in zip(BOUNDS, total.buckets, strict=False):
        below += inside
        exactly = sum(value <= bound * 1e9 for value in values)
        kindly = sum(value <= bound * 1e9 * 2 ** (1 / 64) for value in values)
        assert exactly <= below <= kindly


@given(durations, durations)
def test_taking_back_leaves_what_was_there(kept: list[int], extra: list[int]) -> None:
    total, expected = HistogramTotal(), HistogramTotal()
    for values in (kept, extra):
        total.add(packed(values))
    total.add(packed(extra), -1)
    expected.add(packed(kept))
    assert (total.buckets, total.count, total.sum_ns) == (expected.buckets, expected.count, expected.sum_ns)
