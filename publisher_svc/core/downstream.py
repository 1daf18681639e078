"""What goes next to one subscribing stream.

Owns, per stream: subscriptions with a cursor per lane, a bounded queue per lane, credit, strict priority, and the
change between live delivery and catching up from the log. The stream shell asks `take()` for the next message, reads
what `behind()` names and feeds it back. Pure.

A subscription of a lane is LIVE (new events are queued) or behind (new events are ignored: they are in the log, and its
cursor says where to read on). So a slow reader costs no memory beyond the bounds, and no event is skipped: whatever
overflows a queue is read again later.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import ceil

from lanecast.core import wire
from lanecast.core.limits import BULK_BATCH_BYTES, BULK_BATCH_EVENTS
from lanecast.core.policy import DEFAULT, LanePolicy, Policy
from lanecast.core.priority import LANES, Priority
from publisher_svc.core.expiry import Expiry, Missing, Timed, expire, marked, notice, sift
from publisher_svc.core.tally import COMPANY, FULL, IDLE, WINDOW, BatchTally

DEFAULT_CREDIT_BYTES = 1024 * 1024
MAX_QUEUE_BYTES = 4 * 1024 * 1024
MAX_QUEUE_EVENTS = 8_192
_BATCH_OVERHEAD = 32
_BURST = 4
"""Messages in a row that leave without lingering, so that a few events close together do not wait for one another."""


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


@dataclass(slots=True)
class _Subscription:
    """One lane of one channel."""

    cursor: int
    """Everything up to here has been queued, sent or skipped."""
    live: bool
    recovering: bool = False
    """True until a subscription that began behind the head has caught up for the first time."""
    queued: list[Group] = field(default_factory=list)
    before_queue: int = 0
    """The cursor from before the first queued group: where to read on if the queue is dropped."""
    since_ns: int = 0
    """When the first queued group came."""
    timed: bool = False
    """True where queued events may expire."""


@dataclass(slots=True)
class _Lane:
    policy: LanePolicy
    credit: int
    subscriptions: dict[str, _Subscription] = field(default_factory=dict)
    ready: dict[str, _Subscription] = field(default_factory=dict)
    """Channels with queued events, in order of their first."""
    behind: dict[str, _Subscription] = field(default_factory=dict)
    events: int = 0
    bytes: int = 0
    linger_ns: int = field(init=False)
    allowance: float = float(_BURST)
    """Messages that may leave at once; one more for each linger that passes, up to `_BURST`."""
    counted_ns: int = 0

    def __post_init__(self) -> None:
        self.linger_ns = int(self.policy.linger_seconds * 1e9)

    def refill(self, now_ns: int) -> None:
        """Bring the allowance up to date."""
        if self.linger_ns:
            passed = (now_ns - self.counted_ns) / self.linger_ns
            self.allowance = min(float(_BURST), self.allowance + max(0.0, passed))
        self.counted_ns = now_ns


class Downstream:
    """The state of one subscribing stream."""

    def __init__(
        self,
        lanes: Iterable[Priority],
        credit: dict[Priority, int],
        *,
        max_message_events: int,
        max_message_bytes: int,
        max_queue_bytes: int = MAX_QUEUE_BYTES,
        policy: Policy = DEFAULT,
        expiry: Expiry | None = None,
        tally: BatchTally | None = None,
    ) -> None:
        wanted = frozenset(lanes) or frozenset(LANES)
        self._lanes = {
            lane: _Lane(policy.lanes[lane], credit.get(lane, DEFAULT_CREDIT_BYTES)) for lane in LANES if lane in wanted
        }
        self._max_message_events = max_message_events
        self._max_message_bytes = max_message_bytes
        self._max_queue_bytes = max_queue_bytes
        self._tally = tally or BatchTally()
        self._expiry = expiry
        """None: nothing expires."""
        self._timed = False
        """True once something was queued that expires."""
        self._notices: list[bytes] = []
        self.overflows = 0
        """How often a queue was dropped to be read from the log later."""

    @property
    def lanes(self) -> tuple[Priority, ...]:
        """The lanes of the stream, most urgent first."""
        return tuple(self._lanes)

    @property
    def queued_events(self) -> int:
        """Events that wait in queues."""
        return sum(lane.events for lane in self._lanes.values())

    def queued(self, lane: Priority) -> tuple[int, int]:
        """Return how many events wait in a lane, and since when the first batch does (0: none waits)."""
        state = self._lanes.get(lane)
        if state is None or not state.ready:
            return 0, 0
        return state.events, next(iter(state.ready.values())).since_ns

    def add(self, channel: str, lane: Priority, cursor: int, *, live: bool) -> None:
        """Subscribe a lane of a channel after `cursor`; one that is there keeps its place."""
        state = self._lanes[lane]
        if channel in state.subscriptions:
            return
        subscription = state.subscriptions[channel] = _Subscription(cursor, live, recovering=not live)
        if not live:
            state.behind[channel] = subscription

    def cursor(self, channel: str, lane: Priority) -> int | None:
        """Return the cursor of a subscription, None where there is none."""
        subscription = self._lanes[lane].subscriptions.get(channel)
        return None if subscription is None else subscription.cursor

    def remove(self, channel: str) -> None:
        """Unsubscribe a channel; what is queued for it is dropped."""
        for state in self._lanes.values():
            subscription = state.subscriptions.pop(channel, None)
            if subscription is None:
                continue
            state.behind.pop(channel, None)
            if state.ready.pop(channel, None) is not None:
                _drop_queue(state, subscription)

    def grant(self, lane: Priority, size: int) -> None:
        """Allow more bytes in one lane."""
        if lane in self._lanes:
            self._lanes[lane].credit += size

    def offer(self, group: Group, now_ns: int) -> bool:
        """Take a group of new events; return True where there is something to do for the stream's shell."""
        state = self._lanes.get(group.lane)
        subscription = state.subscriptions.get(group.channel) if state is not None else None
        if state is None or subscription is None or not subscription.live or group.last_offset <= subscription.cursor:
            return False
        if state.bytes + group.size > self._max_queue_bytes or state.events >= MAX_QUEUE_EVENTS:
            self._fall_behind(state, group.channel, subscription)
            return True
        self._enqueue(state, subscription, group, now_ns)
        return True

    def lagging(self) -> Iterator[tuple[str, Priority, int]]:
        """Yield channel, lane and cursor of what is behind, whether or not there is credit to go on."""
        for lane, state in self._lanes.items():
            for channel, subscription in state.behind.items():
                yield channel, lane, subscription.cursor

    def behind(self) -> Iterator[tuple[str, Priority, int]]:
        """Yield what to read from the log, most urgent lane first: channel, lane, cursor.

        A lane without credit waits, and so does a subscription whose last page has not been sent.
        """
        for lane, state in self._lanes.items():
            if state.credit > 0 and state.bytes < self._max_queue_bytes // 2:
                for channel, subscription in list(state.behind.items()):
                    if not subscription.queued:
                        yield channel, lane, subscription.cursor

    def feed(self, group: Group, now_ns: int, *, after: int) -> None:
        """Queue events that were read from the log after `after`. Ignored where the subscription has moved or gone."""
        state = self._lanes[group.lane]
        subscription = state.behind.get(group.channel)
        if subscription is not None and subscription.cursor == after:
            self._enqueue(state, subscription, group, now_ns)

    def skip(self, channel: str, lane: Priority, through: int) -> None:
        """Move the cursor of a subscription that is behind over events that are gone."""
        subscription = self._lanes[lane].behind.get(channel)
        if subscription is not None and not subscription.queued:
            subscription.cursor = max(subscription.cursor, through)

    def go_live(self, channel: str, lane: Priority) -> None:
        """Say that a subscription has everything up to the head: new events are queued from now on."""
        subscription = self._lanes[lane].behind.pop(channel, None)
        if subscription is not None:
            subscription.live = True
            subscription.recovering = False

    def quiet(self, end: int) -> list[tuple[str, Priority]]:
        """Return the live lanes of channels whose cursor is behind `end` although nothing waits in them."""
        return [
            (channel, lane)
            for lane, state in self._lanes.items()
            for channel, subscription in state.subscriptions.items()
            if subscription.live and not subscription.queued and subscription.cursor < end
        ]

    def advance(self, channel: str, lane: Priority, through: int) -> bool:
        """Move the cursor of a quiet lane over what is of other lanes; False where it is not quiet any more."""
        subscription = self._lanes[lane].subscriptions.get(channel)
        if subscription is None or not subscription.live or subscription.queued or subscription.cursor >= through:
            return False
        subscription.cursor = through
        return True

    def is_recovering(self, channel: str, lane: Priority) -> bool:
        """Say whether a subscription has not caught up since it began."""
        subscription = self._lanes[lane].subscriptions.get(channel)
        return subscription is not None and subscription.recovering

    def announce(self, notice: bytes) -> None:
        """Send a serialised part of a `StreamEventsResponse` (added, gaps, advances) before any event that follows."""
        self._notices.append(notice)

    def take(self, now_ns: int) -> bytes | None:
        """Return the next `StreamEventsResponse`, or None where nothing may be sent. Strict priority between lanes."""
        parts, self._notices = self._notices, []
        room = _Room(self._max_message_events, self._max_message_bytes)
        for state in self._lanes.values():
            state.refill(now_ns)
        # What is due takes along what is not: the message is paid for.
        due = [_due(state, now_ns) for state in self._lanes.values()]
        leaving = any(due)
        for (lane, state), reason in zip(self._lanes.items(), due, strict=True) if leaving else ():
            if state.policy.fixed_window and not reason:
                continue
            while state.ready and state.credit > 0 and room.events > 0 and room.size > 0:
                if self._timed:
                    self._expire(state, room)
                before = state.events
                parts.append(_take_batch(state, room, now_ns))
                if before > state.events:
                    self._tally.count(lane, reason or COMPANY, before - state.events)
        if not parts:
            return None
        if leaving:
            for state in self._lanes.values():
                state.allowance = max(0.0, state.allowance - 1)
        return b"".join(parts)

    def next_due_ns(self) -> int | None:
        """Return when a queued batch that waits for its time may be taken, or None where none waits."""
        times: list[int] = []
        for state in self._lanes.values():
            if state.ready and state.credit > 0:
                if state.policy.fixed_window:
                    times.append(next(iter(state.ready.values())).since_ns + state.linger_ns)
                else:
                    times.append(state.counted_ns + ceil((1 - state.allowance) * state.linger_ns))
        return min(times, default=None)

    def _enqueue(self, state: _Lane, subscription: _Subscription, group: Group, now_ns: int) -> None:
        if not subscription.queued:
            subscription.since_ns = now_ns
            subscription.before_queue = subscription.cursor
            subscription.timed = False
            state.ready[group.channel] = subscription
        if group.timed or group.missing:
            self._timed = subscription.timed = True
        subscription.queued.append(group)
        subscription.cursor = group.last_offset
        state.events += len(group.events)
        state.bytes += group.size

    def _expire(self, state: _Lane, room: _Room) -> None:
        """Take out what has expired of what is taken next."""
        subscription = next(iter(state.ready.values()))
        if not subscription.timed or self._expiry is None:
            return
        queued = subscription.queued
        lane = queued[0].lane
        events, size = expire(queued, subscription.before_queue, self._expiry.monotonic_ns(), room.events)
        state.events -= events
        state.bytes -= size
        if events:
            self._expiry.on_dropped(lane, events)

    def _fall_behind(self, state: _Lane, channel: str, subscription: _Subscription) -> None:
        self.overflows += 1
        if state.ready.pop(channel, None) is not None:
            _drop_queue(state, subscription)
            subscription.cursor = subscription.before_queue
        subscription.live = False
        state.behind[channel] = subscription


