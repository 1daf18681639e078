"""The real services as child processes, and a real browser.

Owns what the end-to-end tests start: ports, a data directory, the processes and their end.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGE_DRIVER = ROOT / "web" / "e2e" / "page.mjs"
RESULTS = ROOT / "test-results" / "e2e"
STOP_SECONDS = 15.0


def free_port() -> int:
    """Return a port nobody listens on. Needed where two services must know each other before either has started."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Service:
    """One service: `python -m module` with its configuration in the environment."""

    def __init__(self, module: str, variables: dict[str, str]) -> None:
        self._module = module
        self._variables = variables
        self._process: Process | None = None
        self.ready: dict[str, Any] = {}

    async def start(self) -> None:
        """Start it and wait for its ready line."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith("LANECAST_")}
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", self._module, cwd=ROOT, env=environ | self._variables, stdout=PIPE
        )
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        assert line, f"{self._module} ended before it was ready; see its log"
        self.ready = json.loads(line)

    async def kill(self) -> None:
        """End it as a crash would."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    async def stop(self) -> None:
        """Drain it; it must exit with 0 unless a test has killed it."""
        if self._process is None:
            return
        code = await end(self._process)
        assert code == 0, f"{self._module} exited with {code} after SIGTERM"


@dataclass(frozen=True)
class Stack:
    """A running publisher, gateway and metrics service."""

    publisher: str
    page: str
    gateway: Service
    websocket: str
    data_dir: Path


@asynccontextmanager
async def running_stack(data_dir: Path, **more: str) -> AsyncIterator[Stack]:
    """Start the three services; stop them at the end, and check that each drains and exits with 0.

    `more` are variables for their environment.
    """
    gateway_port, http_port, publisher_port = free_port(), free_port(), free_port()
    common = {"LANECAST_DATA_DIR": str(data_dir), **more}
    websocket = f"ws://127.0.0.1:{gateway_port}/v1/ws"
    async with AsyncExitStack() as services:
        metrics = await _enter(
            services,
            "metrics_svc",
            common
            | {
                "LANECAST_METRICS_PORT": "0",
                "LANECAST_METRICS_HTTP_PORT": str(http_port),
                "LANECAST_METRICS_GATEWAY_URLS": websocket,
                "LANECAST_METRICS_PUBLISHER_TARGETS": f"127.0.0.1:{publisher_port}",
            },
        )
        common |= {"LANECAST_METRICS_TARGET": metrics.ready["address"]}
        publisher = await _enter(services, "publisher_svc", common | {"LANECAST_PUBLISHER_PORT": str(publisher_port)})
        gateway = await _enter(
            services,
            "gateway_svc",
            common
            | {
                "LANECAST_GATEWAY_PORT": str(gateway_port),
                "LANECAST_GATEWAY_PUBLISHER_TARGETS": publisher.ready["address"],
                "LANECAST_GATEWAY_ALLOWED_ORIGINS": f"http://127.0.0.1:{http_port}",
            },
        )
        yield Stack(publisher.ready["address"], f"http://127.0.0.1:{http_port}/", gateway, websocket, data_dir)


async def _enter(services: AsyncExitStack, module: str, variables: dict[str, str]) -> Service:
    service = Service(module, variables)
    services.push_async_callback(service.stop)
    await service.start()
    return service


async def end(process: Process) -> int:
    """End a process with SIGTERM, or after a while with SIGKILL; return its exit code."""
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(STOP_SECONDS):
            return await process.wait()
    except TimeoutError:
        process.kill()
        return await process.wait()


class Page:
    """A page in Chromium, driven through a Node process: one JSON command per line, one JSON answer each."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def call(self, command: str, **arguments: Any) -> Any:
        """Run a command of the driver and return its answer.

        Raises:
            AssertionError: the driver says that it failed.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"command": command, **arguments}).encode() + b"\n")
        await self._process.stdin.drain()
        line = await self._process.stdout.readline()
        assert line, f"the browser driver ended during {command}"
        answer = json.loads(line)
        assert "error" not in answer, f"{command}: {answer['error']}"
        return answer["result"]


@asynccontextmanager
async def browser_page() -> AsyncIterator[Page]:
    """Start a browser with an empty profile; end it with the block."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    async with driver(PAGE_DRIVER, RESULTS) as page:
        yield page


@asynccontextmanager
async def driver(program: Path, *arguments: object) -> AsyncIterator[Page]:
    """Start a driver of a page; end it with the block."""
    command = ("node", str(program), *map(str, arguments))
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT / "web", stdin=PIPE, stdout=PIPE)
    try:
        yield Page(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
