"""Several addresses of one publisher: TCP proxies that can be closed, or stop passing anything on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from publisher_svc.app import PublisherApp
from publisher_svc.config import PublisherConfig


class Door:
    """One address. A publisher with two doors stands for two publishers that share a log."""

    def __init__(self, target: str) -> None:
        self._host, _, port = target.rpartition(":")
        self._port = int(port)
        self._own_port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._passing = asyncio.Event()
        self._passing.set()
        self.address = ""

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._on_connection, "127.0.0.1", self._own_port)
        self._own_port = self._server.sockets[0].getsockname()[1]
        self.address = f"127.0.0.1:{self._own_port}"

    async def close(self) -> None:
        """Cut all connections and refuse new ones, as if the process were killed."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def pause(self) -> None:
        """Pass nothing on, and accept connections all the same, as the kernel does for a process that is stopped."""
        self._passing.clear()

    def resume(self) -> None:
        self._passing.set()

    def strand(self) -> None:
        """Pass nothing more on the connections there are; new ones work."""
        self._passing.clear()
        self._passing = asyncio.Event()
        self._passing.set()

    async def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            passing = self._passing
            await passing.wait()
            there, back = await asyncio.open_connection(self._host, self._port)
            try:
                await self._both_ways(passing, (reader, writer), (there, back))
            finally:
                back.close()
        except (OSError, asyncio.CancelledError):
            return  # the connection ends with its door or with the service
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _both_ways(
        self,
        passing: asyncio.Event,
        near: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        far: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        ways = [
            asyncio.create_task(self._one_way(passing, near[0], far[1])),
            asyncio.create_task(self._one_way(passing, far[0], near[1])),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    @staticmethod
    async def _one_way(passing: asyncio.Event, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            await passing.wait()
            sink.write(data)
            await sink.drain()


@asynccontextmanager
async def serving(folder: Path, **options: Any) -> AsyncIterator[str]:
    """Run publisher_svc in this loop; gives its address."""
    options.setdefault("port", 0)
    app = PublisherApp(PublisherConfig(data_dir=folder, drain_seconds=0.2, **options))
    facts = await app.start()
    try:
        yield facts["address"]
    finally:
        await app.drain()


@asynccontextmanager
async def doors(target: str, count: int = 2) -> AsyncIterator[list[Door]]:
    made = [Door(target) for _ in range(count)]
    for door in made:
        await door.open()
    try:
        yield made
    finally:
        for door in made:
            await door.close()