@dataclass(slots=True)
class _Room:
    """What still fits into a message."""

    events: int
    size: int


def _due(state: _Lane, now_ns: int) -> str:
    """Say what lets a batch of the lane go now: it is full, or the lane's allowance of messages is not used up.

    The stream asks only while no write is in flight. So rare events go at once, and frequent ones share messages, which
    cost a hundred times what an event in them costs; none waits longer than its lane's linger. A fixed window, as the
    replaced system had, waits for its linger even where the way is idle. Empty: nothing may go.
    """
    if not state.ready or state.credit <= 0:
        return ""
    policy = state.policy
    if state.events >= policy.max_batch_events or state.bytes >= policy.max_batch_bytes:
        return FULL
    if policy.fixed_window:
        waited_ns = now_ns - next(iter(state.ready.values())).since_ns
        return "" if 0 <= waited_ns < state.linger_ns else WINDOW  # negative where the clock was set back
    return IDLE if state.allowance >= 1 or not state.linger_ns else ""


def _drop_queue(state: _Lane, subscription: _Subscription) -> None:
    for group in subscription.queued:
        state.events -= len(group.events)
        state.bytes -= group.size
    subscription.queued.clear()


def _take_batch(state: _Lane, room: _Room, now_ns: int) -> bytes:
    """Take one batch of the channel that waits longest; a message has at most one of each channel and lane."""
    channel, subscription = next(iter(state.ready.items()))
    queued = subscription.queued
    first = queued[0]
    if len(queued) == 1 and len(first.events) == 1 and not (first.replayed or first.missing):
        return _take_lone(state, subscription, room, now_ns)
    events: list[bytes] = []
    size = taken = 0
    for group in queued:
        if events and (group.missing or len(events) + len(group.events) > room.events or size + group.size > room.size):
            break
        events += group.events
        size += group.size
        taken += 1
    subscription.before_queue = queued[taken - 1].last_offset
    del queued[:taken], state.ready[channel]
    state.events -= len(events)
    state.bytes -= size
    room.events -= len(events)
    room.size -= size + _BATCH_OVERHEAD
    if queued:  # its next batch waits for its turn, in the next message
        state.ready[channel] = subscription
        room.events = 0
    if first.missing and not events:
        return notice(first)
    data = wire.replayed_batch(first.head, events) if first.replayed else wire.batch(first.head, events, now_ns)
    state.credit -= len(data)  # exactly what the subscriber counts, or the credit drifts
    return notice(first) + wire.stream_batch(data) if first.missing else wire.stream_batch(data)


def _take_lone(state: _Lane, subscription: _Subscription, room: _Room, now_ns: int) -> bytes:
    """Take a single event: in most channels no other has come since the last message. Does what `_take_batch` does."""
    group = subscription.queued.pop()
    subscription.before_queue = group.last_offset
    del state.ready[group.channel]
    state.events -= 1
    state.bytes -= group.size
    room.events -= 1
    room.size -= group.size + _BATCH_OVERHEAD
    data, size = wire.lone_batch(group.head, group.events[0])
    state.credit -= size
    return data + wire.flush_time(now_ns)
