"""Messages of the stream: events in, bytes out, and back.

Owns `lanecast.internal.v1.LogBatch`. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from lanecast.core.priority import Priority
from lanecast.internal.v1.log_pb2 import LogBatch, LogRecord
from publisher_svc.log.base import ChannelLane, Entry, LogError
from publisher_svc.log.jetstream.core.layout import EVENTS_PER_MESSAGE, lane_of, mark_of

_NANOS_PER_MILLI = 1_000_000
RECORD_BYTES = 64
"""What a record costs beside its event and its channel, at most."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it was read from the stream."""

    sequence: int
    time_ns: int
    """When the server stored it."""
    partition: int
    lane: Priority
    channels: Sequence[str]
    records: Sequence[LogRecord]
    read_through: int


def size_of(entry: Entry) -> int:
    """Return how many bytes an entry takes in a message, at most."""
    return len(entry.data) + len(entry.channel.encode()) + RECORD_BYTES


@dataclass(frozen=True, slots=True)
class View:
    """What the writer of a message knows at that time."""

    head: Callable[[ChannelLane], int]
    """A bound above which the writer knows no event of a channel and lane."""
    read_through: int
    """How far the writer has read the stream."""
    ahead_ns: int = 0
    """How far its wall clock is ahead of its monotonic clock, on which entries end."""


def pack(entries: Sequence[Entry], view: View) -> bytes:
    """Return the message of entries of one partition and lane: at most `EVENTS_PER_MESSAGE`, in order."""
    if len(entries) > EVENTS_PER_MESSAGE:
        raise ValueError(f"{len(entries)} events do not fit into a message")
    channels: dict[str, int] = {}
    records = [
        LogRecord(
            channel=channels.setdefault(entry.channel, len(channels)),
            mark=mark_of(entry.channel, entry.event_id),
            accept_time_unix_nano=entry.accept_ns,
            ttl_millis=_ttl_millis(entry, view.ahead_ns),
            event=entry.data,
            prev_offset=view.head(entry.key),
        )
        for entry in entries
    ]
    return LogBatch(channels=channels, records=records, read_through=view.read_through).SerializeToString()


def unpack(subject: str, sequence: int, time_ns: int, data: bytes) -> Message:
    """Return the message that was read.

    Raises:
        LogError: it is none of Lanecast's, or damaged.
    """
    try:
        lane = lane_of(subject)
        partition = int(subject.split(".")[-2])
        batch = LogBatch.FromString(data)
    except (ValueError, IndexError, DecodeError) as error:
        raise LogError(f"message {sequence} of the stream cannot be read: {error}") from error
    count = len(batch.channels)
    if len(batch.records) > EVENTS_PER_MESSAGE or any(record.channel >= count for record in batch.records):
        raise LogError(f"message {sequence} of the stream cannot be read: its parts do not fit together")
    return Message(sequence, time_ns, partition, lane, batch.channels, batch.records, batch.read_through)


def entry_of(message: Message, record: LogRecord, wall_ns: int, monotonic_ns: int) -> Entry:
    """Return a record that another publisher has written as an entry."""
    channel = message.channels[record.channel]
    entry = Entry(channel, message.lane, "", record.event, record.accept_time_unix_nano)
    if record.ttl_millis:
        passed = max(0, wall_ns - record.accept_time_unix_nano)
        entry.ends_ns = monotonic_ns + max(1, record.ttl_millis * _NANOS_PER_MILLI - passed)
    return entry


def _ttl_millis(entry: Entry, ahead_ns: int) -> int:
    """Return the whole time to live, at least 1; 0 where it is unlimited."""
    if not entry.ends_ns:
        return 0
    return max(1, (entry.ends_ns + ahead_ns - entry.accept_ns) // _NANOS_PER_MILLI)
