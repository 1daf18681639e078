"""The server processes of one run: started, watched until they listen, ended by their own process ids.

Owns child processes and free ports. Their output goes to files in the run's directory, whose last lines are part of
the error where one of them does not start.
"""

from __future__ import annotations

import asyncio
import functools
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

HOST = "127.0.0.1"
START_SECONDS = 30.0
STOP_SECONDS = 10.0


class ServerError(Exception):
    """A server did not start, or is gone; says what it printed last."""


def urgency() -> list[str]:
    """Return the words before a command that schedule it in real time; none where that is not permitted or not wanted.

    Lanecast's services ask for it by themselves (docs/adr/0019). What is compared with them gets the same.
    """
    chrt = shutil.which("chrt")
    if chrt is None or not in_real_time():
        return []
    return [chrt, "--rr", "1"]


@functools.cache
def in_real_time() -> bool:
    """Say whether the processes of a run are scheduled in real time: `LANECAST_PROCESS_SCHEDULING`, and permission."""
    code = "import sys; from lanecast.runtime.scheduling import be_urgent; sys.exit(not be_urgent())"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


class Servers:
    """The processes of one system."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def spawn(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        without: str = "",
        *,
        urgent: bool = True,
    ) -> None:
        """Start a process.

        Args:
            name: Tells it apart in results and in the file of its output.
            command: Program and arguments.
            environment: Variables on top of this process's own.
            without: Own variables that begin so are kept from it; empty: none.
            urgent: It is scheduled as Lanecast's services are; False for what decides that by itself.
        """
        if urgent:
            command = [*urgency(), *command]
        inherited = {key: value for key, value in os.environ.items() if not (without and key.startswith(without))}
        with (self._directory / f"{name}.out").open("wb") as output:
            self._children[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,  # Ctrl-C is for the suite, which ends its servers in order
                env={**inherited, **(environment or {})},
            )

    def pids(self) -> dict[str, int]:
        """Return the process ids by name."""
        return {name: child.pid for name, child in self._children.items()}

    def check(self) -> None:
        """Raise where a process has ended.

        Raises:
            ServerError: one has.
        """
        for name, child in self._children.items():
            if child.poll() is not None:
                raise ServerError(f"{name} ended with exit code {child.returncode}: {self.last_words(name)}")

    def last_words(self, name: str) -> str:
        """Return the end of what a process printed."""
        return (self._directory / f"{name}.out").read_text(errors="replace")[-800:].strip() or "it printed nothing"

    def words(self) -> str:
        """Return the end of what each process printed."""
        return "; ".join(f"{name}: {self.last_words(name)}" for name in self._children)

    async def wait_for_port(self, port: int) -> None:
        """Return when something accepts connections on `port`.

        Raises:
            ServerError: a process ended, or it took too long.
        """
        deadline = asyncio.get_running_loop().time() + START_SECONDS
        while True:
            self.check()
            try:
                _, writer = await asyncio.open_connection(HOST, port)
            except OSError:
                if asyncio.get_running_loop().time() > deadline:
                    text = f"nothing listens on port {port} after {START_SECONDS:.0f} s ({self.words()})"
                    raise ServerError(text) from None
                await asyncio.sleep(0.05)
                continue
            writer.close()
            return

    async def wait_for_file(self, path: Path, complete: Callable[[str], bool]) -> str:
        """Return the text of a file that a process writes, in one step, once `complete` says that it is all there.

        Raises:
            ServerError: a process ended, or it took too long.
        """
        deadline = asyncio.get_running_loop().time() + START_SECONDS
        while not complete(text := await asyncio.to_thread(_read, path)):
            self.check()
            if asyncio.get_running_loop().time() > deadline:
                raise ServerError(f"{path.name} is not complete after {START_SECONDS:.0f} s ({self.words()})")
            await asyncio.sleep(0.05)
        return text

    async def stop(self) -> None:
        """End all processes and wait for them; those that do not drain in time are killed."""
        for child in self._children.values():
            if child.poll() is None:
                child.terminate()
        for child in self._children.values():
            try:
                await asyncio.to_thread(child.wait, STOP_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                await asyncio.to_thread(child.wait)
        self._children.clear()


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""
