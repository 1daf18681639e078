"""A place where tasks wait until something lets them go on. Used for room in sockets and in windows."""

from __future__ import annotations

import asyncio


class Gate:
    """Each waiter has a future of its own, so that the end of one does not touch the others."""

    __slots__ = ("_loop", "_waiters")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiters: list[asyncio.Future[None]] = []

    @property
    def is_waited_at(self) -> bool:
        """True while a task waits."""
        return bool(self._waiters)

    async def wait(self) -> None:
        """Return once the gate was opened after now."""
        future = self._loop.create_future()
        self._waiters.append(future)
        try:
            await future
        finally:
            if future in self._waiters:
                self._waiters.remove(future)

    def open(self) -> None:
        """Let everyone go on who waits."""
        waiters, self._waiters = self._waiters, []
        for future in waiters:
            if not future.done():
                future.set_result(None)
