"""Publisher, gateway and clients in one pure simulation: the real decisions, without sockets, disks, clocks or loops.

Real are the publisher's streams, tail, reader and resumption, the gateway's hub, sessions and outboxes, and the frames
between gateway and clients. Made up are the log, which may lose its unflushed end, be trimmed or replaced by a backup,
and the connections, which may be cut anywhere. The client follows docs/protocol.md to the letter, and complains.
"""

from __future__ import annotations

from collections.abc import Coroutine
from copy import deepcopy
from typing import Any

from gateway_fakes import FakeIdentity, FakeSink, drain

from gateway_svc.core.backlog import Totals
from gateway_svc.core.conflation import in_place
from gateway_svc.core.hub import Hub
from gateway_svc.core.items import AdvanceItem, EventItem, GapItem, split
from gateway_svc.core.limits import SessionLimits
from gateway_svc.core.ports import Page, PageRequest
from gateway_svc.core.session import Session, SessionContext
from gateway_svc.core.types import TypeBook
from lanecast.core import wire
from lanecast.core.policy import DEFAULT
from lanecast.core.position import EpochStart, Lineage, Position
from lanecast.core.priority import LANES, Priority
from lanecast.internal.v1.stream_pb2 import StreamEventsResponseView
from lanecast.v1 import publisher_pb2 as pb
from lanecast.v1.event_pb2 import Event, EventBatch, LanePosition
from lanecast.v1.gateway_pb2 import ClientFrame, Hello, ServerFrame, Subscribe
from publisher_svc.core.arms import Arms
from publisher_svc.core.expiry import Expiry
from publisher_svc.core.group import groups_of
from publisher_svc.core.registry import TypeRegistry
from publisher_svc.core.tail import Tail
from publisher_svc.core.tally import BatchTally
from publisher_svc.hub import Hub as PublisherHub
from publisher_svc.log.base import ChannelLane, Entry, StoredEvent
from publisher_svc.log.base import Page as LogPage
from publisher_svc.read_service import ReadService
from publisher_svc.reading import LogReader
from publisher_svc.stream_service import _Stream

CHANNELS = ("a", "b")
LIMITS = SessionLimits(
    max_commands_per_second=1_000_000,
    lane_bytes={Priority.CRITICAL: 10**6, Priority.HIGH: 10**6, Priority.NORMAL: 300, Priority.LOW: 300},
)


