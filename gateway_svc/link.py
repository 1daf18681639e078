"""One connection to one publisher.

Owns the two streams of `StreamEvents`; what their messages mean is `intake`'s. Made anew for each attempt to connect;
used by `upstream` only.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc

from gateway_svc.clock import ClockWatch
from gateway_svc.core.hub import Hub
from gateway_svc.core.types import TypeBook
from gateway_svc.dispatch import Dispatcher
from gateway_svc.intake import Intake
from lanecast.core.clock import Reading
from lanecast.core.priority import BULK_LANES, EXPRESS_LANES, Priority
from lanecast.errors import UnavailableError
from lanecast.internal.v1.stream_pb2 import StreamEventsResponseView
from lanecast.runtime import status, vitals
from lanecast.runtime.channels import open_channel
from lanecast.v1.event_pb2 import LanePosition
from lanecast.v1.publisher_pb2 import (
    START_LATEST,
    AddChannels,
    ChannelStart,
    ClockProbe,
    GrantCredit,
    LaneCredit,
    ListEventTypesRequest,
    ListEventTypesResponse,
    ReadEventsRequest,
    ReadEventsResponse,
    RemoveChannels,
    StreamEventsRequest,
    StreamOpen,
)  # fmt: skip

log = logging.getLogger(__name__)

_SERVICE = "/lanecast.v1.PublisherService/"
_OPEN_SECONDS = 5.0
_READ_SECONDS = 10.0
_ADD_AT_ONCE = 1_000
CREDIT_BYTES: dict[Priority, int] = {
    Priority.CRITICAL: 1024 * 1024,
    Priority.HIGH: 1024 * 1024,
    Priority.NORMAL: 1024 * 1024,
    Priority.LOW: 512 * 1024,
}
"""Bytes the publisher may send ahead of what was dispatched."""


class _Stream:
    """One of the two streams: its call and what is still to be said on it."""

    def __init__(self, channel: grpc.aio.Channel, instance: str, lanes: Sequence[Priority]) -> None:
        self.lanes = lanes
        self._instance = instance
        self._method: Any = channel.stream_stream(
            _SERVICE + "StreamEvents",
            request_serializer=StreamEventsRequest.SerializeToString,
            response_deserializer=None,
        )
        self._call: Any = None
        self._wake = asyncio.Event()
        self._starts: dict[str, ChannelStart] = {}
        self._removals: dict[str, None] = {}
        self._used = dict.fromkeys(lanes, 0)
        self._probing = False

    async def open(self) -> StreamEventsResponseView:
        """Open the stream and return the first message."""
        self._call = self._method()
        credit = [LaneCredit(lane=lane.wire_value, bytes=CREDIT_BYTES[lane]) for lane in self.lanes]
        opening = StreamOpen(subscriber=self._instance, lanes=[lane.wire_value for lane in self.lanes], credit=credit)
        await self._call.write(StreamEventsRequest(open=opening))
        view = StreamEventsResponseView.FromString(await self.read())
        if not view.HasField("opened"):
            raise UnavailableError("the publisher did not open the stream")
        return view

    async def read(self) -> bytes:
        """Return the next message.

        Raises:
            UnavailableError: the stream has ended.
        """
        data = await self._call.read()
        if data is grpc.aio.EOF:
            raise UnavailableError("the publisher ended the stream")
        return bytes(data) if type(data) is not bytes else data

    def add(self, start: ChannelStart) -> None:
        """Add a channel, soon."""
        self._starts[start.channel] = start
        self._wake.set()

    def remove(self, name: str) -> None:
        """Remove a channel, soon."""
        if self._starts.pop(name, None) is None:
            self._removals[name] = None
            self._wake.set()

    def used(self, lane: Priority, size: int) -> None:
        """Grant so many bytes again, once it is worth a message."""
        self._used[lane] += size
        if self._used[lane] * 4 >= CREDIT_BYTES[lane]:
            self._wake.set()

    def probe(self) -> None:
        """Ask for the publisher's clock, soon."""
        self._probing = True
        self._wake.set()

    async def write_loop(self) -> None:
        """Say what is to be said, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            for request in self._take():
                await self._call.write(request)

    def cancel(self) -> None:
        """End the call. Idempotent."""
        if self._call is not None:
            self._call.cancel()

    def _take(self) -> list[StreamEventsRequest]:
        requests: list[StreamEventsRequest] = []
        if self._removals:
            # Before the additions: a channel may be wanted again that was just given up.
            requests.append(StreamEventsRequest(remove=RemoveChannels(channels=list(self._removals))))
            self._removals.clear()
        starts, self._starts = list(self._starts.values()), {}
        requests += [
            StreamEventsRequest(add=AddChannels(channels=starts[index : index + _ADD_AT_ONCE]))
            for index in range(0, len(starts), _ADD_AT_ONCE)
        ]
        credit = [LaneCredit(lane=lane.wire_value, bytes=used) for lane, used in self._used.items() if used]
        if credit:
            self._used = dict.fromkeys(self.lanes, 0)
            requests.append(StreamEventsRequest(credit=GrantCredit(lanes=credit)))
        if self._probing:
            self._probing = False
            requests.append(StreamEventsRequest(probe=ClockProbe(send_time_unix_nano=time.time_ns())))
        return requests


@dataclass(frozen=True, slots=True)
class LinkHabits:
    """How a link looks after itself."""

    has_choice: bool
    """True where there are other publishers."""
    health_seconds: float
    """Between two questions whether the publisher is alive."""
    return_seconds: float
    """Between two looks whether a preferred publisher serves again."""
    preferred: Sequence[str] = ()
    """Those publishers."""


class Link:
    """A connection to a publisher: `open`, `add_all`, `run` until it breaks, `close`."""

    def __init__(
        self,
        target: str,
        instance: str,
        hub: Hub,
        types: TypeBook,
        dispatcher: Dispatcher,
        habits: LinkHabits,
        on_clock: Callable[[Reading | None], None],
    ) -> None:
        self.log_id = ""
        """The name of the publisher's log, once open; empty where it names none."""
        self._target = target
        self._pulse = vitals.Pulse()
        self._hub = hub
        self._types = types
        self._habits = habits
        self._channel = open_channel(target)
        # A connection for the express stream alone: bulk bytes that the kernel holds cannot be overtaken.
        self._express_channel = open_channel(target)
        self._express = _Stream(self._express_channel, instance, EXPRESS_LANES)
        self._bulk = _Stream(self._channel, instance, BULK_LANES)
        self._clock = ClockWatch(self._express.probe, on_clock)
        self._intake = Intake(hub, dispatcher, self._clock, self._on_drain)
        self._read_page = self._unary("ReadEvents", ReadEventsRequest, ReadEventsResponse)
        self._list_types = self._unary("ListEventTypes", ListEventTypesRequest, ListEventTypesResponse)

    def __repr__(self) -> str:
        return f"Link({self._target!r})"

    async def open(self) -> None:
        """Open both streams and learn the payload types.

        Raises:
            LanecastError: the publisher cannot be used now.
        """
        try:
            async with asyncio.timeout(_OPEN_SECONDS):
                view = await self._express.open()
                await self._bulk.open()
                self.log_id = view.opened.log_id
                self._clock.opened(view.opened.host)
                await self._learn_types(view.opened.types_version)
        except grpc.RpcError as error:
            raise status.from_rpc_error(error) from error
        except TimeoutError as error:
            raise UnavailableError(f"no answer within {_OPEN_SECONDS:g} s") from error

    def add_all(self) -> None:
        """Add every channel the hub has, from where it stands."""
        for name in self._hub.channels:
            self.add(name)

    def add(self, name: str) -> None:
        """Add a channel on both streams."""
        for stream in (self._express, self._bulk):
            positions = self._hub.positions(name, stream.lanes) or {}
            lanes = [
                LanePosition(lane=lane.wire_value, epoch=position.epoch, offset=position.offset)
                for lane, position in positions.items()
            ]
            stream.add(ChannelStart(channel=name, start=START_LATEST, positions=lanes))

    def remove(self, name: str) -> None:
        """Remove a channel from both streams."""
        self._express.remove(name)
        self._bulk.remove(name)

    async def run(self) -> None:
        """Carry messages until a stream breaks, or a preferred publisher serves again.

        Raises:
            LanecastError: it broke, or the publisher is going away or says nothing any more.
        """
        habits = self._habits
        health = vitals.watch(
            self._channel, self._target, self._pulse, habits.health_seconds, has_choice=habits.has_choice
        )
        home = vitals.preferred_is_back(habits.preferred, habits.return_seconds)
        homing = asyncio.create_task(home, name="upstream-return")
        loops: list[asyncio.Task[Any]] = [
            homing,
            asyncio.create_task(health, name="upstream-health"),
            asyncio.create_task(self._clock.run(), name="upstream-clock"),
            asyncio.create_task(self._express.write_loop(), name="express-write"),
            asyncio.create_task(self._bulk.write_loop(), name="bulk-write"),
            asyncio.create_task(self._read_loop(self._express), name="express-read"),
            asyncio.create_task(self._read_loop(self._bulk), name="bulk-read"),
        ]
        try:
            done, _ = await asyncio.wait(loops, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in loops:
                task.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
        if done == {homing}:
            log.info("%s serves again: returning to it", homing.result())
            return
        for task in done:
            _raise_translated(task)
        raise UnavailableError("the streams to the publisher have ended")

    async def read(self, request: ReadEventsRequest) -> ReadEventsResponse:
        """Read a page of the log.

        Raises:
            LanecastError: it cannot be read.
        """
        try:
            response: ReadEventsResponse = await self._read_page(request, timeout=_READ_SECONDS)
        except grpc.RpcError as error:
            raise status.from_rpc_error(error) from error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # grpc.aio cancels the callers of a channel that is closed: that is no wish to end this task.
            raise UnavailableError("the connection to the publisher was closed") from None
        return response

    async def close(self) -> None:
        """End the calls and the connection. Idempotent."""
        self._express.cancel()
        self._bulk.cancel()
        await asyncio.gather(self._channel.close(), self._express_channel.close())

    # What comes

    async def _read_loop(self, stream: _Stream) -> None:
        while True:
            data = await stream.read()
            self._pulse.beats += 1
            await self._intake.take(data, stream.used, express=stream is self._express)

    def _on_drain(self, grace_millis: int) -> None:
        log.info("the publisher at %s is going away in %d ms", self._target, grace_millis)
        if self._habits.has_choice:
            raise UnavailableError("it is going away")

    async def _learn_types(self, version: str) -> None:
        if version and version == self._types.version:
            return
        answer: ListEventTypesResponse = await self._list_types(
            ListEventTypesRequest(known_version=self._types.version), timeout=_OPEN_SECONDS
        )
        if answer.version == self._types.version:
            return
        try:
            self._types.update(answer.version, list(answer.types), answer.descriptors)
        except TypeError:
            log.exception("the payload types of the publisher cannot be used: JSON clients get base64")

    def _unary(self, name: str, request_class: Any, response_class: Any) -> Callable[..., Any]:
        method: Callable[..., Any] = self._channel.unary_unary(
            _SERVICE + name,
            request_serializer=request_class.SerializeToString,
            response_deserializer=response_class.FromString,
        )
        return method


def _raise_translated(task: asyncio.Task[Any]) -> None:
    """Raise what ended a stream's task as an error of ours."""
    if task.cancelled():
        raise UnavailableError("the connection to the publisher was closed")
    error = task.exception()
    if isinstance(error, grpc.RpcError):
        raise status.from_rpc_error(error) from error
    if isinstance(error, asyncio.InvalidStateError):
        # grpc.aio says so where something is written to a call that has just ended.
        raise UnavailableError("the publisher ended the stream") from error
    if error is not None:
        raise error
