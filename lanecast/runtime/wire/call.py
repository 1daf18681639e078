"""A call of a channel; names are those of `grpc.aio`'s calls.

Owns what its caller sees: requests, responses, the deadline, how it ended. Made by `channel`, fed by its connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from typing import TYPE_CHECKING, Any

import grpc

from lanecast._version import __version__
from lanecast.core import grpc_wire
from lanecast.core.http2.events import Ended, Event, HeadersReceived, MessageTooLarge, StreamReset, Writable
from lanecast.core.http2.frames import ErrorCode
from lanecast.runtime import status
from lanecast.runtime.wire.gate import Gate
from lanecast.runtime.wire.inbox import Inbox

if TYPE_CHECKING:
    from lanecast.runtime.wire.channel import ClientConnection, WireChannel

_ATTEMPTS = 3
"""How often a call makes a connection: a service may go away, or be full, as it is reached."""
_USER_AGENT = f"lanecast-python/{__version__}"
_RESETS = frozenset(ErrorCode)
Serializer = Callable[[Any], bytes] | None
Deserializer = Callable[[bytes], Any] | None


class WireCall:
    """One call. Names are those of `grpc.aio`'s calls."""

    def __init__(
        self,
        channel: WireChannel,
        method: str,
        serializer: Serializer,
        deserializer: Deserializer,
        timeout: float | None,
        metadata: grpc_wire.Metadata,
    ) -> None:
        self.only_request: Any = None
        self.inbox = Inbox(channel.limits.max_message_bytes)
        self._channel = channel
        self._method = method
        self._serializer = serializer
        self._deserializer = deserializer
        self._timeout = timeout
        self._metadata = metadata
        self._connection: ClientConnection | None = None
        self._id = 0
        self._opening = asyncio.Lock()
        self._initial: tuple[tuple[str, str | bytes], ...] = ()
        self._outcome: grpc_wire.Outcome | None = None
        self._answered = False
        self._writable = Gate(asyncio.get_running_loop())
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._timer = None if timeout is None else asyncio.get_running_loop().call_later(timeout, self._expire)

    # For the caller

    async def write(self, request: Any) -> None:
        """Send a request; waits while the service, or the socket, takes no more. One writer at a time.

        Raises:
            grpc.aio.AioRpcError: the call has failed.
            asyncio.InvalidStateError: the call has ended.
        """
        connection = self._connection or await self._open()
        if self._outcome is not None:
            self._raise_ended()
        data = request if self._serializer is None else self._serializer(request)
        went = connection.connection.send_message(self._id, data)
        connection.send()
        if not went:
            await self._writable.wait()
        if connection.paused:
            await connection.room()
        if self._outcome is not None:
            self._raise_failed()

    async def read(self) -> Any:
        """Return the next response, or `grpc.aio.EOF` where the service has ended the call.

        Raises:
            grpc.aio.AioRpcError: the call has failed.
        """
        if self._connection is None:
            await self._open()
        try:
            data = await self.inbox.get()
        except grpc_wire.MessageError as error:
            self._abandon(error.code, str(error))
            data = None
        if data is not None:
            return data if self._deserializer is None else self._deserializer(data)
        await self._done
        self._raise_failed()
        return grpc.aio.EOF

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._responses()

    async def _responses(self) -> AsyncIterator[Any]:
        while (response := await self.read()) is not grpc.aio.EOF:
            yield response

    async def done_writing(self) -> None:
        """Send no more requests."""
        connection = self._connection or await self._open()
        connection.connection.end(self._id)
        connection.send()

    def cancel(self) -> bool:
        """End the call. Idempotent; False where it had ended."""
        return self._abandon(grpc_wire.CANCELLED, "the call was cancelled by its caller")

    def done(self) -> bool:
        """Say whether the call has ended."""
        return self._outcome is not None

    async def code(self) -> grpc.StatusCode:
        """Return how the call ended, once it has."""
        await self._done
        assert self._outcome is not None
        return status.BY_NUMBER[self._outcome.code]

    async def details(self) -> str:
        """Return the message that the call ended with, once it has."""
        await self._done
        assert self._outcome is not None
        return self._outcome.message

    # For the connection

    def take(self, event: Event) -> None:
        """Take what has come for this call beside messages."""
        if isinstance(event, HeadersReceived):
            self._headers(event)
        elif isinstance(event, Writable):
            self._writable.open()
        elif isinstance(event, StreamReset):
            self._reset(event.code)
        elif isinstance(event, MessageTooLarge):
            text = f"a message has {event.size} bytes: at most {self.inbox.max_message_bytes} are taken"
            self._abandon(grpc_wire.RESOURCE_EXHAUSTED, text)
        elif isinstance(event, Ended):
            self._ended(event)

    def fail(self, code: int, message: str) -> None:
        """End the call: the connection is gone."""
        self._end(grpc_wire.Outcome(code, message))

    # Parts

    async def _open(self) -> ClientConnection:
        async with self._opening:
            if self._connection is not None:
                return self._connection
            if self._outcome is not None:
                self._raise_ended()
            connection = await self._ready()
            channel = self._channel
            headers = grpc_wire.call_headers(
                self._method, channel.target, channel.scheme, _USER_AGENT, self._timeout, self._metadata
            )
            self._id = connection.begin(self, headers)
            self._connection = connection
            if self.only_request is not None:
                request, self.only_request = self.only_request, None
                data = request if self._serializer is None else self._serializer(request)
                connection.connection.send_message(self._id, data)
                connection.connection.end(self._id)
                connection.send()
            return connection

    async def _ready(self) -> ClientConnection:
        """Return a connection, as soon as there is one, unless the call ends before."""
        channel = self._channel
        for _ in range(_ATTEMPTS):
            connection = channel.ready()
            if connection is not None:
                return connection
            try:
                attempt = channel.connecting()
                await asyncio.wait((attempt, self._done), return_when=asyncio.FIRST_COMPLETED)
                if self._outcome is not None:  # cancelled, or its time was over
                    self._raise_ended()
                if attempt.cancelled():
                    raise rpc_error(grpc_wire.CANCELLED, "the channel is closed")
                attempt.result()
            except grpc.aio.AioRpcError as error:
                self._end(grpc_wire.Outcome(error.code().value[0], error.details() or ""))
                raise
        connection = channel.ready()
        if connection is None:
            self._end(grpc_wire.Outcome(grpc_wire.UNAVAILABLE, f"{channel.target} takes no more calls now"))
            self._raise_ended()
            raise AssertionError
        return connection

    def _headers(self, event: HeadersReceived) -> None:
        if not event.ended and not self._answered and grpc_wire.is_answer(event.headers):
            self._answered = True
            self._initial = grpc_wire.decode_metadata(event.headers)
            self.inbox.encoding = dict(event.headers).get(b"grpc-encoding", b"identity").decode("ascii", "replace")
            return
        outcome = grpc_wire.read_outcome(event.headers)
        if event.ended:
            self._end(outcome)
        else:
            self._abandon(outcome.code, outcome.message)

    def _ended(self, event: Ended) -> None:
        if event.trailers is None:
            outcome = grpc_wire.Outcome(grpc_wire.INTERNAL, "the service ended the call without a status")
        else:
            outcome = grpc_wire.read_outcome(event.trailers)
        if event.truncated and outcome.code == grpc_wire.OK:
            outcome = grpc_wire.Outcome(grpc_wire.INTERNAL, "the service ended the call within a message")
        self._end(outcome)

    def _reset(self, code: int) -> None:
        self._end(grpc_wire.Outcome(grpc_wire.code_of_reset(code), f"the service reset the call: {reset_name(code)}"))

    def _abandon(self, code: int, message: str) -> bool:
        """End the call from here."""
        if self._outcome is not None:
            return False
        connection = self._connection
        self._end(grpc_wire.Outcome(code, message))
        if connection is not None and not connection.is_lost:
            connection.connection.reset(self._id)
            connection.send()
        return True

    def _end(self, outcome: grpc_wire.Outcome) -> None:
        if self._outcome is not None:
            return
        self._outcome = outcome
        if self._timer is not None:
            self._timer.cancel()
        if self._connection is not None:
            self._connection.over(self._id)
        if not self._done.done():
            self._done.set_result(None)
        self.inbox.end()
        self._writable.open()

    def _expire(self) -> None:
        self._abandon(grpc_wire.DEADLINE_EXCEEDED, "the deadline of the call has passed")

    def _raise_failed(self) -> None:
        outcome = self._outcome
        if outcome is not None and outcome.code != grpc_wire.OK:
            raise rpc_error(outcome.code, outcome.message, self._initial, outcome.metadata)

    def _raise_ended(self) -> None:
        self._raise_failed()
        raise asyncio.InvalidStateError("the call has ended")


