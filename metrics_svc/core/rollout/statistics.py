"""Intervals for shares, quantiles and ratios.

Owns the arithmetic; the distributions are scipy's. An interval says between what the true figure lies with the given
confidence. Deliveries in one burst are no independent samples: so ratios are judged over the parts of an arm, and the
sample size of a share is lowered by how much more its parts differ than chance would make them.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, exp, log, log2, sqrt

import numpy as np
from scipy import special

from lanecast.core.sketch import BUCKETS, MIN_INDEX, SCALE
from metrics_svc.core.rollout.samples import Counts

CONFIDENCE = 0.99
_LOG_STEP = log(2) / (1 << SCALE)
_RESOLUTION = _LOG_STEP / 2
"""Half a bucket: no figure is better than that."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and between what it lies."""

    value: float
    low: float
    high: float


def wilson(good: float, count: float, confidence: float = CONFIDENCE) -> Interval:
    """Return the share `good / count` with Wilson's score interval."""
    z = float(special.ndtri(0.5 + confidence / 2))
    share = good / count
    scale = 1 + z * z / count
    middle = (share + z * z / (2 * count)) / scale
    half = z * sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / scale
    return Interval(share, max(0.0, middle - half), min(1.0, middle + half))


def share_within(counts: Counts, limit_seconds: float) -> Interval:
    """Return the share of deliveries within a limit, judged by how much the parts differ. There must be deliveries."""
    sizes = counts.sum(axis=1)
    good = counts[:, : _last_bucket(limit_seconds) + 1].sum(axis=1)
    total = float(sizes.sum())
    effective = total / _design_effect(good, sizes)
    return wilson(float(good.sum()) / total * effective, effective)


def shares(counts: Counts, limit_seconds: float) -> list[float]:
    """Return the share within a limit of each part that has deliveries."""
    sizes = counts.sum(axis=1)
    good = counts[:, : _last_bucket(limit_seconds) + 1].sum(axis=1)
    return [float(g) / float(n) for g, n in zip(good, sizes, strict=True) if n]


def quantile(counts: Counts, q: float, confidence: float = CONFIDENCE) -> Interval:
    """Return a quantile in seconds with the interval of its order statistics. There must be deliveries."""
    together = counts.sum(axis=0)
    total = int(together.sum())
    tail = (1 - confidence) / 2
    low = _binomial_quantile(tail, total, q)
    high = min(total, _binomial_quantile(1 - tail, total, q) + 1)
    cumulated = np.cumsum(together)
    ranks = [max(1, ceil(q * total)), max(1, low), max(1, high)]
    value, lowest, highest = (_seconds(int(np.searchsorted(cumulated, rank))) for rank in ranks)
    return Interval(value, lowest, highest)


def log_quantiles(counts: Counts, q: float) -> list[float]:
    """Return the logarithm of a quantile of each part that has enough deliveries to have that quantile."""
    sizes = counts.sum(axis=1)
    usable = sizes * (1 - q) >= 1
    if not usable.any():
        return []
    chosen, numbers = counts[usable], sizes[usable]
    ranks = np.ceil(q * numbers).astype(np.int64)
    cumulated = np.cumsum(chosen, axis=1)
    indexes = (cumulated < ranks[:, None]).sum(axis=1)
    # Within the bucket by rank: otherwise equal parts would jump by a whole bucket, or not differ at all.
    below = np.where(indexes > 0, np.take_along_axis(cumulated, np.maximum(indexes - 1, 0)[:, None], 1)[:, 0], 0)
    inside = np.take_along_axis(chosen, indexes[:, None], 1)[:, 0]
    fraction = (ranks - below) / np.maximum(inside, 1)
    return [float(value) for value in (MIN_INDEX + indexes + fraction) * _LOG_STEP]


def ratio(candidate: list[float], control: list[float], confidence: float = CONFIDENCE) -> Interval:
    """Return exp(mean of `candidate` - mean of `control`), both logarithms, with Welch's interval. Two of each."""
    difference, half = _welch(candidate, control, confidence)
    half = half + _RESOLUTION
    return Interval(exp(difference), exp(difference - half), exp(difference + half))


def difference(one: list[float], other: list[float], confidence: float = CONFIDENCE) -> Interval:
    """Return the difference of two means with Welch's interval. Two of each."""
    middle, half = _welch(one, other, confidence)
    return Interval(middle, middle - half, middle + half)


def _welch(one: list[float], other: list[float], confidence: float) -> tuple[float, float]:
    a, b = np.asarray(one), np.asarray(other)
    va, vb = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    error = sqrt(va + vb)
    if error == 0:
        return float(a.mean() - b.mean()), 0.0
    freedom = (va + vb) ** 2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1))
    return float(a.mean() - b.mean()), float(special.stdtrit(freedom, 0.5 + confidence / 2)) * error


def _design_effect(good: Counts, sizes: Counts) -> float:
    used = sizes > 0
    share = float(good.sum()) / float(sizes.sum())
    chance = share * (1 - share)
    parts = int(used.sum())
    if parts < 2 or chance == 0:
        return 1.0
    own = good[used] / sizes[used]
    found = float((sizes[used] * (own - share) ** 2).sum()) / (parts - 1)
    return max(1.0, found / chance)


def _binomial_quantile(probability: float, total: int, q: float) -> int:
    """Return the least number that a binomial variable does not exceed with the probability."""
    low, high = 0, total
    while low < high:
        middle = (low + high) // 2
        if special.bdtr(middle, total, q) >= probability:
            high = middle
        else:
            low = middle + 1
    return low


def _last_bucket(limit_seconds: float) -> int:
    return min(BUCKETS - 1, ceil(log2(limit_seconds) * (1 << SCALE)) - 1 - MIN_INDEX)


def _seconds(index: int) -> float:
    return float(2.0 ** ((MIN_INDEX + index + 0.5) / (1 << SCALE)))
