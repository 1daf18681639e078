"""Instruments that hot paths record into, and the names of all metrics.

Owns the registry of sketches, counters and gauges of one process. It measures nothing and sends nothing: shells record,
`lanecast.runtime.otlp` exports.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

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
BATCH_EVENTS = "lanecast.batch.events"
BATCH_FLUSH = "lanecast.batch.flush"
QUEUE_DEPTH = "lanecast.queue.depth"
CONNECTION_ACTIVE = "lanecast.connection.active"
CONNECTION_BUFFERED = "lanecast.connection.buffered"
EVENTLOOP_LAG = "lanecast.eventloop.lag"
TELEMETRY_DROPPED = "lanecast.telemetry.dropped"
SYNTHETIC_ACCEPTED = "lanecast.synthetic.accepted"
SYNTHETIC_DELIVERED = "lanecast.synthetic.delivered"

UNITS: dict[str, str] = {
    HOP_DURATION: "s",
    DELIVERY_DURATION: "s",
    EVENTLOOP_LAG: "s",
    SLO_EVENTS: "{event}",
    SLO_FAR_LATE: "{event}",
    SLO_BURN_RATE: "1",
    SLO_BUDGET_REMAINING: "1",
    EVENT_ACCEPTED: "{event}",
    EVENT_DELIVERED: "{event}",
    EVENT_DUPLICATE: "{event}",
    EVENT_REJECTED: "{event}",
    EVENT_DROPPED: "{event}",
    BATCH_EVENTS: "{event}",
    BATCH_FLUSH: "{flush}",
    QUEUE_DEPTH: "{event}",
    CONNECTION_ACTIVE: "{connection}",
    CONNECTION_BUFFERED: "By",
    TELEMETRY_DROPPED: "{item}",
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


class Instruments:
    """All instruments of one process; asking twice for the same series gives the same object."""

    def __init__(self) -> None:
        self._sketches: dict[Key, Sketch] = {}
        self._counters: dict[Key, Counter] = {}
        self._gauges: dict[Key, Callable[[], float]] = {}
        self._parts: list[tuple[Sketch, Sketch]] = []
        self._returned: dict[Key, Sketch] = {}

    def part(self, whole: Sketch, name: str, **attributes: str) -> Sketch:
        """Return a histogram whose durations also count in `whole`, from the next `take_sketches` on.

        So a duration that belongs to a series and to a finer one is recorded once.
        """
        part = self.sketch(name, **attributes)
        if not any(known is part for _, known in self._parts):
            self._parts.append((whole, part))
        return part

    def sketch(self, name: str, **attributes: str) -> Sketch:
        """Return the histogram of a series. Look it up once and keep it: this is not for the hot path."""
        return self._sketches.setdefault(_key(name, attributes), Sketch())

    def counter(self, name: str, **attributes: str) -> Counter:
        """Return the counter of a series. Look it up once and keep it."""
        return self._counters.setdefault(_key(name, attributes), Counter())

    def gauge(self, name: str, read: Callable[[], float], **attributes: str) -> None:
        """Register a function that is asked for the present value at each export."""
        self._gauges[_key(name, attributes)] = read

    def take_sketches(self) -> Iterator[tuple[Key, Sketch]]:
        """Yield what each histogram has counted since the last call; empty ones are left out."""
        for whole, part in self._parts:
            if part.maximum_ns or part.skewed:
                whole.merge(part)
        returned, self._returned = self._returned, {}
        for key, sketch in list(self._sketches.items()):
            taken = sketch.take()
            if key in returned:
                taken.merge(returned[key])
            if taken.maximum_ns or taken.skewed:
                yield key, taken

    def take_counters(self) -> Iterator[tuple[Key, int]]:
        """Yield what each counter has grown by since the last call; unchanged ones are left out."""
        for key, counter in list(self._counters.items()):
            taken = counter.take()
            if taken:
                yield key, taken

    def read_gauges(self) -> Iterator[tuple[Key, float]]:
        """Yield the present value of each gauge."""
        for key, read in list(self._gauges.items()):
            yield key, read()

    def give_back(self, sketches: list[tuple[Key, Sketch]], counters: list[tuple[Key, int]]) -> None:
        """Add what was taken but could not be sent, so that the next export carries it."""
        for key, sketch in sketches:
            # Apart from what is counted meanwhile: what a part had was added to its whole already.
            self._returned.setdefault(key, Sketch()).merge(sketch)
        for key, amount in counters:
            self._counters.setdefault(key, Counter()).add(amount)


def _key(name: str, attributes: dict[str, str]) -> Key:
    if name not in UNITS:
        raise ValueError(f"metric {name!r} is not in the catalogue: add it to lanecast.core.instruments")
    return Key(name, tuple(sorted(attributes.items())))
