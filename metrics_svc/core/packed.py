"""Compact latency histograms: what one series counted in one slot of time.

Owns the packed form of `lanecast.core.sketch.Sketch`: only the buckets that hold something, 6 bytes each, since a
second of one series fills some dozens of 1,792 buckets. Used by the windows and by the OTLP receiver.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lanecast.core.sketch import BUCKETS, MIN_INDEX, SCALE, Sketch

COARSEST_SCALE = SCALE
"""Histograms of a lower scale have wider buckets than ours and cannot be kept within our error."""
MAX_COUNT = 1 << 40
"""Most samples one reported histogram may hold; more is no measurement."""
_FIRST_LIMIT_NS = 1e9 * math.exp2(MIN_INDEX / (1 << SCALE))


@dataclass(frozen=True, slots=True, eq=False)
class PackedSketch:
    """An immutable histogram: bucket `indexes[i]` of a `Sketch` holds `counts[i]`."""

    indexes: array[int]
    """Ascending."""
    counts: array[int]
    count: int
    sum_ns: int
    minimum_ns: int | None
    maximum_ns: int
    skewed: int
    """Negative durations; they are in no bucket."""

    def add_to(self, sketch: Sketch) -> None:
        """Add everything counted here to `sketch`."""
        counts = sketch.counts
        for index, count in zip(self.indexes, self.counts, strict=True):
            counts[index] += count
        sketch.sum_ns += self.sum_ns
        sketch.skewed += self.skewed
        sketch.maximum_ns = max(sketch.maximum_ns, self.maximum_ns)
        sketch.minimum_ns = _smaller(sketch.minimum_ns, self.minimum_ns)

    def without(self, part: PackedSketch) -> PackedSketch:
        """Return this histogram with `part`, which is contained in it, taken out again.

        The extremes stay as they are: a histogram does not know its second largest value.
        """
        buckets = dict(zip(self.indexes, self.counts, strict=True))
        for index, count in zip(part.indexes, part.counts, strict=True):
            buckets[index] = max(0, buckets.get(index, 0) - count)
        sum_ns, skewed = max(0, self.sum_ns - part.sum_ns), max(0, self.skewed - part.skewed)
        indexes = sorted(index for index, count in buckets.items() if count)
        counts = [buckets[index] for index in indexes]
        return _packed(indexes, counts, sum_ns, self.minimum_ns, self.maximum_ns, skewed)


def merge(parts: Iterable[PackedSketch]) -> PackedSketch:
    """Return the histogram of everything that `parts` have counted. Exact."""
    first, *others = parts
    buckets = dict(zip(first.indexes, first.counts, strict=True))
    get = buckets.get
    sum_ns, minimum, maximum, skewed = first.sum_ns, first.minimum_ns, first.maximum_ns, first.skewed
    for part in others:
        for index, count in zip(part.indexes, part.counts, strict=True):
            buckets[index] = get(index, 0) + count
        sum_ns += part.sum_ns
        skewed += part.skewed
        maximum = max(maximum, part.maximum_ns)
        minimum = _smaller(minimum, part.minimum_ns)
    indexes = sorted(buckets)
    return _packed(indexes, [buckets[index] for index in indexes], sum_ns, minimum, maximum, skewed)


def pack(sketch: Sketch) -> PackedSketch:
    """Return the packed form of a sketch."""
    indexes = [index for index, count in enumerate(sketch.counts) if count]
    counts = list(filter(None, sketch.counts))
    return _packed(indexes, counts, sketch.sum_ns, sketch.minimum_ns, sketch.maximum_ns, sketch.skewed)


def from_exponential(
    scale: int,
    offset: int,
    bucket_counts: Sequence[int],
    *,
    zeros: int = 0,
    negatives: int = 0,
    sum_seconds: float | None = None,
    minimum_seconds: float | None = None,
    maximum_seconds: float | None = None,
) -> PackedSketch:
    """Return a base-2 exponential histogram in our layout.

    A finer one is scaled down, which is exact; values outside our range count in the first or last bucket; negative
    values count as skew. Extremes and sum that were not reported are taken from the buckets.

    Raises:
        ValueError: the scale is coarser than ours.
    """
    if scale < COARSEST_SCALE:
        raise ValueError(
            f"the histogram has scale {scale}, whose buckets are wider than ours: export scale {COARSEST_SCALE} or more"
        )
    indexes, counts = _in_our_layout(scale - SCALE, offset, bucket_counts, zeros)
    if not indexes:
        return _packed([], [], 0, None, 0, negatives)
    minimum = _upper_ns(indexes[0] - 1) if minimum_seconds is None else max(1, round(minimum_seconds * 1e9))
    maximum = _upper_ns(indexes[-1]) if maximum_seconds is None else max(1, round(maximum_seconds * 1e9))
    if sum_seconds is None:
        total = sum(_upper_ns(index) * count for index, count in zip(indexes, counts, strict=True))
    else:
        total = max(0, round(sum_seconds * 1e9))
    return _packed(indexes, counts, total, minimum, maximum, negatives)


def _in_our_layout(shift: int, offset: int, bucket_counts: Sequence[int], zeros: int) -> tuple[list[int], list[int]]:
    first = offset - MIN_INDEX
    if not shift and not zeros and first >= 0 and first + len(bucket_counts) <= BUCKETS:
        # What Lanecast itself sends: nothing to scale, nothing to move.
        return [index for index, count in enumerate(bucket_counts, first) if count], list(filter(None, bucket_counts))
    buckets: dict[int, int] = {0: zeros} if zeros else {}
    for index, count in enumerate(bucket_counts, offset):
        if count:
            ours = min(max((index >> shift) - MIN_INDEX, 0), BUCKETS - 1)
            buckets[ours] = buckets.get(ours, 0) + count
    indexes = sorted(buckets)
    return indexes, [buckets[index] for index in indexes]


def _packed(
    indexes: list[int], counts: list[int], sum_ns: int, minimum_ns: int | None, maximum_ns: int, skewed: int
) -> PackedSketch:
    try:
        narrow = array("I", counts)
    except OverflowError:
        narrow = array("Q", counts)
    return PackedSketch(array("H", indexes), narrow, sum(counts), sum_ns, minimum_ns, maximum_ns, skewed)


def _upper_ns(index: int) -> int:
    return max(1, round(_FIRST_LIMIT_NS * math.exp2((index + 1) / (1 << SCALE))))


def _smaller(one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)
