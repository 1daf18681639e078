"""What the messages of the stream, read in order, mean: heads, repetitions, deliverable events.

Owns the reader's view of the log. It starts somewhere in the stream: what lies before its floor it has not seen, so it
answers with the floor where it has seen no event of a channel and lane. Fed by `reader`; asked by the log. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from lanecast.core import wire
from lanecast.internal.v1.log_pb2 import LogRecord
from publisher_svc.log.base import ChannelLane, Entry
from publisher_svc.log.jetstream.core.layout import first_offset_of, index_of, last_offset_of, sequence_of
from publisher_svc.log.jetstream.core.packing import Message
from publisher_svc.log.jetstream.core.window import CopyWindow

_MAX_REPEATED_MESSAGES = 100_000


@dataclass(frozen=True, slots=True)
class Warming:
    """How a reader begins that may not yet decide what is a repetition."""

    until_ns: int
    """Log time from which on it serves."""


class LogFold:
    """The log as one reader knows it."""

    def __init__(self, warming: Warming | None, make: Callable[[Message, LogRecord], Entry]) -> None:
        """Begin before the first message.

        Args:
            warming: None where the first message read is the first that ever was.
            make: Turns a record of another publisher's into an entry.
        """
        self._warming = warming
        self._make = make
        self._window = CopyWindow()
        self._heads: dict[ChannelLane, int] = {}
        self._ends: dict[tuple[int, int], int] = {}
        self._repeated: dict[int, int] = {}
        self.floor = 0
        """Offsets above it are known; of those up to it nothing is."""
        self.sequence = 0
        """The last message read."""
        self.end_offset = 0
        """The greatest offset read."""

    @property
    def is_warm(self) -> bool:
        """False while messages only fill the memory of ids."""
        return self._warming is None

    def head(self, key: ChannelLane) -> int:
        """Return a bound: no deliverable event of the channel and lane lies above it. Exact above the floor."""
        return self._heads.get(key, self.floor)

    def exact_head(self, key: ChannelLane) -> int | None:
        """Return the newest event of a channel and lane; None where there was none above the floor."""
        return self._heads.get(key)

    def heads(self) -> dict[ChannelLane, int]:
        """Return the heads above the floor."""
        return dict(self._heads)

    def last_sequence(self, partition: int, lane: int) -> int | None:
        """Return the last message of a partition and lane; None where there was none above the floor."""
        return self._ends.get((partition, lane))

    def is_repeated(self, offset: int) -> bool:
        """Say whether the event at an offset above the floor is a repetition."""
        return bool(self._repeated.get(sequence_of(offset), 0) >> index_of(offset) & 1)

    def begin_at(self, sequence: int) -> None:
        """Say that reading starts behind this message."""
        self.sequence = sequence
        self.floor = self.end_offset = last_offset_of(sequence) if sequence else 0

    def read(self, message: Message, own: Sequence[Entry] | None = None) -> list[Entry]:
        """Take the next message; return the new events.

        Args:
            message: Its sequence is above all that were read.
            own: The entries, where this publisher wrote the message and still holds them. Each gets its position, or
                is marked as a repetition.
        """
        if self._warming is not None and message.time_ns >= self._warming.until_ns:
            self._warming = None
        if self._warming is None:
            fresh = list(self._fresh(message, own))
        else:
            fresh = []
            self._warm(message)
        self.sequence = message.sequence
        self._ends[message.partition, message.lane] = message.sequence
        self.end_offset = first_offset_of(message.sequence) + max(0, len(message.records) - 1)
        if self._warming is not None:
            self.floor = last_offset_of(message.sequence)
        return fresh

    def stop_warming(self) -> None:
        """Serve from here on: there is nothing earlier that could be a first copy."""
        self._warming = None

    def forget_before(self, sequence: int) -> None:
        """Drop what is known of messages that retention has removed."""
        for old in [each for each in self._repeated if each < sequence]:
            del self._repeated[old]

    def _warm(self, message: Message) -> None:
        offset = first_offset_of(message.sequence)
        for index, record in enumerate(message.records):
            self._window.first(record.mark, offset + index, message.time_ns)

    def _fresh(self, message: Message, own: Sequence[Entry] | None) -> Iterator[Entry]:
        offset = first_offset_of(message.sequence) - 1
        for index, record in enumerate(message.records):
            offset += 1
            entry = self._make(message, record) if own is None else own[index]
            first = self._window.first(record.mark, offset, message.time_ns)
            if first != offset:
                entry.offset, entry.duplicate = first, True
                self._note_repeated(offset)
                continue
            key = entry.key
            previous = self._heads.get(key, self.floor)
            entry.offset, entry.prev_offset = offset, previous
            entry.data += wire.event_position(offset, previous, record.accept_time_unix_nano)
            self._heads[key] = offset
            yield entry

    def _note_repeated(self, offset: int) -> None:
        sequence = sequence_of(offset)
        if sequence not in self._repeated and len(self._repeated) >= _MAX_REPEATED_MESSAGES:
            oldest = next(iter(self._repeated))
            del self._repeated[oldest]
            self.floor = max(self.floor, last_offset_of(oldest))
        self._repeated[sequence] = self._repeated.get(sequence, 0) | 1 << index_of(offset)
