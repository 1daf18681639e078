"""Events whose time to live has passed, and the gaps that name them.

Owns which queued or stored events are still worth sending. Live events carry when they end on the monotonic clock. What
is read from the log is judged by the wall clock, since nothing else outlives a restart: its accept time plus its time
to live. A wall clock that was set meanwhile moves that end by as much. Called by `downstream` and by what reads the
log. Pure.

A gap (EXPIRED) covers only what is not sent: from the event, or the cursor, before to the last that expired. It stands
at the group behind it (`Group.missing`), or at a group without events where nothing is behind it yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from lanecast.core.priority import Priority
from lanecast.v1.event_pb2 import GAP_REASON_EXPIRED, Event, EventBatch, Gap
from lanecast.v1.publisher_pb2 import StreamEventsResponse
from publisher_svc.core.group import Group, Missing, Timed, groups_of

NANOS_PER_MILLI = 1_000_000


@dataclass(frozen=True, slots=True)
class Expiry:
    """The clocks, and who counts."""

    monotonic_ns: Callable[[], int]
    wall_ns: Callable[[], int]
    on_dropped: Callable[[Priority, int], None]
    """Called with the lane and the number of events that one subscriber does not get."""


@dataclass(frozen=True, slots=True)
class Run:
    """What is left of a page between two losses: events in a row, and what is missing before them."""

    missing: Missing | None
    events: Sequence[tuple[int, bytes]]
    """Offset and serialised event; empty only where the page ends with a loss."""
    ends_ns: Sequence[int]
    """When each expires, on the wall clock; 0: never."""

    def positions(self, cursor: int, ahead_ns: int) -> list[tuple[int, int, int]]:
        """Return the positions that `marked` wants, given how far the monotonic clock is ahead of the wall clock."""
        before = [self.missing.through if self.missing else cursor, *(offset for offset, _ in self.events)]
        ends = (end and end + ahead_ns for end in self.ends_ns)
        return [(offset, prev, end) for (offset, _), prev, end in zip(self.events, before, ends, strict=False)]


def marked(groups: Iterable[Group], positions: Sequence[tuple[int, int, int]]) -> Iterator[Group]:
    """Note in groups which of their events expire.

    Args:
        groups: Consecutive groups of one channel and lane.
        positions: For each of their events its offset, its previous offset, and when it ends; 0: never.
    """
    at = 0
    for group in groups:
        mine = positions[at : at + len(group.events)]
        at += len(mine)
        group.timed = tuple(Timed(index, *position) for index, position in enumerate(mine) if position[2])
        yield group


def expire(queued: list[Group], cursor: int, now_ns: int, enough: int) -> tuple[int, int]:
    """Take expired events out of a queue, at least as far as `enough` events are left; return their number and bytes.

    Groups are shared between streams, so those that lose something are replaced.
    """
    kept: list[Group] = []
    left = events = size = 0
    for done, group in enumerate(queued):
        if left >= enough:
            kept += queued[done:]
            break
        events += len(group.events)
        size += group.size
        for piece in _alive(group, cursor, now_ns):
            missing = None if not kept or kept[-1].events else kept.pop().missing
            kept.append(replace(piece, missing=_joined(missing, piece.missing)) if missing else piece)
            left += len(piece.events)
            events -= len(piece.events)
            size -= piece.size
        cursor = group.last_offset
    queued[:] = kept
    return events, size


def _alive(group: Group, cursor: int, now_ns: int) -> Iterator[Group]:
    """Yield what is left of a group, whose first event follows `cursor`."""
    missing, begin = group.missing, 0
    for at, offset, prev_offset, ends_ns in group.timed:
        if ends_ns > now_ns:
            continue
        if at > begin:
            yield _part(group, begin, at, prev_offset, missing)
            missing = None
        after = prev_offset if at else cursor
        missing = missing.and_one(offset) if missing else Missing(after, offset, 1)
        begin = at + 1
    if begin == 0:
        yield group
    else:
        yield _part(group, begin, len(group.events), group.last_offset, missing)


def _part(group: Group, begin: int, end: int, last_offset: int, missing: Missing | None) -> Group:
    events = group.events[begin:end]
    timed = tuple(each._replace(at=each.at - begin) for each in group.timed if begin <= each.at < end)
    size = sum(map(len, events))
    return replace(group, events=events, last_offset=last_offset, size=size, timed=timed, missing=missing)


def _joined(one: Missing | None, two: Missing | None) -> Missing | None:
    if one is None or two is None:
        return one or two
    return Missing(one.after, two.through, one.count + two.count)


def notice(group: Group) -> bytes:
    """Return the `StreamEventsResponse` bytes of the gap that stands before a group."""
    if group.missing is None:
        return b""
    head = EventBatch.FromString(group.head)
    gap = Gap(channel=head.channel, lane=head.lane, epoch=head.epoch, reason=GAP_REASON_EXPIRED)
    gap.from_offset, gap.to_offset, gap.count = group.missing.after, group.missing.through, group.missing.count
    return StreamEventsResponse(gaps=[gap]).SerializeToString()


def sift(page: Iterable[tuple[int, bytes]], cursor: int, now_ns: int) -> list[Run]:
    """Return what is left of events that were read from the log after `cursor`, by the wall clock."""
    runs: list[Run] = []
    missing: Missing | None = None
    events: list[tuple[int, bytes]] = []
    ends: list[int] = []
    for offset, data in page:
        ends_ns = _end_of(data)
        if not ends_ns or ends_ns > now_ns:
            events.append((offset, data))
            ends.append(ends_ns)
        else:
            if events:
                runs.append(Run(missing, events, ends))
                missing, events, ends = None, [], []
            missing = missing.and_one(offset) if missing else Missing(cursor, offset, 1)
        cursor = offset
    if events or missing:
        runs.append(Run(missing, events, ends))
    return runs


def _end_of(data: bytes) -> int:
    """Return when a stored event expires, on the wall clock; 0: never."""
    event = Event.FromString(data)
    ttl_millis = event.ttl_millis
    return event.accept_time_unix_nano + ttl_millis * NANOS_PER_MILLI if ttl_millis else 0


def groups_left(
    channel: str, lane: Priority, head: bytes, page: Iterable[tuple[int, bytes]], cursor: int, expiry: Expiry,
    *, replayed: bool,
) -> Iterator[Group]:  # fmt: skip
    """Cut what has not expired of events that were read from the log after `cursor` into groups."""
    wall_ns = expiry.wall_ns()
    ahead_ns = expiry.monotonic_ns() - wall_ns
    for run in sift(page, cursor, wall_ns):
        groups = groups_of(channel, lane, head, run.events, replayed=replayed)
        missing = run.missing
        if missing is not None and not run.events:
            yield Group(channel, lane, head, [], missing.through, 0, replayed, (), missing)
            return
        for group in marked(groups, run.positions(cursor, ahead_ns)):
            group.missing, missing = missing, None
            yield group
        cursor = run.events[-1][0]
