"""The series that are kept, and the limit on their number.

Owns the identity of series and their totals since the service started. Used by `telemetry`; knows nothing of time
windows.
"""

from __future__ import annotations

from collections.abc import Iterator

from lanecast.core.instruments import Key
from metrics_svc.core.catalogue import OTHER, Kind
from metrics_svc.core.packed import PackedSketch
from metrics_svc.core.totals import HistogramTotal

Value = PackedSketch | int | float
"""A value of a histogram, counter or gauge."""


class Series:
    """One time series. Compared by identity: windows use it as a key."""

    __slots__ = ("attributes", "key", "kind", "last_second", "process", "reserved", "total")

    def __init__(self, key: Key, kind: Kind, process: str) -> None:
        self.key = key
        self.attributes = dict(key.attributes)
        self.kind = kind
        self.process = process
        """Who reports it. Empty for histograms and counters, which add up over processes."""
        self.last_second = 0
        """Unix second of the last report."""
        self.reserved = False
        """Whether it stays although nobody reports it."""
        self.total: HistogramTotal | float = HistogramTotal() if kind is Kind.HISTOGRAM else 0
        """Everything counted since the service started; of a gauge the last value."""

    def count(self, value: Value) -> None:
        """Add a value to the total."""
        if isinstance(self.total, HistogramTotal):
            assert isinstance(value, PackedSketch)
            self.total.add(value)
        else:
            assert not isinstance(value, PackedSketch)
            self.total = value if self.kind is Kind.GAUGE else self.total + value

    def take_back(self, value: Value) -> None:
        """Undo `count` of a histogram or counter."""
        if isinstance(self.total, HistogramTotal):
            assert isinstance(value, PackedSketch)
            self.total.add(value, -1)
        else:
            assert not isinstance(value, PackedSketch)
            self.total -= value


class SeriesTable:
    """All series, at most `limit` plus one `other` for each that was refused a type of its own."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._series: dict[tuple[Key, str], Series] = {}
        self._by_name: dict[str, list[Series]] = {}

    def __len__(self) -> int:
        return len(self._series)

    def __iter__(self) -> Iterator[Series]:
        return iter(self._series.values())

    def named(self, name: str) -> list[Series]:
        """Return all series of a metric."""
        return self._by_name.get(name, [])

    def find(self, key: Key, kind: Kind, process: str) -> Series | None:
        """Return the series of `key`, made where it is new; None where there is no room for it.

        Over the limit a new event type is counted as `other`.
        """
        owner = process if kind is Kind.GAUGE else ""
        found = self._series.get((key, owner))
        if found is not None:
            return found
        if len(self._series) < self._limit:
            return self._create(key, kind, owner)
        folded = _without_type(key)
        if folded is None:
            return None
        return self._series.get((folded, owner)) or self._create_folded(folded, kind, owner)

    def forget_before(self, second: int, gauges_second: int) -> list[Series]:
        """Remove and return the series that nobody has reported since `second`, or since `gauges_second`."""
        gone = [
            series
            for series in self._series.values()
            if not series.reserved and series.last_second < (gauges_second if series.kind is Kind.GAUGE else second)
        ]
        for series in gone:
            del self._series[series.key, series.process]
            self._by_name[series.key.name].remove(series)
        return gone

    def _create(self, key: Key, kind: Kind, owner: str) -> Series:
        series = Series(key, kind, owner)
        self._series[key, owner] = series
        self._by_name.setdefault(key.name, []).append(series)
        return series

    def _create_folded(self, key: Key, kind: Kind, owner: str) -> Series | None:
        # The values of all other attributes are a closed set or short; a second limit keeps the sum bounded.
        return self._create(key, kind, owner) if len(self._series) < self._limit + self._limit // 8 else None


def _without_type(key: Key) -> Key | None:
    if not any(name == "type" for name, _ in key.attributes):
        return None
    return Key(key.name, tuple((name, OTHER if name == "type" else value) for name, value in key.attributes))
