"""Keeps a subscription connected.

Owns the task that opens a `StreamEvents` call, fills the inbox, writes what the inbox asks for, and opens the next call
when one ends. Used by the event stream, which empties the inbox.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from lanecast.core.targets import Standing, TargetRing
from lanecast.errors import LanecastError, StatusError, UnavailableError
from lanecast.internal.v1.stream_pb2 import StreamEventsResponseView
from lanecast.runtime import status, vitals
from lanecast.subscriber.core.inbox import Inbox
from lanecast.subscriber.core.ledger import Ledger
from lanecast.subscriber.settings import SubscriberSettings
from lanecast.transport import OtherLogError, Targets, is_final, open_channel, unreachable
from lanecast.v1.publisher_pb2 import StreamEventsRequest

log = logging.getLogger("lanecast.subscriber")

_METHOD = "/lanecast.v1.PublisherService/StreamEvents"


class SubscriberConnection:
    """The connection of one subscription: at most one open stream at a time."""

    def __init__(self, name: str, targets: Targets, inbox: Inbox, settings: SubscriberSettings, ledger: Ledger) -> None:
        self.inbox = inbox
        self.target = ""
        """Address of the open stream; empty while there is none."""
        self.connections = 0
        """Streams opened so far."""
        self._name = name
        self._targets = targets
        self._ring = TargetRing(targets.names)
        self._settings = settings
        self._ledger = ledger
        self._task: asyncio.Task[None] | None = None
        self._error: LanecastError | None = None
        self._arrived = asyncio.Event()
        self._subscribed = asyncio.Event()
        self._to_write = asyncio.Event()
        self._closed = False
        self._lost = False
        self._foreign: set[str] = set()
        """What was said of targets with another log."""

    def start(self) -> None:
        """Begin to connect in the background."""
        self._task = asyncio.create_task(self._run(), name="lanecast-subscriber")

    async def close(self) -> None:
        """End the stream. Idempotent."""
        self._closed = True
        self._arrived.set()
        self._subscribed.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def wait_subscribed(self) -> None:
        """Return once the service has answered for all channels; raise what makes that impossible."""
        await self._subscribed.wait()
        if self._error is not None:
            raise self._error

    async def wait(self) -> bool:
        """Wait until something may be in the inbox; False once closed. Raises what ended the subscription."""
        if self._error is not None:
            raise self._error
        if self._closed:
            return False
        await self._arrived.wait()
        self._arrived.clear()  # only now: what came before the wait must not be missed
        return True

    def taken(self) -> None:
        """Take note that an item was taken from the inbox, so that credit may be due."""
        if self.inbox.owes_credit:
            self._to_write.set()

    async def _run(self) -> None:
        loop, ring = asyncio.get_running_loop(), self._ring
        give_up_at = loop.time() + self._settings.connect_timeout
        while True:
            target, delay = ring.next(loop.time())
            await asyncio.sleep(delay)
            error: LanecastError | None = None
            is_left = False
            try:
                is_left = await self._session(target, self._attempt_seconds())
            except LanecastError as reason:
                error = reason
            if error is not None and is_final(error):
                self._fail(error)
                return
            if not self.connections and loop.time() >= give_up_at:
                self._fail(unreachable(self._targets, self._settings.connect_timeout, error))
                return
            if is_left:
                ring.left(target)
            else:
                ring.failed(target, loop.time())
            if self.connections and error is not None:
                self._say_lost(error)

    def _attempt_seconds(self) -> float:
        """Return how long an attempt may take: the first ones share `connect_timeout`."""
        return self._settings.connect_timeout / (1 if self.connections else min(2, len(self._targets.names)))

    def _say_lost(self, error: LanecastError) -> None:
        """Log the loss of a connection once, not each attempt to replace it."""
        if isinstance(error, OtherLogError) and str(error) not in self._foreign:
            self._foreign.add(str(error))
            log.error("%s", error)
            return
        level = logging.DEBUG if self._lost else logging.WARNING
        self._lost = True
        log.log(level, "no connection to %s, trying again: %s", self._targets, error)

    def _fail(self, error: LanecastError) -> None:
        self._error = error
        self._arrived.set()
        self._subscribed.set()

    async def _session(self, target: str, seconds: float) -> bool:
        """Serve one stream until it ends; return True where it was left for a target that is preferred."""
        channel = open_channel(target, self._targets.tls)
        call: Any = channel.stream_stream(_METHOD)()
        try:
            await self._open(call, target, seconds)
            return await self._serve(channel, call, target)
        except grpc.RpcError as error:
            raise status.from_rpc_error(error) from error
        except asyncio.InvalidStateError:
            raise UnavailableError(f"{target} ended the stream") from None
        finally:
            self.target = ""
            call.cancel()
            await channel.close()

    async def _serve(self, channel: grpc.aio.Channel, call: Any, target: str) -> bool:
        settings, ring, pulse = self._settings, self._ring, vitals.Pulse()
        health = vitals.watch(channel, target, pulse, settings.health_seconds, has_choice=ring.has_choice)
        home = vitals.preferred_is_back(ring.preferred(target), settings.return_seconds, self._targets.tls)
        homing = asyncio.create_task(home, name="lanecast-subscriber-return")
        tasks = (
            homing,
            asyncio.create_task(health, name="lanecast-subscriber-health"),
            asyncio.create_task(self._write(call), name="lanecast-subscriber-write"),
            asyncio.create_task(self._read(call, target, pulse), name="lanecast-subscriber-read"),
        )
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            return homing in done
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _open(self, call: Any, target: str, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await _write_all(call, self.inbox.opening(self._name))
                first = await _read_one(call, target)
        except TimeoutError:
            raise UnavailableError(f"{target} did not answer within {seconds:g} s") from None
        if first is None or not first.HasField("opened"):
            raise StatusError(status.INTERNAL, "PROTOCOL", f"{target} did not answer `open`")
        if self._ring.opened(target, first.opened.log_id, asyncio.get_running_loop().time()) is Standing.FOREIGN:
            raise OtherLogError(target)
        self.connections += 1
        self.target = target
        if self._lost:
            self._lost = False
            log.warning("connected again, to %s", target)
        self._take(first)

    async def _read(self, call: Any, target: str, pulse: vitals.Pulse) -> None:
        """Fill the inbox until the service ends the stream, or drains and there is another."""
        while True:
            response = await _read_one(call, target)
            pulse.beats += 1
            if response is None:
                raise UnavailableError(f"{target} ended the stream")
            self._take(response)
            if response.HasField("drain") and self._ring.has_choice:
                return

    def _take(self, response: StreamEventsResponseView) -> None:
        inbox = self.inbox
        inbox.receive(response)
        if inbox.refusal is not None:
            raise inbox.refusal
        self._ledger.move_all(inbox.take_begun())
        if inbox.is_subscribed:
            self._subscribed.set()
        self._arrived.set()
        self._to_write.set()

    async def _write(self, call: Any) -> None:
        while True:
            self._to_write.clear()
            await _write_all(call, self.inbox.take_requests())
            await self._to_write.wait()


async def _write_all(call: Any, requests: Iterable[StreamEventsRequest]) -> None:
    for request in requests:
        await call.write(request.SerializeToString())


async def _read_one(call: Any, target: str) -> StreamEventsResponseView | None:
    data = await call.read()
    if data is grpc.aio.EOF:
        return None
    try:
        return StreamEventsResponseView.FromString(data)
    except DecodeError as error:
        raise UnavailableError(f"{target} does not keep to the protocol: {error}") from error
