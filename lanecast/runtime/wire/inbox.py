"""The messages of one call that have come and are not taken yet.

Owns the wait for the next message and the fairness between calls. Used by both ends. How much may wait is bounded by
the stream's window, which opens again as messages are taken.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

from lanecast.core import grpc_wire
from lanecast.core.http2.events import MessageReceived
from lanecast.runtime.scheduling import give_way
from lanecast.runtime.wire.protocol import WireProtocol


class Inbox:
    """Filled by the connection, emptied by one reader."""

    def __init__(self, max_message_bytes: int, encoding: str = "identity") -> None:
        self.max_message_bytes = max_message_bytes
        self.encoding = encoding
        """How compressed messages are compressed."""
        self._messages: deque[MessageReceived] = deque()
        self._protocol: WireProtocol | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._ended = self._truncated = False

    def put(self, message: MessageReceived, protocol: WireProtocol) -> None:
        """Take a message from the connection."""
        self._protocol = protocol
        self._messages.append(message)
        self._wake()

    def end(self, *, truncated: bool = False) -> None:
        """Nothing more comes."""
        self._ended = True
        self._truncated = self._truncated or truncated
        self._wake()

    async def get(self) -> bytes | None:
        """Return the next message, or None at the end. One reader at a time.

        A reader that finds one message after the other gives way to others between them: a call that is never without
        a message must not keep the loop for itself, nor the core.

        Raises:
            MessageError: the message cannot be read, or the peer ended the call within one.
        """
        messages = self._messages
        if messages:
            give_way()
            await asyncio.sleep(0)
        while not messages:
            if self._truncated:
                raise grpc_wire.MessageError(grpc_wire.INTERNAL, "the call ended within a message")
            if self._ended:
                return None
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        message = messages.popleft()
        assert self._protocol is not None
        self._protocol.connection.consumed(message.stream_id, len(message.data))
        self._protocol.send()
        if message.compressed:
            return grpc_wire.decompress(message.data, self.encoding, self.max_message_bytes)
        return message.data

    async def iterate(self, deserialize: Callable[[bytes], Any] | None) -> AsyncIterator[Any]:
        """Yield the messages until the end."""
        while (data := await self.get()) is not None:
            yield data if deserialize is None else deserialize(data)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
