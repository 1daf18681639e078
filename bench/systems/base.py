"""What an adapter of a server must offer: the one narrow interface between the suite and any server.

Owns the protocols and the small parts that adapters share. An adapter has three faces, used in three processes: the
suite starts its servers (`System`), the receiver speaks its subscriber protocol without I/O (`Subscriber`), and the
generator publishes through it (`Publisher`).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Generator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from bench.scenario import Scenario
from bench.servers import Servers

Handshake = Generator[bytes, bytes, None]
"""Yields messages to send (empty: only wait) and is sent each message that arrives; returns when subscribed."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where a started server is. Plain data, because it travels to other processes."""

    host: str
    subscribe_port: int
    publish_port: int
    token: str = ""
    pids: dict[str, int] = field(default_factory=dict)
    """Server processes by name; those whose name begins with `gateway` hold the connections. Empty: all that run."""
    extra: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the endpoints as plain data."""
        return asdict(self)


class Subscriber(Protocol):
    """The receiving side of a server's WebSocket protocol, without I/O. One object serves all sockets."""

    subprotocol: str
    opcode: int
    """Opcode of the client's data frames."""

    def path(self, channel: str) -> str:
        """Return the path of the opening handshake."""

    def handshake(self, channel: str) -> Handshake:
        """Subscribe after the opening handshake."""

    def reply(self, message: bytes) -> bytes | None:
        """Take a message that carries no event; return what must be answered, if anything."""

    def notes(self) -> dict[str, int]:
        """Return what was counted of messages without events, for example announced gaps."""


class Publisher(Protocol):
    """The sending side. Sending must never wait."""

    async def open(self) -> None:
        """Connect."""

    def send(self, number: int, channel: str, lane: int, payload: bytes) -> None:
        """Hand over one event. `number` is given back by `refused`."""

    def flush(self) -> None:
        """Called after the events that were due together."""

    async def close(self) -> None:
        """Wait until the server has everything, then disconnect."""

    def refused(self) -> dict[int, str]:
        """Return the events that were not accepted, by number, each with the reason."""

    def counters(self) -> dict[str, int]:
        """Return what else was counted, for example acknowledgements."""


class System(Protocol):
    """A server under test."""

    name: str
    title: str
    lanes: bool
    """Whether it tells lanes apart."""

    def missing(self) -> str | None:
        """Return why it cannot run here and how to install it, or None where it can."""

    def version(self) -> str:
        """Return the version that will run."""

    async def start(self, scenario: Scenario, directory: Path, servers: Servers) -> Endpoints:
        """Start its processes through `servers`, keeping its files in `directory`, an absolute path."""

    def subscriber(self, endpoints: Endpoints) -> Subscriber:
        """Return its subscriber protocol."""

    def publisher(self, endpoints: Endpoints, channels: list[str]) -> Publisher:
        """Return a publisher."""

    async def report(self, endpoints: Endpoints, seconds: float) -> dict[str, Any]:
        """Return what the server itself reports of the last `seconds`; empty where it reports nothing."""


class LinePublisher:
    """A publisher over one TCP connection whose events are encoded by `encode`; shared by several adapters."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._writer: asyncio.StreamWriter | None = None
        self._reader: asyncio.StreamReader | None = None
        self._drain: asyncio.Task[None] | None = None
        self._pending: list[bytes] = []
        self._sent = 0
        self._received_bytes = 0

    async def open(self) -> None:
        """Connect and greet; from then on what the server answers is read and dropped."""
        self._reader, self._writer = await asyncio.open_connection(*self._address)
        self._writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await self._greet(self._reader, self._writer)
        self._drain = asyncio.create_task(self._read_on(self._reader))

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError

    async def _read_on(self, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(65536):
            self._received_bytes += len(data)
            self._answered(data)

    def _answered(self, data: bytes) -> None:
        """Take what the server answered."""

    def _encode(self, channel: str, payload: bytes) -> bytes:
        raise NotImplementedError

    def _goodbye(self) -> bytes:
        """Return a last command whose answer proves that the server has read everything; empty: there is none."""
        return b""

    def send(self, number: int, channel: str, lane: int, payload: bytes) -> None:  # noqa: ARG002 - the interface
        """Encode one event and keep it for `flush`."""
        self._pending.append(self._encode(channel, payload))

    def flush(self) -> None:
        """Write what is pending in one call."""
        if self._pending:
            assert self._writer is not None
            self._writer.write(b"".join(self._pending))
            self._sent += len(self._pending)
            self._pending.clear()

    async def close(self) -> None:
        """Write everything, say goodbye and disconnect."""
        assert self._writer is not None
        assert self._drain is not None
        self.flush()
        self._writer.write(self._goodbye())
        await self._writer.drain()
        await self._flushed()
        self._drain.cancel()
        await asyncio.gather(self._drain, return_exceptions=True)
        self._writer.close()

    async def _flushed(self) -> None:
        """Return when the server has read everything."""

    def refused(self) -> dict[int, str]:
        """Return nothing: these protocols acknowledge nothing."""
        return {}

    def counters(self) -> dict[str, int]:
        """Return how many events were written."""
        return {"sent": self._sent, "bytes_answered": self._received_bytes}
