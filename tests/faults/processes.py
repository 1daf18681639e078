"""Services as processes of their own that can be killed, paused, limited and started again at the same port.

Owns the processes it starts, and ends them by their process ids only. Where this process is killed they end by
themselves: their standard input closes. Called by `stack`.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from subprocess import PIPE
from typing import Any

_READY_SECONDS = 40.0
_END_SECONDS = 30.0
_TESTS = Path(__file__).resolve().parents[1]


class ProcessError(Exception):
    """A service did not start or did not end; says what it printed last."""


class Service:
    """One service, over all of its lives."""

    def __init__(self, module: str, name: str, folder: Path, environ: Mapping[str, str], port_variable: str) -> None:
        self.name = name
        self._module = module
        self._output = folder / f"{name}.out"
        kept = {key: value for key, value in os.environ.items() if not key.startswith("LANECAST_")}
        paths = f"{_TESTS}{os.pathsep}{kept['PYTHONPATH']}" if kept.get("PYTHONPATH") else str(_TESTS)
        self.environ = {**kept, "LANECAST_LOG_LEVEL": "WARNING", "PYTHONPATH": paths, **environ}
        self.environ["LANECAST_SUPERVISED"] = "1"  # it ends where this process is gone, however it went
        self._port_variable = port_variable
        self._process: asyncio.subprocess.Process | None = None
        self.address = ""
        self.facts: dict[str, Any] = {}
        self.exits: list[int] = []
        """How each life ended."""

    @property
    def pid(self) -> int:
        """Process id of the present life."""
        assert self._process is not None, f"{self.name} is not running"
        return self._process.pid

    @property
    def alive(self) -> bool:
        """True while the process runs."""
        return self._process is not None and self._process.returncode is None

    async def spawn(self) -> None:
        """Start the process; it is not ready yet."""
        with self._output.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", *self._module.split(), env=self.environ,
                stdin=PIPE, stdout=PIPE, stderr=output, start_new_session=True,
            )  # fmt: skip

    async def ready(self) -> None:
        """Return once it says that it is ready.

        Raises:
            ProcessError: it ended, or takes too long.
        """
        process = self._process
        assert process is not None
        assert process.stdout is not None
        try:
            line = await asyncio.wait_for(process.stdout.readline(), _READY_SECONDS)
        except TimeoutError:
            line = b""
        if not line:
            raise ProcessError(f"{self.name} did not get ready: {self.words()}")
        self.facts = json.loads(line)
        self.address = self.facts["address"]
        self.environ[self._port_variable] = self.address.rpartition(":")[2]

    async def start(self) -> None:
        """Start the process and wait until it is ready."""
        await self.spawn()
        await self.ready()

    def send(self, number: int) -> None:
        """Send a signal, if it runs."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    async def wait(self, seconds: float = _END_SECONDS) -> int:
        """Wait until it has ended; return the exit code.

        Raises:
            ProcessError: it does not end.
        """
        process = self._process
        assert process is not None
        try:
            code = await asyncio.wait_for(process.wait(), seconds)
        except TimeoutError:
            raise ProcessError(f"{self.name} did not end within {seconds:g} s: {self.words()}") from None
        self._process = None
        self.exits.append(code)
        return code

    async def kill(self) -> None:
        """Kill it (-9) and wait until it is gone."""
        self.send(signal.SIGKILL)
        await self.wait()

    async def terminate(self, seconds: float = _END_SECONDS) -> int:
        """Ask it to drain and wait until it has; return the exit code."""
        self.send(signal.SIGTERM)
        return await self.wait(seconds)

    async def stop(self) -> None:
        """End it, whatever state it is in."""
        if self._process is None:
            return
        self.send(signal.SIGCONT)
        self.send(signal.SIGTERM)
        try:
            await self.wait(10)
        except ProcessError:
            await self.kill()

    def limit(self, kind: int, soft: int) -> int:
        """Set a soft resource limit of the running process; return the one before."""
        before, hard = resource.prlimit(self.pid, kind)
        resource.prlimit(self.pid, kind, (min(soft, hard) if hard != resource.RLIM_INFINITY else soft, hard))
        return before

    def memory_bytes(self) -> int:
        """Return its resident memory."""
        fields = Path(f"/proc/{self.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

    def open_files(self) -> int:
        """Return how many file descriptors it has."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def words(self) -> str:
        """Return the last lines of what it printed on standard error."""
        if not self._output.exists():
            return "it printed nothing"
        return " / ".join(self._output.read_text(errors="replace").splitlines()[-8:]) or "it printed nothing"

    def traceback(self) -> str | None:
        """Return the last lines of the first Python traceback it printed, None where there is none."""
        text = self._output.read_text(errors="replace") if self._output.exists() else ""
        at = text.find("Traceback (most recent call last)")
        return None if at < 0 else " / ".join(text[at:].splitlines()[-6:])
