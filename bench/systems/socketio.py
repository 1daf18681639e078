"""python-socketio, the usual choice for pushing to browsers from Python, as an aiohttp server.

The server process is `bench/systems/socketio_server.py`. Publisher and subscribers speak Socket.IO 5 over Engine.IO 4
(https://socket.io/docs/v4/socket-io-protocol/) on WebSocket only; a channel is a room.
"""

from __future__ import annotations

import asyncio
import json
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bench import websocket
from bench.scenario import Scenario
from bench.servers import HOST, Servers, free_port
from bench.systems.base import Endpoints, Handshake, LinePublisher

_PATH = "/socket.io/?EIO=4&transport=websocket"


class SocketIo:
    """See the module."""

    name = "socketio"
    title = "python-socketio"
    lanes = False

    def missing(self) -> str | None:
        """Say how to install it where it is not."""
        return None if find_spec("socketio") else "python-socketio is not installed: pip install python-socketio"

    def version(self) -> str:
        """Return the versions of the packages."""
        return f"python-socketio {version('python-socketio')}, aiohttp {version('aiohttp')}"

    async def start(self, scenario: Scenario, directory: Path, servers: Servers) -> Endpoints:  # noqa: ARG002
        """Start one server process: rooms do not span processes without a broker."""
        port = free_port()
        servers.spawn("socketio", [sys.executable, "-m", "bench.systems.socketio_server", str(port)])
        await servers.wait_for_port(port)
        return Endpoints(HOST, port, port)

    def subscriber(self, endpoints: Endpoints) -> SocketIoSubscriber:  # noqa: ARG002
        """Return the subscriber protocol."""
        return SocketIoSubscriber()

    def publisher(self, endpoints: Endpoints, channels: list[str]) -> SocketIoPublisher:  # noqa: ARG002
        """Return a publisher."""
        return SocketIoPublisher(endpoints.host, endpoints.publish_port)

    async def report(self, endpoints: Endpoints, seconds: float) -> dict[str, Any]:  # noqa: ARG002
        """Return nothing: it measures no latency."""
        return {}


class SocketIoSubscriber:
    """Socket.IO packets as text frames."""

    subprotocol = ""
    opcode = websocket.TEXT

    def path(self, channel: str) -> str:  # noqa: ARG002
        """Return the path."""
        return _PATH

    def handshake(self, channel: str) -> Handshake:
        """Connect to the default namespace, join the room, wait for the acknowledgement."""
        opened = yield b""
        if not opened.startswith(b"0"):
            raise websocket.HandshakeError(f"Engine.IO did not open: {opened[:80]!r}")
        answer = yield b"40"
        if not answer.startswith(b"40"):
            raise websocket.HandshakeError(f"Socket.IO did not connect: {answer[:80]!r}")
        answer = yield b"421" + json.dumps(["join", channel]).encode()
        while not answer.startswith(b"431"):
            answer = yield self.reply(answer) or b""

    def reply(self, message: bytes) -> bytes | None:
        """Answer a ping of Engine.IO."""
        return b"3" if message == b"2" else None

    def notes(self) -> dict[str, int]:
        """Return nothing."""
        return {}


class SocketIoPublisher(LinePublisher):
    """One client that asks the server to emit into a room."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port)
        self._done = asyncio.Event()

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(websocket.upgrade_request(*self._address, _PATH))
        websocket.upgrade_end(await reader.readuntil(b"\r\n\r\n"))
        writer.write(websocket.frame(b"40", websocket.TEXT))

    def _encode(self, channel: str, payload: bytes) -> bytes:
        return websocket.frame(b'42["publish","%b","%b"]' % (channel.encode(), payload), websocket.TEXT)

    def _goodbye(self) -> bytes:
        return websocket.frame(b'427["flush"]', websocket.TEXT)

    def _answered(self, data: bytes) -> None:
        if b"437[" in data:
            self._done.set()

    async def _flushed(self) -> None:
        await asyncio.wait_for(self._done.wait(), 120)
