"""One child process: its pipes, its ready line, its end.

Owns the process and its tasks. Called by `loop`, which it tells of lines, readiness and the end through callbacks, all
of them on the event loop.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from lanecast.cli.core.lines import LineSplitter
from lanecast.cli.core.plan import Launch

MAX_LINE_BYTES = 64 * 1024
_CANNOT_RUN = 127


class Owner(Protocol):
    """Who is told what becomes of a child."""

    def child_ready(self, name: str, facts: dict[str, Any]) -> None:
        """Take note of the child's ready line."""

    def child_line(self, name: str, text: str) -> None:
        """Take a line that the child wrote to standard error, or to standard output and is no ready line."""

    def child_ended(self, name: str, code: int) -> None:
        """Take note of the end of the process; everything it wrote was handed over before."""


class Child:
    """Runs a process once. `start()` it, then it reports to its owner; `wait_closed()` after its end."""

    def __init__(self, launch: Launch, owner: Owner) -> None:
        self._launch = launch
        self._owner = owner
        self._process: asyncio.subprocess.Process | None = None
        self._early_signal: signal.Signals | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """Process id; 0 where the process was not started yet."""
        return self._process.pid if self._process else 0

    @property
    def closed(self) -> bool:
        """True once the process has ended and nothing more will be reported."""
        return self._task is not None and self._task.done()

    def start(self) -> None:
        """Start the process."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; if the process is only just being started, as soon as it is there."""
        if self._process is None:
            self._early_signal = number
        else:
            with suppress(ProcessLookupError):  # it has just ended; its end will be reported
                self._process.send_signal(number)

    async def wait_closed(self) -> None:
        """Wait until the process has ended and its end was reported."""
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        name = self._launch.spec.name
        try:
            self._process = await self._spawn()
        except OSError as error:
            self._owner.child_line(name, f"cannot be started: {error}")
            self._owner.child_ended(name, _CANNOT_RUN)
            return
        if self._early_signal is not None:
            self.signal(self._early_signal)
        stdout, stderr = self._process.stdout, self._process.stderr
        assert stdout is not None
        assert stderr is not None
        async with asyncio.TaskGroup() as group:
            group.create_task(_each_line(stdout, self._on_stdout))
            group.create_task(_each_line(stderr, lambda text: self._owner.child_line(name, text)))
        code = await self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._owner.child_ended(name, code)

    async def _spawn(self) -> asyncio.subprocess.Process:
        # A session of its own: Ctrl-C in the terminal must reach the supervisor only, which then stops in order.
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *self._launch.arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **self._launch.environ},
            start_new_session=True,
        )

    def _on_stdout(self, text: str) -> None:
        name = self._launch.spec.name
        facts = parse_ready_line(text)
        if facts is None:
            self._owner.child_line(name, text)
        else:
            self._owner.child_ready(name, facts)


def parse_ready_line(text: str) -> dict[str, Any] | None:
    """Return what a ready line says; None where `text` is any other line."""
    try:
        facts = json.loads(text)
    except ValueError:
        return None
    return facts if isinstance(facts, dict) and "ready" in facts else None


async def _each_line(stream: asyncio.StreamReader, take: Callable[[str], None]) -> None:
    splitter = LineSplitter(MAX_LINE_BYTES)
    while chunk := await stream.read(MAX_LINE_BYTES):
        for line in splitter.feed(chunk):
            take(line.text.decode(errors="replace"))
    for line in splitter.end():
        take(line.text.decode(errors="replace"))
