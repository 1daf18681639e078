"""NATS JetStream with the WebSocket listener: the peer that promises what Lanecast promises.

Every event is written to a stream on disk, deduplicated by its id over 120 s, acknowledged with its position, and read
by each socket through a consumer of its own that could go on from any position. Without `sync_interval: always`, that
is without fsync: the same as Lanecast's `durability = process`.
Protocol: https://docs.nats.io/reference/reference-protocols.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from bench import websocket
from bench.scenario import Scenario
from bench.servers import HOST, ServerError, Servers, free_port
from bench.systems.base import Endpoints, Handshake, LinePublisher, Publisher, Subscriber
from bench.systems.nats import CONFIG, CONNECT, Nats, find_binary

_STREAM = "bench"
_SUBJECTS = "bench."
_ANSWER_SECONDS = 10.0
_HEADERS = b'CONNECT {"verbose":false,"pedantic":false,"lang":"python","version":"1","protocol":1,"headers":true}\r\n'
_JETSTREAM = """
jetstream {{ store_dir: "{directory}" }}
"""
_STREAM_CONFIG: dict[str, Any] = {
    "name": _STREAM,
    "subjects": [_SUBJECTS + ">"],
    "storage": "file",
    "retention": "limits",
    "discard": "old",
    "duplicate_window": 120_000_000_000,
    "num_replicas": 1,
}


class JetStream(Nats):
    """See the module."""

    name = "jetstream"
    title = "NATS JetStream"

    async def start(self, scenario: Scenario, directory: Path, servers: Servers) -> Endpoints:  # noqa: ARG002
        """Start one server and create the stream."""
        binary = find_binary()
        assert binary is not None
        port, websocket_port = free_port(), free_port()
        config = directory / "jetstream.conf"
        text = CONFIG.format(host=HOST, port=port, websocket=websocket_port)
        config.write_text(text + _JETSTREAM.format(directory=directory / "jetstream"))
        servers.spawn("nats", [binary, "-c", str(config)])
        await servers.wait_for_port(port)
        await servers.wait_for_port(websocket_port)
        await asyncio.wait_for(_create_stream(port), _ANSWER_SECONDS)
        return Endpoints(HOST, websocket_port, port)

    def subscriber(self, endpoints: Endpoints) -> Subscriber:  # noqa: ARG002
        """Return the subscriber protocol."""
        return JetStreamSubscriber()

    def publisher(self, endpoints: Endpoints, channels: list[str]) -> Publisher:  # noqa: ARG002
        """Return a publisher."""
        return JetStreamPublisher(endpoints.host, endpoints.publish_port)


async def _create_stream(port: int) -> None:
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(CONNECT + b"SUB answers 1\r\n" + _request(f"$JS.API.STREAM.CREATE.{_STREAM}", _STREAM_CONFIG))
    data = b""
    while b"stream_create_response" not in data or not data.endswith(b"}\r\n"):
        read = await reader.read(65536)
        if not read:
            raise ServerError(f"the server ended the connection: {data.decode(errors='replace')[-400:]}")
        data += read
    writer.close()
    if b'"error"' in data:
        raise ServerError(f"the stream was not created: {data.decode(errors='replace')[-400:]}")


def _request(subject: str, body: dict[str, Any], answers: str = "answers") -> bytes:
    data = json.dumps(body).encode()
    return b"PUB %b %b %d\r\n%b\r\n" % (subject.encode(), answers.encode(), len(data), data)


class JetStreamSubscriber:
    """One push consumer a socket, from now on, without acknowledgements: the cheapest that keeps a position."""

    subprotocol = ""
    opcode = websocket.BINARY

    def path(self, channel: str) -> str:  # noqa: ARG002
        """Return the path."""
        return "/"

    def handshake(self, channel: str) -> Handshake:
        """Subscribe to an inbox and have a consumer deliver the channel there."""
        own = uuid.uuid4().hex
        inbox, answers = f"inbox.{own}", f"answers.{own}"
        config = {
            "deliver_subject": inbox,
            "deliver_policy": "new",
            "ack_policy": "none",
            "replay_policy": "instant",
            "filter_subject": _SUBJECTS + channel,
            "mem_storage": True,
            "num_replicas": 1,
        }
        create = {"stream_name": _STREAM, "config": config}
        yield b""
        subscribe = f"SUB {inbox} 1\r\nSUB {answers} 2\r\n".encode()
        subject = f"$JS.API.CONSUMER.CREATE.{_STREAM}"
        answer = yield CONNECT + subscribe + _request(subject, create, answers)
        while b"consumer_create_response" not in answer:
            if b"-ERR" in answer:
                raise websocket.HandshakeError(f"NATS refused: {answer.decode(errors='replace').strip()}")
            answer = yield b""
        if b'"error"' in answer:
            raise websocket.HandshakeError(f"no consumer: {answer.decode(errors='replace').strip()}")

    def reply(self, message: bytes) -> bytes | None:
        """Answer a ping."""
        return b"PONG\r\n" if message.startswith(b"PING") else None

    def notes(self) -> dict[str, int]:
        """Return nothing."""
        return {}


class JetStreamPublisher(LinePublisher):
    """`HPUB` commands with an id, each answered with the event's position."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port)
        own = uuid.uuid4().hex
        self._inbox = f"acks.{own}".encode()
        self._ids: Iterator[bytes] = (b"%b-%d" % (own.encode(), number) for number in count())
        self._written = self._acknowledged = self._errors = 0
        self._tail = b""
        self._complete = asyncio.Event()

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(_HEADERS + b"SUB %b 1\r\n" % self._inbox)

    def _encode(self, channel: str, payload: bytes) -> bytes:
        self._written += 1
        headers = b"NATS/1.0\r\nNats-Msg-Id: %b\r\n\r\n" % next(self._ids)
        subject = (_SUBJECTS + channel).encode()
        return b"HPUB %b %b %d %d\r\n%b%b\r\n" % (
            subject, self._inbox, len(headers), len(headers) + len(payload), headers, payload,
        )  # fmt: skip

    def _answered(self, data: bytes) -> None:
        data = self._tail + data
        keep = data.rfind(b"\r\n") + 2
        self._tail, data = data[keep:], data[:keep]
        self._acknowledged += data.count(b'"seq":')
        self._errors += data.count(b'"error":')
        if self._acknowledged + self._errors >= self._written:
            self._complete.set()

    async def _flushed(self) -> None:
        async with asyncio.timeout(60):
            while self._acknowledged + self._errors < self._written:
                self._complete.clear()
                await self._complete.wait()

    def counters(self) -> dict[str, int]:
        """Return what was acknowledged."""
        return {**super().counters(), "acknowledged": self._acknowledged, "errors": self._errors}
