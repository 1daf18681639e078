"""A real publisher_svc, in this process or in one that can be killed, and one that misbehaves by script."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from lanecast.runtime.grpc_server import GrpcServer
from lanecast.v1 import publisher_pb2 as pb
from publisher_svc.app import PublisherApp
from publisher_svc.config import PublisherConfig

Script = Callable[[AsyncIterator[pb.PublishEventStreamRequest], Any], Awaitable[None]]


@asynccontextmanager
async def running(folder: Path, *, clock: Callable[[], float] = time.monotonic, **options: Any) -> AsyncIterator[str]:
    """Run publisher_svc in this loop; gives its address."""
    app = PublisherApp(PublisherConfig(data_dir=folder, port=0, drain_seconds=0.2, **options), clock)
    facts = await app.start()
    try:
        yield facts["address"]
    finally:
        await app.drain()


class ServiceProcess:
    """publisher_svc as a process of its own, which keeps its port when it is started again."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self._folder = folder
        self._environ = environ
        self._port = "0"
        self._process: subprocess.Popen[str] | None = None
        self.address = ""

    def start(self) -> None:
        environ = {
            **os.environ,
            "LANECAST_PUBLISHER_PORT": self._port,
            "LANECAST_DATA_DIR": str(self._folder),
            "LANECAST_PUBLISHER_DRAIN_SECONDS": "0.2",
            "LANECAST_LOG_LEVEL": "WARNING",
            **self._environ,
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "publisher_svc"], env=environ, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.address = json.loads(self._process.stdout.readline())["address"]
        self._port = self.address.rpartition(":")[2]

    def end(self, number: int = signal.SIGKILL) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None


class ScriptedService:
    """A publisher service of which each stream is served by the next script, and all further ones by the last."""

    def __init__(self, *scripts: Script) -> None:
        self._scripts = list(scripts)
        self.streams = 0

    async def PublishEventStream(self, requests: AsyncIterator[pb.PublishEventStreamRequest], context: Any) -> None:  # noqa: N802
        script = self._scripts[min(self.streams, len(self._scripts) - 1)]
        self.streams += 1
        await script(requests, context)

    async def _unused(self, *_: Any) -> None:
        raise NotImplementedError

    PublishEvents = StreamEvents = ReadEvents = ListEventTypes = _unused


@asynccontextmanager
async def scripted(*scripts: Script) -> AsyncIterator[tuple[str, ScriptedService]]:
    server, service = GrpcServer(), ScriptedService(*scripts)
    server.add(pb.DESCRIPTOR.services_by_name["PublisherService"], service)
    port = await server.start("127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{port}", service
    finally:
        await server.stop(0)


async def open_stream(
    requests: AsyncIterator[pb.PublishEventStreamRequest], context: Any, credit_bytes: int = 1 << 20
) -> None:
    """Answer `open`."""
    first = await anext(requests)
    assert first.HasField("open")
    opened = pb.PublishOpened(epoch="e", credit_bytes=credit_bytes, max_events=1000, dedup_window_seconds=120)
    await context.write(pb.PublishEventStreamResponse(opened=opened))


class Honest:
    """A script that acknowledges everything and remembers the ids; it may be told to hold its answers back."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def __call__(self, requests: AsyncIterator[pb.PublishEventStreamRequest], context: Any) -> None:
        await open_stream(requests, context)
        async for request in requests:
            if request.HasField("close"):
                await context.write(pb.PublishEventStreamResponse(closed=pb.PublishClosed()))
                return
            message = request.publish
            self.ids += [event.id for event in message.events]
            await self.may_answer.wait()
            first = len(self.ids) - len(message.events) + 1
            results = [pb.PublishResult(offset=first + index) for index in range(len(message.events))]
            acks = pb.PublishAcks(epoch="e", first_sequence=message.first_sequence, results=results)
            await context.write(pb.PublishEventStreamResponse(acks=acks))
