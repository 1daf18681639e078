"""How large the batches are that leave, and what let each go.

Owns the counts between two exports. Streams count into it, a batch at a time; `app` moves the counts into the
instruments when these are read. Pure.
"""

from __future__ import annotations

from lanecast.core.instruments import BATCH_FLUSH, BATCH_SIZE, Instruments
from lanecast.core.priority import Priority

FULL, IDLE, WINDOW, COMPANY = "full", "idle", "window", "company"
"""Why a batch left: it was full; the way was free and its lane's allowance not used up; its fixed window was over; a
batch of another lane left and took it along."""


class BatchTally:
    """Counts of one process."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[tuple[Priority, str, int], int] = {}

    def count(self, lane: Priority, reason: str, events: int, batches: int = 1) -> None:
        """Count batches of so many events each."""
        key = (lane, reason, events)
        self._counts[key] = self._counts.get(key, 0) + batches

    def move(self, instruments: Instruments) -> None:
        """Add what was counted to the instruments, and start again from nothing."""
        counts, self._counts = self._counts, {}
        for (lane, reason, events), number in counts.items():
            instruments.counter(BATCH_FLUSH, lane=lane.name, reason=reason).add(number)
            instruments.sketch(BATCH_SIZE, lane=lane.name, role="publisher").record(events, number)
