"""The answers that wait to be written on a publishing stream.

Owns their order, and that acknowledgements of consecutive events share a message. An answer to a stored event is hardly
more than its offset, and a generated message for each costs more than finding its place in the log: clients that read
offsets get nothing else, and for others the results are serialised by hand. Filled and emptied by the publish service;
tests hold the bytes against the generated classes. Pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Protocol

from lanecast.core.wire import text_field, varint
from lanecast.v1 import publisher_pb2 as pb
from lanecast.v1.event_pb2 import EventError
from publisher_svc.core.admission import Refusal

MAX_RESULTS = 2_000
"""Most results in a message, far below what gRPC takes even where each is a refusal."""

# Tags of lanecast.v1.PublishEventStreamResponse, PublishAcks and PublishResult.
_ACKS, _EPOCH, _FIRST_SEQUENCE, _RESULT, _OFFSET, _DUPLICATE = b"\x12", b"\x0a", b"\x10", b"\x1a", b"\x08", b"\x10\x01"
_STORED = tuple(_RESULT + varint(len(_OFFSET) + size) + _OFFSET for size in range(13))
"""What stands before the offset in the result of a stored event, by the length of the rest."""
_LAST = tuple(bytes((value,)) for value in range(0x80))
_FIRST = tuple(bytes((value | 0x80,)) for value in range(0x80))
"""The first byte of an offset's varint, by its seven lowest bits: as the only byte, and with more behind it."""


class Stored(Protocol):
    """An event that is in the log; see `publisher_svc.log.base.Entry`."""

    @property
    def offset(self) -> int:
        """Its place, or that of the first copy."""

    @property
    def duplicate(self) -> bool:
        """True where it was there already."""


class Answers:
    """What is still to be said on one stream."""

    def __init__(self, epoch: str, *, offsets: bool = False) -> None:
        """Begin; `offsets`: the client reads `PublishAcks.offsets`."""
        self._epoch = text_field(_EPOCH, epoch)
        self._offsets = offsets
        self._messages: deque[_Acks | bytes] = deque()

    def __len__(self) -> int:
        return len(self._messages)

    def say(self, response: pb.PublishEventStreamResponse) -> None:
        """Put something behind the answers so far."""
        self._messages.append(response.SerializeToString())

    def add(self, first_sequence: int, results: Sequence[Stored | Refusal | None]) -> None:
        """Answer events in a row, of which `first_sequence` is the first one's number on the stream."""
        acks = self._acks(first_sequence, len(results))
        parts = acks.parts
        if self._offsets and not parts:
            stored = _stored(results)
            acks.offsets += stored
            results = results[len(stored) :]
        for result in results:
            if isinstance(result, Refusal):
                data = _refused(result).SerializeToString()
                parts += (_RESULT, varint(len(data)), data)
            else:
                assert result is not None, "events are answered only when each has its result"
                offset = varint(result.offset)
                if result.duplicate:
                    offset += _DUPLICATE
                parts.append(_STORED[len(offset)] + offset)

    def add_run(self, first_sequence: int, first_offset: int, count: int) -> None:
        """Answer events in a row that were stored in a row, none of which was there already.

        Their offsets differ in the lowest byte only, but for one in 128: so there is no work for each event.
        """
        acks = self._acks(first_sequence, count)
        parts = acks.parts
        end = first_offset + count
        if self._offsets and not parts:
            acks.offsets += range(first_offset, end)
            return
        while first_offset < end:
            through = min(end, (first_offset | 0x7F) + 1)
            rest, bytes_ = (varint(first_offset >> 7), _FIRST) if first_offset > 0x7F else (b"", _LAST)
            head = _STORED[1 + len(rest)]
            low = first_offset & 0x7F
            parts += (head, (rest + head).join(bytes_[low : low + through - first_offset]), rest)
            first_offset = through

    def _acks(self, first_sequence: int, count: int) -> _Acks:
        """Return the message in which the next `count` results go, and count them."""
        last = self._messages[-1] if self._messages else None
        if type(last) is not _Acks or last.next_sequence != first_sequence or last.count >= MAX_RESULTS:
            last = _Acks(first_sequence)
            self._messages.append(last)
        last.count += count
        last.next_sequence += count
        return last

    def take(self) -> tuple[bytes, int]:
        """Return the next message, and how many events it answers."""
        message = self._messages.popleft()
        if isinstance(message, bytes):
            return message, 0
        first = message.next_sequence - message.count
        offsets = pb.PublishAcks(offsets=message.offsets).SerializeToString() if message.offsets else b""
        body = b"".join((self._epoch, _FIRST_SEQUENCE, varint(first), offsets, *message.parts))
        return b"".join((_ACKS, varint(len(body)), body)), message.count


class _Acks:
    """Results of consecutive events."""

    __slots__ = ("count", "next_sequence", "offsets", "parts")

    def __init__(self, first_sequence: int) -> None:
        self.next_sequence = first_sequence
        self.count = 0
        self.offsets: list[int] = []
        self.parts: list[bytes] = []


def _stored(results: Sequence[Stored | Refusal | None]) -> list[int]:
    """Return the offsets of the events at the beginning that are stored and no duplicates; mostly that is all."""
    offsets: list[int] = []
    for result in results:
        if result is None or isinstance(result, Refusal) or result.duplicate:
            break
        offsets.append(result.offset)
    return offsets


def result_of(result: Stored | Refusal | None) -> pb.PublishResult:
    """Return what became of an event as a message."""
    if isinstance(result, Refusal):
        return _refused(result)
    assert result is not None, "events are answered only when each has its result"
    return pb.PublishResult(offset=result.offset, duplicate=result.duplicate)


def _refused(refusal: Refusal) -> pb.PublishResult:
    error = EventError(
        code=refusal.code,
        reason=refusal.reason,
        message=refusal.message,
        retry_delay_millis=refusal.retry_delay_millis,
    )
    return pb.PublishResult(error=error)
