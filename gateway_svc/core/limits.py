"""Limits of one session.

Owns the numbers with their defaults and the command rate. `welcome` states them; docs/limits.md lists them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from lanecast.core.priority import Priority

HELLO_SECONDS = 5.0
"""How long a connection may stay without a valid `hello`."""

SUBSCRIBE_SECONDS = 10.0
"""How long a subscription may wait for the publisher before the client is told to try later."""

ADVANCE_SECONDS = 30.0
"""Shortest time between two `advance` frames of one quiet lane."""

MAX_LAST_N = 1_000
"""Most events per lane for START_LAST_N."""

MAX_TOKEN_CLIENT_BYTES = 128
"""Longest `Hello.client`."""


def _lane_bytes() -> dict[Priority, int]:
    kib = 1024
    return {
        Priority.CRITICAL: 256 * kib,
        Priority.HIGH: 256 * kib,
        Priority.NORMAL: 256 * kib,
        Priority.LOW: 128 * kib,
    }


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """Limits of one session."""

    max_frame_bytes: int = 64 * 1024
    """Largest message a client may send."""
    max_subscriptions: int = 256
    """Most channels subscribed to at one time."""
    max_commands_per_second: int = 50
    """Commands allowed on average; bursts of twice as many pass."""
    lane_bytes: dict[Priority, int] = field(default_factory=_lane_bytes)
    """Bytes that may wait in each lane before the slow-consumer rule applies."""
    control_bytes: int = 128 * 1024
    """Bytes of answers that may wait."""

    @property
    def outbox_bytes(self) -> int:
        """Bytes that may wait for one client in all."""
        return sum(self.lane_bytes.values()) + self.control_bytes


class TokenBucket:
    """Allows `rate` takes per second on average and bursts of twice as many."""

    __slots__ = ("_at", "_left", "_rate")

    def __init__(self, rate: float, now: float) -> None:
        self._rate = rate
        self._left = 2 * rate
        self._at = now

    def take(self, now: float) -> bool:
        """Take one; say whether it was there."""
        self._left = min(2 * self._rate, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
