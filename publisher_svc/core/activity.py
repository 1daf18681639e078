"""How many events each channel has had lately.

Owns the counts of the last minute, for operators who ask which channels are the busiest. Counted by ingest for every
accepted event, so `count` does no more than it must; turned by a timer. Memory is bounded: in one slice of time only
the first `MAX_CHANNELS` channels are counted, the others together. Pure.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Generator, Iterable, Mapping
from itertools import chain

from lanecast.core.channel import is_reserved

SLICE_SECONDS = 10.0
"""How often `turn` is to be called."""
SLICES = 6
MAX_CHANNELS = 20_000
"""Most channels counted in one slice."""
STEPS = 1_000
"""Steps between two pauses, about 0.2 ms."""


class Activity:
    """Events of each channel in the last minute."""

    def __init__(self) -> None:
        self._present: dict[str, int] = {}
        self._past: deque[dict[str, int]] = deque(maxlen=SLICES)
        self.uncounted = 0
        """Events of channels for which there was no room, since the start."""

    def count(self, channels: Iterable[str]) -> None:
        """Count events, given as the channel of each."""
        present = self._present
        for channel in channels:
            known = present.get(channel)
            if known is not None:
                present[channel] = known + 1
            elif len(present) < MAX_CHANNELS:
                present[channel] = 1
            else:
                self.uncounted += 1

    def turn(self) -> None:
        """Begin a new slice and forget the oldest."""
        self._past.append(self._present)
        self._present = {}

    def rates(self) -> Generator[None, None, dict[str, float]]:
        """Return the events per second of every channel that had any, over the last whole slices.

        A generator that pauses every thousand steps, since there may be a hundred thousand. Before the first slice is
        over, what has been counted so far is taken for a whole one.
        """
        slices = list(self._past) or [dict(self._present)]
        share = 1.0 / (SLICE_SECONDS * len(slices))
        rates: dict[str, float] = {}
        for step, (channel, number) in enumerate(chain.from_iterable(one.items() for one in slices), 1):
            rates[channel] = rates.get(channel, 0.0) + number * share
            if step % STEPS == 0:
                yield
        return rates


def greatest(measure: Mapping[str, float], limit: int) -> Generator[None, None, list[str]]:
    """Return the names with the greatest values, greatest first, reserved channels left out; pauses as `rates` does."""
    best: list[tuple[float, str]] = []
    for step, (name, value) in enumerate(measure.items(), 1):
        if not is_reserved(name):
            best.append((value, name))
        if step % STEPS == 0:
            best = heapq.nlargest(limit, best)
            yield
    return [name for _, name in heapq.nlargest(limit, best)]
