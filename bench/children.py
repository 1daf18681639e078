"""Load processes and the lines of JSON spoken with them.

Owns receivers and generators as child processes: one line of order in, lines of progress out, one line of result.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

_READY_SECONDS = 300.0
_LINE_LIMIT = 1 << 20


class ChildError(Exception):
    """A load process failed; says what it said."""


class Child:
    """One load process."""

    def __init__(self, module: str, process: asyncio.subprocess.Process) -> None:
        self._module = module
        self._process = process
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._result: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self.progress: dict[str, int] = {}
        self._listener = asyncio.create_task(self._listen())

    @classmethod
    async def spawn(cls, module: str, order: dict[str, Any]) -> Child:
        """Start `python -m module` and give it its order."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LINE_LIMIT,
            process_group=0,  # Ctrl-C is for the suite, which ends its children in order
        )
        child = cls(module, process)
        child.tell(json.dumps(order))
        return child

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def tell(self, line: str) -> None:
        """Write one line to the process."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())

    async def ready(self) -> None:
        """Return when the process is connected and waits for the start.

        Raises:
            ChildError: it failed, or took too long.
        """
        await self._within(self._ready)

    async def result(self) -> dict[str, Any]:
        """Return the last line of the process.

        Raises:
            ChildError: it failed, or took too long.
        """
        result: dict[str, Any] = await self._within(self._result)
        return result

    async def _within(self, future: asyncio.Future[Any]) -> Any:
        try:
            return await asyncio.wait_for(asyncio.shield(future), _READY_SECONDS)
        except TimeoutError:
            raise ChildError(f"{self._module} did not answer within {_READY_SECONDS:.0f} s") from None

    @property
    def finished(self) -> bool:
        """Say whether the result is there, good or bad."""
        return self._result.done()

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            said = json.loads(line)
            if "ready" in said and not self._ready.done():
                self._ready.set_result(None)
            elif "done" in said:
                self._settle(said)
            elif "failed" in said:
                self._fail(said["failed"])
            else:
                self.progress.update(said)
        self._fail("it ended without a result")

    def _settle(self, said: dict[str, Any]) -> None:
        if not self._result.done():
            self._result.set_result(said)

    def _fail(self, text: str) -> None:
        for future in (self._ready, self._result):
            if not future.done():
                future.set_exception(ChildError(f"{self._module}: {text}"))
                future.exception()  # nobody may be waiting: do not warn of that

    async def close(self) -> None:
        """End the process if it is still there, and wait for it."""
        if self._process.returncode is None:
            self._process.terminate()
        await self._process.wait()
        await self._listener