class UnaryCall:
    """A call with one request and one response; await it for the response."""

    def __init__(self, call: WireCall, request: Any) -> None:
        self._call = call
        call.only_request = request

    def __await__(self) -> Generator[Any, None, Any]:
        return self._response().__await__()

    async def _response(self) -> Any:
        call = self._call
        try:
            response = await call.read()
            if response is grpc.aio.EOF:
                raise rpc_error(grpc_wire.INTERNAL, "the service ended the call without a response")
            if await call.read() is not grpc.aio.EOF:
                raise rpc_error(grpc_wire.INTERNAL, "the service sent more than one response")
        finally:
            call.cancel()  # for whoever was cancelled while waiting
        return response

    def cancel(self) -> bool:
        """End the call."""
        return self._call.cancel()


def reset_name(code: int) -> str:
    """Return what HTTP/2 calls an error code."""
    return ErrorCode(code).name if code in _RESETS else str(code)


def rpc_error(
    code: int,
    message: str,
    initial: tuple[tuple[str, str | bytes], ...] = (),
    trailing: tuple[tuple[str, str | bytes], ...] = (),
) -> grpc.aio.AioRpcError:
    """Return what `grpc.aio` raises for a call that ended with this status."""
    return grpc.aio.AioRpcError(
        status.BY_NUMBER[code], grpc.aio.Metadata(*initial), grpc.aio.Metadata(*trailing), message
    )
