"""A publisher for tests: real gRPC, a log in memory, and faults on demand."""

# ruff: noqa: N802 - methods are named as in the contract

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.message import Message

from lanecast.ai.v1 import concierge_pb2
from lanecast.ai.v1.concierge_pb2 import ConciergeInsight
from lanecast.core.priority import LANES, Priority
from lanecast.errors import StatusError
from lanecast.runtime import status
from lanecast.runtime.grpc_server import GrpcServer
from lanecast.runtime.hostclock import host_name
from lanecast.v1 import publisher_pb2 as pb
from lanecast.v1.event_pb2 import (
    GAP_REASON_AHEAD,
    GAP_REASON_EPOCH_UNKNOWN,
    GAP_REASON_TRUNCATED,
    Advance,
    Event,
    EventBatch,
    Gap,
    LanePosition,
)  # fmt: skip

Key = tuple[str, int]


class _Stream:
    def __init__(self, lanes: list[int]) -> None:
        self.lanes = lanes
        self.channels: set[str] = set()
        self.queue: asyncio.Queue[pb.StreamEventsResponse | None] = asyncio.Queue()
        self.credit: dict[int, int] = {}


class FakePublisher:
    """Serves `StreamEvents`, `ReadEvents` and `ListEventTypes`."""

    def __init__(self, epoch: str = "A") -> None:
        self.epoch = epoch
        self.offset = 0
        self.log: dict[Key, list[Event]] = {}
        self.trimmed_through: dict[Key, int] = {}
        self.streams: list[_Stream] = []
        self.reads: list[pb.ReadEventsRequest] = []
        self.reading = asyncio.Event()
        self.reading.set()
        self.refuse: set[str] = set()
        self.withheld = False
        """True: events go to the log only, as if the stream were slow."""
        self.target = ""
        self._server: GrpcServer | None = None

    async def start(self, port: int = 0) -> None:
        self._server = GrpcServer()
        self._server.add(pb.DESCRIPTOR.services_by_name["PublisherService"], self)
        bound = await self._server.start("127.0.0.1", port)
        self.target = f"127.0.0.1:{bound}"

    async def stop(self) -> None:
        for stream in self.streams:
            stream.queue.put_nowait(None)
        if self._server is not None:
            await self._server.stop(0)
            self._server = None

    def publish(self, channel: str, lane: Priority, *messages: Message | str) -> list[Event]:
        events = [self._append(channel, lane, each) for each in messages]
        if not self.withheld:
            self.stream_out(channel, lane, events)
        return events

    def stream_out(self, channel: str, lane: Priority, events: list[Event]) -> None:
        batch = EventBatch(
            channel=channel, lane=lane.wire_value, epoch=self.epoch, events=events, flush_time_unix_nano=1
        )
        self.to_streams(channel, lane, pb.StreamEventsResponse(batches=[batch]))

    def gap(self, channel: str, lane: Priority, begin: int, end: int, reason: int) -> None:
        gap = Gap(
            channel=channel, lane=lane.wire_value, epoch=self.epoch, from_offset=begin, to_offset=end, reason=reason
        )
        self.to_streams(channel, lane, pb.StreamEventsResponse(gaps=[gap]))

    def advance(self, channel: str, lane: Priority, through: int) -> None:
        advance = Advance(channel=channel, lane=lane.wire_value, epoch=self.epoch, through_offset=through)
        self.to_streams(channel, lane, pb.StreamEventsResponse(advances=[advance]))

    def to_streams(self, channel: str, lane: Priority, response: pb.StreamEventsResponse) -> None:
        for stream in self.streams:
            if channel in stream.channels and int(lane) in stream.lanes:
                stream.queue.put_nowait(response)

    def trim(self, channel: str, lane: Priority, through: int) -> None:
        key = (channel, int(lane))
        self.log[key] = [event for event in self.log.get(key, []) if event.offset > through]
        self.trimmed_through[key] = through

    def cut_streams(self) -> None:
        for stream in list(self.streams):
            stream.queue.put_nowait(None)

    def _append(self, channel: str, lane: Priority, payload: Message | str) -> Event:
        self.offset += 1
        events = self.log.setdefault((channel, int(lane)), [])
        prev = events[-1].offset if events else self.trimmed_through.get((channel, int(lane)), 0)
        event = Event(
            id=f"e{self.offset}", source="test", channel=channel, priority=lane.wire_value, offset=self.offset,
            prev_offset=prev, create_time_unix_nano=1, send_time_unix_nano=1, accept_time_unix_nano=1,
            store_time_unix_nano=1,
        )  # fmt: skip
        event.data.Pack(ConciergeInsight(text=payload) if isinstance(payload, str) else payload)
        events.append(event)
        return event

    # The service

    async def StreamEvents(self, requests: AsyncIterator[pb.StreamEventsRequest], context: Any) -> None:
        opening = (await anext(requests)).open
        stream = _Stream(list(opening.lanes))
        stream.credit = {credit.lane: credit.bytes for credit in opening.credit}
        opened = pb.StreamOpened(epoch=self.epoch, types_version="v1", host=host_name())
        stream.queue.put_nowait(pb.StreamEventsResponse(opened=opened))
        self.streams.append(stream)
        serving = asyncio.create_task(self._serve(requests, stream))
        try:
            while (response := await stream.queue.get()) is not None:
                await context.write(response)
        finally:
            self.streams.remove(stream)
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)

    async def _serve(self, requests: AsyncIterator[pb.StreamEventsRequest], stream: _Stream) -> None:
        async for request in requests:
            for start in request.add.channels:
                self._add(stream, start)
            for name in request.remove.channels:
                stream.channels.discard(name)
            for credit in request.credit.lanes:
                stream.credit[credit.lane] = stream.credit.get(credit.lane, 0) + credit.bytes

    def _add(self, stream: _Stream, start: pb.ChannelStart) -> None:
        if start.channel in self.refuse:
            error = pb.ChannelAdded(channel=start.channel)
            error.error.code, error.error.message = 7, "not served here"
            stream.queue.put_nowait(pb.StreamEventsResponse(added=[error]))
            return
        stream.channels.add(start.channel)
        wanted = {position.lane: position for position in start.positions}
        added = pb.ChannelAdded(channel=start.channel)
        gaps: list[Gap] = []
        batches: list[EventBatch] = []
        for lane in stream.lanes:
            cursor, found = self._resume(start.channel, lane, wanted.get(lane))
            gaps += found
            added.positions.append(LanePosition(lane=lane, epoch=self.epoch, offset=cursor))
            events = [event for event in self.log.get((start.channel, lane), []) if event.offset > cursor]
            if events:
                batch = EventBatch(channel=start.channel, lane=lane, epoch=self.epoch, events=events, replayed=True)
                batches.append(batch)
        stream.queue.put_nowait(pb.StreamEventsResponse(added=[added], gaps=gaps, batches=batches))

    def _resume(self, channel: str, lane: int, position: LanePosition | None) -> tuple[int, list[Gap]]:
        if position is None:
            return self.offset, []
        cursor, reason = position.offset, 0
        if position.epoch and position.epoch != self.epoch:
            reason, cursor = GAP_REASON_EPOCH_UNKNOWN, self.trimmed_through.get((channel, lane), 0)
        elif position.offset > self.offset:
            reason, cursor = GAP_REASON_AHEAD, self.offset
        elif 0 < position.offset < self.trimmed_through.get((channel, lane), 0):
            reason, cursor = GAP_REASON_TRUNCATED, self.trimmed_through[channel, lane]
        if not reason:
            return cursor, []
        gap = Gap(
            channel=channel, lane=lane, epoch=self.epoch, from_offset=position.offset, to_offset=cursor, reason=reason
        )
        return cursor, [gap]

    async def ReadEvents(self, request: pb.ReadEventsRequest, context: Any) -> pb.ReadEventsResponse:
        self.reads.append(request)
        await self.reading.wait()
        key = (request.channel, request.lane)
        events = self.log.get(key, [])
        gaps: list[Gap] = []
        if request.channel.startswith("broken"):
            raise StatusError(status.PERMISSION_DENIED, "NO", "this channel cannot be read")
        if request.WhichOneof("start") == "last_n":
            chosen = events[-request.last_n :]
        else:
            position = LanePosition(lane=request.lane, epoch=request.after.epoch, offset=request.after.offset)
            cursor, gaps = self._resume(request.channel, request.lane, position)
            chosen = [event for event in events if event.offset > cursor]
        page = chosen[: request.limit or 256]
        more = len(page) < len(chosen)
        batch = EventBatch(channel=request.channel, lane=request.lane, epoch=self.epoch, events=page, replayed=True)
        covered = page[-1].offset if more else self.offset
        return pb.ReadEventsResponse(batch=batch, covered_through=covered, gaps=gaps, more=more)

    async def ListEventTypes(self, request: pb.ListEventTypesRequest, context: Any) -> pb.ListEventTypesResponse:
        files: dict[str, Any] = {}

        def collect(file: Any) -> None:
            for needed in file.dependencies:
                collect(needed)
            files[file.name] = file

        collect(concierge_pb2.DESCRIPTOR)
        descriptors = FileDescriptorSet()
        for file in files.values():
            file.CopyToProto(descriptors.file.add())
        return pb.ListEventTypesResponse(
            version="v1", types=[ConciergeInsight.DESCRIPTOR.full_name], descriptors=descriptors
        )

    async def PublishEvents(self, request: Any, context: Any) -> Any:
        raise StatusError(status.UNIMPLEMENTED, "NO", "not here")

    async def PublishEventStream(self, requests: Any, context: Any) -> None:
        raise StatusError(status.UNIMPLEMENTED, "NO", "not here")


@asynccontextmanager
async def fake_publisher(**options: Any) -> AsyncIterator[FakePublisher]:
    publisher = FakePublisher(**options)
    await publisher.start()
    try:
        yield publisher
    finally:
        await publisher.stop()


ALL_LANES = LANES
