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
    readable = asyncio.Event()
    loop = asyncio.get_running_loop()
    waits = True
    try:
        loop.add_reader(descriptor, readable.set)
    except PermissionError:  # a regular file is always readable and cannot be waited for
        waits = False
    try:
        while True:
            if waits:
                await readable.wait()
                readable.clear()
            else:
                await asyncio.sleep(0)
            chunk = os.read(descriptor, CHUNK_BYTES)
            if not chunk:
                return
            yield chunk
    finally:
        if waits:
            loop.remove_reader(descriptor)
