"""A channel to one gRPC service on asyncio's sockets; calls it as `grpc.aio`'s channels do.

Owns one connection, made when the first call needs it and made anew after it was lost, and the calls on it. Used
wherever streams carry events: by the SDKs and the gateway. Stubs of grpcio work on it. Calls never wait for a service
that is away: they fail with UNAVAILABLE, and whoever made them decides what is next.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from lanecast.core import grpc_wire
from lanecast.core.http2.connection import Connection
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
from lanecast.core.http2.limits import Limits
from lanecast.runtime.wire.call import Deserializer, Serializer, UnaryCall, WireCall, reset_name, rpc_error
from lanecast.runtime.wire.protocol import Patience, WireProtocol, describe

Sent = grpc_wire.Metadata | None


class WireChannel:
    """See the module; `async with` closes it."""

    def __init__(
        self,
        target: str,
        context: ssl.SSLContext | None = None,
        limits: Limits | None = None,
        patience: Patience | None = None,
    ) -> None:
        self.target = target
        self.scheme = "http" if context is None else "https"
        self.limits = limits or Limits()
        self.patience = patience or Patience()
        self._context = context
        self._current: ClientConnection | None = None
        self._connections: set[ClientConnection] = set()
        """All that are not gone: one that takes no more calls lives until its last has ended."""
        self._attempt: asyncio.Task[None] | None = None
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

    def ready(self) -> ClientConnection | None:
        """Return the connection that takes another call; None where one must be made."""
        current = self._current
        return current if current is not None and current.connection.takes_streams else None

    def connecting(self) -> asyncio.Task[None]:
        """Return the attempt to make a connection, which all calls share.

        Raises:
            grpc.aio.AioRpcError: the channel is closed.
        """
        if self._closed:
            raise rpc_error(grpc_wire.CANCELLED, "the channel is closed")
        if self._attempt is None or self._attempt.done():
            self._attempt = asyncio.create_task(self._connect(), name=f"connection to {self.target}")
            self._attempt.add_done_callback(_look_at)
        return self._attempt

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        host, _, port = self.target.rpartition(":")
        name = host.removeprefix("[").removesuffix("]")
        protocol = ClientConnection(loop, self)
        try:
            async with asyncio.timeout(self.patience.connect_seconds):
                await loop.create_connection(
                    lambda: protocol,
                    name,
                    int(port),
                    ssl=self._context,
                    server_hostname=name if self._context is not None else None,
                )
                await protocol.greeted
        except TimeoutError as error:
            protocol.abort("it was given up")
            raise self._unavailable(f"no connection within {self.patience.connect_seconds:g} s") from error
        except (OSError, EOFError) as error:
            raise self._unavailable(describe(error)) from error
        except asyncio.CancelledError:
            protocol.abort("the channel is closed")
            raise
        if protocol.is_lost:
            raise self._unavailable(protocol.failure or self._sudden_end())
        former, self._current = self._current, protocol
        if former is not None:
            former.retire()

    def _sudden_end(self) -> str:
        """Say what a service most likely means that closes a connection before its first word."""
        said = "it closed the connection at once"
        if self._context is None:
            return f"{said}, as one that speaks TLS does: set LANECAST_TLS_CA if so"
        # Its TLS was fine until it saw, or missed, our certificate; asyncio's servers send no alert about that.
        return f"{said}, as one that asks for a certificate does: set LANECAST_TLS_CLIENT_CERTIFICATE if so"

    def _unavailable(self, reason: str) -> Exception:
        return rpc_error(grpc_wire.UNAVAILABLE, f"cannot connect to {self.target}: {reason}")

    async def close(self) -> None:
        """Cancel the calls and close the connection. Idempotent."""
        self._closed = True
        self._current = None
        if self._attempt is not None:
            self._attempt.cancel()
        connections = list(self._connections)
        for connection in connections:
            connection.leave()
        try:
            async with asyncio.timeout(1.0):
                for connection in connections:
                    await connection.wait_closed()
        except TimeoutError:
            for connection in connections:
                connection.abort("the channel is closed")

    def joined(self, connection: ClientConnection) -> None:
        """Know of a connection."""
        self._connections.add(connection)

    def left(self, connection: ClientConnection) -> None:
        """Forget a connection."""
        self._connections.discard(connection)


class ClientConnection(WireProtocol):
    """The connection of a channel."""

    def __init__(self, loop: asyncio.AbstractEventLoop, channel: WireChannel) -> None:
        super().__init__(Connection(client=True, limits=channel.limits), loop, channel.patience)
        self._channel = channel
        self.greeted: asyncio.Future[None] = loop.create_future()
        """Done once the service has shown that it speaks HTTP/2, or the connection is lost."""
        self.is_lost = False
        self._retired = False
        self._calls: dict[int, WireCall] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet the service."""
        super().connection_made(transport)
        self._channel.joined(self)
        if self._closing:  # given up meanwhile
            transport.close()

    def begin(self, call: WireCall, headers: grpc_wire.Headers) -> int:
        """Open a stream for a call."""
        stream_id = self.connection.open_stream(headers)
        self._calls[stream_id] = call
        self.send()
        return stream_id

    def over(self, stream_id: int) -> None:
        """Forget a call. A connection that takes no more of them closes after the last."""
        self._calls.pop(stream_id, None)
        self._finish_if_idle()

    def retire(self) -> None:
        """Close after the last call: another connection takes the next ones."""
        self._retired = True
        self._finish_if_idle()

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
            if event.code:
                self.failure = f"the service ends the connection: {reset_name(event.code)} {event.text}".rstrip()
            self._finish_if_idle()
        elif isinstance(event, ConnectionFailed):
            self._fail_all(event.text)

    def on_lost(self) -> None:
        """See `WireProtocol`."""
        self.is_lost = True
        self.connection.failed = True
        self._channel.left(self)
        if not self.greeted.done():
            self.greeted.set_result(None)
        self._fail_all(self.failure or "the service closed the connection")

    def _finish_if_idle(self) -> None:
        if not self._calls and (self._retired or self.connection.going_away):
            self.loop.call_soon(self.finish)

    def _fail_all(self, reason: str) -> None:
        for call in list(self._calls.values()):
            call.fail(grpc_wire.UNAVAILABLE, reason)


def _look_at(attempt: asyncio.Task[None]) -> None:
    """Look at how an attempt ended, for calls that do not wait for it any more."""
    if not attempt.cancelled():
        attempt.exception()
