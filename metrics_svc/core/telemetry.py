"""Everything that processes have reported: the one object that shells write to and queries read from.

Owns who reported, which points were seen before, and what was refused. Takes `now` in nanoseconds since the Unix epoch
from the caller. Used by the OTLP receiver and by all queries.

A reporter whose answer was lost sends the same time again, alone or as the beginning of a longer interval: a point that
begins at the very nanosecond at which the last point of its series began replaces it, so nothing counts twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from lanecast.core.instruments import Key
from metrics_svc.core.catalogue import Kind, check, keep
from metrics_svc.core.packed import MAX_COUNT, PackedSketch
from metrics_svc.core.series import Series, SeriesTable, Value
from metrics_svc.core.windows import FUTURE_SECONDS, Slot, Span, Windows

NANOS = 1_000_000_000
MAX_SERIES = 2_000
MAX_PROCESSES = 256
MAX_PIECES = 120
"""Most slots that one counter point is spread over."""
REPEAT_SECONDS = 60
"""How long a point is remembered to recognise that it comes again."""
FORGET_SECONDS = 24 * 3600
"""How long a process that reports no more is remembered, with its gauges."""

Derive = Callable[[Iterable["Point"]], Iterable["Point"]]
"""Returns the points that follow from those of one report."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process that reports."""

    service: str
    instance: str

    @property
    def name(self) -> str:
        """Both in one string."""
        return f"{self.service}/{self.instance}"


@dataclass(frozen=True, slots=True)
class Point:
    """What one series of one process counted between two moments."""

    key: Key
    kind: Kind
    start_ns: int
    """Zero: unknown."""
    end_ns: int
    value: Value


@dataclass(slots=True)
class Outcome:
    """What became of the points of one report."""

    accepted: int = 0
    repeated: int = 0
    """Seen before and therefore not counted again; no error."""
    refused: Counter[str] = field(default_factory=Counter)
    """Sentences that say why, with the number of points."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What the history has to take over."""

    slots: Mapping[tuple[int, int], Slot | None]
    """By width and begin; None: no longer kept."""
    made_until: Mapping[int, int]
    """By width: until when the slots hold everything."""
    processes: Mapping[Process, int]
    """Who has reported, and when last."""


class _Refusal(Exception):  # noqa: N818 - never leaves this module
    pass


