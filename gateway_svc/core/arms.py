"""What the arms of a rollout show at this gateway.

Owns the figures that the controller of rollouts judges: the time from publisher accept to the last socket's write, once
per event and not per browser, in parts of channels; and breaks in the order of what comes. Called by the meter and the
hub for batches that carry a generation, so it costs nothing while no rollout ever ran.

Only the newest generation is kept: what belongs to another one enters no verdict.
"""

from __future__ import annotations

from collections.abc import Iterable

from gateway_svc.core.items import EventItem, Item
from lanecast.core.bucketing import Arm, part
from lanecast.core.instruments import ROLLOUT_CANDIDATE_TIME, ROLLOUT_FAULTS, ROLLOUT_LATENCY, Instruments
from lanecast.core.priority import Priority
from lanecast.core.sketch import Sketch
from lanecast.v1.event_pb2 import ARM_CANDIDATE

MAX_PARTS = 100_000
"""Channels whose part is kept; beyond, it is computed again."""


class ArmMeter:
    """Records the arms of the newest generation."""

    def __init__(self, instruments: Instruments) -> None:
        self._instruments = instruments
        self._generation = 0
        self._parts: dict[str, str] = {}
        self._sketches: dict[tuple[Priority, int, str], Sketch] = {}
        self._candidate_ns = 0

    def delivered(
        self, channel: str, lane: Priority, generation: int, arm: int, accepted: Iterable[int], end_ns: int
    ) -> None:
        """Count a batch whose last socket took it at `end_ns`, and whose events were accepted at these times."""
        if generation > self._generation:
            self._begin(generation)
        if arm == ARM_CANDIDATE:
            self._candidate_ns = end_ns  # whatever its generation: the controller waits for the last
        if generation < self._generation or not arm:
            return
        place = self._parts.get(channel)
        if place is None:
            place = str(part(channel))
            if len(self._parts) < MAX_PARTS:
                self._parts[channel] = place
        key = (lane, arm, place)
        sketch = self._sketches.get(key)
        if sketch is None:
            sketch = self._sketches[key] = self._sketch(*key)
        for accept_ns in accepted:
            sketch.record_ns(end_ns - accept_ns)

    def broken(self, item: Item, tail: int) -> None:
        """Count a batch that does not follow where its lane stood, `tail`."""
        if not isinstance(item, EventItem) or item.batch.replayed or item.batch.generation != self._generation:
            return
        arm = item.batch.arm
        if not arm:
            return
        if item.prev > tail:
            kind, number = "lost", 1
        elif item.last <= tail:
            kind, number = "duplicate", item.count
        else:
            kind, number = "out_of_order", 1
        counter = self._instruments.counter(
            ROLLOUT_FAULTS, reason=kind, arm=_name(arm), generation=str(self._generation)
        )
        counter.add(number)

    def _begin(self, generation: int) -> None:
        if not self._generation:
            self._instruments.gauge(ROLLOUT_CANDIDATE_TIME, lambda: self._candidate_ns / 1e9)
        for name in (ROLLOUT_LATENCY, ROLLOUT_FAULTS):
            self._instruments.forget(name, generation=str(self._generation))
        self._sketches.clear()
        self._generation = generation

    def _sketch(self, lane: Priority, arm: int, place: str) -> Sketch:
        return self._instruments.sketch(
            ROLLOUT_LATENCY, lane=lane.name, arm=_name(arm), part=place, generation=str(self._generation)
        )


def _name(arm: int) -> str:
    return Arm(arm).name.lower()
