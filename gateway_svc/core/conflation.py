"""Which events of a batch a slow client does not get, and the gaps that name them.

Owns two rules. An event whose time to live has passed is not sent (EXPIRED). In the lanes NORMAL and LOW, an event is
not sent where a newer one of the same channel, lane and key waits as well (CONFLATED). Called by the backlog of an
outbox and by the hub, both only for readers that are behind. Pure.

What is left keeps its order, and a gap never spans an event that is delivered: a client that moves its cursor to the
end of each gap finds each event that follows contiguous. A batch with a loss in its middle becomes several items.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from gateway_svc.core.items import EventItem, GapItem, Item, Mark
from lanecast.core.priority import BULK_LANES, Priority
from lanecast.v1.event_pb2 import GAP_REASON_CONFLATED, Event, GapReason

CONFLATED_LANES: frozenset[Priority] = frozenset(BULK_LANES)
"""Lanes in which newer events replace older ones of their key."""

NEVER = float("inf")

Losses = Mapping[int, GapReason.ValueType]
"""Why events are not sent, by their offsets."""


def marks_of(item: Item, now: float) -> Sequence[Mark]:
    """Return the events of an item that may be dropped. They are looked for once, when a reader first has to wait."""
    if not isinstance(item, EventItem):
        return ()
    if item.marks is None:
        item.marks = tuple(_marks(item, now))
    return item.marks


def _marks(item: EventItem, now: float) -> Iterator[Mark]:
    conflates = item.lane in CONFLATED_LANES
    for event in item.batch.events:
        ttl_millis = event.ttl_millis
        key = event.conflation_key if conflates else ""
        if key or ttl_millis:
            expires = now + ttl_millis / 1e3 - _age(item, event) if ttl_millis else NEVER
            yield Mark(event.offset, key, expires, event.ByteSize())


def _age(item: EventItem, event: Event) -> float:
    """Return how long ago an event was accepted, in seconds: when it left the publisher, by the publisher's clock.

    So clocks of two hosts are compared only where the publisher gave no such time, as in what it read from its log.
    """
    left_ns = item.batch.flush_time_unix_nano or item.receive_ns
    return max(0, left_ns - event.accept_time_unix_nano) / 1e9 if left_ns else 0.0


def pieces(item: EventItem, before: int, losses: Losses) -> Iterator[tuple[int, Item]]:
    """Yield what to send of an item to a reader at cursor `before`: each piece after the cursor before it."""
    cursor = before
    for reason, run in groupby(item.batch.events, lambda event: losses.get(event.offset)):
        events = list(run)
        last = events[-1].offset
        if reason is None:
            yield cursor, item.of(events)
        else:
            yield cursor, GapItem(item.channel, item.lane, item.epoch, cursor, last, reason, len(events))
        cursor = last


def joined(gap: Item, following: Item) -> GapItem | None:
    """Return one gap for two that stand one after the other, None where they are not of a kind."""
    if not (isinstance(gap, GapItem) and isinstance(following, GapItem)):
        return None
    if gap.reason != following.reason or gap.rewinds or gap.epoch != following.epoch or gap.last != following.prev:
        return None
    count = gap.count + following.count if gap.count and following.count else 0
    return GapItem(gap.channel, gap.lane, gap.epoch, gap.prev, following.last, gap.reason, count)


def in_place(items: Sequence[EventItem], gaps: Sequence[GapItem]) -> Iterator[Item]:
    """Yield the batches of a page and the gaps that name what was left out of it, each in its place."""
    rest = deque(items)
    for gap in gaps:
        while rest and rest[0].last <= gap.prev:
            yield rest.popleft()
        if rest and rest[0].first <= gap.prev:
            yield rest[0].of([event for event in rest[0].batch.events if event.offset <= gap.prev])
            rest[0] = rest[0].after(gap.prev)
        yield gap
    yield from rest


def conflate(items: Sequence[Item], cursor: int) -> list[Item]:
    """Return consecutive items with only the last event of each key, and the gaps that name the others."""
    last: dict[str, int] = {}
    losses: dict[int, GapReason.ValueType] = {}
    for item in items:
        for event in item.batch.events if isinstance(item, EventItem) else ():
            key = event.conflation_key
            if key and event.offset > cursor:
                if key in last:
                    losses[last[key]] = GAP_REASON_CONFLATED
                last[key] = event.offset
    return list(_without(items, cursor, losses)) if losses else list(items)


def _without(items: Sequence[Item], cursor: int, losses: Losses) -> Iterator[Item]:
    waiting: Item | None = None
    for item in items:
        cut = item.after(cursor) if item.first <= cursor < item.last else item
        parts = (part for _, part in pieces(cut, cursor, losses)) if isinstance(cut, EventItem) else (cut,)
        for part in parts:
            one = joined(waiting, part) if waiting is not None else None
            if waiting is not None and one is None:
                yield waiting
            waiting = one or part
        cursor = max(cursor, item.last)
    if waiting is not None:
        yield waiting
