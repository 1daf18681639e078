"""bench.figures: condensing."""

from __future__ import annotations

import pytest

from bench import figures
from lanecast.core.sketch import Sketch


def sketch_of(*milliseconds: float) -> Sketch:
    sketch = Sketch()
    for value in milliseconds:
        sketch.record_ns(int(value * 1e6))
    return sketch


def test_quantiles_are_within_a_bucket_of_the_truth() -> None:
    found = figures.latency(sketch_of(*range(1, 1001)))
    assert found.count == 1000
    assert found.p50_ms == pytest.approx(500, rel=0.011)
    assert found.p99_ms == pytest.approx(990, rel=0.011)
    assert found.p999_ms == pytest.approx(999, rel=0.011)
    assert found.max_ms == 1000


def test_spread_is_the_median_with_its_range() -> None:
    assert figures.spread([5.0, 1.0, 3.0]) == figures.Spread(3.0, 1.0, 5.0, 3)


@pytest.mark.parametrize(("peer", "own", "expected"), [(10.0, 4.0, 2.5), (0.0, 4.0, None), (4.0, 0.0, None)])
def test_ratios_that_say_nothing_are_none(peer: float, own: float, expected: float | None) -> None:
    assert figures.ratio(peer, own) == expected


def test_buckets_survive_being_written_and_merged() -> None:
    first, second = sketch_of(1, 2, 2), sketch_of(2, 400)
    merged = figures.merge_sparse([figures.to_sparse(first), figures.to_sparse(second)])
    first.merge(second)
    assert merged == figures.to_sparse(first)


def test_the_curve_falls_to_the_last_value() -> None:
    beyond, values = figures.percentile_curve(figures.to_sparse(sketch_of(*[1.0] * 99, 50.0)))
    assert beyond == pytest.approx([0.01, 0.005])
    assert values == pytest.approx([1.0, 50.0], rel=0.011)


def test_drift_compares_the_ends() -> None:
    assert figures.drift([1.0, 1.0, 5.0, 9.0, 2.0, 2.0, 3.0, 3.0]) == 3.0
    assert figures.drift([1.0, 0.0]) is None
