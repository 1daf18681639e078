"""A real publisher service and real example processes, for the tests of this folder."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples"


class PublisherProcess:
    """publisher_svc on a port of its own; it can be killed and started again on the same log."""

    def __init__(self, data_dir: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.target = f"127.0.0.1:{self.port}"
        self._data_dir = data_dir
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        environment = {
            **os.environ,
            "LANECAST_PUBLISHER_PORT": str(self.port),
            "LANECAST_DATA_DIR": str(self._data_dir),
            "LANECAST_PUBLISHER_DRAIN_SECONDS": "0.2",
        }
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "publisher_svc", env=environment, cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )
        assert self._process.stdout is not None
        ready = json.loads(await self._process.stdout.readline())
        assert ready["address"] == self.target

    async def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        await self._process.communicate()


class Example:
    """A running example."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.lines: list[str] = []

    @classmethod
    async def start(cls, script: str, *arguments: str) -> Example:
        """Start a script of the examples by its path."""
        return await cls.run(str(EXAMPLES / script), *arguments)

    @classmethod
    async def run(cls, *arguments: str) -> Example:
        """Start the interpreter."""
        pipe = asyncio.subprocess.PIPE
        return cls(await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=pipe, stderr=pipe))

    async def line(self, containing: str) -> str:
        """Wait for a line of output."""
        assert self._process.stdout is not None
        while line := (await self._process.stdout.readline()).decode():
            self.lines.append(line)
            if containing in line:
                return line
        raise AssertionError(f"no line with {containing!r} in {self.lines}")

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def end(self) -> tuple[int, str, str]:
        """Wait for the end; return exit code, output and errors."""
        out, err = await self._process.communicate()
        assert self._process.returncode is not None
        return self._process.returncode, "".join(self.lines) + out.decode(), err.decode()

    async def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
            await self._process.communicate()
