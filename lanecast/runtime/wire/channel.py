"""A channel to one gRPC service on asyncio's sockets; calls it as `grpc.aio`'s channels do.

Owns one connection, made when the first call needs it and made anew after it was lost, and the calls on it. Used
wherever streams carry events: by the SDKs and the gateway. Stubs of grpcio work on it. Calls never wait for a service
that is away: they fail with UNAVAILABLE, and whoever made them decides what is next.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Generator
from types import TracebackType
from typing import Any, Self

import grpc

from lanecast._version import __version__
from lanecast.core import grpc_wire
from lanecast.core.http2.connection import Connection, Limits
from lanecast.core.http2.events import (
    ConnectionFailed,
    Ended,
    Event,
    GoingAway,
    HeadersReceived,
    MessageReceived,
    MessageTooLarge,
    StreamReset,
    Writable,
)
from lanecast.core.http2.frames import ErrorCode
from lanecast.runtime.wire.inbox import Inbox
from lanecast.runtime.wire.protocol import WireProtocol, describe

CONNECT_SECONDS = 10.0
"""How long a connection may take to be made."""

_USER_AGENT = f"lanecast-python/{__version__}"
_BY_NUMBER = {code.value[0]: code for code in grpc.StatusCode}
_RESETS = frozenset(ErrorCode)
Serializer = Callable[[Any], bytes] | None
Sent = grpc_wire.Metadata | None
Deserializer = Callable[[bytes], Any] | None


class WireChannel:
    """See the module; `async with` closes it."""

    def __init__(self, target: str, context: ssl.SSLContext | None = None, limits: Limits | None = None) -> None:
        self.target = target
        self.scheme = "http" if context is None else "https"
        self.limits = limits or Limits()
        self._context = context
        self._connection: _ClientConnection | None = None
        self._connecting = asyncio.Lock()
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def unary_unary(
        self,
        method: str,
        request_serializer: Serializer = None,
        response_deserializer: Deserializer = None,
        **_registered: Any,
    ) -> Callable[..., UnaryCall]:
        """Return a function that calls a method with one request and one response."""

        def call(request: Any, *, timeout: float | None = None, metadata: Sent = None) -> UnaryCall:
            made = WireCall(self, method, request_serializer, response_deserializer, timeout, metadata or ())
            return UnaryCall(made, request)

        return call

    def unary_stream(
        self,
        method: str,
        request_serializer: Serializer = None,
        response_deserializer: Deserializer = None,
        **_registered: Any,
    ) -> Callable[..., WireCall]:
        """Return a function that calls a method with one request; iterate its result for the responses."""

        def call(request: Any, *, timeout: float | None = None, metadata: Sent = None) -> WireCall:
            made = WireCall(self, method, request_serializer, response_deserializer, timeout, metadata or ())
            made.only_request = request
            return made

        return call

    def stream_stream(
        self,
        method: str,
        request_serializer: Serializer = None,
        response_deserializer: Deserializer = None,
        **_registered: Any,
    ) -> Callable[..., WireCall]:
        """Return a function that calls a method; write requests to its result and read responses from it."""

        def call(*, timeout: float | None = None, metadata: Sent = None) -> WireCall:
            return WireCall(self, method, request_serializer, response_deserializer, timeout, metadata or ())

        return call

    def stream_unary(self, method: str, *_serializers: Any, **_registered: Any) -> Callable[..., Any]:
        """No contract of ours streams requests for one response; stubs ask for it all the same."""

        def call(*_arguments: Any, **_options: Any) -> Any:
            raise NotImplementedError(f"{method}: use stream_stream")

        return call

    async def connection(self) -> _ClientConnection:
        """Return the connection, made if there is none that takes another call.

        Raises:
            grpc.aio.AioRpcError: it cannot be made; the status is UNAVAILABLE.
        """
        async with self._connecting:
            if self._closed:
                raise rpc_error(grpc_wire.CANCELLED, "the channel is closed")
            if self._connection is None or not self._connection.connection.takes_streams:
                self._connection = await self._connect()
            return self._connection

    async def _connect(self) -> _ClientConnection:
        loop = asyncio.get_running_loop()
        host, _, port = self.target.rpartition(":")
        name = host.removeprefix("[").removesuffix("]")
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, protocol = await loop.create_connection(
                    lambda: _ClientConnection(loop, self.limits),
                    name,
                    int(port),
                    ssl=self._context,
                    server_hostname=name if self._context is not None else None,
                )
                await protocol.greeted
        except TimeoutError as error:
            raise self._unavailable(f"no connection within {CONNECT_SECONDS:g} s") from error
        except (OSError, EOFError) as error:
            raise self._unavailable(describe(error)) from error
        if protocol.is_lost:
            raise self._unavailable(protocol.failure or "it closed the connection at once")
        return protocol

    def _unavailable(self, reason: str) -> grpc.aio.AioRpcError:
        return rpc_error(grpc_wire.UNAVAILABLE, f"cannot connect to {self.target}: {reason}")

    async def close(self) -> None:
        """Cancel the calls and close the connection. Idempotent."""
        self._closed = True
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.leave()
            try:
                async with asyncio.timeout(1.0):
                    await connection.wait_closed()
            except TimeoutError:
                connection.abort("the channel is closed")


class _ClientConnection(WireProtocol):
    """The connection of a channel."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: Limits) -> None:
        super().__init__(Connection(client=True, limits=limits), loop)
        self.greeted: asyncio.Future[None] = loop.create_future()
        """Done once the service has shown that it speaks HTTP/2, or the connection is lost."""
        self.is_lost = False
        self._calls: dict[int, WireCall] = {}

    def begin(self, call: WireCall, headers: grpc_wire.Headers) -> int:
        """Open a stream for a call."""
        stream_id = self.connection.open_stream(headers)
        self._calls[stream_id] = call
        self.send()
        return stream_id

    def over(self, stream_id: int) -> None:
        """Forget a call. A connection that takes no more of them closes after the last."""
        self._calls.pop(stream_id, None)
        if not self._calls and self.connection.going_away:
            self.loop.call_soon(self.finish)

    def leave(self) -> None:
        """Cancel all calls and close."""
        for call in list(self._calls.values()):
            call.cancel()
        self.connection.go_away()
        self.finish()

    def data_received(self, data: bytes) -> None:
        """Hand over what has come."""
        super().data_received(data)
        if not self.greeted.done() and self.connection.settled:
            self.greeted.set_result(None)

    def on_event(self, event: Event) -> None:
        """See `WireProtocol`."""
        kind = type(event)
        if kind is MessageReceived:
            call = self._calls.get(event.stream_id)  # type: ignore[union-attr]
            if call is not None:
                call.inbox.put(event, self)  # type: ignore[arg-type]
        elif isinstance(event, (HeadersReceived, Ended, StreamReset, Writable, MessageTooLarge)):
            call = self._calls.get(event.stream_id)
            if call is not None:
                call.take(event)
        elif isinstance(event, GoingAway):
            for stream_id, call in list(self._calls.items()):
                if stream_id > event.last_id:
                    call.fail(grpc_wire.UNAVAILABLE, "the service is going away")
        elif isinstance(event, ConnectionFailed):
            self._fail_all(event.text)

    def on_lost(self) -> None:
        """See `WireProtocol`."""
        self.is_lost = True
        self.connection.failed = True
        if not self.greeted.done():
            self.greeted.set_result(None)
        self._fail_all(self.failure or "the service closed the connection")

    def _fail_all(self, reason: str) -> None:
        for call in list(self._calls.values()):
            call.fail(grpc_wire.UNAVAILABLE, reason)


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
        self._connection: _ClientConnection | None = None
        self._id = 0
        self._opening = asyncio.Lock()
        self._initial: tuple[tuple[str, str | bytes], ...] = ()
        self._outcome: grpc_wire.Outcome | None = None
        self._answered = False
        self._writable: asyncio.Future[None] | None = None
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
            self._writable = connection.loop.create_future()
            await self._writable
        if connection.paused:
            await connection.room()

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
        return _BY_NUMBER[self._outcome.code]

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
            self._release()
        elif isinstance(event, StreamReset):
            self._reset(event.code)
        elif isinstance(event, MessageTooLarge):
            text = f"a message has {event.size} bytes: at most {self.inbox.max_message_bytes} are taken"
            self._abandon(grpc_wire.RESOURCE_EXHAUSTED, text)
        elif isinstance(event, Ended) and event.truncated:
            self._abandon(grpc_wire.INTERNAL, "the service ended the call within a message")
        elif isinstance(event, Ended) and self._outcome is None:
            self._abandon(grpc_wire.INTERNAL, "the service ended the call without a status")

    def fail(self, code: int, message: str) -> None:
        """End the call: the connection is gone."""
        self._end(grpc_wire.Outcome(code, message))

    # Parts

    async def _open(self) -> _ClientConnection:
        async with self._opening:
            if self._connection is not None:
                return self._connection
            if self._outcome is not None:
                self._raise_ended()
            try:
                connection = await self._channel.connection()
            except grpc.aio.AioRpcError as error:
                self._end(grpc_wire.Outcome(error.code().value[0], error.details() or ""))
                raise
            if self._outcome is not None:  # cancelled, or its time was over, while the connection was made
                self._raise_ended()
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

    def _reset(self, code: int) -> None:
        name = ErrorCode(code).name if code in _RESETS else str(code)
        self._end(grpc_wire.Outcome(grpc_wire.code_of_reset(code), f"the service reset the call: {name}"))

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
        self._release()

    def _expire(self) -> None:
        self._abandon(grpc_wire.DEADLINE_EXCEEDED, "the deadline of the call has passed")

    def _release(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

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


def rpc_error(
    code: int,
    message: str,
    initial: tuple[tuple[str, str | bytes], ...] = (),
    trailing: tuple[tuple[str, str | bytes], ...] = (),
) -> grpc.aio.AioRpcError:
    """Return what `grpc.aio` raises for a call that ended with this status."""
    return grpc.aio.AioRpcError(_BY_NUMBER[code], grpc.aio.Metadata(*initial), grpc.aio.Metadata(*trailing), message)
