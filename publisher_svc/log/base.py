"""The interface of an event log.

Owns what the rest of publisher_svc may ask of a log: append, read, heads, lineage. Implementations are in this folder
and pass one conformance suite; callers never import them, except `app`, which chooses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from lanecast.core.position import Lineage
from lanecast.core.priority import Priority
from lanecast.errors import LanecastError
from publisher_svc.core.dedup import fingerprint

ChannelLane = tuple[str, Priority]
"""A channel and one of its lanes: the unit of order."""


class LogError(LanecastError):
    """The log could not store or read. A batch that failed may be sent again: what was stored of it is a duplicate."""


class LogFullError(LogError):
    """There is no room to store: the disk or the quota is full. Reads go on."""


class Entry:
    """An event on its way into the log. `append` sets `offset`, `prev_offset`, `duplicate` and the end of `data`."""

    __slots__ = ("accept_ns", "data", "duplicate", "ends_ns", "event_id", "key", "mark", "offset", "prev_offset")

    def __init__(self, channel: str, lane: Priority, event_id: str, data: bytes, accept_ns: int) -> None:
        self.event_id = event_id
        self.data = data
        """The serialised event; with its position appended once it is stored."""
        self.accept_ns = accept_ns
        """When the event came off the wire, nanoseconds since the Unix epoch."""
        self.key: ChannelLane = (channel, lane)
        self.mark = fingerprint(channel, event_id)
        self.offset = 0
        self.prev_offset = 0
        self.ends_ns = 0
        """When its time to live ends, on the monotonic clock; 0: never."""
        self.duplicate = False
        """True: an event with this id was there already, at `offset`; nothing was stored."""

    @property
    def channel(self) -> str:
        """The channel of the event. What is done for every event reads `key`."""
        return self.key[0]

    @property
    def lane(self) -> Priority:
        """The lane of the event."""
        return self.key[1]

    def __repr__(self) -> str:
        return f"Entry({self.channel!r}, {self.lane.name}, {self.event_id!r}, offset={self.offset})"


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as the log returns it."""

    offset: int
    prev_offset: int
    data: bytes
    """The serialised event with its position."""


@dataclass(slots=True)
class Page:
    """Consecutive events of one channel and lane.

    Where `events[0].prev_offset` (or, without events, `covered_through`) shows that something between the asked-for
    offset and the page is gone, `missing_through` is its last possible offset.
    """

    events: list[StoredEvent] = field(default_factory=list)
    covered_through: int = 0
    """Every event of the channel and lane up to here is in this page or an earlier one, or gone."""
    missing_through: int | None = None
    """Set where retention removed events above the asked-for offset: the last offset that may be missing."""
    more: bool = False
    """True where the limit cut the page short."""


Sink = Callable[[Sequence[Entry]], None]
"""Takes new events in log order. Must neither wait nor fail."""


class EventLog(Protocol):
    """Stores events and gives them positions.

    Offsets grow through the whole log, from 1. All methods are called from one event loop. Several publishers may share
    a log: what any of them appends is handed over by each, in the same order and with the same positions.
    """

    @property
    def overlapping(self) -> bool:
        """True where an `append` may be called while others are under way, as long as order does not suffer."""

    def queue_of(self, key: ChannelLane) -> int:
        """Return the number of the queue in which events of a channel and lane wait for one another."""

    def deliver_to(self, sink: Sink) -> None:
        """Hand every new event over from now on, whoever appended it, once it would survive SIGKILL.

        `head` and `end_offset` move with what is handed over, in the same synchronous step.
        """

    @property
    def lineage(self) -> Lineage:
        """The epochs, oldest first."""

    @property
    def end_offset(self) -> int:
        """The greatest offset that was ever issued; 0 where none was."""

    @property
    def first_offset(self) -> int:
        """The smallest offset that retention may have left."""

    def head(self, key: ChannelLane) -> int:
        """Return the offset of the newest event of a channel and lane, gone or not; 0 where there was none.

        A log that began to read in the middle returns its floor for a channel and lane without events since.
        """

    def heads(self) -> dict[ChannelLane, int]:
        """Return all heads, for operators."""

    async def append(self, entries: Sequence[Entry]) -> None:
        """Store entries in order, and set their positions. Afterwards they survive SIGKILL of this process.

        An entry whose id is known in its channel is marked as a duplicate, with the first copy's position. The others
        have been handed over. Calls must not overlap, unless `overlapping`; those that do keep their order.

        Raises:
            LogFullError: no room.
            LogError: not all of the batch is known to be stored. Where the log does not overlap, nothing of it is.
        """

    @property
    def needs_sync(self) -> bool:
        """True where an event may be delivered before it may be acknowledged: `sync` comes between the two.

        Constant. False: what is appended survives what the configured durability names at once.
        """

    def append_nowait(self, entries: Sequence[Entry]) -> bool:
        """Do all of `append` at once where it has to wait for nothing; otherwise do nothing.

        Returns:
            True where it was done; False: use `append`.

        Raises:
            LogError: as `append`.
        """

    async def sync(self) -> None:
        """Return once everything appended so far survives what the configured durability names.

        Appending goes on meanwhile; calls of `sync` must not overlap.

        Raises:
            LogError: the storage failed; the process must end rather than acknowledge.
        """

    async def reach(self, offset: int) -> None:
        """Return once everything up to `offset` was handed over, or at once where no such offset was ever issued.

        Raises:
            LogError: not in time.
        """

    async def read(self, key: ChannelLane, after: int, limit: int) -> Page:
        """Read up to `limit` events of a channel and lane with offsets above `after`."""

    async def floor_of_last(self, key: ChannelLane, count: int) -> int:
        """Return the offset to read after in order to get the last `count` events that are left."""

    async def get(self, offset: int) -> StoredEvent | None:
        """Return one event, or None where it is gone."""

    async def close(self) -> None:
        """Make everything durable and release it. Idempotent."""
