"""Instruments that hot paths record into, and the names of all metrics.

Owns the registry of sketches, counters and gauges of one process, and its readers: each exporter has one and gets
everything, at its own pace. It measures nothing and sends nothing: shells record, `lanecast.runtime.otlp` and
`lanecast.runtime.collector` export.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from lanecast.core.sketch import Sketch

HOP_DURATION = "lanecast.hop.duration"
DELIVERY_DURATION = "lanecast.delivery.duration"
SLO_EVENTS = "lanecast.slo.events"
SLO_FAR_LATE = "lanecast.slo.far_late"
SLO_BURN_RATE = "lanecast.slo.burn_rate"
SLO_BUDGET_REMAINING = "lanecast.slo.budget_remaining"
EVENT_ACCEPTED = "lanecast.event.accepted"
EVENT_DELIVERED = "lanecast.event.delivered"
EVENT_DUPLICATE = "lanecast.event.duplicate"
EVENT_REJECTED = "lanecast.event.rejected"
EVENT_DROPPED = "lanecast.event.dropped"
BATCH_SIZE = "lanecast.batch.size"
BATCH_FLUSH = "lanecast.batch.flush"
QUEUE_DEPTH = "lanecast.queue.depth"
QUEUE_OLDEST_AGE = "lanecast.queue.oldest_age"
CONNECTION_ACTIVE = "lanecast.connection.active"
CONNECTION_BUFFERED = "lanecast.connection.buffered"
EVENTLOOP_LAG = "lanecast.eventloop.lag"
CLOCK_ERROR_BOUND = "lanecast.clock.error_bound"
CLOCK_COARSE = "lanecast.clock.coarse"
CLOCK_SKEWED = "lanecast.clock.skewed"
TELEMETRY_DROPPED = "lanecast.telemetry.dropped"
ROLLOUT_LATENCY = "lanecast.rollout.latency"
ROLLOUT_FAULTS = "lanecast.rollout.faults"
ROLLOUT_CANDIDATE_TIME = "lanecast.rollout.candidate_time"
ROLLOUT_STAGE = "lanecast.rollout.stage"
ROLLOUT_TRANSITIONS = "lanecast.rollout.transitions"
ROLLOUT_RULE_VALUE = "lanecast.rollout.rule_value"
SYNTHETIC_ACCEPTED = "lanecast.synthetic.accepted"
SYNTHETIC_DELIVERED = "lanecast.synthetic.delivered"

UNITS: dict[str, str] = {
    HOP_DURATION: "s",
    DELIVERY_DURATION: "s",
    EVENTLOOP_LAG: "s",
    CLOCK_ERROR_BOUND: "s",
    QUEUE_OLDEST_AGE: "s",
    SLO_EVENTS: "{event}",
    SLO_FAR_LATE: "{event}",
    SLO_BURN_RATE: "1",
    SLO_BUDGET_REMAINING: "1",
    EVENT_ACCEPTED: "{event}",
    EVENT_DELIVERED: "{event}",
    EVENT_DUPLICATE: "{event}",
    EVENT_REJECTED: "{event}",
    EVENT_DROPPED: "{event}",
    CLOCK_COARSE: "{sample}",
    CLOCK_SKEWED: "{sample}",
    BATCH_SIZE: "{event}",
    BATCH_FLUSH: "{flush}",
    QUEUE_DEPTH: "{event}",
    CONNECTION_ACTIVE: "{connection}",
    CONNECTION_BUFFERED: "By",
    TELEMETRY_DROPPED: "{item}",
    ROLLOUT_LATENCY: "s",
    ROLLOUT_FAULTS: "{event}",
    ROLLOUT_CANDIDATE_TIME: "s",
    ROLLOUT_STAGE: "1",
    ROLLOUT_TRANSITIONS: "1",
    ROLLOUT_RULE_VALUE: "1",
    SYNTHETIC_ACCEPTED: "{event}",
    SYNTHETIC_DELIVERED: "{event}",
}
"""Unit of each metric, in UCUM as OpenTelemetry asks."""

Attributes = tuple[tuple[str, str], ...]
"""Sorted pairs of attribute name and value."""


class Counter:
    """A number that only grows. Not thread-safe."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def add(self, amount: int = 1) -> None:
        """Add a non-negative amount."""
        self.value += amount

    def take(self) -> int:
        """Return what was added since the last `take`."""
        taken, self.value = self.value, 0
        return taken


@dataclass(frozen=True, slots=True)
class Key:
    """One time series: a metric and its attributes."""

    name: str
    attributes: Attributes


class Reader:
    """What one exporter has yet to send. Made by `Instruments.reader`; sees what is counted from then on."""

    def __init__(self, instruments: Instruments) -> None:
        self._instruments = instruments
        self.sketches: dict[Key, Sketch] = {}
        """Taken for another reader, or given back."""
        self.counters: dict[Key, int] = {}

    def take_sketches(self) -> Iterator[tuple[Key, Sketch]]:
        """Yield what each histogram has counted since the last call; empty ones are left out."""
        return self._instruments.drain_sketches(self)

    def take_counters(self) -> Iterator[tuple[Key, int]]:
        """Yield what each counter has grown by since the last call; unchanged ones are left out."""
        return self._instruments.drain_counters(self)

    def read_gauges(self) -> Iterator[tuple[Key, float]]:
        """Yield the present value of each gauge."""
        return self._instruments.read_gauges()

    def known_counters(self) -> list[Key]:
        """Return the series of all counters, also of those that have counted nothing."""
        return self._instruments.known_counters()

    def give_back(self, sketches: list[tuple[Key, Sketch]], counters: list[tuple[Key, int]]) -> None:
        """Add what was taken but could not be sent, so that the next export carries it."""
        for key, sketch in sketches:
            self.sketches.setdefault(key, Sketch()).merge(sketch)
        for key, amount in counters:
            self.counters[key] = self.counters.get(key, 0) + amount


