"""What a series has counted since the service started, in the form that Prometheus reads.

Owns the limits of the classic buckets. A total only grows, except while a repeated report replaces its first copy.
Used by `series` and `prometheus`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from math import ceil, log2

from lanecast.core.sketch import BUCKETS, MIN_INDEX, SCALE
from metrics_svc.core.packed import PackedSketch

BOUNDS = (
    0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0,
)  # fmt: skip
"""Upper limits of the buckets in seconds; the lanes' budgets are among them."""


def _last_index(limit: float) -> int:
    # The bucket of a sketch that holds the limit counts as below it, as in `Sketch.share_within`.
    return min(BUCKETS - 1, ceil(log2(limit) * (1 << SCALE)) - 1 - MIN_INDEX)


_LAST = tuple(_last_index(bound) for bound in BOUNDS)


class HistogramTotal:
    """A classic histogram: 23 buckets, sum and count."""

    __slots__ = ("buckets", "count", "sum_ns")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BOUNDS) + 1)
        """Not cumulative; the last is for values above all bounds."""
        self.count = 0
        self.sum_ns = 0

    def add(self, packed: PackedSketch, sign: int = 1) -> None:
        """Add what `packed` counted, or with a `sign` of -1 take it out again."""
        indexes, counts = packed.indexes, packed.counts
        position, end = 0, len(indexes)
        bucket = bisect_left(_LAST, indexes[0]) if end else 0
        while position < end:
            over = bisect_right(indexes, _LAST[bucket], position) if bucket < len(_LAST) else end
            self.buckets[bucket] += sign * sum(counts[position:over])
            position = over
            bucket += 1
        self.count += sign * packed.count
        self.sum_ns += sign * packed.sum_ns
