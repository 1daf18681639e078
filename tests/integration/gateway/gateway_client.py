"""A gateway in this process, and clients of the `websockets` library for it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from gateway_svc.app import Gateway
from gateway_svc.config import GatewayConfig
from lanecast.runtime.tokens import issue, load_or_create_key
from lanecast.v1.gateway_pb2 import ClientFrame, Hello, ServerFrame, Subscribe

PROTO, JSON = "lanecast.v1.proto", "lanecast.v1.json"


class Running:
    """A started gateway."""

    def __init__(self, gateway: Gateway, address: str, data_dir: Path) -> None:
        self.gateway = gateway
        self.address = address
        self._key = load_or_create_key(data_dir)

    @property
    def url(self) -> str:
        return f"ws://{self.address}/v1/ws"

    def token(self, *patterns: str, **options: Any) -> str:
        return issue(self._key, patterns or ("*",), **options)

    @asynccontextmanager
    async def client(
        self, subprotocol: str | None = PROTO, *, hello: bool = True, **options: Any
    ) -> AsyncIterator[Any]:
        async with self.connect(subprotocol, **options) as connection:
            client = Client(connection) if subprotocol == PROTO else JsonClient(connection)
            if hello:
                await client.hello(self.token())
            yield client

    def connect(self, subprotocol: str | None = PROTO, **options: Any) -> connect:
        offered: Any = [subprotocol] if subprotocol else None
        return connect(self.url, subprotocols=offered, compression=None, proxy=None, **options)

    async def request(self, raw: bytes) -> bytes:
        """Send bytes on a plain connection and return the answer up to its end."""
        host, _, port = self.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(raw)
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer


class Client:
    """A protobuf client."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def hello(self, token: str) -> ServerFrame:
        await self.send(ClientFrame(hello=Hello(token=token)))
        return await self.expect("welcome")

    async def subscribe(self, channel: str, **fields: Any) -> ServerFrame:
        await self.send(ClientFrame(subscribe=Subscribe(channel=channel, **fields)))
        return await self.expect("subscribed")

    async def send(self, frame: ClientFrame) -> None:
        await self.connection.send(frame.SerializeToString())

    async def receive(self) -> ServerFrame:
        return ServerFrame.FromString(await self.connection.recv())  # type: ignore[arg-type]

    async def expect(self, kind: str) -> ServerFrame:
        """Return the next frame other than a ping, which must be of this kind."""
        frame = await self.receive()
        while frame.WhichOneof("frame") == "ping":
            frame = await self.receive()
        assert frame.WhichOneof("frame") == kind, frame
        return frame

    async def events(self, count: int) -> list[int]:
        """Return the offsets of the next events."""
        offsets: list[int] = []
        while len(offsets) < count:
            frame = await self.receive()
            if frame.WhichOneof("frame") in {"ping", "advance"}:
                continue
            assert frame.WhichOneof("frame") == "events", frame
            offsets += [event.offset for event in frame.events.events]
        return offsets


class JsonClient:
    """A JSON client."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def hello(self, token: str) -> dict[str, Any]:
        return await self.ask({"hello": {"token": token}}, "welcome")

    async def ask(self, command: Any, kind: str) -> dict[str, Any]:
        await self.send(command)
        return await self.expect(kind)

    async def send(self, command: Any) -> None:
        await self.connection.send(json.dumps(command))

    async def expect(self, kind: str) -> dict[str, Any]:
        frame = json.loads(await self.connection.recv())
        while "ping" in frame:
            frame = json.loads(await self.connection.recv())
        assert kind in frame, frame
        return dict(frame[kind])


@asynccontextmanager
async def running_gateway(data_dir: Path, targets: Sequence[str], **options: Any) -> AsyncIterator[Running]:
    options.setdefault("drain_seconds", 0.2)
    wait = options.pop("wait", True)
    gateway = Gateway(GatewayConfig(port=0, data_dir=data_dir, publisher_targets=tuple(targets), **options))
    facts = await gateway.start()
    try:
        if wait:
            await gateway.upstream.wait_connected()
        yield Running(gateway, facts["address"], data_dir)
    finally:
        await gateway.drain()
