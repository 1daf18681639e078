"""StreamEvents: delivery to gateways and backend subscribers.

Owns one pump per stream that writes whatever its `Downstream` says goes next, as soon as the stream can take it; what
arrives while a write is in flight joins the next message. Called by the gRPC server.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from lanecast.core.channel import check_channel
from lanecast.core.limits import BULK_BATCH_BYTES, BULK_BATCH_EVENTS
from lanecast.core.position import Position
from lanecast.core.priority import EXPRESS_LANES, LANES, Priority
from lanecast.errors import StatusError
from lanecast.runtime import status
from lanecast.runtime.hostclock import host_name
from lanecast.v1 import publisher_pb2 as pb
from lanecast.v1.event_pb2 import Advance, EventError, LanePosition
from publisher_svc.core.arms import Arms
from publisher_svc.core.downstream import Downstream
from publisher_svc.core.expiry import Expiry, groups_left
from publisher_svc.core.group import Group
from publisher_svc.core.tally import BatchTally
from publisher_svc.hub import Hub
from publisher_svc.ingest import Ingest
from publisher_svc.log.base import ChannelLane, LogError
from publisher_svc.reading import Beginning, LogReader

log = logging.getLogger(__name__)

_MAX_LAST_N = 1_000
_MAX_CHANNELS_PER_MESSAGE = 1_000
_PAGE = 64
_EXPRESS_MESSAGE_EVENTS = 256
_EXPRESS_MESSAGE_BYTES = 256 * 1024
_MAX_CREDIT_BYTES = 64 * 1024 * 1024
_READ_RETRY_SECONDS = 0.5
_ADVANCE_SECONDS = 30.0
"""Time between two looks for quiet lanes."""
_ADVANCES_AT_ONCE = 32
_ADVANCE_PAUSE_SECONDS = 0.05
_PROBE_NS = 10_000_000
"""Least time between two probes of the clock that are answered."""
_FINISH_SECONDS = 1.0
"""How long a subscriber that broke the protocol may take to read what was sent to it before it is told so."""


class StreamService:
    """The delivering half of `lanecast.v1.PublisherService`."""

    def __init__(
        self, hub: Hub, reader: LogReader, ingest: Ingest, types_version: str, arms: Arms, expiry: Expiry
    ) -> None:
        self._arms = arms
        self._expiry = expiry
        self._hub = hub
        self._reader = reader
        self._ingest = ingest
        self._types_version = types_version
        self._streams: set[_Stream] = set()
        self.batches = BatchTally()

    async def stream_events(self, requests: AsyncIterator[pb.StreamEventsRequest], context: Any) -> None:
        """Answer StreamEvents."""
        opening = await _opening(requests)
        stream = _Stream(
            self._hub, self._reader, self._ingest, self._arms, self._expiry, self.batches, opening, context
        )
        opened = pb.StreamOpened(
            epoch=self._reader.epoch,
            types_version=self._types_version,
            log_id=self._reader.log_id,
            host=host_name(),
        )
        stream.announce(pb.StreamEventsResponse(opened=opened))
        self._streams.add(stream)
        try:
            await stream.run(requests)
        finally:
            self._streams.discard(stream)
            stream.close()

    def switch(self) -> None:
        """Take over a new assignment of channels to policies on all streams."""
        for stream in self._streams:
            stream.switch()

    def announce_drain(self, grace_millis: int) -> None:
        """Tell all subscribers to go elsewhere."""
        for stream in self._streams:
            stream.announce(pb.StreamEventsResponse(drain=pb.DrainNotice(grace_millis=grace_millis)))

    def finish(self) -> None:
        """End each stream once everything that waits for it has been sent."""
        for stream in self._streams:
            stream.finish()

    def lags(self) -> dict[str, int]:
        """Return, of each channel that a stream is behind in, the offsets from its cursor to the head: the most."""
        found: dict[str, int] = {}
        for stream in self._streams:
            for channel, lag in stream.lags():
                found[channel] = max(found.get(channel, 0), lag)
        return found

    def queued(self, lane: Priority) -> tuple[int, int]:
        """Return the events of a lane that wait, over all streams, and since when the oldest batch does; 0: none."""
        found = [stream.queued(lane) for stream in self._streams]
        return sum(events for events, _ in found), min((since for _, since in found if since), default=0)


class _Stream:
    """One subscribing stream."""

    def __init__(
        self,
        hub: Hub,
        reader: LogReader,
        ingest: Ingest,
        arms: Arms,
        expiry: Expiry,
        batches: BatchTally,
        opening: pb.StreamOpen,
        context: Any,
    ) -> None:
        lanes = _lanes(opening.lanes)
        bulk = any(lane not in EXPRESS_LANES for lane in lanes)
        self._downstream = Downstream(
            lanes,
            _credit(opening.credit),
            max_message_events=BULK_BATCH_EVENTS if bulk else _EXPRESS_MESSAGE_EVENTS,
            max_message_bytes=BULK_BATCH_BYTES if bulk else _EXPRESS_MESSAGE_BYTES,
            expiry=expiry,
            tally=batches,
            arms=arms,
        )
        self._expiry = expiry
        self._hub = hub
        self._reader = reader
        self._ingest = ingest
        self._context = context
        self._channels: set[str] = set()
        self._wake = asyncio.Event()
        self._finishing = False
        self._probed_ns = 0

    def lags(self) -> Iterator[tuple[str, int]]:
        """Yield the channels this subscriber is behind in, with the offsets it lacks; a channel once for each lane."""
        for channel, lane, cursor in self._downstream.lagging():
            yield channel, max(0, self._reader.head((channel, lane)) - cursor)

    def queued(self, lane: Priority) -> tuple[int, int]:
        """See `Downstream.queued`."""
        return self._downstream.queued(lane)

    async def run(self, requests: AsyncIterator[pb.StreamEventsRequest]) -> None:
        """Serve the stream until the subscriber closes it or goes away."""
        pump = asyncio.create_task(self._pump(), name="stream-pump")
        reading = asyncio.create_task(self._serve(requests), name="stream-requests")
        advancing = asyncio.create_task(self._advance(), name="stream-advances")
        tasks = (pump, reading, advancing)
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if reading in done and pump not in done and reading.exception() is not None:
                self.finish()  # a call that is ended while it writes would never end
                await asyncio.wait({pump}, timeout=_FINISH_SECONDS)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def offer(self, groups: Sequence[Group], now_ns: int) -> None:
        """Take new events; see `hub.Receiver`."""
        if self._downstream.offer_all(groups, now_ns):
            self._wake.set()

    def switch(self) -> None:
        """Take over a new assignment: see `Downstream.switch`."""
        self._downstream.switch()
        self._wake.set()

    def announce(self, response: pb.StreamEventsResponse) -> None:
        """Send something before any event that follows."""
        self._downstream.announce(response.SerializeToString())
        self._wake.set()

    def advance_quiet(self) -> Iterator[None]:
        """Move the cursors of lanes to which nothing came lately, a few at each step.

        So a subscriber of a quiet channel resumes later from a position that retention has not passed. Whatever was
        committed up to the end of the log has been offered to this stream by now, in the same step.
        """
        keys = self._downstream.quiet(self._reader.end_offset)
        for first in range(0, len(keys), _ADVANCES_AT_ONCE):
            end = self._reader.end_offset
            advances = [
                Advance(channel=channel, lane=lane.wire_value, epoch=self._reader.epoch, through_offset=end)
                for channel, lane in keys[first : first + _ADVANCES_AT_ONCE]
                if self._downstream.advance(channel, lane, end)
            ]
            if advances:
                self.announce(pb.StreamEventsResponse(advances=advances))
            yield

    async def _advance(self) -> None:
        while True:
            await asyncio.sleep(_ADVANCE_SECONDS)
            for _ in self.advance_quiet():
                await asyncio.sleep(_ADVANCE_PAUSE_SECONDS)

    def finish(self) -> None:
        """End once everything that waits has been sent."""
        self._finishing = True
        self._wake.set()

    def close(self) -> None:
        """Leave all channels."""
        for channel in self._channels:
            self._hub.leave(channel, self._downstream.lanes, self)
        self._channels.clear()

    async def _serve(self, requests: AsyncIterator[pb.StreamEventsRequest]) -> None:
        async for request in requests:
            kind = request.WhichOneof("request")
            if kind == "add":
                await self._add(request.add.channels)
            elif kind == "remove":
                self._remove(request.remove.channels)
            elif kind == "credit":
                for lane, size in _credit(request.credit.lanes).items():
                    self._downstream.grant(lane, size)
                self._wake.set()
            elif kind == "probe":
                self._answer(request.probe)
            else:
                message = "the stream is open: send `add`, `remove`, `credit` or `probe`"
                raise StatusError(status.FAILED_PRECONDITION, "STREAM_ORDER", message)

    def _answer(self, probe: pb.ClockProbe) -> None:
        now_ns = time.time_ns()
        monotonic_ns = time.monotonic_ns()
        if monotonic_ns - self._probed_ns < _PROBE_NS:
            return
        self._probed_ns = monotonic_ns
        answer = pb.ClockAnswer(probe_time_unix_nano=probe.send_time_unix_nano, receive_time_unix_nano=now_ns)
        answer.send_time_unix_nano = time.time_ns()
        self.announce(pb.StreamEventsResponse(clock=answer))

    # Channels

    async def _add(self, channels: Sequence[pb.ChannelStart]) -> None:
        if len(channels) > _MAX_CHANNELS_PER_MESSAGE:
            message = f"`add` names {len(channels)} channels: name at most {_MAX_CHANNELS_PER_MESSAGE} in a message"
            raise StatusError(status.INVALID_ARGUMENT, "CHANNEL_COUNT", message, field="add.channels")
        for start in channels:
            error = _check_start(start)
            if error is not None:
                added = pb.ChannelAdded(channel=start.channel, error=error)
                self.announce(pb.StreamEventsResponse(added=[added]))
                continue
            try:
                await self._add_channel(start)
            except LogError as caught:
                message = f"the log cannot be read now: {caught}"
                raise StatusError(
                    status.UNAVAILABLE, "LOG_UNAVAILABLE", message, retry_delay_seconds=_READ_RETRY_SECONDS
                ) from caught

    async def _add_channel(self, start: pb.ChannelStart) -> None:
        channel = start.channel
        beginnings = {lane: await self._beginning(start, lane) for lane in self._downstream.lanes}
        # From here on nothing waits: what is published next is either above these cursors or will be read from the log.
        for lane, beginning in beginnings.items():
            live = self._reader.head((channel, lane)) <= beginning.cursor
            self._downstream.add(channel, lane, beginning.cursor, live=live)
        self._channels.add(channel)
        self._hub.join(channel, self._downstream.lanes, self)
        positions = [
            LanePosition(lane=lane.wire_value, epoch=self._reader.epoch, offset=beginning.cursor)
            for lane, beginning in beginnings.items()
        ]
        gaps = [beginning.gap for beginning in beginnings.values() if beginning.gap is not None]
        added = pb.ChannelAdded(channel=channel, positions=positions)
        self.announce(pb.StreamEventsResponse(added=[added], gaps=gaps))

    async def _beginning(self, start: pb.ChannelStart, lane: Priority) -> Beginning:
        key = (start.channel, lane)
        present = self._downstream.cursor(*key)
        if present is not None:
            return Beginning(present)
        for position in start.positions:
            if position.lane == lane.wire_value:
                return await self._reader.resume(key, Position(position.epoch, position.offset))
        if start.start == pb.START_EARLIEST:
            return Beginning(await self._reader.floor(key))
        if start.start == pb.START_LAST_N:
            return Beginning(await self._reader.floor_of_last(key, start.last_n))
        return Beginning(self._reader.end_offset)

    def _remove(self, channels: Sequence[str]) -> None:
        for channel in channels:
            if channel in self._channels:
                self._channels.discard(channel)
                self._hub.leave(channel, self._downstream.lanes, self)
                self._downstream.remove(channel)

    # Delivery

    async def _pump(self) -> None:
        while True:
            message = self._downstream.take(time.time_ns())
            if message is not None:
                await self._context.write(message)
                continue
            if await self._catch_up():
                continue
            if self._finishing and not self._downstream.queued_events:
                return
            self._wake.clear()
            due_ns = self._downstream.next_due_ns()
            timer = None
            if due_ns is not None:
                delay = max(0.001, (due_ns - time.time_ns()) / 1e9)
                timer = asyncio.get_running_loop().call_later(delay, self._wake.set)
            await self._wake.wait()
            if timer is not None:
                timer.cancel()

    async def _catch_up(self) -> bool:
        """Read on for the most urgent subscription that is behind; say whether there was one."""
        for channel, lane, cursor in self._downstream.behind():
            try:
                await self._read_on(channel, lane, cursor)
            except LogError as error:
                log.error("a subscriber cannot be served from the log: %s", error)  # noqa: TRY400 - the cause is in it
                await asyncio.sleep(_READ_RETRY_SECONDS)
            return True
        return False

    async def _read_on(self, channel: str, lane: Priority, cursor: int) -> None:
        key = (channel, lane)
        reading = self._reader.read_nowait(key, cursor, _PAGE)
        joined = reading is not None and not reading.more
        if reading is None:
            reading = await self._reader.read(key, cursor, _PAGE)
        if reading.missing_through is not None and reading.missing_through > cursor:
            gap = self._reader.gap(key, cursor, reading.missing_through)
            self._downstream.announce(pb.StreamEventsResponse(gaps=[gap]).SerializeToString())
            self._downstream.skip(channel, lane, reading.missing_through)
            cursor = reading.missing_through
        self._feed(key, reading.events, cursor)
        if not reading.events and not reading.more:  # the head was a bound only, or all behind it has gone
            self._downstream.skip(channel, lane, reading.covered_through)
        if joined:  # read in memory, in this very step: nothing can have been published in between
            self._downstream.go_live(channel, lane)

    def _feed(self, key: ChannelLane, events: Sequence[tuple[int, bytes]], cursor: int) -> None:
        """Queue what is left of a page that was read after `cursor`."""
        replayed = self._downstream.is_recovering(*key)
        groups = groups_left(*key, self._ingest.batch_head(key), events, cursor, self._expiry, replayed=replayed)
        for group in groups:
            if group.missing is not None and not replayed:
                self._expiry.on_dropped(key[1], group.missing.count)
            self._downstream.feed(group, time.time_ns(), after=cursor)
            cursor = group.last_offset


async def _opening(requests: AsyncIterator[pb.StreamEventsRequest]) -> pb.StreamOpen:
    async for request in requests:
        if request.WhichOneof("request") != "open":
            break
        return request.open
    raise StatusError(
        status.FAILED_PRECONDITION,
        "STREAM_NOT_OPENED",
        "the first message of the stream must be `open`: send StreamEventsRequest.open, then `add`",
    )


def _lanes(numbers: Sequence[int]) -> tuple[Priority, ...]:
    try:
        return tuple(Priority(number) for number in numbers) or LANES
    except ValueError:
        message = f"`open.lanes` has an unknown lane: use {', '.join(lane.wire_name for lane in LANES)}"
        raise StatusError(status.INVALID_ARGUMENT, "LANE_UNKNOWN", message, field="open.lanes") from None


def _credit(lanes: Sequence[pb.LaneCredit]) -> dict[Priority, int]:
    known = {lane.wire_value: lane for lane in LANES}
    return {known[item.lane]: min(item.bytes, _MAX_CREDIT_BYTES) for item in lanes if item.lane in known}


def _check_start(start: pb.ChannelStart) -> EventError | None:
    problem = check_channel(start.channel)
    if problem is not None:
        return EventError(code=status.INVALID_ARGUMENT, reason="CHANNEL_INVALID", message=problem)
    if start.start == pb.START_LAST_N and not 1 <= start.last_n <= _MAX_LAST_N:
        message = f"last_n is {start.last_n}: use 1 to {_MAX_LAST_N}"
        return EventError(code=status.INVALID_ARGUMENT, reason="LAST_N_INVALID", message=message)
    lanes = [position.lane for position in start.positions]
    if len(set(lanes)) != len(lanes):
        message = "positions name a lane twice: give at most one position per lane"
        return EventError(code=status.INVALID_ARGUMENT, reason="POSITION_INVALID", message=message)
    return None
