"""Subscribers of the harness: real WebSockets that keep a journal and reconnect with their positions.

Owns one TCP connection at a time per subscriber and the client's side of docs/protocol.md; what came is judged by
`checker.Journal`. Called by `stack`. Frames are walked by `bench.websocket`, which is cheap enough for thousands.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from random import Random
from typing import cast

from bench import websocket
from faults.checker import Gap, Journal
from lanecast.core.backoff import Backoff
from lanecast.core.codes import is_retryable
from lanecast.core.priority import LANES, Priority
from lanecast.core.sketch import Sketch
from lanecast.v1 import event_pb2 as pb
from lanecast.v1.gateway_pb2 import ClientFrame, Hello, Pong, ServerFrame, Subscribe

_EVERYTHING = 1 << 62
_ANSWER_SECONDS = 12.0
"""A little more than a gateway takes at most to answer `subscribe`."""
_MARK_DIGITS = 16


class _Socket(asyncio.Protocol):
    """One connection of a subscriber."""

    def __init__(self, owner: Recorder, host: str, port: int) -> None:
        self._owner = owner
        self._request = websocket.upgrade_request(host, port, "/v1/ws", "lanecast.v1.proto")
        self._data = b""
        self._upgraded = False
        self.transport: asyncio.Transport | None = None
        self.ended = asyncio.Event()
        self.heard_at = time.monotonic()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop has a class of its own
        self.transport.write(self._request)

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()

    def data_received(self, data: bytes) -> None:
        self.heard_at = time.monotonic()
        self._data = data = self._data + data if self._data else data
        try:
            if not self._upgraded:
                end = websocket.upgrade_end(data)
                if not end:
                    return
                self._upgraded = True
                self._data = data = data[end:]
                self._owner.on_open(self)
            end, _, frames = websocket.walk(data, _EVERYTHING)
            self._data = data[end:]
            for first, payload in frames:
                self._frame(first & 0x0F, payload)
        except (websocket.HandshakeError, ValueError) as error:  # a damaged answer: a client starts anew
            self._owner.closes[f"{type(error).__name__}"] += 1
            self.abort()

    def _frame(self, opcode: int, payload: bytes) -> None:
        if self.ended.is_set():
            return
        if opcode == websocket.BINARY:
            try:
                frame = ServerFrame.FromString(payload)
            except Exception as error:
                raise ValueError(str(error)) from error
            self._owner.on_frame(self, frame)
        elif opcode == websocket.CLOSE:
            self._owner.on_close(int.from_bytes(payload[:2], "big"), payload[2:].decode(errors="replace"))
            self.send(payload[:2], websocket.CLOSE)
            if self.transport is not None:
                self.transport.close()
        elif opcode == websocket.PING:
            self.send(payload, websocket.PONG)

    def send(self, payload: bytes, opcode: int = websocket.BINARY) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(websocket.frame(payload, opcode))

    def abort(self) -> None:
        self.ended.set()
        if self.transport is not None:
            self.transport.abort()


class Recorder:
    """One subscriber and its journals, one for each channel and lane."""

    def __init__(
        self,
        name: str,
        channels: Sequence[str],
        targets: Callable[[], Sequence[str]],
        token: str,
        random: Random,
        *,
        filler: str,
        restless_seconds: float = 0.0,
        excused: Collection[str] = (),
        lanes: Sequence[Priority] = LANES,
        latency: dict[int, Sketch] | None = None,
    ) -> None:
        """Prepare a subscriber.

        Args:
            name: For messages.
            channels: What it subscribes to.
            targets: Returns the addresses of the gateways, of which it takes one at random for each connection.
            token: For `hello`.
            random: Its own source of chance.
            filler: What precedes the id in each payload.
            restless_seconds: It drops its connection after this time on average; 0: never by itself.
            excused: Reasons of gaps that do not count as a breach.
            lanes: What it subscribes to in each channel.
            latency: Takes the time from accept to receipt of what was not replayed, by lane; may be shared.
        """
        self.name = name
        self._channels = channels
        self._targets = targets
        self._token = token
        self._random = random
        self._restless = restless_seconds
        self._prefix = filler.encode()
        self._lanes = lanes
        self.journals = {
            (channel, int(lane)): Journal(name, (channel, int(lane)), excused) for channel in channels for lane in lanes
        }
        self.latency = latency if latency is not None else {int(lane): Sketch() for lane in lanes}
        self.edge_latency: dict[int, Sketch] | None = None
        """Takes the time from accept to the making of the frame, as the gateway says: without this process."""
        self.newest_ns = 0
        """When the newest event it got was handed to the SDK."""
        self.connections = 0
        self.closes: Counter[str] = Counter()
        self.errors: list[str] = []
        self.reconnected_at: list[float] = []
        self.replayed = 0
        self.stalled = False
        self._online = asyncio.Event()
        self._online.set()
        self._socket: _Socket | None = None
        self._waiting: set[str] = set()
        self._answered = asyncio.Event()
        self._delay = 0.0
        self._heartbeat = 15.0
        self._stop = asyncio.Event()

    @property
    def subscribed(self) -> bool:
        """True while connected and subscribed to everything."""
        return self._answered.is_set()

    async def wait_subscribed(self) -> None:
        """Return once connected and subscribed to everything."""
        await self._answered.wait()

    async def run(self) -> None:
        """Connect, and connect again, until `stop`."""
        backoff = Backoff(uniform=self._random.uniform)
        while not self._stop.is_set():
            await self._online.wait()
            if await self._live_once():
                backoff.reset()
            delay, self._delay = self._delay or backoff.next_delay(), 0.0
            await self._wait(self._stop, delay)

    def stop(self) -> None:
        """End for good."""
        self._stop.set()
        self._online.set()
        self.drop()

    def drop(self) -> None:
        """Drop the connection, without a word."""
        if self._socket is not None:
            self._socket.abort()

    def go_offline(self) -> None:
        """Drop the connection and stay away."""
        self._online.clear()
        self.drop()

    def come_back(self) -> None:
        """Connect again."""
        self._online.set()

    def stall(self) -> None:
        """Read no more; the connection stays."""
        self.stalled = True
        if self._socket is not None and self._socket.transport is not None:
            self._socket.transport.pause_reading()

    def unstall(self) -> None:
        """Read again."""
        self.stalled = False
        if self._socket is not None and self._socket.transport is not None and not self._socket.ended.is_set():
            self._socket.transport.resume_reading()

    async def _live_once(self) -> bool:
        """Live through one connection; say whether it got as far as being subscribed."""
        host, _, port = self._random.choice(list(self._targets())).rpartition(":")
        loop = asyncio.get_running_loop()
        try:
            _, socket = await asyncio.wait_for(
                loop.create_connection(lambda: _Socket(self, host, int(port)), host, int(port)), _ANSWER_SECONDS
            )
        except (OSError, TimeoutError) as error:
            self.closes[type(error).__name__] += 1
            return False
        self._socket = socket
        try:
            return await self._watch(socket)
        finally:
            self._answered.clear()
            socket.abort()
            self._socket = None

    async def _watch(self, socket: _Socket) -> bool:
        done = await self._first(socket, self._answered, _ANSWER_SECONDS)
        if not done:
            self.closes["no answer"] += 1
            return False
        until = time.monotonic() + self._random.expovariate(1 / self._restless) if self._restless else float("inf")
        while not socket.ended.is_set():
            now = time.monotonic()
            silent_at = socket.heard_at + 2 * self._heartbeat
            if not self.stalled and now >= silent_at:
                self.closes["silence"] += 1
                return True
            if now >= until:
                self.closes["restless"] += 1
                self._delay = self._random.uniform(0.001, 0.2)
                return True
            next_look = min(until, silent_at if not self.stalled else now + 1.0)
            await self._wait(socket.ended, max(0.001, next_look - now))
        self.closes["ended"] += 1
        return True

    @staticmethod
    async def _wait(event: asyncio.Event, seconds: float) -> bool:
        try:
            await asyncio.wait_for(event.wait(), seconds)
        except TimeoutError:
            return False
        return True

    async def _first(self, socket: _Socket, wanted: asyncio.Event, seconds: float) -> bool:
        """Return whether `wanted` came, before the connection ended and the time was over."""
        waiters = [asyncio.create_task(event.wait()) for event in (wanted, socket.ended)]
        try:
            await asyncio.wait(waiters, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiter in waiters:
                waiter.cancel()
            await asyncio.gather(*waiters, return_exceptions=True)
        return wanted.is_set()

    # Called by the socket

    def on_open(self, socket: _Socket) -> None:
        """Say hello."""
        self.connections += 1
        socket.send(ClientFrame(hello=Hello(token=self._token, client=self.name)).SerializeToString())

    def on_close(self, code: int, reason: str) -> None:
        """Note why the server closed."""
        self.closes[f"{code} {reason}"] += 1
        if not is_retryable(code):
            self.errors.append(f"closed for good: {code} {reason}")

    def on_frame(self, socket: _Socket, frame: ServerFrame) -> None:
        """Take one frame."""
        kind = frame.WhichOneof("frame")
        if kind == "events":
            self._on_events(socket, frame.events)
        elif kind == "ping":
            now = time.time_ns()
            pong = Pong(sequence=frame.ping.sequence, client_receive_time_unix_nano=now, client_send_time_unix_nano=now)
            socket.send(ClientFrame(pong=pong).SerializeToString())
        elif kind == "advance":
            journal = self.journals.get((frame.advance.channel, frame.advance.lane))
            if journal is not None:
                journal.advance(frame.advance.through_offset)
        elif kind == "gap":
            self._on_gap(frame.gap)
        else:
            self._on_answer(socket, kind or "", frame)

    def _on_answer(self, socket: _Socket, kind: str, frame: ServerFrame) -> None:
        if kind == "welcome":
            self._heartbeat = frame.welcome.heartbeat_millis / 1000
            self._waiting = set(self._channels)
            for channel in self._channels:
                socket.send(self._subscribe(channel))
        elif kind == "subscribed":
            for position in frame.subscribed.positions:
                self.journals[frame.subscribed.channel, position.lane].begin(position.epoch, position.offset)
            self._waiting.discard(frame.subscribed.channel)
            if not self._waiting:
                self.reconnected_at.append(time.monotonic())
                self._answered.set()
        elif kind == "drain":
            self._delay = frame.drain.reconnect_after_millis / 1000
        elif kind == "error":
            error = frame.error
            self.closes[f"error {error.reason}"] += 1
            if not error.retryable:
                self.errors.append(f"{error.reason}: {error.message}")
            elif not error.fatal:
                socket.abort()  # the channel cannot be read now: come again with positions, after the back-off

    def _subscribe(self, channel: str) -> bytes:
        positions = []
        for lane in self._lanes:
            journal = self.journals[channel, int(lane)]
            if journal.start is not None:
                wire = lane.wire_value
                positions.append(pb.LanePosition(lane=wire, epoch=journal.epoch, offset=journal.cursor))
        lanes = [] if len(self._lanes) == len(LANES) else [lane.wire_value for lane in self._lanes]
        return ClientFrame(subscribe=Subscribe(channel=channel, lanes=lanes, positions=positions)).SerializeToString()

    def _on_events(self, socket: _Socket, batch: pb.EventBatch) -> None:
        journal = self.journals.get((batch.channel, batch.lane))
        if journal is None:
            self.errors.append(f"events of {batch.channel!r} lane {batch.lane}, which was not subscribed to")
            socket.abort()
            return
        now, prefix, replayed, epoch = time.time_ns(), self._prefix, batch.replayed, batch.epoch
        sketch = None if replayed else self.latency[batch.lane]
        sent_ns = batch.edge_send_time_unix_nano
        for event in batch.events:
            offset, identity = event.offset, event.id
            try:
                mark = int(identity, 16) if len(identity) == _MARK_DIGITS else -1
            except ValueError:
                mark = -1
            if mark < 0 or not event.data.value.endswith(prefix + identity.encode()):
                journal.wrong(offset, max(mark, 0), f"id {identity!r} with a payload of {len(event.data.value)} bytes")
                continue
            if not journal.event(epoch, offset, event.prev_offset, mark):
                socket.abort()
                return
            self.newest_ns = max(self.newest_ns, event.create_time_unix_nano)
            if sketch is not None:
                sketch.record_ns(now - event.accept_time_unix_nano)
                if self.edge_latency is not None:
                    self.edge_latency[batch.lane].record_ns(sent_ns - event.accept_time_unix_nano)
        if replayed:
            self.replayed += len(batch.events)

    def _on_gap(self, gap: pb.Gap) -> None:
        journal = self.journals.get((gap.channel, gap.lane))
        if journal is not None:
            reason = pb.GapReason.Name(gap.reason).removeprefix("GAP_REASON_")
            journal.gap(gap.epoch, Gap(gap.from_offset, gap.to_offset, reason, gap.count))