class Telemetry:
    """What was measured, by whom and when."""

    def __init__(self, now_ns: int, *, max_series: int = MAX_SERIES, derive: Derive | None = None) -> None:
        self._derive = derive
        self._windows = Windows(now_ns // NANOS)
        self._series = SeriesTable(max_series)
        self._max_series = max_series
        self._max_recent = 4 * max_series
        self._processes: dict[Process, int] = {}
        self._recent: dict[tuple[Process, Key], Point] = {}
        self._advanced = 0
        self.version = 0
        """Grows with each report: an answer computed at the same version and second is still right."""
        self.refused = 0
        """Points refused since the start."""

    def add(self, process: Process, points: Iterable[Point], now_ns: int) -> Outcome:
        """Count the points of one report."""
        self._advance(now_ns // NANOS)
        outcome = Outcome()
        self._meet(process, now_ns)
        points = list(points)
        self._add_all(process, points, now_ns, outcome)
        if self._derive is not None:
            self._add_all(process, self._derive(points), now_ns, Outcome())
        self.refused += outcome.refused.total()
        self.version += 1
        return outcome

    def _add_all(self, process: Process, points: Iterable[Point], now_ns: int, outcome: Outcome) -> None:
        for point in points:
            try:
                counted = self._add_point(process, point, now_ns)
            except _Refusal as refusal:
                outcome.refused[str(refusal)] += 1
                continue
            outcome.accepted += counted
            outcome.repeated += not counted

    def refuse(self, number: int) -> None:
        """Count points that a shell could not even read."""
        self.refused += number

    def span(self, start: int, end: int, now_ns: int) -> Span:
        """Return what is kept of the seconds from `start` to `end` (excluded)."""
        self._advance(now_ns // NANOS)
        return self._windows.span(start, end, now_ns // NANOS)

    @property
    def origin(self) -> int:
        """The first second that anything may be known of."""
        return self._windows.origin

    def series(self, name: str, **attributes: str) -> list[Series]:
        """Return the series of a metric that have all these attribute values."""
        wanted = attributes.items()
        return [series for series in self._series.named(name) if wanted <= series.attributes.items()]

    def all_series(self) -> Iterator[Series]:
        """Return every series."""
        return iter(self._series)

    def take_changes(self, *, everything: bool = False) -> Changes:
        """Return what has changed since the last call, for the history, or all that there is."""
        slots = self._windows.all_slots() if everything else self._windows.take_changes()
        return Changes(slots, self._windows.made_until(), dict(self._processes))

    def reserve(self, key: Key, kind: Kind) -> None:
        """Make a series that stays although nobody reports it."""
        series = self._series.find(key, kind, "")
        if series is not None:
            series.reserved = True

    def recall(self, key: Key, kind: Kind, process: str) -> Series | None:
        """Return the series that the history calls `key`; None where it is no longer one, or there is no room."""
        return None if check(key, kind) else self._series.find(key, kind, process)

    def restore(self, changes: Changes, now_ns: int) -> None:
        """Go on from the history. Called once, before anything is added."""
        for (_, begin), slot in changes.slots.items():
            for series in slot or ():
                series.last_second = max(series.last_second, begin)
        slots = {place: slot for place, slot in changes.slots.items() if slot is not None}
        self._windows.restore(slots, changes.made_until, now_ns // NANOS)
        self._processes = dict(sorted(changes.processes.items(), key=lambda entry: entry[1])[-MAX_PROCESSES:])
        self.version += 1

    def processes(self, since_ns: int) -> list[tuple[Process, int]]:
        """Return who has reported since then, with the time of the last report, ordered by name."""
        found = [(process, last) for process, last in self._processes.items() if last >= since_ns]
        return sorted(found, key=lambda entry: entry[0].name)

    def statistics(self) -> dict[str, int]:
        """Return how much is kept."""
        return {
            "series": len(self._series),
            "processes": len(self._processes),
            "refused": self.refused,
            **self._windows.statistics(),
        }

    def _add_point(self, process: Process, point: Point, now_ns: int) -> bool:
        series = self._series_of(process, point, now_ns)
        reported = (process, point.key)  # not the series: several reported keys may share one
        before = self._recent.get(reported)
        if before is not None and _repeats(before, point):
            if point.end_ns <= before.end_ns:
                return False
            self._take_back(series, before)
        second = (point.end_ns - 1) // NANOS
        kept = [self._windows.add(series, at, part, now_ns // NANOS) for at, part in _parts(point)]
        if not any(kept):
            raise _Refusal("the point is older than anything that is kept (31 days)")
        series.count(point.value)
        series.last_second = max(series.last_second, second)
        if point.start_ns and (before is not None or len(self._recent) < self._max_recent):
            self._recent[reported] = point
        return True

    def _series_of(self, process: Process, point: Point, now_ns: int) -> Series:
        problem = check(point.key, point.kind)
        if problem is not None:
            raise _Refusal(problem)
        if point.end_ns > now_ns + FUTURE_SECONDS * NANOS:
            raise _Refusal("the point lies in the future: set the clock of the process that reports it")
        if point.end_ns <= now_ns - self._windows.retention_seconds * NANOS:
            raise _Refusal("the point is older than anything that is kept (31 days)")
        if not 0 <= point.start_ns <= point.end_ns:
            raise _Refusal("the point ends before it starts")
        if not isinstance(point.value, PackedSketch) and not abs(point.value) < MAX_COUNT * NANOS:
            raise _Refusal("the value is no plausible number")
        series = self._series.find(keep(point.key), point.kind, process.name)
        if series is None:
            raise _Refusal(f"there are {self._max_series} series already; no more are kept")
        return series

    def _take_back(self, series: Series, point: Point) -> None:
        for second, part in _parts(point):
            self._windows.take_back(series, second, part)
        series.take_back(point.value)

    def _meet(self, process: Process, now_ns: int) -> None:
        self._processes.pop(process, None)
        while len(self._processes) >= MAX_PROCESSES:
            del self._processes[next(iter(self._processes))]  # ordered by last report
        self._processes[process] = now_ns

    def _advance(self, now: int) -> None:
        if now == self._advanced:
            return
        self._windows.advance(now)
        if now // 60 != self._advanced // 60:
            self._clean(now)
        self._advanced = now

    def _clean(self, now: int) -> None:
        oldest_ns = (now - REPEAT_SECONDS) * NANOS
        self._recent = {owner: point for owner, point in self._recent.items() if point.end_ns > oldest_ns}
        retention = self._windows.retention_seconds
        self._windows.forget(self._series.forget_before(now - retention, now - FORGET_SECONDS))
        oldest_ns = (now - FORGET_SECONDS) * NANOS
        self._processes = {process: last for process, last in self._processes.items() if last > oldest_ns}


def _repeats(before: Point, point: Point) -> bool:
    return point.kind is not Kind.GAUGE and point.start_ns != 0 and point.start_ns == before.start_ns


def _parts(point: Point) -> Iterator[tuple[int, Value]]:
    """Yield the second or seconds a point belongs to.

    A counter is spread evenly over its interval, so that a rate is right although reports and seconds do not coincide;
    a histogram and a gauge belong to the second in which the interval ends.
    """
    if point.kind is Kind.COUNTER and 0 < point.start_ns < point.end_ns and isinstance(point.value, int):
        yield from _spread(point.value, point.start_ns, point.end_ns)
    else:
        yield (point.end_ns - 1) // NANOS, point.value


def _spread(amount: int, start_ns: int, end_ns: int) -> Iterator[tuple[int, int]]:
    first, last = start_ns // NANOS, (end_ns - 1) // NANOS
    step = 1 + (last - first) // MAX_PIECES
    given = 0
    for second in range(first, last + 1, step):
        until = min((second + step) * NANOS, end_ns)
        share = amount * (until - start_ns) // (end_ns - start_ns) - given
        given += share
        if share or until == end_ns:
            yield second, share
