"""What waits to be sent in one lane, and how much of the lane is on the wire.

Owns the lane's window of unanswered bytes. Used by `lanecast.publisher.core.outbox`, which decides when to look. Pure.
"""

from __future__ import annotations

from collections import deque

from lanecast.core.priority import EXPRESS_LANES, Priority
from lanecast.publisher.core.entry import Entry

_EXPRESS_MESSAGE_BYTES, _BULK_MESSAGE_BYTES = 128 * 1024, 64 * 1024


class LaneQueue:
    """The events of one lane, in the order they go."""

    __slots__ = ("entries", "lane", "message_bytes", "window_bytes", "wire_bytes")

    def __init__(self, lane: Priority, message_bytes: int | None) -> None:
        self.lane = lane
        self.entries: deque[Entry] = deque()
        default = _EXPRESS_MESSAGE_BYTES if lane in EXPRESS_LANES else _BULK_MESSAGE_BYTES
        self.message_bytes = default if message_bytes is None else message_bytes
        """Most bytes of the lane in one message."""
        self.window_bytes = 0
        """Most bytes of the lane that may be unanswered."""
        self.wire_bytes = 0
        """Bytes that are on the wire and unanswered."""

    def take_all(self, events: int, credit_bytes: int) -> list[Entry]:
        """Take everything that waits where a message takes it whole: `events` and `credit_bytes` are what is left.

        Only for a queue whose entries may all be sent; see `Outbox`.
        """
        waiting = self.entries
        if len(waiting) > events:
            return []
        size = sum([entry.size for entry in waiting])
        if size > credit_bytes or size > self.message_bytes or size > self.window_bytes - self.wire_bytes:
            return []
        taken = list(waiting)
        waiting.clear()
        self.wire_bytes += size
        return taken

    def has_room(self, size: int, used: int) -> bool:
        """Say whether an event goes with a message that has `used` bytes of the lane already.

        One that is larger than the lane's window goes when the lane is otherwise empty.
        """
        if not used and not self.wire_bytes:
            return True
        return used + size <= self.message_bytes and self.wire_bytes + size <= self.window_bytes
