"""What one subscription has received and not yet given to its user.

Owns cursors, the continuity rule, recovery of holes, credit and the buffer, which the credit bounds. The shell passes
in what the service sends, carries out `take_requests()`, and takes items with `next()`, the most urgent lane first.
Pure.

A cursor says how far a (channel, lane) has been *received*; on the next stream it goes on from there. How far the user
has got is kept by `lanecast.subscriber.core.ledger`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

from lanecast.core.position import Continuity, Position, continuity
from lanecast.core.priority import LANES, Priority
from lanecast.errors import StatusError
from lanecast.internal.v1.stream_pb2 import StreamEventsResponseView
from lanecast.subscriber.core.items import UNEXPLAINED, Batch, Gap, Item, Key, Received
from lanecast.v1 import event_pb2, publisher_pb2

_MAX_CHANNELS_PER_MESSAGE = 1_000
_MAX_RECOVERIES = 3
"""A hole that is still there after so many readings is named as a gap."""
_REASON_PREFIX = "GAP_REASON_"
_BACKWARD = {event_pb2.GAP_REASON_AHEAD, event_pb2.GAP_REASON_EPOCH_UNKNOWN}


class _Track:
    """One lane of one channel."""

    __slots__ = ("advanced", "attempts", "buffered", "cursor", "recovered_at")

    def __init__(self, cursor: Position | None) -> None:
        self.cursor = cursor
        self.buffered = 0
        self.advanced: Position | None = None
        """Where the service moved the cursor although there was no event."""
        self.recovered_at: int | None = None
        """The cursor of the last recovery."""
        self.attempts = 0
        """How often in a row a recovery began there."""


class Inbox:
    """The state of one subscription, over all streams that serve it."""

    def __init__(
        self,
        channels: Iterable[str],
        lanes: Iterable[Priority],
        start: publisher_pb2.Start.ValueType,
        last_n: int,
        positions: Mapping[Key, Position],
        window_bytes: int,
    ) -> None:
        wanted = frozenset(lanes) or frozenset(LANES)
        self.lanes = tuple(lane for lane in LANES if lane in wanted)
        self.channels = tuple(dict.fromkeys(channels))
        self.refusal: StatusError | None = None
        """Set where the service refused a channel."""
        self.duplicates = 0
        self.recoveries = 0
        self._start = start
        self._last_n = last_n
        self._window = window_bytes
        self._tracks = {
            (name, lane): _Track(positions.get((name, lane))) for name in self.channels for lane in self.lanes
        }
        self._adding: dict[str, int] = {}
        """Channels whose `add` is not answered yet, and how many such answers are to come."""
        self._items: dict[Priority, deque[Item]] = {lane: deque() for lane in self.lanes}
        self._held: dict[Priority, int] = dict.fromkeys(self.lanes, 0)
        self._owed: dict[Priority, int] = dict.fromkeys(self.lanes, 0)
        self._recovering: list[str] = []
        self._begun: dict[Key, Position] = {}

    # Streams

    def opening(self, subscriber: str) -> list[publisher_pb2.StreamEventsRequest]:
        """Return the first messages of a new stream."""
        self._recovering.clear()
        credit = []
        for lane in self.lanes:
            self._owed[lane] = 0
            credit.append(_credit(lane, max(1, self._window - self._held[lane])))
        opening = publisher_pb2.StreamOpen(subscriber=subscriber, lanes=map(_number, self.lanes), credit=credit)
        self._adding = dict.fromkeys(self.channels, 1)
        return [publisher_pb2.StreamEventsRequest(open=opening), *self._add(self.channels)]

    @property
    def is_subscribed(self) -> bool:
        """True where the service has answered for every channel."""
        return not self._adding

    @property
    def owes_credit(self) -> bool:
        """True where enough has been taken to tell the service."""
        return any(owed * 4 >= self._window for owed in self._owed.values())

    def take_requests(self) -> list[publisher_pb2.StreamEventsRequest]:
        """Return what is to be written to the stream: recoveries, and credit once a quarter of a window is owed."""
        requests: list[publisher_pb2.StreamEventsRequest] = []
        if self._recovering:
            names = list(dict.fromkeys(self._recovering))
            self._recovering.clear()
            requests.append(publisher_pb2.StreamEventsRequest(remove=publisher_pb2.RemoveChannels(channels=names)))
            requests += self._add(names)
        if self.owes_credit:
            lanes = [_credit(lane, owed) for lane, owed in self._owed.items() if owed]
            self._owed = dict.fromkeys(self.lanes, 0)
            requests.append(publisher_pb2.StreamEventsRequest(credit=publisher_pb2.GrantCredit(lanes=lanes)))
        return requests

    def take_begun(self) -> dict[Key, Position]:
        """Return where lanes without a position began, since the last call."""
        begun, self._begun = self._begun, {}
        return begun

    def _add(self, names: Iterable[str]) -> list[publisher_pb2.StreamEventsRequest]:
        starts = [self._channel_start(name) for name in names]
        return [
            publisher_pb2.StreamEventsRequest(
                add=publisher_pb2.AddChannels(channels=starts[first : first + _MAX_CHANNELS_PER_MESSAGE])
            )
            for first in range(0, len(starts), _MAX_CHANNELS_PER_MESSAGE)
        ]

    def _channel_start(self, name: str) -> publisher_pb2.ChannelStart:
        positions = []
        for lane in self.lanes:
            cursor = self._tracks[name, lane].cursor
            if cursor is not None:
                position = event_pb2.LanePosition(lane=_number(lane), epoch=cursor.epoch, offset=cursor.offset)
                positions.append(position)
        return publisher_pb2.ChannelStart(channel=name, start=self._start, last_n=self._last_n, positions=positions)

    # Receiving

    def receive(self, response: StreamEventsResponseView) -> None:
        """Take a message of the service; its parts take effect in the order of their field numbers."""
        for added in response.added:
            self._added(added)
        for gap in response.gaps:
            self._gap(gap)
        for data in response.batches:
            self._batch(data)
        for advance in response.advances:
            track = self._track(advance.channel, advance.lane)
            if track is not None and (track.cursor is None or advance.through_offset > track.cursor.offset):
                track.cursor = track.advanced = Position(advance.epoch, advance.through_offset)

    def _track(self, channel: str, lane: int) -> _Track | None:
        """Return the state of a channel and lane; None where it is not subscribed or about to be added afresh."""
        if channel in self._adding:
            return None
        try:
            return self._tracks.get((channel, Priority(lane)))
        except ValueError:
            return None

    def _added(self, added: publisher_pb2.ChannelAdded) -> None:
        name = added.channel
        if added.HasField("error"):
            error = added.error
            self.refusal = StatusError(error.code, error.reason, f"channel {name!r} was refused: {error.message}")
        left = self._adding.get(name, 0) - 1
        if left > 0:
            self._adding[name] = left
            return
        self._adding.pop(name, None)
        for given in added.positions:
            track = self._track(name, given.lane)
            if track is not None and track.cursor is None:
                track.cursor = Position(given.epoch, given.offset)
                self._begun[name, Priority(given.lane)] = track.cursor

    def _gap(self, gap: event_pb2.Gap) -> None:
        track = self._track(gap.channel, gap.lane)
        if track is None:
            return
        cursor = track.cursor
        if cursor is not None and gap.reason not in _BACKWARD:
            if gap.to_offset <= cursor.offset:
                return  # announced before
            if gap.from_offset > cursor.offset and self._recover(gap.channel, track, cursor.offset):
                return
        self._skip(
            track,
            Gap(
                gap.channel,
                Priority(gap.lane),
                gap.epoch,
                gap.from_offset,
                gap.to_offset,
                _reason_name(gap.reason),
                gap.count,
            ),
        )

    def _skip(self, track: _Track, gap: Gap) -> None:
        """Announce a gap to the user, together with the one before it where nothing lies between."""
        track.cursor = gap.position
        items = self._items[gap.lane]
        last = items[-1] if items else None
        if isinstance(last, Gap) and last.channel == gap.channel and last.reason == gap.reason:
            items[-1] = last.joined(gap)
            return
        items.append(gap)
        track.buffered += 1

    def _batch(self, data: bytes) -> None:
        message = event_pb2.EventBatch.FromString(data)
        lane = Priority(message.lane)
        track = self._track(message.channel, lane)
        if track is None:
            if lane in self._owed:
                self._owed[lane] += len(data)
            return
        batch = Batch(
            message.channel,
            lane,
            message.epoch,
            message.replayed,
            message.policy,
            message.flush_time_unix_nano,
            len(data),
        )
        received = self._contiguous(message, track, batch)
        if not received:
            self._owed[lane] += batch.size
            return
        received[-1].last = True
        self._items[lane].extend(received)
        track.buffered += len(received)
        self._held[lane] += batch.size

    def _contiguous(self, message: event_pb2.EventBatch, track: _Track, batch: Batch) -> list[Received]:
        """Return the events of a batch that follow the cursor, and move it."""
        received: list[Received] = []
        for event in message.events:
            if track.cursor is not None:
                relation = continuity(track.cursor.offset, event.prev_offset, event.offset)
                if relation is Continuity.DUPLICATE:
                    self.duplicates += 1
                    continue
                if relation is Continuity.HOLE and self._recover(batch.channel, track, track.cursor.offset):
                    break
                if relation is Continuity.HOLE:
                    missing = (track.cursor.offset, event.prev_offset, UNEXPLAINED, 0)
                    self._flush_before_gap(received, track, batch)
                    self._skip(track, Gap(batch.channel, batch.lane, batch.epoch, *missing))
            track.cursor = Position(batch.epoch, event.offset)
            received.append(Received(event, batch))
        return received

    def _flush_before_gap(self, received: list[Received], track: _Track, batch: Batch) -> None:
        """Buffer what stands before a gap in the middle of a batch."""
        self._items[batch.lane].extend(received)
        track.buffered += len(received)
        received.clear()

    def _recover(self, channel: str, track: _Track, cursor: int) -> bool:
        """Ask for the channel again from the cursors on; say no where that has not helped at this very place."""
        track.attempts = track.attempts + 1 if track.recovered_at == cursor else 1
        track.recovered_at = cursor
        if track.attempts > _MAX_RECOVERIES:
            return False
        self.recoveries += 1
        self._adding[channel] = self._adding.get(channel, 0) + 1
        self._recovering.append(channel)
        return True

    # Giving

    def __len__(self) -> int:
        return sum(map(len, self._items.values()))

    def next(self) -> Item | None:
        """Return the next item of the most urgent lane that has one."""
        for lane, items in self._items.items():
            if items:
                item = items.popleft()
                if isinstance(item, Gap):
                    self._tracks[item.channel, lane].buffered -= 1
                    return item
                self._tracks[item.batch.channel, lane].buffered -= 1
                if item.last:
                    self._held[lane] -= item.batch.size
                    self._owed[lane] += item.batch.size
                return item
        return None

    def take_advanced(self) -> dict[Key, Position]:
        """Return the cursors that moved without an event, of lanes of which everything has been taken."""
        moved: dict[Key, Position] = {}
        for key, track in self._tracks.items():
            if track.advanced is not None and not track.buffered:
                moved[key], track.advanced = track.advanced, None
        return moved


def _reason_name(reason: int) -> str:
    """Return the name of a gap's reason; a later version of the service may know more of them than this one."""
    value = event_pb2.GapReason.DESCRIPTOR.values_by_number.get(reason)
    return f"REASON_{reason}" if value is None else str(value.name).removeprefix(_REASON_PREFIX)


def _number(lane: Priority) -> event_pb2.Priority.ValueType:
    return lane.wire_value


def _credit(lane: Priority, size: int) -> publisher_pb2.LaneCredit:
    return publisher_pb2.LaneCredit(lane=_number(lane), bytes=size)
