"""Reading events back: from the tail in memory where it reaches, else from the log.

Owns the choice between the two, and how a position becomes a cursor with its gap. Used by the stream and read services.
"""

from __future__ import annotations

from dataclasses import dataclass

from lanecast.core.position import Position
from lanecast.v1.event_pb2 import GAP_REASON_TRUNCATED, Gap, GapReason
from publisher_svc.core.resume import resume
from publisher_svc.core.tail import Tail
from publisher_svc.log.base import ChannelLane, EventLog


@dataclass(slots=True)
class Reading:
    """A page of one channel and lane."""

    events: list[tuple[int, bytes]]
    """Offset and serialised event, in offset order."""
    covered_through: int
    missing_through: int | None
    """Set where events between the cursor and the page are gone."""
    more: bool


@dataclass(frozen=True, slots=True)
class Beginning:
    """Where a reader begins, and the gap to announce first."""

    cursor: int
    gap: Gap | None = None


class LogReader:
    """Reads pages for subscribers."""

    def __init__(self, event_log: EventLog, tail: Tail) -> None:
        self._log = event_log
        self._tail = tail

    @property
    def epoch(self) -> str:
        """The present epoch."""
        return self._log.lineage.current

    @property
    def log_id(self) -> str:
        """The name of the log."""
        return self._log.lineage.log_id

    @property
    def end_offset(self) -> int:
        """The greatest offset that was ever issued."""
        return self._log.end_offset

    @property
    def first_offset(self) -> int:
        """The smallest offset that retention may have left."""
        return self._log.first_offset

    def head(self, key: ChannelLane) -> int:
        """Return the offset of the newest event of a channel and lane."""
        return self._log.head(key)

    def read_nowait(self, key: ChannelLane, after: int, limit: int) -> Reading | None:
        """Read from memory; None where that does not reach back far enough. Nothing else runs meanwhile."""
        stored = self._tail.read(key, after, self._log.head(key), limit)
        if stored is None:
            return None
        last = stored[-1][0] if stored else after
        more = last < self._log.head(key)
        covered = last if more else max(self._log.end_offset, after)
        return Reading([(offset, data) for offset, _, data in stored], covered, None, more)

    async def read(self, key: ChannelLane, after: int, limit: int) -> Reading:
        """Read from memory or from the log."""
        reading = self.read_nowait(key, after, limit)
        if reading is not None:
            return reading
        page = await self._log.read(key, after, limit)
        events = [(event.offset, event.data) for event in page.events]
        return Reading(events, page.covered_through, page.missing_through, page.more)

    async def floor(self, key: ChannelLane) -> int:
        """Return the cursor from which a reader gets every event that retention has left."""
        first = await self._log.read(key, 0, 1)
        return first.missing_through or 0

    async def floor_of_last(self, key: ChannelLane, count: int) -> int:
        """Return the cursor from which a reader gets the last `count` events."""
        return await self._log.floor_of_last(key, count) if self._log.head(key) else self._log.end_offset

    async def resume(self, key: ChannelLane, position: Position) -> Beginning:
        """Turn a reader's position into a cursor, with the gap to announce where it cannot be honoured.

        A position that another publisher has reached before this one is waited for.
        """
        if position.epoch == self.epoch:
            await self._log.reach(position.offset)
        found = resume(position, self._log.lineage, self._log.end_offset)
        if found.gap_reason is None:
            return Beginning(found.cursor)
        return Beginning(found.cursor, self.gap(key, position.offset, found.cursor, found.gap_reason))

    def gap(
        self,
        key: ChannelLane,
        from_offset: int,
        to_offset: int,
        reason: GapReason.ValueType = GAP_REASON_TRUNCATED,
        count: int = 0,
    ) -> Gap:
        """Return the gap message for a range of a channel and lane."""
        return Gap(
            channel=key[0],
            lane=key[1].wire_value,
            epoch=self.epoch,
            from_offset=from_offset,
            to_offset=to_offset,
            reason=reason,
            count=count,
        )
