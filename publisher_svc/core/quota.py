"""What a publishing identity may publish: which channels and lanes, and how much.

Owns the token bucket, the grants of a stream and the table of identities. The publish service asks once per message for
a `Screen` and hands it to ingest, which asks it about each event. Pure: time is an argument, in seconds of a monotonic
clock. Identities without limits never get here.

The bucket keeps a reserve for the urgent lanes, as the load limit does: LOW is refused while less than 30 % of the
burst is left, NORMAL at 15, HIGH at 5, CRITICAL when there is nothing. An identity that publishes in one lane only has
its whole rate all the same, for the reserve is a level, not a tax.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence

from lanecast.core.channel import MAX_CHANNEL_BYTES
from lanecast.core.priority import EXPRESS_LANES, LANES, Priority
from publisher_svc.core.admission import FULL_AT, ProducerOrder, Publication, Refusal

_PERMISSION_DENIED, _RESOURCE_EXHAUSTED = 7, 8
_EXPRESS_DELAY_SECONDS, _BULK_DELAY_SECONDS = 0.25, 1.0
"""Longest time a refused event is told to wait for its whole message to fit; it waits longer where one event does."""
_ROUNDING = 1e-9
_MAX_CHANNELS = 4_096
_LANES = {int(lane): lane for lane in LANES}

LanesFor = Callable[[str], frozenset[Priority]]
"""Returns the lanes of a channel that may be published to."""
Refuse = Callable[[Publication, ProducerOrder], Refusal | None]
"""Returns why an event is refused, or None."""


class TokenBucket:
    """Admits at most `rate * seconds + burst` events in any span of time."""

    __slots__ = ("_at", "_reserves", "_tokens", "burst", "rate")

    def __init__(self, rate: float, burst: int, now: float) -> None:
        if not (rate > 0 and burst >= 1):
            raise ValueError("a rate must be above 0 and a burst at least 1")
        self._at = now
        self._tokens = float(burst)
        self._set(rate, burst)

    def change(self, rate: float, burst: int, now: float) -> None:
        """Go on with another rate and burst. A larger burst fills up in its time: changing to and fro gains nothing."""
        self.refill(now)
        self._set(rate, burst)
        self._tokens = min(self._tokens, float(burst))

    def refill(self, now: float) -> None:
        """Add what has come since the last time; call it before `take` and `delay`."""
        if now > self._at:
            self._tokens = min(float(self.burst), self._tokens + (now - self._at) * self.rate)
            self._at = now

    def take(self, lane: Priority) -> bool:
        """Admit one event of a lane and say so, or leave everything as it is and return False."""
        if self._tokens + _ROUNDING < 1.0 + self._reserves[lane]:
            return False
        self._tokens -= 1.0
        return True

    def delay(self, lane: Priority, count: int) -> float:
        """Return the seconds after which `count` events of a lane fit, or as many as the bucket ever holds for it."""
        reserve = self._reserves[lane]
        return max(0.0, reserve + min(float(count), self.burst - reserve) - self._tokens) / self.rate

    @property
    def is_full(self) -> bool:
        """True where nothing distinguishes it from a new one."""
        return self._tokens >= self.burst

    def _set(self, rate: float, burst: int) -> None:
        self.rate = rate
        self.burst = burst
        # One event of each lane must always fit, else a small burst would shut a lane out for good.
        self._reserves = {lane: min((1.0 - FULL_AT[lane]) * burst, burst - 1.0) for lane in LANES}


class Permit:
    """What one publisher may do: its grants, its bucket, and until when."""

    def __init__(
        self, name: str, lanes_for: LanesFor, bucket: TokenBucket | None = None, ends_at: float = math.inf
    ) -> None:
        self.name = name
        self.ends_at = ends_at
        """When the token ends, on the monotonic clock."""
        self.bucket = bucket
        self._lanes_for = lanes_for
        self._known: dict[str, frozenset[Priority]] = {}

    def screen(self, events: Sequence[Publication], now: float) -> Screen:
        """Return what decides on the events of one message."""
        if self.bucket is not None:
            self.bucket.refill(now)
        return Screen(self, events)

    def forbids(self, event: Publication) -> Refusal | None:
        """Return why this publisher may never publish such an event, or None."""
        lanes = self._known.get(event.channel)
        if lanes is None:
            lanes = self._learn(event.channel)
        lane = _LANES.get(event.priority)
        if lane in lanes:
            return None
        if not lanes:
            return _channel_forbidden(self.name)
        return None if lane is None else _lane_forbidden(self.name, lane, lanes)  # an unknown lane is checked elsewhere

    def _learn(self, channel: str) -> frozenset[Priority]:
        lanes = self._lanes_for(channel)
        if len(self._known) >= _MAX_CHANNELS:
            self._known.clear()
        if len(channel) <= MAX_CHANNEL_BYTES:
            self._known[channel] = lanes
        return lanes


class Screen:
    """Decides on the events of one message, after what ingest itself checks."""

    __slots__ = ("_events", "_permit", "_refusals", "_taken")

    def __init__(self, permit: Permit, events: Sequence[Publication]) -> None:
        self._permit = permit
        self._events = events
        self._taken = dict.fromkeys(LANES, 0)
        self._refusals: dict[Priority, Refusal] = {}

    def around(self, refuse: Refuse) -> Refuse:
        """Return `refuse` with grants before it, and with the rate behind it: only an event that is good is counted."""
        forbids, bucket = self._permit.forbids, self._permit.bucket
        if bucket is None:
            return lambda event, order: forbids(event) or refuse(event, order)
        return lambda event, order: forbids(event) or refuse(event, order) or self._over_rate(event, bucket)

    def _over_rate(self, event: Publication, bucket: TokenBucket) -> Refusal | None:
        lane = _LANES[event.priority]
        refusal = self._refusals.get(lane)
        if refusal is None:
            if bucket.take(lane):
                self._taken[lane] += 1
                return None
            refusal = self._refusals[lane] = self._limited(lane, bucket)
        return refusal

    def _limited(self, lane: Priority, bucket: TokenBucket) -> Refusal:
        """Return the refusal of all further events of a lane in the message: they come again together, not one by one.

        Those behind a refused event are refused for the order's sake, so that its delay must be long enough for all.
        """
        left = sum(event.priority == lane.wire_value for event in self._events) - self._taken[lane]
        longest = _EXPRESS_DELAY_SECONDS if lane in EXPRESS_LANES else _BULK_DELAY_SECONDS
        seconds = max(bucket.delay(lane, 1), min(bucket.delay(lane, left), longest))
        message = (
            f"{self._permit.name} is over its rate of {bucket.rate:g} events/s for lane {lane.name}: send again after"
            " the delay, or more slowly"
        )
        millis = min(max(1, math.ceil(seconds * 1e3)), 0xFFFF_FFFF)
        return Refusal(_RESOURCE_EXHAUSTED, "RATE_LIMITED", message, retry_delay_millis=millis)


class TooManyIdentitiesError(Exception):
    """The table of identities is full of identities in use."""


class BucketTable:
    """The buckets of all identities: one each, however many streams it has.

    An entry is dropped when its identity has no stream and its bucket is full again, so that leaving and coming back
    gains nothing. Where all entries are in use, further identities are turned away rather than let in without a limit.
    """

    def __init__(self, max_identities: int = 10_000) -> None:
        self._max = max_identities
        self._entries: dict[Hashable, _Use] = {}
        self._swept_at = -math.inf

    def __len__(self) -> int:
        return len(self._entries)

    def acquire(self, key: Hashable, rate: float, burst: int, now: float) -> TokenBucket:
        """Return the bucket of an identity for one more stream; the rate given last holds for all its streams.

        Raises:
            TooManyIdentitiesError: there is no room for another identity.
        """
        entry = self._entries.get(key)
        if entry is None:
            if len(self._entries) >= self._max:
                self._sweep(now)
            entry = self._entries[key] = _Use(TokenBucket(rate, burst, now))
        elif (entry.bucket.rate, entry.bucket.burst) != (rate, burst):
            entry.bucket.change(rate, burst, now)
        entry.streams += 1
        return entry.bucket

    def release(self, key: Hashable) -> None:
        """Take note that one of the identity's streams has ended."""
        self._entries[key].streams -= 1

    def _sweep(self, now: float) -> None:
        """Drop idle entries; at most once a second, for it looks at all of them."""
        if now >= self._swept_at + 1.0:
            self._swept_at = now
            self._entries = {key: entry for key, entry in self._entries.items() if not entry.is_idle(now)}
        if len(self._entries) >= self._max:
            raise TooManyIdentitiesError


class _Use:
    __slots__ = ("bucket", "streams")

    def __init__(self, bucket: TokenBucket) -> None:
        self.bucket = bucket
        self.streams = 0

    def is_idle(self, now: float) -> bool:
        if self.streams:
            return False
        self.bucket.refill(now)
        return self.bucket.is_full


def _channel_forbidden(name: str) -> Refusal:
    message = f"{name} may not publish to this channel: use a token that grants it"
    return Refusal(_PERMISSION_DENIED, "CHANNEL_FORBIDDEN", message)


def _lane_forbidden(name: str, lane: Priority, lanes: frozenset[Priority]) -> Refusal:
    allowed = ", ".join(each.name for each in LANES if each in lanes)
    message = f"{name} may not publish in lane {lane.name}, only in {allowed}: use one of these, or another token"
    return Refusal(_PERMISSION_DENIED, "LANE_FORBIDDEN", message)
