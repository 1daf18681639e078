"""Delivery policies as messages, and back.

Owns the translation between `lanecast.core.policy` and `lanecast.v1.Policy`, with the sentences for what cannot be a
policy. Used by publisher_svc, which is told policies, and by metrics_svc, which keeps them.
"""

from __future__ import annotations

import re

from google.protobuf.duration_pb2 import Duration

from lanecast.core.policy import LanePolicy, Policy
from lanecast.core.priority import LANES, Priority
from lanecast.v1 import rollout_pb2

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
MAX_EVENTS, MAX_BYTES, MAX_SECONDS = 10_000, 16 * 1024 * 1024, 60.0
"""Largest settings of a lane that are accepted."""


def to_message(policy: Policy) -> rollout_pb2.Policy:
    """Return a policy as a message."""
    message = rollout_pb2.Policy(name=policy.name, digest=policy.digest)
    for lane in LANES:
        settings = policy.lanes[lane]
        message.lanes.add(
            lane=lane.wire_value,
            linger=duration(settings.linger_seconds),
            max_batch_events=settings.max_batch_events,
            max_batch_bytes=settings.max_batch_bytes,
            limit=duration(settings.limit_seconds),
            fixed_window=settings.fixed_window,
        )
    return message


def from_message(message: rollout_pb2.Policy) -> Policy:
    """Return the policy of a message.

    Raises:
        ValueError: it is none; the text says why, with the arithmetic where windows cannot meet limits.
    """
    if not _NAME.fullmatch(message.name):
        raise ValueError(
            f"the policy name {message.name!r:.80} is not usable: take lower-case letters, digits and hyphens, at most"
            " 64"
        )
    lanes = {Priority(each.lane): _lane(Priority(each.lane), each) for each in message.lanes if each.lane}
    missing = [lane.name for lane in LANES if lane not in lanes]
    if missing or len(message.lanes) != len(LANES):
        raise ValueError(
            f"policy {message.name} needs settings for each lane once; missing: {', '.join(missing) or '-'}"
        )
    return Policy(message.name, lanes)


def seconds(value: Duration) -> float:
    """Return a duration in seconds."""
    return value.seconds + value.nanos / 1e9


def duration(value: float) -> Duration:
    """Return seconds as a duration, to the microsecond."""
    found = Duration()
    found.FromMicroseconds(round(value * 1e6))
    return found


def _lane(lane: Priority, message: rollout_pb2.LaneSettings) -> LanePolicy:
    linger, limit = seconds(message.linger), seconds(message.limit)
    if message.max_batch_events > MAX_EVENTS or message.max_batch_bytes > MAX_BYTES or limit > MAX_SECONDS:
        raise ValueError(
            f"{lane.name}: batches are at most {MAX_EVENTS:,} events and {MAX_BYTES >> 20} MiB, limits at most"
            f" {MAX_SECONDS:g} s"
        )
    try:
        return LanePolicy(linger, message.max_batch_events, message.max_batch_bytes, limit, message.fixed_window)
    except ValueError as error:
        raise ValueError(f"{lane.name}: {error}") from error
