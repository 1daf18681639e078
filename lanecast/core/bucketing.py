"""Which channels a rollout moves.

Owns the pure function from a channel to its bucket, and from the bucket to an arm. Publishers assign with it and
metrics_svc reasons with it, without asking one another; a channel keeps its bucket over every restart.
"""

from __future__ import annotations

from enum import IntEnum

import mmh3

BUCKETS = 10_000
"""A bucket is a hundredth of a percent of all channels."""
PARTS = 20
"""Parts that the samples of an arm are kept in: what differs between them says how far a figure can be trusted."""

_HALF = BUCKETS // 2


class Arm(IntEnum):
    """What a channel is to a rollout; the numbers are those of `lanecast.v1.Arm`."""

    REST = 0
    """On the baseline, and compared with nothing."""
    CONTROL = 1
    """On the baseline, and compared with the candidate."""
    CANDIDATE = 2
    """On the new policy."""


def bucket(salt: str, channel: str) -> int:
    """Return the bucket of a channel, 0 to 9,999."""
    return mmh3.hash(f"{salt}:{channel}", 0, False) % BUCKETS


def part(channel: str) -> int:
    """Return the part of its arm that a channel's samples belong to, 0 to 19. The same in every rollout."""
    return mmh3.hash(f"part:{channel}", 0, False) % PARTS


def control_floor(exposure: int) -> int:
    """Return the lowest bucket of the control arm.

    The control is as large as the candidate and taken from the other end, as long as there is room; then it is what
    the candidate leaves. Before any exposure all channels are control: their figures say how things were.
    """
    return BUCKETS - exposure if 0 < exposure <= _HALF else exposure


def arm_of(number: int, exposure: int, *, pinned: bool = False) -> Arm:
    """Return the arm of a bucket while `exposure` hundredths of a percent are on the candidate.

    A pinned channel stays on the baseline. Somebody chose it, so it is no fair control either.
    """
    if pinned:
        return Arm.REST
    if number < exposure:
        return Arm.CANDIDATE
    return Arm.CONTROL if number >= control_floor(exposure) else Arm.REST
