"""Centrifugo 5 or 6, where its binary is on PATH.

One client publishes commands over WebSocket in the JSON protocol
(https://centrifugal.dev/docs/transports/client_protocol); subscribers use the same protocol. Without history, that is
without a log: its fastest form. One Go process uses all cores.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from pathlib import Path
from shutil import which
from typing import Any

from bench import websocket
from bench.scenario import Scenario
from bench.servers import HOST, Servers, free_port
from bench.systems.base import Endpoints, Handshake, LinePublisher

_PATH = "/connection/websocket"
_LAST = 4_000_000_000
"""Id of the publisher's last command; its answer proves that all before it were taken."""


def settings(major: int, port: int, connections: int) -> dict[str, Any]:
    """Return the configuration file: version 6 has nested settings where version 5 has flat ones."""
    if major >= 6:
        return {
            "http_server": {"address": HOST, "port": port},
            "log": {"level": "error"},
            "client": {
                "insecure": True,
                "ping_interval": "300s",
                "pong_timeout": "60s",
                "queue_max_size": 268435456,
                "connection_limit": connections,
            },
            "channel": {"without_namespace": {"allow_subscribe_for_client": True, "allow_publish_for_client": True}},
        }
    return {
        "address": HOST,
        "port": port,
        "log_level": "error",
        "client_insecure": True,
        "ping_interval": "300s",
        "pong_timeout": "60s",
        "client_queue_max_size": 268435456,
        "client_connection_limit": connections,
        "allow_subscribe_for_client": True,
        "allow_publish_for_client": True,
    }


class Centrifugo:
    """See the module."""

    name = "centrifugo"
    title = "Centrifugo"
    lanes = False

    def missing(self) -> str | None:
        """Say how to install it where it is not."""
        if which("centrifugo"):
            return None
        return "centrifugo is not on PATH: see https://centrifugal.dev/docs/getting-started/installation"

    def version(self) -> str:
        """Return what centrifugo says of itself."""
        return subprocess.run(["centrifugo", "version"], capture_output=True, text=True, check=True).stdout.strip()

    async def start(self, scenario: Scenario, directory: Path, servers: Servers) -> Endpoints:
        """Start one server."""
        found = re.search(r"v?(\d+)\.", self.version())
        port = free_port()
        config = directory / "centrifugo.json"
        config.write_text(json.dumps(settings(int(found[1]) if found else 6, port, scenario.sockets + 100)))
        servers.spawn("centrifugo", ["centrifugo", "--config", str(config)])
        await servers.wait_for_port(port)
        return Endpoints(HOST, port, port)

    def subscriber(self, endpoints: Endpoints) -> CentrifugoSubscriber:  # noqa: ARG002
        """Return the subscriber protocol."""
        return CentrifugoSubscriber()

    def publisher(self, endpoints: Endpoints, channels: list[str]) -> CentrifugoPublisher:  # noqa: ARG002
        """Return a publisher."""
        return CentrifugoPublisher(endpoints.host, endpoints.publish_port)

    async def report(self, endpoints: Endpoints, seconds: float) -> dict[str, Any]:  # noqa: ARG002
        """Return nothing: it measures no latency."""
        return {}


def _replies(message: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in message.split(b"\n") if line.strip()]


class CentrifugoSubscriber:
    """JSON replies and pushes, several of them in one frame where they came together."""

    subprotocol = ""
    opcode = websocket.TEXT

    def path(self, channel: str) -> str:  # noqa: ARG002
        """Return the path."""
        return _PATH

    def handshake(self, channel: str) -> Handshake:
        """Connect and subscribe in one go, and wait for both answers."""
        connect, subscribe = {"id": 1, "connect": {}}, {"id": 2, "subscribe": {"channel": channel}}
        message = yield "\n".join(map(json.dumps, (connect, subscribe))).encode()
        while True:
            for answer in _replies(message):
                if "error" in answer or "disconnect" in answer:
                    raise websocket.HandshakeError(f"Centrifugo refused: {answer}")
                if answer.get("id") == 2:
                    return
            message = yield b""

    def reply(self, message: bytes) -> bytes | None:
        """Answer a ping, which is an empty object."""
        return b"{}" if message.strip() == b"{}" else None

    def notes(self) -> dict[str, int]:
        """Return nothing."""
        return {}


class CentrifugoPublisher(LinePublisher):
    """Publish commands of one client."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port)
        self._next = 1
        self._last = asyncio.Event()

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(websocket.upgrade_request(*self._address, _PATH))
        websocket.upgrade_end(await reader.readuntil(b"\r\n\r\n"))
        writer.write(websocket.frame(b'{"id":1,"connect":{}}', websocket.TEXT))

    def _encode(self, channel: str, payload: bytes) -> bytes:
        self._next += 1
        command = b'{"id":%d,"publish":{"channel":"%b","data":"%b"}}' % (self._next, channel.encode(), payload)
        return websocket.frame(command, websocket.TEXT)

    def _goodbye(self) -> bytes:
        return websocket.frame(b'{"id":%d,"rpc":{"method":"last"}}' % _LAST, websocket.TEXT)

    def _answered(self, data: bytes) -> None:
        if b'"id":%d' % _LAST in data:
            self._last.set()

    async def _flushed(self) -> None:
        await asyncio.wait_for(self._last.wait(), 60)
