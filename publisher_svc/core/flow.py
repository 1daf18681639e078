"""The queues of one lane of a subscribing stream, and what may leave them when.

Owns the record of a subscription, the flow that the channels of one policy share (its allowance of messages, its fixed
window), and how a batch is taken from it. Used by `downstream` only, which owns what is subscribed. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from lanecast.core import wire
from lanecast.core.policy import LanePolicy
from publisher_svc.core.expiry import notice
from publisher_svc.core.group import Group
from publisher_svc.core.tally import FULL, IDLE, WINDOW

_BATCH_OVERHEAD = 32
_BURST = 4
"""Messages in a row that leave without lingering, so that a few events close together do not wait for one another."""


@dataclass(slots=True, eq=False)
class Flow:
    """The channels of a lane that leave by the same policy."""

    policy: LanePolicy
    ready: dict[str, Subscription] = field(default_factory=dict)
    """Channels with queued events, in order of their first."""
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


@dataclass(slots=True)
class Subscription:
    """One lane of one channel."""

    cursor: int
    """Everything up to here has been queued, sent or skipped."""
    live: bool
    flow: Flow
    """Where it is ready while events are queued."""
    recovering: bool = False
    """True until a subscription that began behind the head has caught up for the first time."""
    queued: list[Group] = field(default_factory=list)
    before_queue: int = 0
    """The cursor from before the first queued group: where to read on if the queue is dropped."""
    since_ns: int = 0
    """When the first queued group came."""
    timed: bool = False
    """True where queued events may expire."""
    generation: int = 0
    """Of the assignment that `flow` comes from."""


_AT_ONCE = LanePolicy(0.0, 1, 1, 1.0)
"""For channels that have just changed their policy."""


@dataclass(slots=True)
class LaneQueues:
    """One lane of a stream: its credit, its subscriptions, and what of them waits."""

    credit: int
    arms: list[Flow]
    """One per policy of the assignment: baseline and, once there is one, candidate."""
    subscriptions: dict[str, Subscription] = field(default_factory=dict)
    behind: dict[str, Subscription] = field(default_factory=dict)
    at_once: Flow = field(default_factory=lambda: Flow(_AT_ONCE))

    @property
    def events(self) -> int:
        """Events that wait."""
        return sum(flow.events for flow in self.arms) + self.at_once.events

    @property
    def bytes(self) -> int:
        """Bytes that wait."""
        return sum(flow.bytes for flow in self.arms) + self.at_once.bytes


@dataclass(slots=True)
class Room:
    """What still fits into a message."""

    events: int
    size: int


def refilled(flow: Flow, credit: int, now_ns: int) -> str:
    """Bring the allowance of a flow up to date, and say what lets a batch of it go now; empty: nothing may go."""
    flow.refill(now_ns)
    return _due(flow, credit, now_ns)


def _due(flow: Flow, credit: int, now_ns: int) -> str:
    """Say what lets a batch of the flow go now: it is full, or its allowance of messages is not used up.

    The stream asks only while no write is in flight. So rare events go at once, and frequent ones share messages, which
    cost a hundred times what an event in them costs; none waits longer than its lane's linger. A fixed window, as the
    replaced system had, waits for its linger even where the way is idle. Empty: nothing may go.
    """
    if not flow.ready or credit <= 0:
        return ""
    policy = flow.policy
    if flow.events >= policy.max_batch_events or flow.bytes >= policy.max_batch_bytes:
        return FULL
    if policy.fixed_window:
        waited_ns = now_ns - next(iter(flow.ready.values())).since_ns
        return "" if 0 <= waited_ns < flow.linger_ns else WINDOW  # negative where the clock was set back
    return IDLE if flow.allowance >= 1 or not flow.linger_ns else ""


def leave_at_once(state: LaneQueues, channel: str, subscription: Subscription) -> None:
    """Move what a channel has queued to where it leaves with the next message, in its order."""
    flow, goal = subscription.flow, state.at_once
    del flow.ready[channel]
    for group in subscription.queued:
        flow.events -= len(group.events)
        flow.bytes -= group.size
        goal.events += len(group.events)
        goal.bytes += group.size
    subscription.flow = goal
    goal.ready[channel] = subscription


def drop_queue(subscription: Subscription) -> None:
    """Forget what a subscription has queued; the caller sets its cursor back."""
    flow = subscription.flow
    for group in subscription.queued:
        flow.events -= len(group.events)
        flow.bytes -= group.size
    subscription.queued.clear()


def take_lone(state: LaneQueues, flow: Flow, room: Room, parts: list[bytes], flush_time: bytes, most: int) -> int:
    """Take single events, up to `most`, as long as the channel whose turn it is has no more; return how many.

    In most channels no other event has come since the last message. Does for each what `take_batch` does.
    """
    ready, append = flow.ready, wire.lone_batch
    credit, most, left, size = state.credit, min(most, room.events), room.size, 0
    taken: list[str] = []
    for channel, subscription in ready.items():
        if credit <= 0 or left <= 0 or len(taken) >= most:
            break
        queued = subscription.queued
        group = queued[0]
        if len(queued) > 1 or len(group.events) != 1 or group.replayed or group.missing:
            break
        queued.clear()
        subscription.before_queue = group.last_offset
        credit -= append(parts, group.head, group.events[0], flush_time)
        size += group.size
        left -= group.size + _BATCH_OVERHEAD
        taken.append(channel)
    if len(taken) == len(ready):
        ready.clear()
    else:
        for channel in taken:
            del ready[channel]
    flow.events -= len(taken)
    flow.bytes -= size
    room.events -= len(taken)
    room.size = left
    state.credit = credit
    return len(taken)


def take_batch(state: LaneQueues, flow: Flow, room: Room, now_ns: int) -> bytes:
    """Take one batch of the channel that waits longest; a message has at most one of each channel and lane."""
    channel, subscription = next(iter(flow.ready.items()))
    queued = subscription.queued
    first = queued[0]
    events: list[bytes] = []
    size = taken = 0
    for group in queued:
        if events and (group.missing or len(events) + len(group.events) > room.events or size + group.size > room.size):
            break
        events += group.events
        size += group.size
        taken += 1
    subscription.before_queue = queued[taken - 1].last_offset
    del queued[:taken], flow.ready[channel]
    flow.events -= len(events)
    flow.bytes -= size
    room.events -= len(events)
    room.size -= size + _BATCH_OVERHEAD
    if queued:  # its next batch waits for its turn, in the next message
        flow.ready[channel] = subscription
        room.events = 0
    if first.missing and not events:
        return notice(first)
    data = wire.replayed_batch(first.head, events) if first.replayed else wire.batch(first.head, events, now_ns)
    state.credit -= len(data)  # exactly what the subscriber counts, or the credit drifts
    return notice(first) + wire.stream_batch(data) if first.missing else wire.stream_batch(data)