class Instruments:
    """All instruments of one process; asking twice for the same series gives the same object."""

    def __init__(self) -> None:
        self._sketches: dict[Key, Sketch] = {}
        self._counters: dict[Key, Counter] = {}
        self._gauges: dict[Key, Callable[[], float | None]] = {}
        self._parts: dict[Key, Sketch] = {}
        """The whole that a histogram is part of."""
        self._tallies: list[Callable[[], None]] = []
        self._readers: list[Reader] = []

    def reader(self) -> Reader:
        """Return a new reader."""
        reader = Reader(self)
        self._readers.append(reader)
        return reader

    def before_reading(self, tally: Callable[[], None]) -> None:
        """Have a function called before each reading: it moves what a hot path counted in a way of its own."""
        self._tallies.append(tally)

    def tally(self) -> None:
        """Call the functions of `before_reading`."""
        for tally in self._tallies:
            tally()

    def part(self, whole: Sketch, name: str, **attributes: str) -> Sketch:
        """Return a histogram whose durations also count in `whole`, from the next reading on.

        So a duration that belongs to a series and to a finer one is recorded once.
        """
        key = _key(name, attributes)
        self._parts[key] = whole
        return self._sketches.setdefault(key, Sketch())

    def sketch(self, name: str, **attributes: str) -> Sketch:
        """Return the histogram of a series. Look it up once and keep it: this is not for the hot path."""
        key = _key(name, attributes)
        if name in {HOP_DURATION, DELIVERY_DURATION}:
            self._skewed(key)
        return self._sketches.setdefault(key, Sketch())

    def forget(self, name: str, **attributes: str) -> None:
        """Drop the histograms and counters of a metric that have these attribute values, with what is not sent yet."""
        gone = set(attributes.items())
        stores: list[dict[Key, Any]] = [self._sketches, self._counters]
        for reader in self._readers:
            stores += (reader.sketches, reader.counters)
        for series in stores:
            for key in [key for key in series if key.name == name and gone <= set(key.attributes)]:
                del series[key]

    def counter(self, name: str, **attributes: str) -> Counter:
        """Return the counter of a series. Look it up once and keep it."""
        return self._counters.setdefault(_key(name, attributes), Counter())

    def gauge(self, name: str, read: Callable[[], float | None], **attributes: str) -> None:
        """Register a function that is asked for the present value at each export; None: there is none now."""
        self._gauges[_key(name, attributes)] = read

    def take_sketches(self) -> Iterator[tuple[Key, Sketch]]:
        """See `Reader.take_sketches`: for a process with one reader."""
        return self._only_reader().take_sketches()

    def take_counters(self) -> Iterator[tuple[Key, int]]:
        """See `Reader.take_counters`: for a process with one reader."""
        return self._only_reader().take_counters()

    def give_back(self, sketches: list[tuple[Key, Sketch]], counters: list[tuple[Key, int]]) -> None:
        """See `Reader.give_back`: for a process with one reader."""
        self._only_reader().give_back(sketches, counters)

    def read_gauges(self) -> Iterator[tuple[Key, float]]:
        """Yield the present value of each gauge."""
        for key, read in list(self._gauges.items()):
            value = read()
            if value is not None:
                yield key, value

    def known_counters(self) -> list[Key]:
        """See `Reader.known_counters`."""
        return list(self._counters)

    def drain_sketches(self, reader: Reader) -> Iterator[tuple[Key, Sketch]]:
        """Take everything that histograms hold, for all readers; see `Reader.take_sketches`. May be read in slices."""
        self.tally()
        # Parts first: what one has is added to its whole in the step that empties it, so neither misses anything.
        for key, whole in list(self._parts.items()):
            yield from self._drain(key, self._sketches[key], reader, whole)
        for key, sketch in list(self._sketches.items()):
            if key not in self._parts:
                yield from self._drain(key, sketch, reader, None)

    def drain_counters(self, reader: Reader) -> Iterator[tuple[Key, int]]:
        """Take everything that counters hold, for all readers; see `Reader.take_counters`."""
        for key, counter in list(self._counters.items()):
            taken = counter.take()
            for each in self._readers if taken else ():
                each.counters[key] = each.counters.get(key, 0) + taken
        mine, reader.counters = reader.counters, {}
        yield from mine.items()

    def _drain(self, key: Key, sketch: Sketch, reader: Reader, whole: Sketch | None) -> Iterator[tuple[Key, Sketch]]:
        mine = reader.sketches.pop(key, None)
        if sketch.maximum_ns or sketch.skewed:
            taken = sketch.take()
            if whole is not None:
                whole.merge(taken)
            elif taken.skewed:
                self._skewed(key).add(taken.skewed)
            for other in self._readers:
                if other is not reader:
                    other.sketches.setdefault(key, Sketch()).merge(taken)
            if mine is not None:
                taken.merge(mine)
            mine = taken
        if mine is not None and mine.maximum_ns:
            yield key, mine

    def _skewed(self, key: Key) -> Counter:
        """Return the counter of durations that came out negative: they are in no bucket, and must not vanish."""
        attributes = {name: value for name, value in key.attributes if name in {"hop", "lane", "scope"}}
        return self.counter(CLOCK_SKEWED, **attributes)

    def _only_reader(self) -> Reader:
        return self._readers[0] if self._readers else self.reader()


def _key(name: str, attributes: dict[str, str]) -> Key:
    if name not in UNITS:
        raise ValueError(f"metric {name!r} is not in the catalogue: add it to lanecast.core.instruments")
    return Key(name, tuple(sorted(attributes.items())))
