"""Where an event lies in the stream: partition, subject, sequence and offset.

Owns the arithmetic. All publishers and all versions of Lanecast must agree on it for one stream, so it is part of the
stream's format (`FORMAT`). Pure.
"""

from __future__ import annotations

from hashlib import blake2b

import mmh3

from lanecast.core.priority import Priority
from publisher_svc.log.base import ChannelLane

FORMAT = "1"
"""Changes when older publishers could no longer read what newer ones write, or would write elsewhere."""
EVENTS_PER_MESSAGE = 1024
"""Offsets that each stream sequence stands for, and so the most events in a message."""
DEFAULT_PARTITIONS = 16
MAX_PARTITIONS = 1024


def partition_of(channel: str, partitions: int) -> int:
    """Return the partition of a channel."""
    return mmh3.hash(channel, signed=False) % partitions


def subject_of(prefix: str, partition: int, lane: Priority) -> str:
    """Return the subject of a partition and lane."""
    return f"{prefix}.{partition}.{lane.name}"


def lane_of(subject: str) -> Priority:
    """Return the lane of a subject.

    Raises:
        ValueError: nothing of Lanecast's wrote there.
    """
    name = subject.rpartition(".")[2]
    try:
        return Priority[name]
    except KeyError:
        raise ValueError(f"{subject!r} is not a subject of the event log") from None


def queue_of(key: ChannelLane, partitions: int) -> int:
    """Return the number of the queue in which events of a channel and lane wait: one per partition and lane."""
    channel, lane = key
    return queue_number(partition_of(channel, partitions), lane)


def queue_number(partition: int, lane: Priority) -> int:
    """Return the number of the queue of a partition and lane."""
    return partition * _LANES_ROOM + lane


_LANES_ROOM = 8
"""More than the greatest number of a lane."""


def queue_place(queue: int) -> tuple[int, Priority]:
    """Return partition and lane of a queue."""
    return queue // _LANES_ROOM, Priority(queue % _LANES_ROOM)


def first_offset_of(sequence: int) -> int:
    """Return the offset of the first event of a message."""
    return sequence * EVENTS_PER_MESSAGE


def first_kept(first_sequence: int) -> int:
    """Return the smallest offset that may be left, given the first message that is. Nothing lies before the first."""
    return first_offset_of(first_sequence) if first_sequence > 1 else 1


def last_offset_of(sequence: int) -> int:
    """Return the greatest offset that an event of this message may have."""
    return sequence * EVENTS_PER_MESSAGE + EVENTS_PER_MESSAGE - 1


def sequence_of(offset: int) -> int:
    """Return the sequence of the message that holds an offset."""
    return offset // EVENTS_PER_MESSAGE


def index_of(offset: int) -> int:
    """Return the place of an offset in its message."""
    return offset % EVENTS_PER_MESSAGE


def mark_of(channel: str, event_id: str) -> bytes:
    """Return what all copies of an event have in common. A channel has no control characters, so no two pairs meet."""
    return blake2b(f"{channel}\0{event_id}".encode(), digest_size=16).digest()
