"""Events as they come off the wire.

Owns the record of an event that waits to be stored, and how the events of a message become such records. Nearly all
come exactly as the SDK writes them (`lanecast.publisher.core.encoding`): id, channel, lane, creation time, payload,
send time, and nothing else. Those are never parsed as a message: a look-up by the bytes of channel and lane, and one by
those of the type, say all that there is to know, and what remains is to check the payload. They are stored as they
came. Whatever is otherwise, or wrong, goes the general way, through a parsed `Event`. Used by the publish service and
by ingest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError, Message

from lanecast.core.channel import check_channel, is_reserved
from lanecast.core.limits import MAX_ID_BYTES, MAX_SOURCE_BYTES
from lanecast.core.priority import LANES
from lanecast.core.wire import text_field
from lanecast.v1.event_pb2 import Event
from publisher_svc.core.admission import ProducerOrder, Refusal
from publisher_svc.core.registry import TypeRegistry
from publisher_svc.log.base import ChannelLane, Entry

_LANES = {lane.wire_value: lane for lane in LANES}
_MAX_ROUTES = 65_536
_MAX_TYPES = 10_000
# Tags of lanecast.v1.Event and google.protobuf.Any, as numbers where they are compared with a byte.
_ID, _CREATE_TIME, _SEND_TIME, _TRACE, _DATA = 0x0A, 0x29, 0x31, 0x4A, 0x52
_SOURCE, _CHANNEL, _PRIORITY, _TYPE_URL, _VALUE = b"\x12", b"\x1a", b"\x20", b"\x0a", b"\x12"
_MAX_ID = MAX_ID_BYTES + 2
_TRACE_BYTES = 25
_SAMPLED = 1
_ONE_BYTE = 0x7F
"""Greatest length that takes one byte."""
_BAD = 1 << 30
"""No length: it takes more bytes than are looked at, or than it has to."""


@dataclass(slots=True, eq=False)
class Submission:
    """Events that arrived together, and what became of each."""

    order: ProducerOrder
    on_done: Callable[[Submission], None]
    size: int = 0
    """Bytes of all serialised events."""
    results: Sequence[Entry | Refusal | None] = ()
    """One per event: the entry with its position, or why it was refused."""
    open: int = 0
    run: int = 0
    """The first offset, where all events were stored in a row and none was there already; otherwise 0."""


class Waiting(Entry):
    """An event that waits to be stored. Where it has to wait, it knows for whom, until it has its result."""

    __slots__ = ("event", "index", "size", "submission")

    index: int
    submission: Submission

    def __init__(
        self, key: ChannelLane, event_id: str, data: bytes, accept_ns: int, event: Event | None = None
    ) -> None:
        # Not by way of `Entry.__init__`: a second call costs a tenth of what reading an event does.
        self.key = key
        self.event_id = event_id
        self.data = data
        self.accept_ns = accept_ns
        self.mark = hash((key[0], event_id))
        self.offset = self.prev_offset = self.ends_ns = 0
        self.duplicate = False
        self.event = event
        """The event where it was parsed: one that came in the ordinary form is not traced."""
        self.size = len(data)

    @property
    def id(self) -> str:
        """Its id, by the name that an `Event` has for it."""
        return self.event_id

    @property
    def priority(self) -> int:
        """Its lane, by the name that an `Event` has for it."""
        return self.key[1]


def bind(batch: Iterable[Waiting], submission: Submission) -> None:
    """Have events that arrived together know for whom they wait, and which result is theirs."""
    submission.results = [None] * submission.open
    for index, waiting in enumerate(batch):
        waiting.submission = submission
        waiting.index = index


class EventReader:
    """Reads serialised events."""

    def __init__(self, registry: TypeRegistry) -> None:
        self._registry = registry
        self._routes: dict[bytes, ChannelLane] = {}
        """Channel and lane of valid channels that anybody may publish to, by their bytes in an event."""
        self._types: dict[bytes, type[Message]] = {}
        """Registered types, by their bytes in an event."""

    def read(self, events: Iterable[bytes], source: str, accept_ns: int) -> list[Waiting | Event]:
        """Return each event as one that has passed all checks of its content, or parsed, with all checks to come.

        Args:
            events: The serialised events.
            source: Of events that name none.
            accept_ns: When they came off the wire.

        Raises:
            DecodeError: one is no event at all.
        """
        plain, routes, types = _plain, self._routes, self._types
        found: list[Waiting | Event] = []
        named = text_field(_SOURCE, source) if source else b""
        if len(named) > MAX_SOURCE_BYTES:
            routes = {}  # it may be too long: let each be looked at
        for data in events:
            waiting = plain(data, routes, types, accept_ns)
            if waiting is None:
                found.append(self._parse(data))
                continue
            if named:
                waiting.data += named
                waiting.size += len(named)
            found.append(waiting)
        return found

    def _parse(self, data: bytes) -> Event:
        """Parse an event, and remember what it has in common with those that follow."""
        event = Event.FromString(data)
        channel, url = event.channel, event.data.type_url
        name, kind = channel.encode(), url.encode()
        lane = _LANES.get(event.priority)
        if lane is not None and len(name) <= _ONE_BYTE and check_channel(channel) is None and not is_reserved(channel):
            if len(self._routes) >= _MAX_ROUTES:
                self._routes.clear()
            self._routes[b"".join((_CHANNEL, bytes((len(name),)), name, _PRIORITY, bytes((lane,))))] = (channel, lane)
        message_class = self._registry.find(url)
        if message_class is not None and len(kind) <= _ONE_BYTE and len(self._types) < _MAX_TYPES:
            self._types[b"".join((_TYPE_URL, bytes((len(kind),)), kind, _VALUE))] = message_class
        return event


def _plain(
    data: bytes, routes: dict[bytes, ChannelLane], types: dict[bytes, type[Message]], accept_ns: int
) -> Waiting | None:
    """Return an event that has the ordinary form and nothing wrong with it; None: it has to be looked at.

    The form is exact: every field once, in this order, none empty, lengths in as few bytes as they take. So the bytes
    are no longer than those that a generated class would write, and mean the same to whoever reads them.
    """
    try:
        at = data[1] + 2
        end = at + data[at + 1] + 4
        key = routes.get(data[at:end])
        # No time since 1973 has 0 in its highest byte.
        if key is None or data[0] != _ID or not 2 < at <= _MAX_ID or data[end] != _CREATE_TIME or not data[end + 8]:
            return None
        end += 9
        if data[end] == _TRACE and data[end + 1] == _TRACE_BYTES and not data[end + 26] & _SAMPLED:
            end += 27
        size, begin = data[end + 1], end + 2
        if size > _ONE_BYTE:
            more = data[begin]
            size += (more << 7) - _ONE_BYTE - 1 if 0 < more <= _ONE_BYTE else _BAD
            begin += 1
        stop = begin + size
        value = begin + data[begin + 1] + 3
        message_class = types.get(data[begin:value])
        size, begin = data[value], value + 1
        if size > _ONE_BYTE:
            more = data[begin]
            size += (more << 7) - _ONE_BYTE - 1 if 0 < more <= _ONE_BYTE else _BAD
            begin += 1
        if message_class is None or data[end] != _DATA or not size or begin + size != stop:
            return None
        if data[stop] != _SEND_TIME or stop + 9 != len(data) or not data[-1]:
            return None
        event_id = data[2:at].decode()
        message_class.FromString(data[begin:stop])
    except (IndexError, UnicodeDecodeError, DecodeError):
        return None
    return Waiting(key, event_id, data, accept_ns)
