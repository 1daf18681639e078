"""Which copies of an event count: a fold over log order that every reader does alike.

Owns the rule. An event is a repetition if a copy of it, itself a repetition or not, was stored within W before, in time
of the stream's server, counted in whole buckets of ten seconds. The rule looks only at copies: so a reader that began
to look W and one bucket earlier than an event decides about it as one that has read everything. (Were only first
copies to count, a chain of copies less than W apart would have another first one for each reader.) Pure.
"""

from __future__ import annotations

from lanecast.core.limits import DEDUP_WINDOW_SECONDS

_BUCKET_NS = 10 * 1_000_000_000
_BUCKETS = DEDUP_WINDOW_SECONDS // 10
_SLACK = 3
"""Buckets kept for longer: another leader's clock may be behind."""
_DROPS = 4

SETTLING_NS = (_BUCKETS + 1) * _BUCKET_NS
"""How much earlier, in log time, a reader starts than it serves."""


class CopyWindow:
    """Remembers the marks of the last 120 to 130 s of log time: about 170 bytes each."""

    def __init__(self) -> None:
        self._buckets: dict[int, dict[bytes, int]] = {}
        self._newest = 0
        self._leaving: list[dict[bytes, int]] = []

    def first(self, mark: bytes, offset: int, time_ns: int) -> int:
        """Note a copy at `offset` and return where the first one is: `offset` itself where there was none."""
        number = time_ns // _BUCKET_NS
        found = self._find(mark, number)
        bucket = self._buckets.get(number)
        if bucket is None:
            bucket = self._begin(number)
        first = offset if found is None else found
        bucket[mark] = first
        if self._leaving:
            self._drop_some()
        return first

    def __len__(self) -> int:
        return sum(map(len, self._buckets.values())) + sum(map(len, self._leaving))

    def _find(self, mark: bytes, number: int) -> int | None:
        for other, bucket in self._buckets.items():
            if mark in bucket and abs(number - other) <= _BUCKETS:
                return bucket[mark]
        return None

    def _begin(self, number: int) -> dict[bytes, int]:
        bucket = self._buckets[number] = {}
        self._newest = max(self._newest, number)
        for old in [each for each in self._buckets if each < self._newest - _BUCKETS - _SLACK]:
            self._leaving.append(self._buckets.pop(old))
        return bucket

    def _drop_some(self) -> None:
        """Free old marks a few at a time: a hundred thousand at once would take milliseconds."""
        bucket = self._leaving[-1]
        for _ in range(min(_DROPS, len(bucket))):
            bucket.popitem()
        if not bucket:
            self._leaving.pop()
