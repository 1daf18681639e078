"""A TCP proxy that does to a connection what networks do, by a seed.

Owns its sockets and one pump per direction of each connection. What passes is decided by `Weather`, which scenarios
change while connections are open. Knows nothing of what it carries. Nothing it holds back is lost, as with TCP: what a
partition kept comes when it heals, and so does the end of a connection.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import dataclass, field
from random import Random
from typing import cast

UP, DOWN = "up", "down"
"""Towards the server, and back."""
_CHUNK = 16 * 1024


@dataclass(slots=True)
class Weather:
    """What happens to bytes now. All of it may be changed at any time."""

    delay_seconds: float = 0.0
    jitter_seconds: float = 0.0
    flip_every_bytes: int = 0
    """One bit in so many bytes, on average, comes out wrong; 0: none."""
    bytes_per_second: int = 0
    """0: as fast as it goes."""
    held: set[str] = field(default_factory=set)
    """Directions in which nothing passes, as if a cable was pulled: neither side is told."""


class _Connection:
    """One client and its connection to the server."""

    def __init__(self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._ends: dict[str, tuple[asyncio.StreamReader, asyncio.StreamWriter]] = {DOWN: (reader, writer)}
        self.orphaned = False

    async def run(self, host: str, port: int) -> None:
        """Carry bytes both ways until both ends are done, or either breaks."""
        try:
            self._ends[UP] = await asyncio.open_connection(host, port)
        except OSError:
            self.cut()
            return
        pumps = [asyncio.create_task(self._pump(UP)), asyncio.create_task(self._pump(DOWN))]
        try:
            await asyncio.gather(*pumps)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            if self.orphaned:
                await self._proxy.closed.wait()
            self.cut()

    def cut(self) -> None:
        """Reset both sides."""
        for _, writer in self._ends.values():
            _reset(writer)

    def orphan(self) -> None:
        """End the server's side only: the client's stays open, and nobody will ever answer it."""
        self.orphaned = True
        _reset(self._ends[UP][1])

    async def _pump(self, direction: str) -> None:
        source = self._ends[DOWN if direction == UP else UP][0]
        sink = self._ends[direction][1]
        proxy = self._proxy
        while True:
            data = await source.read(_CHUNK)
            await proxy.pass_through(direction, len(data))
            if self.orphaned:
                await proxy.closed.wait()
            if not data or sink.transport.is_closing():
                break
            sink.write(proxy.damage(data))
            await sink.drain()
        if not sink.transport.is_closing():
            sink.write_eof()


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with a reset, whatever was sent or received: a plain close may pass for a proper end."""
    if not writer.transport.is_closing():
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Proxy:
    """Listens on a port of its own and carries everything to `target`."""

    def __init__(self, target: str, random: Random) -> None:
        self._target = target
        self._random = random
        self.weather = Weather()
        self.closed = asyncio.Event()
        self._released = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._open: dict[_Connection, asyncio.Task[None]] = {}
        self._to_flip = 0
        self.accepted = 0
        self.address = ""

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=_CHUNK)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        """Stop listening and reset all connections. Idempotent."""
        self.closed.set()
        self.heal()
        if self._server is not None:
            self._server.close()
            for connection in list(self._open):
                connection.cut()
            for task in list(self._open.values()):
                task.cancel()
            await asyncio.gather(*self._open.values(), return_exceptions=True)
            self._server = None

    @property
    def connections(self) -> int:
        """Number of open connections."""
        return len(self._open)

    def hold(self, *directions: str) -> None:
        """Let nothing pass in these directions; both where none is named. New connections are accepted, and starve."""
        self.weather.held |= set(directions or (UP, DOWN))
        self._released.clear()

    def heal(self) -> None:
        """Let everything pass again, undamaged and undelayed."""
        self.weather = Weather()
        self._released.set()

    def cut(self) -> None:
        """Reset all connections."""
        for connection in list(self._open):
            connection.cut()

    def orphan(self) -> None:
        """Leave all clients with connections that nobody serves, and do not tell them."""
        for connection in list(self._open):
            connection.orphan()

    async def pass_through(self, direction: str, size: int) -> None:
        """Return when bytes may pass."""
        weather = self.weather
        if weather.delay_seconds or weather.jitter_seconds:
            await asyncio.sleep(weather.delay_seconds + self._random.random() * weather.jitter_seconds)
        if weather.bytes_per_second:
            await asyncio.sleep(size / weather.bytes_per_second)
        while direction in self.weather.held:
            await self._released.wait()

    def damage(self, data: bytes) -> bytes:
        """Return bytes as they come out."""
        every = self.weather.flip_every_bytes
        if not every:
            return data
        if not self._to_flip:
            self._to_flip = self._random.randint(1, 2 * every)
        damaged = bytearray(data)
        at = self._to_flip - 1
        while at < len(damaged):
            damaged[at] ^= 1 << self._random.randrange(8)
            self._to_flip = self._random.randint(1, 2 * every)
            at += self._to_flip
        self._to_flip = at - len(damaged) + 1
        return bytes(damaged)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        connection = _Connection(self, reader, writer)
        self._open[connection] = cast("asyncio.Task[None]", asyncio.current_task())
        host, _, port = self._target.rpartition(":")
        try:
            await connection.run(host, int(port))
        finally:
            del self._open[connection]
