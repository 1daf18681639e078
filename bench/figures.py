"""Quantiles, medians over repetitions with their range, and ratios.

Owns how measured numbers are condensed. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median

from lanecast.core.sketch import BUCKETS, MIN_INDEX, Sketch

QUANTILES = (0.5, 0.95, 0.99, 0.999)
_PER_OCTAVE = 64


@dataclass(frozen=True, slots=True)
class Latency:
    """One latency distribution, in milliseconds."""

    count: int
    mean_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float

    def as_dict(self) -> dict[str, float]:
        """Return the figures as plain data."""
        return asdict(self)


def latency(sketch: Sketch) -> Latency:
    """Condense a sketch."""
    p50, p95, p99, p999 = (value * 1e3 for value in sketch.quantiles(QUANTILES))
    return Latency(sketch.count, sketch.mean_seconds * 1e3, p50, p95, p99, p999, sketch.maximum_ns / 1e6)


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over several runs."""

    median: float
    low: float
    high: float
    runs: int


def spread(values: Sequence[float]) -> Spread:
    """Return the median and the range of at least one value."""
    return Spread(median(values), min(values), max(values), len(values))


def ratio(peer: float, own: float) -> float | None:
    """Return how many times `own` goes into `peer`; None where that says nothing because one of them is zero."""
    return peer / own if own > 0 and peer > 0 else None


def to_sparse(sketch: Sketch) -> dict[str, int]:
    """Return the filled buckets by index, short enough for JSON."""
    return {str(index): count for index, count in enumerate(sketch.counts) if count}


def percentile_curve(sparse: dict[str, int]) -> tuple[list[float], list[float]]:
    """Return (1 - quantile, milliseconds) at the upper end of each filled bucket, for a plot of the tail."""
    total = sum(sparse.values())
    rest, beyond, values = total, [], []
    for index, count in sorted((int(index), count) for index, count in sparse.items()):
        rest -= count
        beyond.append(max(rest, 0.5) / total)
        values.append(2.0 ** ((MIN_INDEX + index + 1) / _PER_OCTAVE) * 1e3)
    return beyond, values


def merge_sparse(parts: Sequence[dict[str, int]]) -> dict[str, int]:
    """Add up the buckets of several runs."""
    merged = [0] * BUCKETS
    for part in parts:
        for index, count in part.items():
            merged[int(index)] += count
    return {str(index): count for index, count in enumerate(merged) if count}


def drift(values: Sequence[float]) -> float | None:
    """Return the median of the last quarter over the median of the first: 1 is flat. None where there is too little."""
    kept = [value for value in values if value > 0]
    quarter = len(kept) // 4
    if quarter < 1:
        return None
    return median(kept[-quarter:]) / median(kept[:quarter])
