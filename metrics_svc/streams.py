"""How many streams are open, and the word that ends them.

Owns the limit on watchers and the drain signal that gRPC and HTTP streams wait for between two messages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from lanecast.errors import StatusError

RESOURCE_EXHAUSTED, UNAVAILABLE = 8, 14
"""Canonical gRPC codes."""


class Streams:
    """Open streams of one kind of edge, at most `limit`."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open = 0
        self._drained = asyncio.Event()

    @property
    def open(self) -> int:
        """Number of streams."""
        return self._open

    @property
    def draining(self) -> bool:
        """Whether streams have been told to end."""
        return self._drained.is_set()

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Count a stream for as long as the block lasts.

        Raises:
            StatusError: there are too many, or the service is going away.
        """
        if self.draining:
            message = "the service is going away: connect again in a moment"
            raise StatusError(UNAVAILABLE, "DRAINING", message, retry_delay_seconds=1.0)
        if self._open >= self._limit:
            message = f"{self._limit} streams are open already: close one, or raise max_streams"
            raise StatusError(RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS", message, retry_delay_seconds=5.0)
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1

    async def pause(self, seconds: float) -> bool:
        """Wait until the next message is due; say whether there shall be one."""
        try:
            async with asyncio.timeout(seconds):
                await self._drained.wait()
        except TimeoutError:
            return True
        return False

    def drain(self) -> None:
        """End all streams after their present message."""
        self._drained.set()
