"""What goes next to one subscribing stream.

Owns, per stream: subscriptions with a cursor per lane, a bounded queue per lane, credit, strict priority, and the
change between live delivery and catching up from the log. The stream shell asks `take()` for the next message, reads
what `behind()` names and feeds it back. Pure.

A subscription of a lane is LIVE (new events are queued) or behind (new events are ignored: they are in the log, and its
cursor says where to read on). So a slow reader costs no memory beyond the bounds, and no event is skipped: whatever
overflows a queue is read again later.

There is one queue per channel and lane whatever the policy. The policy only says when the queue may leave: the channels
of a lane that have the same one share a `Flow`. A channel that changes its policy leaves at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import ceil

from lanecast.core import wire
from lanecast.core.policy import DEFAULT, Policy
from lanecast.core.priority import LANES, Priority
from publisher_svc.core.arms import Arms
from publisher_svc.core.expiry import Expiry, expire
from publisher_svc.core.flow import (
    Flow,
    LaneQueues,
    Room,
    Subscription,
    drop_queue,
    leave_at_once,
    refilled,
    take_batch,
    take_lone,
)
from publisher_svc.core.group import Group
from publisher_svc.core.tally import COMPANY, BatchTally

DEFAULT_CREDIT_BYTES = 1024 * 1024
MAX_QUEUE_BYTES = 4 * 1024 * 1024
MAX_QUEUE_EVENTS = 8_192


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
        arms: Arms | None = None,
    ) -> None:
        wanted = frozenset(lanes) or frozenset(LANES)
        self._arms = arms or Arms(policy)
        self._lanes = {
            lane: LaneQueues(
                credit.get(lane, DEFAULT_CREDIT_BYTES), [Flow(each.lanes[lane]) for each in self._arms.policies]
            )
            for lane in LANES
            if lane in wanted
        }
        self._turn = 0
        """Which arm goes first in a message."""
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
        if state is None:
            return 0, 0
        firsts = [next(iter(flow.ready.values())).since_ns for flow in (*state.arms, state.at_once) if flow.ready]
        return state.events, min(firsts, default=0)

    def add(self, channel: str, lane: Priority, cursor: int, *, live: bool) -> None:
        """Subscribe a lane of a channel after `cursor`; one that is there keeps its place."""
        state = self._lanes[lane]
        if channel in state.subscriptions:
            return
        flow = state.arms[self._arms.index(channel)]
        subscription = Subscription(cursor, live, flow, recovering=not live, generation=self._arms.generation)
        state.subscriptions[channel] = subscription
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
            if subscription.flow.ready.pop(channel, None) is not None:
                drop_queue(subscription)

    def switch(self) -> None:
        """Take over a new assignment: what waits in channels whose policy changes leaves at once."""
        for lane, state in self._lanes.items():
            changed = [policy.lanes[lane] for policy in self._arms.policies]
            known = state.arms
            state.arms = [
                known[number] if number < len(known) and known[number].policy == settings else Flow(settings)
                for number, settings in enumerate(changed)
            ]
            for flow in known:
                for channel, subscription in list(flow.ready.items()):
                    subscription.generation = self._arms.generation
                    if state.arms[self._arms.index(channel)] is not flow:
                        leave_at_once(state, channel, subscription)

    def grant(self, lane: Priority, size: int) -> None:
        """Allow more bytes in one lane."""
        if lane in self._lanes:
            self._lanes[lane].credit += size

    def offer(self, group: Group, now_ns: int) -> bool:
        """Take one group of new events; see `offer_all`."""
        return self.offer_all((group,), now_ns)

    def offer_all(self, groups: Iterable[Group], now_ns: int) -> bool:
        """Take groups of new events; return True where there is something to do for the stream's shell."""
        lanes, most, generation = self._lanes, self._max_queue_bytes, self._arms.generation
        busy = False
        for group in groups:
            state = lanes.get(group.lane)
            if state is None:
                continue
            channel, last = group.channel, group.last_offset
            subscription = state.subscriptions.get(channel)
            if subscription is None or not subscription.live or last <= subscription.cursor:
                continue
            busy = True
            flow, size = subscription.flow, group.size
            if flow.bytes + size > most or flow.events >= MAX_QUEUE_EVENTS:
                self._fall_behind(state, channel, subscription)
            elif (
                subscription.queued or subscription.generation != generation or flow is state.at_once
                or group.timed or group.missing
            ):  # fmt: skip
                self._enqueue(state, subscription, group, now_ns)
            else:  # what `_enqueue` does for the first of a queue, in nearly every case: a call costs as much again
                subscription.since_ns = now_ns
                subscription.before_queue = subscription.cursor
                subscription.timed = False
                subscription.queued.append(group)
                subscription.cursor = last
                flow.ready[channel] = subscription
                flow.events += len(group.events)
                flow.bytes += size
        return busy

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
        room = Room(self._max_message_events, self._max_message_bytes)
        lanes = self._lanes
        for lane, state in lanes.items():
            if state.at_once.ready:
                self._fill(lane, state, state.at_once, COMPANY, parts, room, now_ns)
        arms = self._arms.order(self._turn)
        left = False
        for number in arms:
            # What is due takes along what is not: the message is paid for. But only of its own arm: else the one with
            # shorter windows would hide what the other's windows do.
            reasons = [refilled(state.arms[number], state.credit, now_ns) for state in lanes.values()]
            if not any(reasons):
                continue
            left = True
            for (lane, state), reason in zip(lanes.items(), reasons, strict=True):
                flow = state.arms[number]
                if reason or not flow.policy.fixed_window:
                    self._fill(lane, state, flow, reason or COMPANY, parts, room, now_ns)
                flow.allowance = max(0.0, flow.allowance - 1)
        if left and len(arms) > 1:
            self._turn += 1
        return b"".join(parts) if parts else None

    def next_due_ns(self) -> int | None:
        """Return when a queued batch that waits for its time may be taken, or None where none waits."""
        times: list[int] = []
        for state in self._lanes.values():
            if state.credit <= 0:
                continue
            for flow in state.arms:
                if not flow.ready:
                    continue
                if flow.policy.fixed_window:
                    times.append(next(iter(flow.ready.values())).since_ns + flow.linger_ns)
                else:
                    times.append(flow.counted_ns + ceil((1 - flow.allowance) * flow.linger_ns))
        return min(times, default=None)

    def _fill(
        self, lane: Priority, state: LaneQueues, flow: Flow, reason: str, parts: list[bytes], room: Room, now_ns: int
    ) -> None:
        lone = 0
        at_once = 1 if self._timed else room.events
        flush_time = wire.batch_flush_time(now_ns)
        while flow.ready and state.credit > 0 and room.events > 0 and room.size > 0:
            if self._timed:
                self._expire(flow, room)
            single = take_lone(state, flow, room, parts, flush_time, at_once)
            if single:
                lone += single
                continue
            before = flow.events
            parts.append(take_batch(state, flow, room, now_ns))
            taken = before - flow.events
            if taken == 1:
                lone += 1
            elif taken:
                self._tally.count(lane, reason, taken)
        if lone:
            self._tally.count(lane, reason, 1, lone)

    def _enqueue(self, state: LaneQueues, subscription: Subscription, group: Group, now_ns: int) -> None:
        if not subscription.queued:
            subscription.since_ns = now_ns
            subscription.before_queue = subscription.cursor
            subscription.timed = False
            if subscription.generation != self._arms.generation or subscription.flow is state.at_once:
                subscription.generation = self._arms.generation
                subscription.flow = state.arms[self._arms.index(group.channel)]
            subscription.flow.ready[group.channel] = subscription
        if group.timed or group.missing:
            self._timed = subscription.timed = True
        subscription.queued.append(group)
        subscription.cursor = group.last_offset
        flow = subscription.flow
        flow.events += len(group.events)
        flow.bytes += group.size

    def _expire(self, flow: Flow, room: Room) -> None:
        """Take out what has expired of what is taken next."""
        channel, subscription = next(iter(flow.ready.items()))
        if not subscription.timed or self._expiry is None:
            return
        queued = subscription.queued
        lane = queued[0].lane
        events, size = expire(queued, subscription.before_queue, self._expiry.monotonic_ns(), room.events)
        flow.events -= events
        flow.bytes -= size
        if events:
            self._expiry.on_dropped(lane, events)
            self._arms.dropped(channel, lane, events)

    def _fall_behind(self, state: LaneQueues, channel: str, subscription: Subscription) -> None:
        self.overflows += 1
        if subscription.flow.ready.pop(channel, None) is not None:
            drop_queue(subscription)
            subscription.cursor = subscription.before_queue
        subscription.live = False
        state.behind[channel] = subscription
