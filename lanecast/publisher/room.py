"""Where `publish()` waits until the buffer has room.

Owns the order of those who wait: first come, first served. Used by the client; knows nothing of events.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable


class WaitingRoom:
    """A queue of tasks that each want so many bytes of the buffer."""

    def __init__(self, has_room: Callable[[int], bool]) -> None:
        self._has_room = has_room
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def is_occupied(self) -> bool:
        """True where somebody waits."""
        return bool(self._waiting)

    async def wait(self, size: int) -> None:
        """Return when it is the caller's turn and `size` bytes fit; it must take them before it waits for anything."""
        first = False
        while True:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            if first:
                self._waiting.appendleft(future)
            else:
                self._waiting.append(future)
            try:
                await future
            except asyncio.CancelledError:
                if future in self._waiting:
                    self._waiting.remove(future)
                else:
                    self.let_in()  # it was this one's turn: pass it on
                raise
            if self._has_room(size):
                # The next one's turn comes once this one has taken its room.
                asyncio.get_running_loop().call_soon(self.let_in)
                return
            first = True

    def let_in(self) -> None:
        """Give the first in the queue its turn where there is any room."""
        while self._waiting and self._has_room(1):
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(None)
                return
