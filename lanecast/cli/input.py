"""Reads lines from standard input or a file without blocking the event loop and without a thread.

Owns the difference between pipes and terminals, which are waited for, and regular files, which are read at once. A
thread that is blocked in a read could not be ended by Ctrl-C.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

from lanecast.cli.core.lines import Line, LineSplitter

CHUNK_BYTES = 64 * 1024


async def read_lines(descriptor: int, limit: int) -> AsyncIterator[Line]:
    """Yield the lines of a file descriptor; what a line has beyond `limit` bytes is thrown away."""
    splitter = LineSplitter(limit)
    async for chunk in read_chunks(descriptor):
        for line in splitter.feed(chunk):
            yield line
    for line in splitter.end():
        yield line


async def read_chunks(descriptor: int) -> AsyncIterator[bytes]:
    """Yield what can be read, until the end."""
    while True:
        await _wait_readable(descriptor)
        chunk = os.read(descriptor, CHUNK_BYTES)
        if not chunk:
            return
        yield chunk


async def _wait_readable(descriptor: int) -> None:
    """Return when a read will not block. One watch per read: a second wake-up would let the next read block."""
    loop = asyncio.get_running_loop()
    readable: asyncio.Future[None] = loop.create_future()

    def on_readable() -> None:
        loop.remove_reader(descriptor)
        if not readable.done():
            readable.set_result(None)

    try:
        loop.add_reader(descriptor, on_readable)
    except PermissionError:  # a regular file cannot be watched, and need not be
        await asyncio.sleep(0)
        return
    try:
        await readable
    finally:
        loop.remove_reader(descriptor)
