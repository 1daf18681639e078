"""When each event is due, in which channel, lane and size: computed beforehand, the same in every process.

Owns the plan of a run. Arrivals do not depend on what the server does: that is what makes the load open-loop. Event n
of a load goes to channel n modulo channels and is number n // channels there, so every receiver knows what must come
without being told. Pure.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from math import floor

import numpy as np
from numpy.typing import NDArray

from bench.scenario import Load, Scenario
from lanecast.core.priority import LANES

MAX_EVENTS = 20_000_000
"""Most events one process plans ahead, at about 24 bytes each."""
_LANE_NUMBERS = np.array([int(lane) for lane in LANES], dtype=np.uint8)


def event_count(scenario: Scenario, load: Load) -> int:
    """Return how many events a load sends over the whole run."""
    begin, end = scenario.load_span(load)
    return floor(load.events_per_second * (end - begin))


def events_in_channel(count: int, channels: int, channel: int) -> int:
    """Return how many of the first `count` events of a load go to `channel`."""
    return max(0, (count - channel + channels - 1) // channels)


@dataclass(frozen=True, slots=True)
class Plan:
    """Events of one publisher process in the order they are due."""

    due_ns: array[int]
    """Nanoseconds from the start of the run."""
    channel: array[int]
    sequence: array[int]
    """Number of the event within its load and channel."""
    lane: array[int]
    load: array[int]
    size: array[int]
    """Payload bytes."""

    def __len__(self) -> int:
        return len(self.due_ns)


def load_events(scenario: Scenario, number: int) -> dict[str, NDArray[np.int64]]:
    """Return every event of load `number` in the order they are due."""
    load = scenario.loads[number]
    count = event_count(scenario, load)
    begin, end = scenario.load_span(load)
    random = np.random.default_rng([scenario.seed, number])
    due: NDArray[np.floating]
    if scenario.arrivals == "poisson":
        # Given how many there are, the arrivals of a Poisson process are spread evenly and independently.
        due = np.sort(random.uniform(begin, end, count))
    else:
        due = begin + (np.arange(count) + 0.5) / load.events_per_second
    index = np.arange(count, dtype=np.int64)
    small, large = scenario.payload_bytes
    return {
        "due_ns": (due * 1e9).astype(np.int64),
        "channel": index % scenario.channels,
        "sequence": index // scenario.channels,
        "lane": _LANE_NUMBERS[random.choice(len(LANES), count, p=load.weights())].astype(np.int64),
        "load": np.full(count, number, dtype=np.int64),
        "size": random.integers(small, large, count, endpoint=True),
    }


def plan(scenario: Scenario, publisher: int = 0) -> Plan:
    """Return what publisher process `publisher` sends: its own loads, and its share of those that name no publisher.

    Raises:
        ValueError: it is more than one process can plan ahead.
    """
    total = sum(event_count(scenario, load) for load in scenario.loads)
    if total > MAX_EVENTS * scenario.publishers:
        raise ValueError(f"{total:,} events are too many for one run: shorten it or use more publisher processes")
    loads = [_share(scenario, number, publisher) for number in range(len(scenario.loads))]
    merged = {name: np.concatenate([load[name] for load in loads]) for name in loads[0]}
    order = np.argsort(merged["due_ns"], kind="stable")
    codes = {"due_ns": "q", "channel": "I", "sequence": "I", "lane": "B", "load": "B", "size": "I"}
    columns = {name: _column(merged[name][order], code) for name, code in codes.items()}
    return Plan(**columns)


def _share(scenario: Scenario, number: int, publisher: int) -> dict[str, NDArray[np.int64]]:
    events, owner = load_events(scenario, number), scenario.loads[number].publisher
    if owner == -1:
        return {name: values[publisher :: scenario.publishers] for name, values in events.items()}
    return events if owner == publisher else {name: values[:0] for name, values in events.items()}


def _column(values: NDArray[np.int64], code: str) -> array[int]:
    column = array(code)
    column.frombytes(values.astype(np.dtype(code)).tobytes())
    return column
