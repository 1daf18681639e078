"""Delivery policies: named, immutable settings of the four lanes.

Owns what a policy is and the built-in ones. Used by the publisher's lanes and by rollouts; knows nothing of either.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from lanecast.core.priority import BUDGET_SECONDS, LANES, Priority


@dataclass(frozen=True, slots=True)
class LanePolicy:
    """Settings of one lane."""

    linger_seconds: float
    """Longest time an event may wait for its batch to fill: a ceiling, not a delay. An event that finds its way idle
    goes at once; only one that comes within this time of the message before waits for the rest of it."""
    max_batch_events: int
    """Most events in a batch."""
    max_batch_bytes: int
    """Most bytes in a batch."""
    limit_seconds: float
    """What the policy promises from publisher accept to edge socket write."""
    fixed_window: bool = False
    """True: a batch waits for its linger even when the way is free."""

    def __post_init__(self) -> None:
        if self.linger_seconds < 0 or self.max_batch_events < 1 or self.max_batch_bytes < 1 or self.limit_seconds <= 0:
            raise ValueError(f"lane settings out of range: {self}")
        if self.linger_seconds > self.limit_seconds:
            raise ValueError(
                f"a linger of {self.linger_seconds * 1e3:g} ms cannot keep a limit of {self.limit_seconds * 1e3:g} ms"
            )


@dataclass(frozen=True, slots=True)
class Policy:
    """A named, immutable set of lane settings."""

    name: str
    lanes: dict[Priority, LanePolicy]
    """Exactly one entry per lane."""

    def __post_init__(self) -> None:
        if set(self.lanes) != set(LANES):
            raise ValueError(f"policy {self.name!r} must have settings for each of the four lanes")

    @property
    def digest(self) -> str:
        """SHA-256 over the settings, hexadecimal; the name does not count."""
        text = "\n".join(f"{lane.name} {self.lanes[lane]!r}" for lane in LANES)
        return hashlib.sha256(text.encode()).hexdigest()


def _lane(lane: Priority, linger_ms: float, events: int, size: int) -> LanePolicy:
    return LanePolicy(linger_ms / 1e3, events, size, BUDGET_SECONDS[lane])


DEFAULT = Policy(
    "default",
    {
        Priority.CRITICAL: _lane(Priority.CRITICAL, 0, 64, 64 * 1024),
        Priority.HIGH: _lane(Priority.HIGH, 1, 64, 64 * 1024),
        Priority.NORMAL: _lane(Priority.NORMAL, 1, 64, 32 * 1024),
        Priority.LOW: _lane(Priority.LOW, 3, 64, 32 * 1024),
    },
)
"""The policy of a new installation."""

LEGACY_500MS = Policy(
    "legacy-500ms",
    {lane: LanePolicy(0.5, 1_000, 1024 * 1024, 0.5, fixed_window=True) for lane in LANES},
)
"""How the replaced system delivered: whatever came within 500 ms, at once. Declares a limit of 500 ms."""

BUILT_IN: dict[str, Policy] = {policy.name: policy for policy in (DEFAULT, LEGACY_500MS)}
"""Policies that every installation knows."""