def now(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that has nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits")


class ModelLog:
    """An event log as simple as can be: a list."""

    def __init__(self) -> None:
        self.events: list[tuple[ChannelLane, StoredEvent]] = []
        self.lineage = Lineage([EpochStart("E1", 1)])
        self.end_offset = 0
        self.first_offset = 1
        self.flushed = 0
        self._heads: dict[ChannelLane, int] = {}

    def head(self, key: ChannelLane) -> int:
        return self._heads.get(key, 0)

    def append(self, key: ChannelLane, event: Event) -> tuple[int, int, bytes]:
        previous = self.head(key)
        self.end_offset = offset = self.end_offset + 1
        data = event.SerializeToString() + wire.event_position(offset, previous, 1)
        self.events.append((key, StoredEvent(offset, previous, data)))
        self._heads[key] = offset
        return offset, previous, data

    async def read(self, key: ChannelLane, after: int, limit: int) -> LogPage:
        end, head = self.end_offset, self.head(key)
        if head <= after:
            return LogPage(covered_through=max(end, after))
        found = [each for its, each in self.events if its == key and each.offset > after]
        page = LogPage(found[:limit], more=len(found) > limit)
        page.covered_through = page.events[-1].offset if page.more else max(end, after)
        if not found:
            page.missing_through = head
        elif found[0].prev_offset > after:
            page.missing_through = found[0].prev_offset
        return page

    async def reach(self, offset: int) -> None:
        """Everything that was ever stored here was handed over at once."""

    async def floor_of_last(self, key: ChannelLane, count: int) -> int:
        found = [each for its, each in self.events if its == key][-count:]
        return found[0].prev_offset if found else self.head(key)

    def trim(self, through: int) -> None:
        self.events = [each for each in self.events if each[1].offset > through]
        self.first_offset = max(self.first_offset, through + 1)

    def lose_after(self, offset: int) -> None:
        """Open after a crash of the system that undid everything after an offset."""
        for key, event in reversed(self.events):
            if event.offset > offset:
                self._heads[key] = event.prev_offset
        self.events = [each for each in self.events if each[1].offset <= offset]
        self.end_offset = offset
        self.begin_epoch()

    def begin_epoch(self) -> None:
        starts = [*self.lineage.starts, EpochStart(f"E{Epochs.next()}", self.end_offset + 1)]
        self.lineage = Lineage(starts)


class Epochs:
    """Names for epochs that never come twice, as random ones do not."""

    count = 1

    @classmethod
    def next(cls) -> int:
        cls.count += 1
        return cls.count


class _Heads:
    """What a stream asks of the ingest."""

    def __init__(self, log: ModelLog) -> None:
        self._log = log

    def batch_head(self, key: ChannelLane) -> bytes:
        return wire.batch_head(*key, self._log.lineage.current)


class PublisherProcess:
    """The reading half of publisher_svc, from one start to the next."""

    def __init__(self, log: ModelLog) -> None:
        self.log = log
        self.tail = Tail(600)
        self.hub = PublisherHub()
        self.expiry = Expiry(lambda: 1, lambda: 1, lambda lane, events: None)
        self.reader = LogReader(log, self.tail)  # type: ignore[arg-type]
        self.reads = ReadService(self.reader, TypeRegistry(), self.expiry)

    def stream(self) -> _Stream:
        opening = pb.StreamOpen()
        heads, tally = _Heads(self.log), BatchTally()
        return _Stream(self.hub, self.reader, heads, Arms(DEFAULT), self.expiry, tally, opening, None)  # type: ignore[arg-type]

    def publish(self, key: ChannelLane, event: Event) -> int:
        offset, previous, data = self.log.append(key, event)
        entry = Entry(*key, "", data, 0)
        entry.offset, entry.prev_offset = offset, previous
        self.tail.add([entry])
        head = wire.batch_head(*key, self.log.lineage.current)
        groups = list(groups_of(*key, head, [(offset, data)]))
        for receiver in self.hub.receivers(key):
            receiver.offer(groups, 0)
        return offset


class Gateway:
    """gateway_svc: its hub and sessions, and a link to a publisher that may be cut."""

    def __init__(self) -> None:
        self.hub = Hub(self, lambda item: None)
        self.types = TypeBook()
        self.time = 0.0
        self.requests: list[PageRequest] = []
        self.starts: list[pb.ChannelStart] = []
        self.publisher: PublisherProcess | None = None
        self.stream: _Stream | None = None
        self.context = SessionContext(
            limits=LIMITS,
            heartbeat_seconds=15.0,
            verify=lambda token: FakeIdentity(),
            now_ns=lambda: int(self.time * 1e9) + 1,
            now=lambda: self.time,
            totals=Totals(),
            on_receipt=lambda receipt: None,
            on_token=lambda session: None,
        )

    # Towards the publisher, as `link` and `upstream` do it

    def add(self, channel: str) -> None:
        if self.stream is None:
            return
        positions = self.hub.positions(channel, LANES) or {}
        known = [LanePosition(lane=lane, epoch=at.epoch, offset=at.offset) for lane, at in positions.items()]
        start = pb.ChannelStart(channel=channel, start=pb.START_LATEST, positions=known)
        now(self.stream._add([start]))

    def remove(self, channel: str) -> None:
        if self.stream is not None:
            self.stream._remove([channel])

    def read(self, request: PageRequest) -> None:
        self.requests.append(request)

    def connect(self, publisher: PublisherProcess) -> None:
        self.disconnect()
        self.publisher, self.stream = publisher, publisher.stream()
        for name in self.hub.channels:
            self.add(name)

    def disconnect(self) -> None:
        if self.stream is not None:
            self.stream.close()
        self.stream = self.publisher = None

    def receive(self) -> bool:
        """Take the next message off the stream; say whether there was one."""
        if self.stream is None:
            return False
        data = self.stream._downstream.take(int(self.time * 1e9))
        if data is None:
            return bool(now(self.stream._catch_up()))
        view = StreamEventsResponseView.FromString(data)
        for added in view.added:
            at = [(Priority(each.lane), Position(each.epoch, each.offset)) for each in added.positions]
            self.hub.positioned(added.channel, at)
        for gap in view.gaps:
            self._gap(GapItem.of(gap))
        for raw in view.batches:
            self._live(EventItem(EventBatch.FromString(raw), raw, self.types, 5, 6))
        for advance in view.advances:
            lane = Priority(advance.lane)
            self.hub.advance(AdvanceItem(advance.channel, lane, advance.epoch, advance.through_offset), self.time)
        return True

    def _gap(self, gap: GapItem) -> None:
        if gap.rewinds:
            self.hub.rewind(gap)
        else:
            self._live(gap)

    def _live(self, item: EventItem | GapItem) -> None:
        accepted = self.hub.accept(item)
        if accepted is not None:
            self.hub.distribute(accepted[0], list(accepted[1].live))

    def answer(self, which: int, limit: int) -> None:
        """Answer one of the pages that are waited for."""
        if not self.requests:
            return
        request = self.requests.pop(which % len(self.requests))
        if request.reader.request is not request:
            return
        if self.publisher is None:
            self.hub.page_failed(request, "later", retryable=True)
            return
        feed = request.reader.feed
        request.tail, request.generation = feed.tail, feed.generation
        message = pb.ReadEventsRequest(channel=request.channel, lane=request.lane.wire_value, limit=limit)
        if request.after is None:
            message.last_n, message.limit = request.last_n, max(limit, request.last_n)
        else:
            message.after.CopyFrom(pb.ReadAfter(epoch=request.epoch, offset=request.after))
        response = now(self.publisher.reads.read_events(message))
        gaps = [GapItem.of(gap) for gap in response.gaps]
        events = split(response.batch, self.types)
        lost = [gap for gap in gaps if not gap.selective]
        rest = list(in_place(events, [gap for gap in gaps if gap.selective]))
        self.hub.page(request, Page(response.batch.epoch, lost, rest, response.covered_through, response.more))


class Client:
    """A subscriber with one cursor a lane that outlives its connections."""

    def __init__(self, channel: str, start: int) -> None:
        self.channel = channel
        self.start = start
        self.cursors: dict[Priority, Position] = {}
        self.began: dict[Priority, int] = {}
        self.events: dict[Priority, list[tuple[int, str]]] = {lane: [] for lane in LANES}
        self.gaps: list[tuple[Priority, int, int, int]] = []
        """Lane, from, to, reason."""
        self.session: Session | None = None
        self.sink = FakeSink()
        self.problems: list[str] = []

    def connect(self, gateway: Gateway) -> None:
        self.disconnect()
        self.sink = FakeSink()
        self.session = Session(f"s{id(self.sink)}", self.sink, gateway.hub, gateway.context, binary=True)
        self.session.receive(ClientFrame(hello=Hello(token="good")).SerializeToString())
        positions = [LanePosition(lane=lane, epoch=at.epoch, offset=at.offset) for lane, at in self.cursors.items()]
        command = Subscribe(channel=self.channel, start=self.start, positions=positions)  # type: ignore[arg-type]
        self.session.receive(ClientFrame(subscribe=command).SerializeToString())

    def disconnect(self) -> None:
        """The connection is gone, with whatever is on it."""
        if self.session is not None:
            self.session.leave()
            self.session = None

    def read(self) -> None:
        """Take everything that has come."""
        if self.session is None:
            return
        drain(self.session, self.sink)
        for frame in self.sink.frames():
            self._take(frame)
        if self.sink.closed is not None:
            self.disconnect()

    def _take(self, frame: ServerFrame) -> None:
        kind = frame.WhichOneof("frame")
        if kind == "subscribed":
            for each in frame.subscribed.positions:
                lane = Priority(each.lane)
                if lane not in self.cursors:
                    self.cursors[lane] = Position(each.epoch, each.offset)
                    self.began.setdefault(lane, each.offset)
        elif kind == "events":
            lane = Priority(frame.events.lane)
            for event in frame.events.events:
                cursor = self.cursors[lane].offset
                if not event.prev_offset <= cursor < event.offset:
                    self.problems.append(f"{lane.name}: {event.prev_offset}<{event.offset} at cursor {cursor}")
                self.events[lane].append((event.offset, event.id))
                self.cursors[lane] = Position(frame.events.epoch, event.offset)
        elif kind == "gap":
            gap = frame.gap
            lane = Priority(gap.lane)
            self.gaps.append((lane, gap.from_offset, gap.to_offset, gap.reason))
            self.cursors[lane] = Position(gap.epoch, gap.to_offset)
        elif kind == "advance":
            lane = Priority(frame.advance.lane)
            if frame.advance.through_offset > self.cursors[lane].offset:
                self.cursors[lane] = Position(frame.advance.epoch, frame.advance.through_offset)


def copy_of(log: ModelLog) -> ModelLog:
    """Return a backup."""
    return deepcopy(log)
