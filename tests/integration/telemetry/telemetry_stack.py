"""The three services as processes of their own, told by the standard variables where the collector is."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from lanecast.runtime.tokens import issue, load_or_create_key
from lanecast.v1.gateway_pb2 import ClientFrame, Hello, Pong, ServerFrame, Subscribe

_SET_CLOCK = Path(__file__).with_name("set_clock.py")
_ORDER = ("gateway", "publisher", "metrics")


@dataclass
class Stack:
    """Where the services are."""

    folder: Path
    facts: dict[str, dict[str, Any]]
    processes: dict[str, asyncio.subprocess.Process]

    @property
    def publisher(self) -> str:
        return str(self.facts["publisher"]["address"])

    @asynccontextmanager
    async def browser(self, *channels: str) -> AsyncIterator[Browser]:
        url = f"ws://{self.facts['gateway']['address']}/v1/ws"
        token = issue(load_or_create_key(self.folder), ["*"])
        async with connect(url, subprotocols=["lanecast.v1.proto"], compression=None, proxy=None) as connection:  # type: ignore[list-item]
            browser = Browser(connection)
            await browser.send(ClientFrame(hello=Hello(token=token)))
            await browser.expect("welcome")
            for channel in channels:
                await browser.send(ClientFrame(subscribe=Subscribe(channel=channel)))
                await browser.expect("subscribed")
            yield browser


class Browser:
    """A WebSocket client that does what the web SDK does."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def send(self, frame: ClientFrame) -> None:
        await self.connection.send(frame.SerializeToString())

    async def expect(self, kind: str) -> ServerFrame:
        while True:
            frame = ServerFrame.FromString(await self.connection.recv())  # type: ignore[arg-type]
            found = frame.WhichOneof("frame")
            if found == "ping":
                await self.send(ClientFrame(pong=Pong(sequence=frame.ping.sequence)))
            elif found != "advance":
                assert found == kind, frame
                return frame


@asynccontextmanager
async def running_stack(folder: Path, *, ahead_ms: float = 0.0, **environ: str) -> AsyncIterator[Stack]:
    """Run the services; the wall clock of the gateway goes ahead of the others' by `ahead_ms`."""
    stack = Stack(folder, {}, {})
    try:
        await _start(stack, "metrics", environ, LANECAST_METRICS_PORT="0", LANECAST_METRICS_HTTP_PORT="0")
        shared = {**environ, "LANECAST_METRICS_TARGET": str(stack.facts["metrics"]["address"])}
        await _start(stack, "publisher", shared, LANECAST_PUBLISHER_PORT="0", LANECAST_PUBLISHER_DRAIN_SECONDS="0.2")
        targets = {"LANECAST_GATEWAY_PUBLISHER_TARGETS": stack.publisher, "LANECAST_GATEWAY_DRAIN_SECONDS": "0.2"}
        await _start(stack, "gateway", shared, ahead_ms=ahead_ms, LANECAST_GATEWAY_PORT="0", **targets)
        yield stack
    finally:
        for name in _ORDER:
            process = stack.processes.get(name)
            if process is not None:
                if process.returncode is None:
                    process.send_signal(signal.SIGTERM)
                await process.wait()


async def _start(stack: Stack, name: str, environ: dict[str, str], *, ahead_ms: float = 0.0, **own: str) -> None:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("LANECAST_", "OTEL_"))}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *((str(_SET_CLOCK), f"{name}_svc", str(ahead_ms)) if ahead_ms else ("-m", f"{name}_svc")),
        env={**inherited, "LANECAST_DATA_DIR": str(stack.folder), **environ, **own},
        stdout=asyncio.subprocess.PIPE,
    )
    stack.processes[name] = process
    assert process.stdout is not None
    stack.facts[name] = json.loads(await process.stdout.readline())
