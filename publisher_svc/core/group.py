"""Events of one channel and lane that travel together inside the publisher.

Owns that record and how consecutive events are cut into such groups. Made by ingest and from pages of the log, queued
by `downstream`, thinned out by `expiry`. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from lanecast.core.limits import BULK_BATCH_BYTES, BULK_BATCH_EVENTS
from lanecast.core.priority import Priority


class Timed(NamedTuple):
    """An event of a group that expires."""

    at: int
    """Its place in the group."""
    offset: int
    prev_offset: int
    ends_ns: int
    """On the monotonic clock."""


@dataclass(frozen=True, slots=True)
class Missing:
    """Expired events in (`after`, `through`]."""

    after: int
    through: int
    count: int

    def and_one(self, offset: int) -> Missing:
        """Return the range with one more event at its end."""
        return Missing(self.after, offset, self.count + 1)


@dataclass(slots=True, eq=False)
class Group:
    """Consecutive events of one channel and lane, as they come from the log. Never changed: streams share it."""

    channel: str
    lane: Priority
    head: bytes
    """`wire.batch_head` of the channel and lane."""
    events: list[bytes]
    last_offset: int
    size: int
    """Bytes of all events."""
    replayed: bool = False
    """True where a reader that resumed gets them from the log: they do not count in latency figures."""
    timed: tuple[Timed, ...] = ()
    """Those of the events that expire."""
    missing: Missing | None = None
    """Expired events right before these. A group that has this may have no events."""


def groups_of(
    channel: str, lane: Priority, head: bytes, events: Iterable[tuple[int, bytes]], *, replayed: bool = False
) -> Iterator[Group]:
    """Cut consecutive events, given as offset and bytes, into groups that fit into a message."""
    chosen: list[bytes] = []
    size = last = 0
    for offset, event in events:
        if chosen and (len(chosen) >= BULK_BATCH_EVENTS or size + len(event) > BULK_BATCH_BYTES):
            yield Group(channel, lane, head, chosen, last, size, replayed)
            chosen, size = [], 0
        chosen.append(event)
        size += len(event)
        last = offset
    if chosen:
        yield Group(channel, lane, head, chosen, last, size, replayed)
